"""Memory and start-up: a daemon of its own, with a library of many videos and many sessions.

Memory is the process's PSS. What a connection or a stream costs is the difference that many of them make, divided by them: to a
daemon that was just started and has served one of that kind, so that neither code that is loaded once nor memory that was freed
before counts.
"""

import http.client
import json
import os
import sys
import time
from dataclasses import dataclass

from films import MIB
from servers import PREFIX, Reelway

PASSWORD = "open-sesame-7Qx-31"
EXTENSIONS = ("mkv", "mp4", "avi", "webm", "ts")
# Without these no more than 8 films would play at once; a place costs 16 bytes.
MANY_STREAMS = {"REELWAY_VIDEO__MAX_CONCURRENT_STREAMS": "128", "REELWAY_VIDEO__MAX_STREAMS_PER_USER": "128"}


@dataclass
class Sizes:
    videos: int
    logins: int
    idle: int
    playing: int
    starts: int
    # Between a look at the memory and another, for what stays.
    rest_seconds: int


def memory(bench):
    sizes, library = bench.options.memory, bench.scratch / "library"
    make_library(library, bench.films, sizes)
    daemon = Reelway(bench.options.reelway, "reelway-memory", library, bench.scratch, environment=MANY_STREAMS)
    bench.stack.callback(daemon.end)
    sessions_a_user = 3  # sessions.max_per_user: all of them stay signed in.
    users = [f"user-{number}" for number in range(-(-sizes.logins // sessions_a_user))]
    for user in users:
        daemon.add_user(user, PASSWORD)
    daemon.start()
    await_scan(daemon, sizes.videos)
    for number in range(sizes.logins):
        log_in(daemon, users[number // sessions_a_user])
    total, anonymous = daemon.memory()
    time.sleep(sizes.rest_seconds)
    rested_total, rested_anonymous = daemon.memory()

    # Its database knows everything now, as that of a daemon that is started again.
    started, answered = [], []
    grown = {}
    kinds = {
        "idle": bench.hot_group(sizes.idle, 4096, pause_us=60_000_000, paths=[PREFIX + "playing-0.mp4"]),
        "playing": bench.hot_group(
            sizes.playing, 8 * MIB, rate=25000, paths=[f"{PREFIX}playing-{number}.mp4" for number in range(sizes.playing)]),
    }
    for number in range(sizes.starts):
        daemon.end()
        begun = time.monotonic()
        started.append(daemon.start())
        ask(daemon, "GET", "/health/live")
        answered.append((time.monotonic() - begun) * 1000)
        if number < len(kinds):
            kind = list(kinds)[number]
            await_scan(daemon, sizes.videos)
            daemon.sign_in(users[0])
            grown[kind] = growth(bench.clients, daemon, kinds[kind])
    daemon.end()

    title = f"memory after {sizes.logins} logins and {sizes.videos} videos"
    for name, unit, figures in (
        (f"{title}: all", "MiB PSS", [total / 1024]),
        (f"{title}: anonymous", "MiB PSS", [anonymous / 1024]),
        (f"{title}: all, {sizes.rest_seconds} s later", "MiB PSS", [rested_total / 1024]),
        (f"{title}: anonymous, {sizes.rest_seconds} s later", "MiB PSS", [rested_anonymous / 1024]),
        (f"memory of each of {sizes.idle} idle connections", "KiB PSS", [grown["idle"]]),
        (f"memory of each of {sizes.playing} playing streams", "KiB PSS", [grown["playing"]]),
        ("start-up until it listens", "ms", started),
        ("start-up until it has answered", "ms", answered),
    ):
        bench.table.note(name, unit, {"ours": figures})


def make_library(folder, films, sizes):
    """Tiny files, and as many names of the hot film as will be played: each is a film of its own to the daemon."""
    folder.mkdir()
    for number in range(sizes.playing):
        os.link(films.folder / "hot.mp4", folder / f"playing-{number}.mp4")
    for number in range(sizes.videos - sizes.playing):
        series = folder / f"Series {number // 100:03}"
        series.mkdir(exist_ok=True)
        (series / f"A Film of Some Length, part {number:05}.{EXTENSIONS[number % len(EXTENSIONS)]}").write_bytes(b"film")


def await_scan(daemon, videos):
    deadline = time.monotonic() + 60
    while "library scanned" not in (log := daemon.log.read_text()):
        if time.monotonic() > deadline:
            sys.exit(f"the library is not scanned; the log ends with\n{daemon.log_end()}")
        time.sleep(0.02)
    if f"videos={videos}" not in log:
        sys.exit(f"{videos} videos were not found; the log ends with\n{daemon.log_end()}")


def log_in(daemon, user):
    ask(daemon, "POST", "/api/auth/login", json.dumps({"username": user, "password": PASSWORD}))


def ask(daemon, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status != 200:
        sys.exit(f"{method} {path}: {answer.status} {said.decode()[:500]}")


def growth(clients, daemon, group):
    """KiB that each connection of this kind adds."""
    clients.measure(daemon, [{**group, "connections": 1}], seconds=0.2, warm=0.2)
    before, _ = daemon.memory()
    seen = clients.measure(daemon, [group], seconds=1, warm=1, meanwhile=daemon.memory)
    return (seen["meanwhile"][0] - before) / group["connections"]
