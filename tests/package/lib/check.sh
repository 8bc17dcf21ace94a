# Sourced by guest.sh and host.sh, which say what a scenario's end is (`finish`): checks that are counted.
# shellcheck shell=bash
failures=0 checks=0

# check SENTENCE COMMAND… : the sentence must hold, which is so when the command succeeds. What it says is shown when not.
check() {
    local sentence=$1 said; shift
    checks=$((checks + 1))
    if said=$("$@" 2>&1); then
        echo "ok    $sentence"
    else
        failures=$((failures + 1))
        echo "FAIL  $sentence"
        tail -n 20 <<<"$said" | cut -c1-400 | sed 's/^/      | /'
        return 1
    fi
}

# refuse SENTENCE COMMAND… : the command must fail.
refuse() { local sentence=$1; shift; check "$sentence" not "$@"; }
not() { ! "$@"; }

# must SENTENCE COMMAND… : a check without which the rest has no meaning.
must() {
    local before=$failures
    check "$@"
    [ "$failures" = "$before" ] || finish
}

# same GOT WANTED
same() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'"; return 1; }; }
