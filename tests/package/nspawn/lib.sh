# Shared by the commands of this folder: containers that boot systemd, of one Debian image, each on an overlay of its own.
# shellcheck shell=bash
set -euo pipefail
CACHE=${MACHINES_CACHE:-/var/cache/reelway-machines}
SUITE=${MACHINES_SUITE:-bookworm}
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../lib/content.sh"
CONTENT="systemd systemd-sysv dbus udev libpam-systemd libnss-systemd init-system-helpers iproute2 procps adduser ca-certificates openssl
    curl python3 socat rpm cpio xz-utils e2fsprogs kmod strace $SCENARIO_CONTENT $SUITE_CONTENT"
NAME=default

# 125 says that there was no machine, which no command in one says.
die() { echo "nspawn: $*" >&2; exit 125; }
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
machine() {
    case $1 in '' | .* | *[!A-Za-z0-9_.-]*) die "'$1' is no name of a machine" ;; esac
    NAME=$1 STATE=$CACHE/machines/$1
}

# supervisor : the process that keeps the machine on, if it is on.
supervisor() {
    local pid
    pid=$(cat "$STATE/supervisor" 2>/dev/null) && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "supervise $STATE" && echo "$pid"
}
# first : the machine's process 1, as this host numbers it. It changes with a reboot.
first() {
    local outer inner
    outer=$(supervisor) || return 1
    for outer in $(pgrep -P "$outer" -x systemd-nspawn); do
        for inner in $(pgrep -P "$outer"); do
            [ "$(readlink "/proc/$inner/ns/pid")" = "$(readlink /proc/self/ns/pid)" ] || { echo "$inner"; return 0; }
        done
    done
    return 1
}
# enter COMMAND… : in the machine.
enter() {
    local pid
    pid=$(first) || return 255
    nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup -- env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive "$@"
}
# booted [NOT] : waits until systemd has started everything, in another boot than NOT.
booted() {
    local end=$((SECONDS + 120)) state
    while [ "$SECONDS" -lt "$end" ] && supervisor >/dev/null; do
        if [ "$(first)" != "${1:-}" ] && state=$(enter systemctl is-system-running --wait 2>/dev/null || true); then
            case $state in running | degraded) return 0 ;; esac
        fi
        sleep 0.1
    done
    return 1
}
wait_off() {
    local end=$((SECONDS + $1))
    while supervisor >/dev/null; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.1; done
}
cut_off() { local pid; if pid=$(supervisor); then kill -TERM "$pid" 2>/dev/null || true; fi; }
