#!/usr/bin/env python3
"""People who watch, and programs that ask, while something is done to the server: nobody of them may notice.

Films are watched at a steady pace, each in one HTTP response over one connection, and every byte is compared with the file
on the disk. Requests are asked at a steady rate, half over new connections and half over kept ones. What is refused, fails,
is cut short or is wrong is counted, and the first of each are told. The counts are printed as JSON; the exit code is 0 when
nobody noticed anything.

    viewers.py --film FILE --path /api/stream/video/films/big.mp4 --token TOKEN --until FILE [--progress FILE] …

It goes on until the file of --until is there; then every film is read to its end as fast as it comes.
"""
import argparse
import asyncio
import json
import os
import socket
import sys
import time

MEBIBYTE = 1 << 20
FAILURES_TOLD = 20


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--film", help="the film on this disk, to compare with")
    parser.add_argument("--path", help="where the server has it")
    parser.add_argument("--token", help="of whoever asks and watches")
    parser.add_argument("--films", type=int, default=8, help="films that play")
    parser.add_argument("--paused", type=int, default=1, help="further films that are paused after their first mebibyte")
    parser.add_argument("--pace", type=float, default=4.0, help="mebibytes a second of each film")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second, all clients together")
    parser.add_argument("--clients", type=int, default=10, help="clients that ask; every second one keeps its connection")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds without an answer, or without a byte of a film, that are a failure")
    parser.add_argument("--only", action="append", default=[], help="ask for this path only (may be given again)")
    parser.add_argument("--until", help="end when this file is there")
    parser.add_argument("--seconds", type=float, default=600.0, help="end after so long at the latest")
    parser.add_argument("--progress", help="a file in which the counts so far are kept")
    return parser.parse_args()


class Failed(Exception):
    """An answer that is not what it should be."""


class Counts:
    """What happened so far."""

    def __init__(self):
        self.requests = self.refused = self.failed = self.connections = self.reused = 0
        self.failures, self.seconds, self.films = [], [], []
        self.started = time.monotonic()

    def failure(self, kind, what):
        if kind == "refused":
            self.refused += 1
        else:
            self.failed += 1
        if len(self.failures) < FAILURES_TOLD:
            self.failures.append({"at": round(time.monotonic() - self.started, 2), "kind": kind, "what": what})

    def summary(self):
        waits = sorted(self.seconds)
        at = lambda share: round(waits[min(len(waits) - 1, int(len(waits) * share))], 3) if waits else None
        return {
            "requests": self.requests, "refused": self.refused, "failed": self.failed,
            "newConnections": self.connections, "keptConnections": self.reused,
            "p50Seconds": at(0.5), "p99Seconds": at(0.99), "slowestSeconds": at(1.0),
            "seconds": round(time.monotonic() - self.started, 1),
            "bytes": sum(film["bytes"] for film in self.films),
            "films": self.films, "failures": self.failures,
        }

    def is_well(self):
        return not (self.refused or self.failed) and all(film["complete"] and film["right"] for film in self.films)


async def read_head(reader):
    """The status and the fields of an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    return int(head[0].split(" ")[1]), {name.lower(): value for name, value in fields.items()}


class Asker:
    """A client that asks one thing after another."""

    def __init__(self, number, options, counts, questions):
        self.number, self.options, self.counts, self.questions = number, options, counts, questions
        self.keeps = number % 2 == 0
        self.reader = self.writer = None

    async def connect(self):
        # A connection that the server has closed meanwhile is none: nothing was asked over it.
        if self.writer and not self.reader.at_eof():
            self.counts.reused += 1
            return
        self.close()
        self.reader, self.writer = await asyncio.open_connection(self.options.host, self.options.port, limit=MEBIBYTE)
        self.counts.connections += 1

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None

    async def ask(self, path, fields, expected):
        await self.connect()
        lines = [f"GET {path} HTTP/1.1", f"Host: {self.options.host}:{self.options.port}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status, answer = await read_head(self.reader)
        body = await self.reader.readexactly(int(answer.get("content-length", 0)))
        if answer.get("connection", "").lower() == "close" or not self.keeps:
            self.close()
        if status not in (200, 206):
            raise Failed(f"{status} {body[:200]!r}")
        if expected is not None and body != expected:
            raise Failed("wrong bytes")

    async def run(self, ended):
        pause = self.options.clients / self.options.rate
        due = time.monotonic() + pause * self.number / self.options.clients
        turn = self.number
        while not ended.is_set():
            if due > time.monotonic():
                try:
                    await asyncio.wait_for(ended.wait(), due - time.monotonic())
                    return
                except asyncio.TimeoutError:
                    pass
            # Whoever waited for an answer does not ask all that was missed at once.
            due = max(due + pause, time.monotonic())
            path, fields, expected = self.questions[turn % len(self.questions)]
            turn += 1
            began = time.monotonic()
            try:
                await asyncio.wait_for(self.ask(path, fields, expected), self.options.patience)
            except ConnectionRefusedError as error:
                self.counts.failure("refused", f"{path}: {error}")
                self.close()
            except (OSError, EOFError, Failed, asyncio.TimeoutError) as error:
                kind = "new" if not self.keeps else "kept"
                self.counts.failure("failed", f"{path} over a {kind} connection after {time.monotonic() - began:.2f} s: {error!r}")
                self.close()
            self.counts.requests += 1
            self.counts.seconds.append(time.monotonic() - began)


class Viewer:
    """One film, watched from its first byte to its last in one response."""

    def __init__(self, number, options, counts, is_paused):
        self.options, self.counts = options, counts
        self.file = os.open(options.film, os.O_RDONLY)
        self.length = os.fstat(self.file).st_size
        self.pace = options.pace * MEBIBYTE
        self.told = {"viewer": f"viewer-{number}", "paused": is_paused, "bytes": 0, "complete": False, "right": True,
                     "longestWaitSeconds": 0.0, "fault": None}
        counts.films.append(self.told)

    async def open(self, loop):
        film = socket.socket()
        # Little is kept between server and viewer, so that the server has to be there for each part of the film.
        film.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 << 10)
        film.setblocking(False)
        await loop.sock_connect(film, (self.options.host, self.options.port))
        fields = f"Authorization: Bearer {self.options.token}\r\nX-Playback-Session-Id: {self.told['viewer']}"
        await loop.sock_sendall(film, f"GET {self.options.path} HTTP/1.1\r\nHost: films\r\n{fields}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = await loop.sock_recv(film, 1 << 16)
            if not more:
                raise Failed(f"closed within the head of the answer {head!r}")
            head += more
        head, _, body = head.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0] or f"\r\ncontent-length: {self.length}".encode() not in head.lower():
            raise Failed(f"not the whole film: {head!r}")
        return film, body

    def take(self, part):
        at = self.told["bytes"]
        if os.pread(self.file, len(part), at) != part:
            self.told["right"] = False
            raise Failed(f"wrong bytes between {at} and {at + len(part)}")
        self.told["bytes"] += len(part)

    async def watch(self, ended):
        loop = asyncio.get_running_loop()
        film, body = await asyncio.wait_for(self.open(loop), self.options.patience)
        self.take(body)
        began = time.monotonic()
        while self.told["bytes"] < self.length:
            if not ended.is_set():
                is_resting = self.told["paused"] and self.told["bytes"] >= MEBIBYTE
                ahead = self.told["bytes"] / self.pace - (time.monotonic() - began)
                if is_resting or ahead > 0:
                    try:
                        await asyncio.wait_for(ended.wait(), None if is_resting else ahead)
                    except asyncio.TimeoutError:
                        pass
            asked = time.monotonic()
            part = await asyncio.wait_for(loop.sock_recv(film, 256 << 10), self.options.patience)
            if not part:
                raise Failed(f"closed after {self.told['bytes']} of {self.length} bytes")
            self.told["longestWaitSeconds"] = max(self.told["longestWaitSeconds"], round(time.monotonic() - asked, 3))
            self.take(part)
        self.told["complete"] = True
        film.close()

    async def run(self, ended):
        try:
            await self.watch(ended)
        except (OSError, Failed, asyncio.TimeoutError) as error:
            self.told["fault"] = f"at {self.told['bytes']}, second {time.monotonic() - self.counts.started:.2f}: {error!r}"


def what_is_asked(options):
    """Paths, fields of the request, and the bytes that must come where they are known."""
    if options.only:
        return [(path, {}, None) for path in options.only]
    token = {"Authorization": f"Bearer {options.token}"}
    questions = [("/health", {}, None), ("/api/auth/me", token, None), ("/api/videos?limit=5", token, None)]
    if options.film:
        with open(options.film, "rb") as film:
            film.seek(5 * MEBIBYTE)
            expected = film.read(100_000)
        ranged = dict(token, Range=f"bytes={5 * MEBIBYTE}-{5 * MEBIBYTE + len(expected) - 1}", **{"X-Playback-Session-Id": "asker"})
        questions += [(options.path, ranged, expected)] * 2
    return questions


async def watch_the_clock(options, counts, ended):
    """Ends everything in time, and keeps the progress for whoever waits for it."""
    while not ended.is_set():
        if time.monotonic() - counts.started > options.seconds or (options.until and os.path.exists(options.until)):
            ended.set()
        if options.progress:
            with open(options.progress + ".part", "w") as file:
                json.dump(counts.summary(), file)
            os.replace(options.progress + ".part", options.progress)
        await asyncio.sleep(0.1)


async def main():
    options = parse_arguments()
    counts, ended = Counts(), asyncio.Event()
    questions = what_is_asked(options)
    watched = options.films + options.paused if options.film else 0
    tasks = [Viewer(number, options, counts, number >= options.films).run(ended) for number in range(watched)]
    if options.rate:
        tasks += [Asker(number, options, counts, questions).run(ended) for number in range(options.clients)]
    await asyncio.gather(watch_the_clock(options, counts, ended), *tasks)
    print(json.dumps(counts.summary(), indent=1))
    return 0 if counts.is_well() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
