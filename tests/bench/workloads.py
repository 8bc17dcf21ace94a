"""The workloads: the same requests to each server in turn, and the rows of the table that come of them.

Within each repetition every server has its turn, in an order that changes from one to the next, so that what else happens on
the machine happens to all. A figure is a number made of what the clients saw in one window.
"""

import sys
from dataclasses import dataclass

from films import COLD, MIB
from servers import PREFIX

KIB = 1 << 10


@dataclass
class Bench:
    """What every workload needs."""

    options: object
    scratch: object
    # Ends what is started with it.
    stack: object
    servers: dict
    films: object
    clients: object
    table: object

    def compare(self, names, look, rows, prepare=None):
        """Has `look` give what was seen of a server, and notes `rows` of (title, unit, better, figure) made of that."""
        servers = [self.servers[name] for name in names]
        seen = {server.label: [] for server in servers}
        for repetition in range(self.options.repetitions):
            first = repetition // 2 % len(servers)
            turn = servers[first:] + servers[:first]
            for server in turn if repetition % 2 == 0 else reversed(turn):
                (prepare or self.films.make_hot)()
                seen[server.label].append(self.awake(look, server))
        for title, unit, better, figure in rows:
            self.table.note(title, unit, {label: [figure(one) for one in windows] for label, windows in seen.items()}, better)

    def awake(self, look, server):
        """What is seen of a server. A guest may stand still for a whole window; twice it is the server."""
        for _ in range(2):
            seen = look(server)
            if seen["groups"][0]["bytes"]:
                return seen
            print(f"{server.name} sent nothing in a whole window", file=sys.stderr)
        sys.exit(f"{server.name} sends nothing; its log ends with\n{server.log_end()}")

    def hot_group(self, connections, size, **more):
        return {"paths": [PREFIX + "hot.mp4"], "connections": connections, "range": size, "file": self.films.hot_bytes, **more}

    def hot_window(self, connections, size, **more):
        return lambda server: self.clients.measure(server, [self.hot_group(connections, size, **more)])


# What the figures of a window are. Groups are in the order in which they were asked for.

def cpu_per_gb(seen):
    return seen["cpu"] / (sum(group["bytes"] for group in seen["groups"]) / 1e9)


def cpu_per_range(seen):
    return seen["cpu"] / max(1, seen["groups"][0]["requests"]) * 1e6


def latency_ms(group, quantile):
    return lambda seen: seen["groups"][group]["latency_us"][quantile] / 1000


def megabytes_a_second(group):
    return lambda seen: seen["groups"][group]["bytes"] / seen["seconds"] / 1e6


def hot(bench):
    for connections in (1, 8, 64):
        row = (f"hot 4 MiB ranges, {many(connections)}", "CPU-s/GB", "less", cpu_per_gb)
        bench.compare(["reelway", "nginx", "lighttpd", "floor"], bench.hot_window(connections, 4 * MIB), [row])
    for connections in (8, 64):
        row = (f"hot 4 MiB ranges, {many(connections)}, 2 shards", "CPU-s/GB", "less", cpu_per_gb)
        bench.compare(["reelway-2", "nginx-2"], bench.hot_window(connections, 4 * MIB), [row])


def small(bench):
    for size in (4, 16, 64):
        row = (f"{size} KiB ranges, 64 connections", "CPU-us", "less", cpu_per_range)
        bench.compare(["reelway", "nginx", "lighttpd"], bench.hot_window(64, size * KIB), [row])
    row = ("16 KiB ranges, 64 connections, 2 shards", "CPU-us", "less", cpu_per_range)
    bench.compare(["reelway-2", "nginx-2"], bench.hot_window(64, 16 * KIB), [row])
    row = ("new connection for each 16 KiB range, 16 at once", "CPU-us", "less", cpu_per_range)
    bench.compare(["reelway", "nginx", "lighttpd"], bench.hot_window(16, 16 * KIB, anew=True), [row])


def cold(bench):
    """Eight films from the disk beside four clients who ask for little that is in memory."""
    films = bench.films
    groups = [
        {"paths": [PREFIX + name for name in films.cold_names()], "connections": COLD, "range": 4 * MIB,
         "file": films.cold_bytes, "sequential": True},
        bench.hot_group(4, 16 * KIB, pause_us=1000),
    ]

    def prepare():
        films.make_hot()
        films.make_cold()

    def look(server):
        seen = bench.clients.measure(server, groups)
        whole = seen["groups"][0]["bytes"] * (1 + bench.clients.warm / seen["seconds"])
        if whole > COLD * films.cold_bytes and not bench.options.smoke:
            print(f"{server.name} came to the end of the cold films, and went on with what is in memory", file=sys.stderr)
        return seen

    bench.compare(
        ["reelway", "nginx", "nginx-aio"], look, [
            ("8 cold films beside hot 16 KiB ranges: p50", "ms", "less", latency_ms(1, "p50")),
            ("8 cold films beside hot 16 KiB ranges: p99", "ms", "less", latency_ms(1, "p99")),
            ("8 cold films beside hot 16 KiB ranges: p99.9", "ms", "less", latency_ms(1, "p999")),
            ("8 cold films beside hot 16 KiB ranges: cold", "MB/s", "more", megabytes_a_second(0)),
            ("8 cold films beside hot 16 KiB ranges: all", "CPU-s/GB", "less", cpu_per_gb),
        ], prepare)


def first_byte(bench):
    row = ("time to first byte, 1 connection: p50", "us", "less", lambda seen: seen["groups"][0]["first_byte_us"]["p50"])
    bench.compare(["reelway", "nginx", "lighttpd"], bench.hot_window(1, 4 * KIB), [row])


def slow(bench):
    """Readers at 25 kB/s beside four clients who ask for little."""
    groups = [bench.hot_group(bench.options.slow_readers, 8 * MIB, rate=25000), bench.hot_group(4, 16 * KIB, pause_us=1000)]

    def look(server):
        seen = bench.clients.measure(
            server, groups, seconds=bench.options.slow_seconds, meanwhile=server.memory, may_fail=True)
        return {**seen, "afterwards": server.memory()}

    def lost(seen):
        return seen["groups"][0]["errors"] + seen["groups"][0]["starved"]

    title = f"{bench.options.slow_readers} readers at 25 kB/s"
    bench.compare(["reelway", "nginx"], look, [
        (f"{title}: lost", "readers", "less", lost),
        (f"{title}: honest 16 KiB ranges, p99", "ms", "less", latency_ms(1, "p99")),
        (f"{title}: memory meanwhile", "MiB PSS", "less", lambda seen: seen["meanwhile"][0] / 1024),
        (f"{title}: memory afterwards", "MiB PSS", "less", lambda seen: seen["afterwards"][0] / 1024),
    ])


def many(connections):
    return f"{connections} connection" + ("s" if connections > 1 else "")
