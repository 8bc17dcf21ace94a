#!/usr/bin/env python3
"""slowhttptest's four attacks on reelway, nginx and lighttpd, while an honest client goes on asking.

The one idea: a slow crowd may cost itself its own connections, never somebody else's answer. While slowhttptest holds
its connections, an honest client opens a new one again and again and fetches the first 64 KiB of a film. Reelway fails
when slowhttptest finds it gone, or when one honest request is not answered whole; its 99th percentile is printed
beside those of the other two.

    slow.py SERVERS.json FILM FOLDER [--seconds N] [--connections N]      FOLDER takes slowhttptest's statistics
"""

import argparse
import csv
import subprocess
import sys
import threading
import time
from pathlib import Path

import wire

# The attacks: name, options, and the path that is attacked where it is not the film. A body is slow only where one is
# read: reelway reads one at the sign-in, while the other two refuse a POST to a file at once.
ATTACKS = (
    ("slow headers", ["-H", "-i", "5", "-x", "24"], None),
    ("slow body", ["-B", "-i", "5", "-x", "10", "-s", "8192", "-f", "application/json"], "/api/auth/login"),
    ("slow read", ["-X", "-w", "256", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"], None),
    # bytes=0-,1-0,1-1,1-2,… up to the longest that nginx takes in one field.
    ("range attack", ["-R", "-t", "GET", "-a", "1", "-b", "1000"], None),
)
CONNECTIONS_PER_SECOND = "200"
PROBE_SECONDS = "3"
ROUNDS_MAX = 100
HONEST_BYTES = 65536
HONEST_SECONDS_MAX = 3.0
HONEST_PAUSE_SECONDS = 0.01


class Honest(threading.Thread):
    """Fetches the beginning of a film over a new connection, again and again, until it is told to stop."""

    def __init__(self, server, film):
        super().__init__()
        self.server, self.film = server, film
        self.done = threading.Event()
        self.seconds, self.failures = [], []

    def run(self):
        fields = f"Host: localhost\r\nRange: bytes=0-{HONEST_BYTES - 1}\r\nConnection: close\r\n".encode()
        data = b"GET " + self.film.encode() + b" HTTP/1.1\r\n" + fields + self.server.authorization() + b"\r\n"
        while not self.done.wait(HONEST_PAUSE_SECONDS):
            started = time.monotonic()
            try:
                found = wire.exchange(self.server, data, HONEST_SECONDS_MAX, HONEST_SECONDS_MAX)
            except OSError as error:
                self.failures.append(f"no connection: {error}")
                continue
            answer = found.responses[0] if found.responses else None
            if answer is None or answer.status != 206 or len(answer.body) != HONEST_BYTES:
                self.failures.append(f"{answer.status if answer else 'no answer'}, {found.end}")
            self.seconds.append(time.monotonic() - started)

    def percentile(self, share):
        """That share of the honest requests took no longer, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")


def attack(server, film, options, path, arguments):
    """One attack on one server: connections held, seconds that slowhttptest found no service, the honest client."""
    url = server.url(film) if path is None or server.name != "reelway" else server.url(path).partition("?")[0]
    prefix = Path(arguments.folder) / f"{server.name}{options[0]}"
    command = ["slowhttptest", *options, "-u", url, "-c", str(arguments.connections), "-r", CONNECTIONS_PER_SECOND]
    command += ["-l", str(arguments.seconds), "-p", PROBE_SECONDS, "-g", "-o", str(prefix)]
    honest = Honest(server, film)
    ends = time.monotonic() + arguments.seconds
    rounds = []
    honest.start()
    try:
        # A crowd that was refused or served at once comes again until the time is up.
        while not rounds or (time.monotonic() < ends and len(rounds) < ROUNDS_MAX):
            limit = arguments.seconds * 2 + 30
            done = subprocess.run(command, capture_output=True, timeout=limit, check=False)
            if done.returncode != 0:
                raise SystemExit(f"slowhttptest failed: {done.stdout[-500:]!r} {done.stderr[-500:]!r}")
            rounds.append(statistics(prefix.with_name(prefix.name + ".csv")))
    finally:
        honest.done.set()
        honest.join()
    return max(held for held, _ in rounds), sum(absent for _, absent in rounds), honest


def statistics(path):
    """Of slowhttptest's statistics: the most connections it held at once, and the seconds without service."""
    with path.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text, skipinitialspace=True))
    if not rows:
        raise SystemExit(f"slowhttptest wrote no statistics: {path}")
    return max(int(row["Connected"]) for row in rows), sum(int(row["Service Available"]) == 0 for row in rows)


def main():
    """Runs every attack on every server; the exit code says whether reelway went on serving."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers")
    parser.add_argument("film")
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--connections", type=int, default=500)
    arguments = parser.parse_args()
    complaints = []
    print(f"{arguments.connections} slow connections for {arguments.seconds} s each; an honest client beside them")
    columns = f"{'held':>5} {'available':>10} {'honest':>7} {'failed':>7} {'p50 ms':>8} {'p99 ms':>8}"
    print(f"{'attack':13} {'server':9} {columns}")
    for name, options, path in ATTACKS:
        for server in wire.servers(arguments.servers):
            held, absent, honest = attack(server, arguments.film, options, path, arguments)
            available = "yes" if absent == 0 else f"not {absent} s"
            count, failed = len(honest.seconds), len(honest.failures)
            print(
                f"{name:13} {server.name:9} {held:5} {available:>10} {count:7} {failed:7} "
                f"{honest.percentile(0.5):8.1f} {honest.percentile(0.99):8.1f}",
                flush=True,
            )
            if server.name == "reelway" and (absent or failed or not count):
                complaints.append(f"{name}: not available {absent} s, honest failures {honest.failures[:3]}")
    for complaint in complaints:
        print("  reelway: " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
