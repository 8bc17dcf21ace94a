"""How many instructions a hot range costs: started by scripts/instructions.

The daemon runs under callgrind with one shard, and one client asks it for hot 4 KiB ranges over a connection that is kept, as
somebody who is signed in. Counted is the thread of the shard, between two of callgrind's dumps: N ranges, then 2 N; the
difference has neither the start-up nor what surrounds each dump in it. The client asks for the next range when the shard's
thread sleeps, so that every range takes the same way through the loop, on a busy machine as well.

What valgrind does not know (before 3.22 that is openat2, for which openat2.c stands in, and cachestat) is not on the way of a
hot range of one page. The ring it knows. What a kernel does for us is not counted.
"""

import argparse
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

RANGE_BYTES = 4096
FILM_BYTES = 1 << 20
# Until what is remembered is remembered, and what is made once is made.
WARM_UP_RANGES = 300
TOLERANCE = 0.05
FUNCTIONS_SHOWN = 40
PATIENCE_SECONDS = 120


class Daemon:
    """reelway under callgrind, in a home of its own."""

    def __init__(self, options):
        self.scratch = pathlib.Path(options.scratch)
        films = self.scratch / "films"
        films.mkdir()
        (films / "film.mp4").write_bytes(os.urandom(FILM_BYTES))
        (self.scratch / "empty.toml").write_text("")
        for folder in ("state", "cache", "runtime"):
            (self.scratch / folder).mkdir()
        with socket.create_server(("127.0.0.1", 0)) as held:
            self.port = held.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.scratch), "STATE_DIRECTORY": str(self.scratch / "state"),
            "CACHE_DIRECTORY": str(self.scratch / "cache"), "RUNTIME_DIRECTORY": str(self.scratch / "runtime"),
            "VIDEOS_PATH": str(films), "PORT": str(self.port), "REELWAY_SERVER__HOST": "127.0.0.1",
            "REELWAY_SERVER__SHARDS": "1", "REELWAY_SERVER__DRAIN_TIMEOUT": "1s",
        }
        verb = [options.reelway, "--config", str(self.scratch / "empty.toml")]
        run = lambda *words, **more: subprocess.run(
            verb + list(words), env=environment, check=True, stdout=subprocess.PIPE, text=True, **more)
        run("user", "add", "ann", "--role", "admin", "--password-stdin", input="open-sesame-7Qx-31\n")
        self.token = run("token", "ann").stdout.strip()
        self.counts = self.scratch / "callgrind.out"
        self.log = self.scratch / "log"
        valgrind = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={self.counts}"]
        self.process = subprocess.Popen(
            valgrind + verb + ["serve"], env={**environment, "LD_PRELOAD": options.preload}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=open(self.log, "wb"))

    def fail(self, reason):
        sys.exit(f"{reason}:\n{self.log.read_text(errors='replace')[-4000:]}")

    def connect(self):
        """A connection, once it listens."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.fail("the daemon did not start under valgrind")
                time.sleep(0.05)

    def shard(self):
        """The folder of its shard's thread in /proc, once it runs: that is after it listens."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            for thread in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
                if (thread / "comm").read_text().startswith("shard 0"):
                    return thread
            time.sleep(0.05)
        self.fail("no thread is called 'shard 0'")

    def dump(self, number):
        """Writes what was counted since the last dump. The dump's number is callgrind's own, 1-based."""
        done = subprocess.run(["callgrind_control", "--dump=ranges", str(self.process.pid)], capture_output=True, text=True)
        paths = list(self.scratch.glob(f"callgrind.out.{number}-*"))
        if done.returncode != 0 or not paths:
            self.fail(f"callgrind wrote nothing: {done.stdout}{done.stderr}")
        return paths

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Client:
    """Asks for one range after the other."""

    def __init__(self, daemon):
        self.connection, self.shard, self.next = daemon.connect(), daemon.shard(), 0
        self.fields = f"Host: 127.0.0.1:{daemon.port}\r\nAuthorization: Bearer {daemon.token}\r\n"
        self.fail = daemon.fail

    def await_sleep(self):
        """Until the thread of the shard waits for us."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (self.shard / "stat").read_text().rpartition(")")[2].split()[0] != "S":
            if time.monotonic() > deadline:
                self.fail("the shard does not come to rest")
            time.sleep(0.0001)

    def receive(self):
        more = self.connection.recv(65536)
        if not more:
            self.fail("the daemon ended the connection")
        return more

    def range(self):
        first = self.next * RANGE_BYTES % FILM_BYTES
        self.next += 1
        self.await_sleep()
        self.connection.sendall(
            (f"GET /api/stream/video/film.mp4 HTTP/1.1\r\n{self.fields}"
             f"Range: bytes={first}-{first + RANGE_BYTES - 1}\r\n\r\n").encode())
        seen = b""
        while b"\r\n\r\n" not in seen:
            seen += self.receive()
        head, _, body = seen.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 206 "):
            self.fail(f"asked for a range and got {head!r}")
        while len(body) < RANGE_BYTES:
            body += self.receive()

    def ranges(self, count):
        for _ in range(count):
            self.range()
        self.await_sleep()


def total(path):
    """The instructions in one file of callgrind's."""
    found = re.findall(r"^totals: (\d+)$", path.read_text(errors="replace"), re.MULTILINE)
    return int(found[-1]) if found else 0


def heaviest(paths):
    """The file of the thread that did the most: while a client asks for ranges that is the shard."""
    return max(paths, key=total)


def profile(path, ranges):
    """Who spends them, in their own body and with all they call."""
    for title, words in (("in their own body", []), ("with all they call", ["--inclusive=yes"])):
        command = ["callgrind_annotate", "--auto=no", "--threshold=100", "--show-percs=yes", *words, str(path)]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        print(f"\n== instructions a range of the {FUNCTIONS_SHOWN} dearest functions, {title}")
        found = re.findall(r"^\s*([\d,]+) \(\s*([\d.]+)%\)\s+(.*?)(?: \[[^]]*\])?$", text, re.MULTILINE)
        # Those that ran all the time are the way into the shard.
        found = [(count, share, name) for count, share, name in found if float(share) < 100]
        for count, share, name in found[:FUNCTIONS_SHOWN]:
            print(f"{int(count.replace(',', '')) / ranges:>9.1f} {share:>6}%  {name.removeprefix('???:')[:160]}")


def compare(found, record):
    """The exit code: 1 when it is not what was recorded."""
    recorded = float(re.search(r"^(\d+)", record.read_text(), re.MULTILINE).group(1))
    change = found / recorded - 1
    print(f"recorded are {recorded:.0f}: {change:+.1%}")
    if abs(change) <= TOLERANCE:
        return 0
    print(f"that is more than {TOLERANCE:.0%} away; if it is meant, note it with scripts/instructions --record, and say why in "
          "the commit; --profile shows who spends them", file=sys.stderr)
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reelway", required=True)
    parser.add_argument("--preload", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--ranges", type=int, default=1000)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # Through the end of the daemon.
    daemon = Daemon(options)
    try:
        client = Client(daemon)
        client.ranges(WARM_UP_RANGES)
        daemon.dump(1)
        client.ranges(options.ranges)
        once = daemon.dump(2)
        client.ranges(2 * options.ranges)
        twice = daemon.dump(3)
        client.connection.close()
    finally:
        daemon.end()
    found = (total(heaviest(twice)) - total(heaviest(once))) / options.ranges
    print(f"{found:.0f} instructions a hot range of {RANGE_BYTES // 1024} KiB")
    if options.profile:
        profile(heaviest(twice), 2 * options.ranges)
    record = pathlib.Path(__file__).parent / "instructions.txt"
    if options.record:
        record.write_text(
            f"{found:.0f}\n\nInstructions of a hot range of 4 KiB in user space, by scripts/instructions --record.\n")
        print(f"recorded in {record}")
        return 0
    return compare(found, record)


if __name__ == "__main__":
    sys.exit(main())
