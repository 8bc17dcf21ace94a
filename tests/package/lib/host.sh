# Sourced by the scenarios that drive a machine from outside. The runner says which: TESTBED, KIND, INPUTS (what goes to /srv/in),
# and NAME, the machine's.
# shellcheck shell=bash
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/check.sh"
WORK=$(mktemp -d)

finish() { echo "$checks checks, $failures failed"; [ "$failures" = 0 ]; exit; }

# Whatever happens, the machine goes, and with it what it was given.
take_down() {
    "$TESTBED/kill" "$NAME" >/dev/null 2>&1
    "$TESTBED/down" "$NAME" >/dev/null 2>&1
    rm -rf "$WORK"
}
trap take_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

machine_up() { "$TESTBED/up" "$NAME" "--$KIND" --mem 2048 --life 3600 --watch-pid $$ "$@"; }
# inside COMMAND… : in the machine, as root.
inside() { "$TESTBED/exec" -n "$NAME" --timeout "${PATIENCE:-120}" -- "$@"; }
# inside_with FILE COMMAND… : with the file as its standard input.
inside_with() { local file=$1; shift; "$TESTBED/exec" -n "$NAME" -i --timeout "${PATIENCE:-120}" -- "$@" <"$file"; }
# guest LINES : lines of shell in the machine, where all of lib/guest.sh is known.
guest() { inside bash -c ". /srv/in/package/lib/guest.sh; $1"; }
bring() { "$TESTBED/copy" -n "$NAME" "$@"; }
