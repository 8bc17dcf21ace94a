# Sourced by the scenarios that run inside a machine: checks that are counted, waiting with a deadline, and a reelway to try.
# shellcheck shell=bash
set -uo pipefail
IN=/srv/in
HERE=$IN/package
OUT=/srv/out
. "$(dirname "${BASH_SOURCE[0]}")/check.sh"
mkdir -p "$OUT"
BASE=http://127.0.0.1:3000

# The end of a scenario: how it went, and what the service said where it went wrong.
finish() {
    if [ "$failures" -gt 0 ]; then
        echo "--- the last of the service's journal"
        journalctl -u 'reelway*' -p info --no-pager -o short-precise 2>/dev/null | grep -v ' DEBUG ' | tail -n 40 | cut -c1-300
    fi
    echo "$checks checks, $failures failed"
    [ "$failures" = 0 ]
    exit
}

# within SECONDS COMMAND… : runs it until it succeeds.
within() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { "$@"; return; }
        sleep 0.1
    done
}

# sh_ LINE : a line of shell as a command, where any part of a pipe may fail it.
sh_() { bash -o pipefail -c "$1"; }

# says PATTERN COMMAND… : its output has a line like this. All of the output is read, and shown when it has none.
says() {
    local pattern=$1 said; shift
    said=$("$@" 2>&1)
    grep -Eq -- "$pattern" <<<"$said" || { echo "nothing like $pattern in:"; echo "$said"; return 1; }
}
quiet_about() {
    local pattern=$1 said; shift
    said=$("$@" 2>&1)
    ! grep -E -- "$pattern" <<<"$said"
}

apt_install() { apt-get install -y -q --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold "$@" </dev/null; }
deb() { echo "$IN"/"${1:-now}"/reelway_*.deb; }
rpm_file() { echo "$IN"/"${1:-now}"/reelway-*.rpm; }

# A film of a few seconds, and one of SIZE MiB whose content nobody can guess.
make_film() {
    mkdir -p "$(dirname "$1")"
    ffmpeg -nostdin -v error -y -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine=frequency=440 -t "${2:-10}" \
        -c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a aac -movflags +faststart "$1"
}
make_big() { mkdir -p "$(dirname "$1")"; openssl rand -out "$1" $(($2 * 1048576)); }

# configure NAME : standard input becomes the drop-in NAME of the configuration.
configure() { mkdir -p /etc/reelway/conf.d; cat >"/etc/reelway/conf.d/$1.toml"; }

# films_at FOLDER : the usual library, with limits that a crowd does not meet.
films_at() {
    configure library <<X
[library]
roots = [{ name = "films", path = "$1" }]
[video]
max_concurrent_streams = 64
max_streams_per_user = 64
X
}

add_user() { printf 'correct horse battery\n' | reelway user add "$1" --role "${2:-user}" --password-stdin; }
token_of() { reelway token "$1"; }
api() { # METHOD PATH TOKEN [JSON]
    curl -sS -m 30 --fail-with-body -X "$1" -H "Authorization: Bearer $3" ${4:+-H 'Content-Type: application/json' -d "$4"} "$BASE$2"
}
status_of() { curl -sS -m 30 -o /dev/null -w '%{http_code}' "$@"; }
is_ready() { [ "$(status_of "$BASE/health/ready")" = 200 ]; }
has_films() { [ "$(api GET '/api/videos?limit=200' "$1" | jq '.items | length')" -ge "$2" ]; }
main_pid() { systemctl show -P MainPID reelway.service; }
is_restarted() { local now; now=$(main_pid); [ "$now" != 0 ] && [ "$now" != "$1" ] && is_ready; }

# reelway_here : installs the package, with a library below /srv/films, the administrator ann and her TOKEN.
reelway_here() {
    mkdir -p /srv/films
    must "the package is installed" apt_install "$(deb)"
    films_at /srv/films
    systemctl restart reelway.service
    must "the service answers" within 30 is_ready
    must "an account is made over the admin socket" add_user ann admin
    TOKEN=$(token_of ann)
    export TOKEN
    must "the films are found" within 60 has_films "$TOKEN" "${1:-1}"
}

# watchers … : starts viewers.py in the background, and waits until each film is on its way.
watchers() {
    rm -f /run/enough /run/progress /run/viewers.json
    SEEN_BYTES='{}'
    python3 "$HERE/viewers.py" --token "$TOKEN" --until /run/enough --progress /run/progress "$@" >/run/viewers.json 2>/run/viewers.err &
    WATCHERS=$!
    must "films play and requests are answered" within 60 films_moved 2097152
}
# films_moved BYTES : every film that plays has so many bytes more than last remembered by remember_films.
films_moved() {
    jq -e --argjson seen "${SEEN_BYTES:-{\}}" --argjson more "$1" '.requests > 20 and (.films | length > 0) and
        ([.films[] | select(.paused | not) | (.bytes >= ($seen[.viewer] // 0) + $more) or .complete] | all)' /run/progress
}
remember_films() { SEEN_BYTES=$(jq -c '[.films[] | {key: .viewer, value: .bytes}] | from_entries' /run/progress); }

# watched_well SENTENCE : ends the watchers, and nobody of them may have noticed anything. The counts go to OUT.
watched_well() {
    local code=0
    touch /run/enough
    wait "$WATCHERS" || code=$?
    check "$1" same "$code" 0
    cp /run/viewers.json "$OUT/viewers.json"
    jq -c '{requests, refused, failed, newConnections, keptConnections, p50Seconds, p99Seconds, slowestSeconds, seconds, bytes,
        films: (.films | length), complete: ([.films[] | select(.complete and .right)] | length),
        longestWaitSeconds: ([.films[].longestWaitSeconds] | max)}' /run/viewers.json
    jq -c '(.failures[], (.films[] | select(.fault)))' /run/viewers.json | head -n 20
    cat /run/viewers.err
}
# complaints COMMAND… : what ffmpeg says on its standard error, but for what its libraries say in every container.
complaints() { "$@" 2>&1 >/dev/null | grep -v 'using insecure memory'; }
stream_ids() { api GET '/api/streams?limit=200' "$TOKEN" | jq -r '.items[].streamId' | sort; }
