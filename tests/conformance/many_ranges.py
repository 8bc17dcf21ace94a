#!/usr/bin/env python3
"""What a request with many ranges costs a server, beside a plain one: the CPU time that its process has used.

The one idea: nobody may make a server work harder by asking for the same film in a stranger way (CVE-2011-3192, the
Apache killer). What sends the whole film, or parts of it, is held to the plain request for the whole film; what comes to
one small answer is held to a single range of 64 KiB. Each may cost at most twice as much.

    many_ranges.py SERVERS.json FILM

CPU time is read from /proc/PID/task/*/schedstat, in nanoseconds, of each server's processes. Standard library only.
"""

import argparse
import re
import socket
import statistics
import sys
from pathlib import Path

import wire

RATIO_MAX = 2.0
ROUNDS = 5
MIB = 1 << 20


def spaced(count, step, length):
    """`count` ranges of `length` bytes, one every `step` bytes."""
    return "bytes=" + ",".join(f"{place * step}-{place * step + length - 1}" for place in range(count))


WHOLE = "the whole film (plain)"
ONE = "one range of 64 KiB (plain)"
# A name, the value of Range (or none), how many requests make a round, and what it is held to.
CASES = (
    (WHOLE, None, 40, WHOLE),
    (ONE, "bytes=0-65535", 400, ONE),
    ("one byte", "bytes=0-0", 400, ONE),
    ("16 parts of 1 byte, far apart", spaced(16, MIB // 2, 1), 400, WHOLE),
    ("16 parts of 1 byte, side by side", spaced(16, 2, 1), 400, WHOLE),
    ("16 parts of 4 KiB", spaced(16, MIB // 2, 4096), 400, WHOLE),
    ("16 parts, all but 16 bytes", spaced(16, MIB // 2, MIB // 2 - 1), 40, WHOLE),
    ("17 parts", spaced(17, MIB // 4, 1), 40, WHOLE),
    ("17 that overlap", "bytes=" + ",".join(f"5-{last}" for last in range(5, 22)), 400, ONE),
    ("256 that overlap", "bytes=" + ",".join(f"5-{last}" for last in range(5, 261)), 400, ONE),
    ("1,300 that overlap", "bytes=" + ",".join(f"5-{last}" for last in range(5, 1305)), 40, WHOLE),
    ("the Apache killer", "bytes=0-," + ",".join(f"5-{last}" for last in range(1300)), 40, WHOLE),
    ("2,000 open ends", "bytes=" + ",".join(["0-"] * 2000), 40, WHOLE),
    ("256 past the end", "bytes=" + ",".join(["99999999-"] * 256), 400, ONE),
)


def processor_seconds(process):
    """CPU time of a process and of its children."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    used = sum(processor_seconds(child) for child in children)
    for task in Path(f"/proc/{process}/task").iterdir():
        used += int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
    return used


class Reader:
    """A kept connection that asks and throws the answers away; another one when the server ends it."""

    def __init__(self, server, path):
        self.server, self.path, self.socket = server, path, None
        self.buffer = bytearray(MIB)

    def ask(self, ranges):
        """One request; the status. A server may end a connection between two requests (nginx does after a thousand)."""
        try:
            return self.ask_once(ranges)
        except ConnectionError:
            self.socket = self.socket.close()
            return self.ask_once(ranges)

    def ask_once(self, ranges):
        """One request on the connection that there is."""
        if self.socket is None:
            self.socket = socket.create_connection((self.server.host, self.server.port), timeout=30)
        field = f"Range: {ranges}\r\n".encode() if ranges else b""
        head = f"GET {self.path} HTTP/1.1\r\nHost: a\r\n".encode()
        self.socket.sendall(head + self.server.authorization() + field + b"\r\n")
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(4096)
            if not piece:
                raise ConnectionError("the server ended the connection in a head")
            data += piece
        head, rest = data.split(b"\r\n\r\n", 1)
        left = int(re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)[1]) - len(rest)
        while left > 0:
            count = self.socket.recv_into(self.buffer, min(left, MIB))
            if count == 0:
                raise ConnectionError("the server ended the connection in a body")
            left -= count
        if re.search(rb"\r\nconnection: *close", head, re.IGNORECASE):
            self.socket = self.socket.close()
        return int(head.split()[1])


def cost(reader, process, ranges, count):
    """Microseconds of CPU a request, over `count` of them."""
    before = processor_seconds(process)
    for _ in range(count):
        reader.ask(ranges)
    return (processor_seconds(process) - before) / count * 1e6


def beside(reader, process, case, plain):
    """The status, the median cost, and the median ratio to the plain request, measured in turns: the machine is shared."""
    (_, ranges, count, _), (_, plain_ranges, plain_count, _) = case, plain
    reader.ask(plain_ranges)
    status = reader.ask(ranges)
    costs, ratios = [], []
    for _ in range(ROUNDS):
        reference = cost(reader, process, plain_ranges, plain_count)
        costs.append(cost(reader, process, ranges, count))
        ratios.append(costs[-1] / reference)
    return status, statistics.median(costs), statistics.median(ratios)


def main():
    """Prints the table; the exit code says whether a case costs reelway more than RATIO_MAX plain ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers")
    parser.add_argument("film")
    arguments = parser.parse_args()
    servers = wire.servers(arguments.servers)
    readers = [Reader(server, arguments.film) for server in servers]
    complaints, plain = [], {case[0]: case for case in CASES if case[0] == case[3]}
    print("microseconds of CPU a request, status, and the ratio to the plain request that it is held to")
    print(f"{'':34}" + "".join(f"{server.name:>24}" for server in servers))
    for case in CASES:
        name, _, _, held_to = case
        line = f"{name:34}"
        for server, reader in zip(servers, readers):
            status, microseconds, ratio = beside(reader, server.process, case, plain[held_to])
            line += f"{microseconds:11.1f} {status:4} {ratio:6.2f}x"
            if server.name == "reelway" and ratio > RATIO_MAX:
                complaints.append(f"{name} costs {ratio:.2f} plain requests, and at most {RATIO_MAX} are allowed")
        print(line, flush=True)
    for complaint in complaints:
        print("  reelway: " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
