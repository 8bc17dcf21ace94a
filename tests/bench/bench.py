"""What a byte costs, beside nginx, lighttpd and the bare kernel: started by scripts/bench in a network of its own.

Every workload is run for each server in turn within each repetition, in an order that moves on, so that what else happens on
the machine happens to all. A ratio is made within a repetition; shown are the median and the interval of the ratios.
CPU seconds are those of all threads of the server's processes (clock_getcpuclockid(3)), the kernel's workers of its rings included.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

MIB = 1 << 20
PREFIX = "/api/stream/video/"


def median(values):
    return statistics.median(values)


def interval(values):
    """All of them, of few; else the middle that holds the true median in 95 of 100 cases (order statistics)."""
    values = sorted(values)
    count = len(values)
    if count < 6:
        return values[0], values[-1]
    low = max(0, int(count / 2 - 0.98 * count**0.5))
    return values[low], values[count - 1 - low]


def pss(processes):
    """Kilobytes: all, and anonymous ones."""
    total = anonymous = 0
    for process in processes:
        for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
            elif line.startswith("Pss_Anon:"):
                anonymous += int(line.split()[1])
    return total, anonymous


def children_of(process):
    return [int(child) for child in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class Server:
    """A server that runs for as long as the benchmark does."""

    def __init__(self, bench, name, command, port, cpus, fields="", environment=None, log=None):
        self.name, self.port, self.fields = name, port, fields
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus] + command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=open(bench.scratch / f"{name}.stderr", "wb"))
        bench.started.append(self.process)
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() - self.begun > 20:
                    sys.exit(f"{name} did not start:\n" + (bench.scratch / f"{name}.stderr").read_text()[-2000:])
                time.sleep(0.001)
        self.started_ms = (time.monotonic() - self.begun) * 1000

    @property
    def processes(self):
        """Those that do the work: nginx has a master that does none, but its memory is paid for."""
        return [self.process.pid] + children_of(self.process.pid)


class Bench:
    def __init__(self, options):
        self.options, self.started, self.results = options, [], []
        self.scratch = pathlib.Path(options.scratch)
        self.films = self.scratch / "films"
        self.servers = {}

    def free_port(self):
        with socket.create_server(("127.0.0.1", 0)) as held:
            return held.getsockname()[1]

    def fill_in(self, template, name, **values):
        text = (pathlib.Path(__file__).parent / template).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.scratch / name
        path.write_text(text)
        return str(path)

    def films_ready(self):
        self.films.mkdir()
        www = self.scratch / "www/api/stream"
        www.mkdir(parents=True)
        (www / "video").symlink_to(self.films)
        options = self.options
        self.hot_bytes = options.hot_bytes
        needed = self.hot_bytes + 8 * options.cold_bytes
        free = shutil.disk_usage(self.scratch).free
        if free < needed + 512 * MIB:
            sys.exit(f"{needed // MIB} MiB of disk are needed in {self.scratch}, and {free // MIB} MiB are free")
        print(f"films: {needed // MIB} MiB in {self.scratch}", file=sys.stderr)
        piece = os.urandom(4 * MIB)
        sizes = {"hot.mp4": self.hot_bytes, **{f"cold-{number}.mp4": options.cold_bytes for number in range(8)}}
        for name, size in sizes.items():
            with open(self.films / name, "wb") as film:
                for _ in range(size // len(piece)):
                    film.write(piece)
                film.flush()
                os.fsync(film.fileno())

    def make_hot(self):
        with open(self.films / "hot.mp4", "rb", buffering=0) as film:
            while film.read(8 * MIB):
                pass

    def make_cold(self):
        for number in range(8):
            with open(self.films / f"cold-{number}.mp4", "rb") as film:
                os.posix_fadvise(film.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def reelway(self, shards):
        name = f"reelway-{shards}"
        home, port = self.scratch / name, self.free_port()
        for folder in ("state", "cache", "runtime"):
            (home / folder).mkdir(parents=True)
        (home / "empty.toml").write_text("")
        environment = {
            "STATE_DIRECTORY": str(home / "state"), "CACHE_DIRECTORY": str(home / "cache"),
            "RUNTIME_DIRECTORY": str(home / "runtime"), "VIDEOS_PATH": str(self.films), "PORT": str(port),
            "REELWAY_SERVER__HOST": "127.0.0.1", "REELWAY_SERVER__SHARDS": str(shards),
            "REELWAY_VIDEO__MAX_CONCURRENT_STREAMS": "5000", "REELWAY_VIDEO__MAX_STREAMS_PER_USER": "5000",
            "REELWAY_SERVER__DRAIN_TIMEOUT": "1s", "REELWAY_NET__CONNECTIONS_PER_PLAYBACK": "5000",
        }
        verb = [self.options.reelway, "--config", str(home / "empty.toml")]
        run = lambda *words, **more: subprocess.run(
            verb + list(words), env={**os.environ, **environment}, check=True, capture_output=True, text=True, **more)
        run("user", "add", "ann", "--role", "admin", "--password-stdin", input="open-sesame-7Qx-31\n")
        server = Server(self, name, verb + ["serve"], port, "0" if shards == 1 else "0,1", environment=environment)
        token = run("token", "ann").stdout.strip()
        # Always as somebody, with sessions, playbacks and limits; the peers ask nobody.
        server.fields = f"Authorization: Bearer {token}\r\n"
        return server

    def nginx(self, name, workers, aio):
        port = self.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        aio = "thread_pool default threads=32 max_queue=65536;" if False else ("aio threads;" if aio else "")
        path = self.fill_in("nginx.conf", f"{name}.conf", WORKERS=workers, SCRATCH=self.scratch, PORT=port, USER=user, AIO=aio)
        return Server(self, name, ["nginx", "-p", str(self.scratch), "-c", path], port, "0" if workers == 1 else "0,1")

    def lighttpd(self):
        port = self.free_port()
        path = self.fill_in("lighttpd.conf", "lighttpd.conf", SCRATCH=self.scratch, PORT=port)
        return Server(self, "lighttpd", ["lighttpd", "-D", "-f", path], port, "0")

    def floor(self):
        port = self.free_port()
        return Server(self, "floor", [self.options.load, "floor", str(self.films / "hot.mp4"), str(port)], port, "0")

    def measure(self, server, groups, seconds=None, both=False):
        plan = {
            "port": server.port, "seconds": seconds or self.options.seconds, "warm": self.options.warm,
            "processes": server.processes,
            "groups": [{"fields": server.fields, **group} for group in groups],
        }
        command = ["taskset", "-c", "0,1" if both else "1", self.options.load, "measure"]
        seen = subprocess.run(command, input=json.dumps(plan), capture_output=True, text=True)
        if seen.returncode != 0:
            sys.exit(f"the load on {server.name} failed: {seen.stderr}")
        seen = json.loads(seen.stdout)
        errors = sum(group["errors"] for group in seen["groups"])
        if errors:
            print(f"  {server.name}: {errors} errors", file=sys.stderr)
        return seen

    def compare(self, title, unit, peers, figure, prepare=None, ours="reelway-1"):
        """Runs a workload for all, and notes figures and ratios. `figure` gives a number for a server, less is better."""
        names = [ours] + peers
        figures = {name: [] for name in names}
        for repetition in range(self.options.repetitions):
            turn = names[repetition % len(names):] + names[:repetition % len(names)]
            for name in turn:
                if prepare:
                    prepare()
                figures[name].append(figure(self.servers[name]))
        self.note(title, unit, figures, ours, peers)

    def note(self, title, unit, figures, ours, peers):
        row = {"workload": title, "unit": unit, "ours": median(figures[ours]), "peers": {}}
        for peer in peers:
            ratios = [own / other for own, other in zip(figures[ours], figures[peer]) if other]
            low, high = interval(ratios)
            row["peers"][peer] = {"value": median(figures[peer]), "ratio": median(ratios), "low": low, "high": high}
        self.results.append(row)
        peers = " ".join(
            f"| {name} {peer['value']:.3f} -> {peer['ratio']:.2f}x [{peer['low']:.2f}-{peer['high']:.2f}]"
            for name, peer in row["peers"].items())
        print(f"{title:<44} {row['ours']:>9.3f} {unit:<9} {peers}", file=sys.stderr, flush=True)

    # -- the workloads ------------------------------------------------------------------------------------------------

    def group(self, connections, size, **more):
        return {"paths": [PREFIX + "hot.mp4"], "connections": connections, "range": size, "file": self.hot_bytes, **more}

    def cpu_per_gb(self, connections, size):
        def figure(server):
            seen = self.measure(server, [self.group(connections, size)])
            return seen["cpu"] / (seen["groups"][0]["bytes"] / 1e9)
        return figure

    def cpu_per_request(self, connections, size, **more):
        def figure(server):
            seen = self.measure(server, [self.group(connections, size, **more)])
            return seen["cpu"] / max(1, seen["groups"][0]["requests"]) * 1e6
        return figure

    def hot(self):
        for connections in (1, 8, 64):
            title = f"hot 4 MiB ranges, {connections} connections"
            self.compare(title, "CPU-s/GB", ["nginx", "lighttpd", "floor"], self.cpu_per_gb(connections, 4 * MIB), self.make_hot)
        title = "hot 4 MiB ranges, 64 connections, 2 shards"
        self.compare(title, "CPU-s/GB", ["nginx-2"], self.cpu_per_gb(64, 4 * MIB), self.make_hot, ours="reelway-2")

    def small(self):
        for size in (4, 16, 64):
            title = f"{size} KiB ranges, 64 connections"
            self.compare(title, "us/range", ["nginx", "lighttpd"], self.cpu_per_request(64, size << 10), self.make_hot)
        title = "new connection per 16 KiB range, 16 at once"
        self.compare(title, "us/range", ["nginx", "lighttpd"], self.cpu_per_request(16, 16 << 10, anew=True), self.make_hot)

    def cold(self):
        """Eight films from the disk beside four who ask for little that is in memory."""
        seen = {name: [] for name in ("reelway-1", "nginx", "nginx-aio")}
        names = list(seen)
        for repetition in range(self.options.repetitions):
            for name in names[repetition % 3:] + names[:repetition % 3]:
                self.make_hot()
                self.make_cold()
                films = [f"{PREFIX}cold-{number}.mp4" for number in range(8)]
                groups = [
                    {"paths": films, "connections": 8, "range": 4 * MIB, "file": self.options.cold_bytes, "sequential": True},
                    self.group(4, 16 << 10, pause_us=1000),
                ]
                seen[name].append(self.measure(self.servers[name], groups))
        peers = ["nginx", "nginx-aio"]
        for title, unit, figure in (
            ("cold beside hot: small ranges, p50", "ms", lambda one: one["groups"][1]["latency_us"]["p50"] / 1000),
            ("cold beside hot: small ranges, p99", "ms", lambda one: one["groups"][1]["latency_us"]["p99"] / 1000),
            ("cold beside hot: small ranges, p99.9", "ms", lambda one: one["groups"][1]["latency_us"]["p999"] / 1000),
            ("cold beside hot: bytes from the disk", "MB/s", lambda one: one["groups"][0]["bytes"] / one["seconds"] / 1e6),
        ):
            self.note(title, unit, {name: [figure(one) for one in all_of] for name, all_of in seen.items()}, "reelway-1", peers)

    def first_byte(self):
        figure = lambda server: self.measure(server, [self.group(1, 4096)])["groups"][0]["first_byte_us"]["p50"]
        self.compare("time to first byte, 1 connection, p50", "us", ["nginx", "lighttpd"], figure, self.make_hot)

    def slow(self):
        """A thousand readers at 25 kB/s beside four who ask for little."""
        seen = {"reelway-1": [], "nginx": []}
        for repetition in range(self.options.repetitions):
            for name in sorted(seen, reverse=bool(repetition % 2)):
                self.make_hot()
                groups = [self.group(1000, 8 * MIB, rate=25000), self.group(4, 16 << 10, pause_us=1000)]
                one = self.measure(self.servers[name], groups, seconds=max(3, self.options.seconds))
                one["pss"] = pss(self.servers[name].processes)[0] / 1024
                seen[name].append(one)
        for title, unit, figure in (
            ("1000 readers at 25 kB/s: honest p99", "ms", lambda one: one["groups"][1]["latency_us"]["p99"] / 1000),
            ("1000 readers at 25 kB/s: lost", "count", lambda one: one["groups"][0]["errors"]),
            ("1000 readers at 25 kB/s: memory after", "MiB PSS", lambda one: one["pss"]),
        ):
            self.note(title, unit, {name: [figure(one) for one in all_of] for name, all_of in seen.items()}, "reelway-1", ["nginx"])

    def memory(self):
        """Idle, and what a connection that waits and a film that plays add to it."""
        ours = self.servers["reelway-1"]
        def held(group):
            before = pss(ours.processes)[0]
            plan = {"port": ours.port, "seconds": 30, "warm": 0, "processes": [], "groups": [{"fields": ours.fields, **group}]}
            load = subprocess.Popen([self.options.load, "measure"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            load.stdin.write(json.dumps(plan).encode())
            load.stdin.close()
            time.sleep(2)
            after = pss(ours.processes)[0]
            load.kill()
            load.wait()
            time.sleep(0.5)
            return (after - before) / group["connections"]
        total, anonymous = pss(ours.processes)
        rows = [
            ("memory: idle", "MiB PSS", total / 1024), ("memory: idle, anonymous", "MiB PSS", anonymous / 1024),
            ("memory: each idle connection", "KiB", held(self.group(1000, 4096, pause_us=60_000_000))),
            ("memory: each playing stream", "KiB", held(self.group(200, 8 * MIB, rate=25000))),
            ("start-up until it listens", "ms", ours.started_ms),
        ]
        for title, unit, value in rows:
            self.results.append({"workload": title, "unit": unit, "ours": value, "peers": {}})
            print(f"{title:<44} {value:>9.3f} {unit}", file=sys.stderr, flush=True)

    def run(self):
        self.films_ready()
        self.servers = {
            "reelway-1": self.reelway(1), "reelway-2": self.reelway(2), "nginx": self.nginx("nginx", 1, False),
            "nginx-2": self.nginx("nginx-2", 2, False), "nginx-aio": self.nginx("nginx-aio", 1, True),
            "lighttpd": self.lighttpd(), "floor": self.floor(),
        }
        workloads = {"memory": self.memory, "hot": self.hot, "small": self.small, "cold": self.cold,
                     "first-byte": self.first_byte, "slow": self.slow}
        if self.options.quick:
            del workloads["slow"]
        chosen = self.options.only.split(",") if self.options.only else list(workloads)
        for name in chosen:
            workloads[name]()

    def end(self):
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reelway", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    quick = options.quick
    options.repetitions, options.seconds, options.warm = (3, 0.5, 0.15) if quick else (9, 1.0, 0.3)
    options.hot_bytes, options.cold_bytes = (256 * MIB, 256 * MIB) if quick else (1024 * MIB, 1024 * MIB)
    bench = Bench(options)
    try:
        bench.run()
    finally:
        bench.end()
    if options.json:
        print(json.dumps(bench.results, indent=1))


main()
