#!/usr/bin/env python3
"""wfuzz's lists of path traversals, every word under the films of reelway, nginx and lighttpd.

The one idea: what lies outside the films must never be in an answer. A canary file stands one folder above the films,
and /etc/passwd is real; a byte of either in any body is a failure, and so is any film or other success of reelway,
for no word names a film.

    traversal.py SERVERS.json CANARY [--quick]      CANARY is the secret text in the canary file

Every word is sent as it stands in its list, without the slash it begins with, and with the canary's name in the place
of the file it wants. --quick takes every 16th word. Standard library only.
"""

import argparse
import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import wire

LISTS = [
    Path("/usr/share/wfuzz/wordlist") / name
    for name in (
        "Injections/Traversal.txt",
        "vulns/dirTraversal.txt",
        "vulns/dirTraversal-nix.txt",
        "vulns/dirTraversal-win.txt",
    )
]
PREFIXES = (b"/stream/video/", b"/api/stream/video/")
CANARY_NAME = b"canary.txt"
# What the words want: a file below /etc, or one of Windows.
WANTED = re.compile(rb"(?i)etc(/|\\|%2f|%5c|%c0%af|%25%5c|%255c|%%35%63)*(passwd|shadow|hosts|issue)|boot\.ini")
# A line of the real /etc/passwd and /etc/shadow.
SECRETS = (b"root:",)
QUICK_STEP = 16
THREADS = 16
SECONDS = 10.0


def words():
    """Every word of the lists once, with the forms of it that are tried."""
    found = {}
    for path in LISTS:
        if not path.is_file():
            raise SystemExit(f"{path} is missing: is the package wfuzz installed?")
        for line in path.read_bytes().splitlines():
            if line.strip():
                forms = (line, line.lstrip(b"/"))
                forms += tuple(WANTED.sub(CANARY_NAME, form) for form in forms)
                found.update(dict.fromkeys(form for form in forms if form))
    return list(found)


def request(server, prefix, word):
    """A request for the word. White space is encoded, for it would end the target; everything else stays as it is."""
    word = re.sub(rb"[\x00-\x20\x7f]", lambda byte: b"%%%02x" % byte[0][0], word)
    head = b"GET " + prefix + word + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    return head + server.authorization() + b"\r\n"


def try_words(server, chunk, secrets):
    """The statuses of a chunk of (prefix, word), and what went wrong."""
    statuses, faults = Counter(), []
    for prefix, word in chunk:
        data = request(server, prefix, word)
        found = wire.exchange(server, data, SECONDS, SECONDS)
        what = f"{server.name}: {(prefix + word).decode('latin-1')!r}"
        if not found.responses:
            statuses[found.end] += 1
            faults.append(f"{what}: no answer, {found.end}")
            continue
        response = found.responses[0]
        statuses[response.status] += 1
        everything = response.body + found.foreign + b"".join(more.body for more in found.responses[1:])
        faults += [f"{what}: {secret.decode()!r} is in the answer" for secret in secrets if secret in everything]
        # The other two may take a word for one of their films; for us no word does.
        if server.name == "reelway" and not 400 <= response.status < 500:
            faults.append(f"{what}: a clear refusal expected, got {response.status}")
    return statuses, faults


def main():
    """Tries all words; the exit code says whether nothing came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers")
    parser.add_argument("canary")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    secrets = (*SECRETS, arguments.canary.encode())
    tried = words()[:: QUICK_STEP if arguments.quick else 1]
    pairs = [(prefix, word) for prefix in PREFIXES for word in tried]
    faults = []
    for server in wire.servers(arguments.servers):
        with ThreadPoolExecutor(THREADS) as pool:
            chunks = [pairs[start::THREADS] for start in range(THREADS)]
            results = list(pool.map(lambda chunk: try_words(server, chunk, secrets), chunks))
        statuses = sum((result[0] for result in results), Counter())
        faults += [fault for result in results for fault in result[1]]
        counts = "  ".join(f"{status}: {count}" for status, count in sorted(statuses.items(), key=str))
        print(f"{server.name:9} {len(pairs)} requests   {counts}")
    print(f"{len(tried)} words under {len(PREFIXES)} paths: {len(faults)} faults")
    for fault in faults[:50]:
        print("  " + fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
