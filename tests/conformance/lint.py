#!/usr/bin/env python3
"""REDbot's findings about reelway, and about nginx and lighttpd beside it.

The one idea: REDbot (PyPI) asks as a cache and a browser would, with conditional and ranged requests of its own, and
judges the answers. Each finding of level BAD or WARN about reelway wants a line in redbot.txt that says why it stands;
a line that no longer finds anything is a failure too.

    lint.py SERVERS.json REDBOT FILM       REDBOT is the program, FILM the path of a film on every server
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import wire

KNOWN = Path(__file__).resolve().parent / "redbot.txt"
SECONDS = 60
LEVELS = ("BAD", "WARN")


def findings(program, url):
    """What REDbot says about a URL: the status, and (level, id, summary) of each note."""
    done = subprocess.run([program, "-o", "har", url], capture_output=True, timeout=SECONDS, check=False)
    try:
        entry = json.loads(done.stdout)["log"]["entries"][0]
    except (ValueError, KeyError, IndexError):
        raise SystemExit(f"REDbot had no answer: {done.stdout[-500:]!r} {done.stderr[-500:]!r}") from None
    notes = []
    for note in entry["_red_messages"]:
        notes += [note, *note.get("subnotes", [])]
    return entry["response"]["status"], [(note["level"], note["note_id"], note["summary"]) for note in notes]


def known_findings():
    """The lines of redbot.txt: (what, id) -> why."""
    known = {}
    for line in KNOWN.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 3 or not cells[2]:
            raise SystemExit(f"{KNOWN.name}: not `what | finding | why`: {line}")
        known[cells[0], cells[1]] = cells[2]
    return known


def main():
    """Asks REDbot about each address; the exit code says whether all is explained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers")
    parser.add_argument("redbot")
    parser.add_argument("film")
    arguments = parser.parse_args()
    reelway, nginx, lighttpd = wire.servers(arguments.servers)
    ours = {
        "film": (reelway.url(arguments.film), 200),
        "health": (reelway.url("/health").partition("?")[0], 200),
        "no token": (reelway.url(arguments.film).partition("?")[0], 401),
        "no film": (reelway.url("/stream/video/no-such-film.mp4"), 404),
    }
    known, seen, complaints = known_findings(), set(), []
    for what, (url, expected) in ours.items():
        status, notes = findings(arguments.redbot, url)
        bad = [note for note in notes if note[0] in LEVELS]
        print(f"reelway   {what:9} {status}: {len(notes)} notes, {len(bad)} of them bad or a warning")
        if status != expected:
            complaints.append(f"{what}: {expected} expected, REDbot got {status}")
        for level, name, summary in bad:
            why = known.get((what, name))
            seen.add((what, name))
            print(f"    {level} {name}: {summary}" + (f" Known: {why}" if why else ""))
            if why is None:
                complaints.append(f"{what}: {level} {name}: {summary}")
    complaints += [f"a line without a finding: {what} | {name}" for what, name in known if (what, name) not in seen]
    for server in (nginx, lighttpd):
        status, notes = findings(arguments.redbot, server.url(arguments.film))
        bad = [note for note in notes if note[0] in LEVELS]
        print(f"{server.name:9} {'film':9} {status}: {len(notes)} notes, {len(bad)} of them bad or a warning")
        for level, name, summary in bad:
            print(f"    {level} {name}: {summary}")
    print(f"{len(complaints)} complaints")
    for complaint in complaints:
        print("  " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
