"""What a byte costs, beside nginx, lighttpd and the bare kernel: started by scripts/bench in a network of its own."""

import argparse
import contextlib
import datetime
import functools
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys

import memory
import servers
import smoke
import workloads
from clients import Clients
from films import MIB, Films, need_disk
from table import Table

WORKLOADS = {
    "memory": memory.memory, "hot": workloads.hot, "small": workloads.small, "cold": workloads.cold,
    "first-byte": workloads.first_byte, "slow": workloads.slow,
}
# The library of tiny films, the databases and the logs.
OTHER_FILES = 128 * MIB
# All connections are one user's, who plays nine films at most, one of them on a thousand connections.
LIMITS = {
    "REELWAY_VIDEO__MAX_CONCURRENT_STREAMS": "16", "REELWAY_VIDEO__MAX_STREAMS_PER_USER": "16",
    "REELWAY_NET__CONNECTIONS_PER_PLAYBACK": "1024",
}
FULL = {
    "repetitions": 9, "seconds": 1.0, "warm": 0.3, "hot_bytes": 1024 * MIB, "cold_bytes": 1024 * MIB, "slow_readers": 1000,
    "slow_seconds": 3.0,
    "memory": memory.Sizes(videos=10_000, logins=100, idle=1000, playing=100, starts=9, rest_seconds=5),
}
QUICK = {
    **FULL, "repetitions": 3, "seconds": 0.5, "warm": 0.15, "hot_bytes": 256 * MIB, "cold_bytes": 256 * MIB,
    "memory": memory.Sizes(videos=10_000, logins=100, idle=1000, playing=100, starts=3, rest_seconds=5),
}
SMOKE = {
    **FULL, "repetitions": 1, "seconds": 0.2, "warm": 0.05, "hot_bytes": 64 * MIB, "cold_bytes": 16 * MIB, "slow_readers": 50,
    "slow_seconds": 1.0, "memory": memory.Sizes(videos=200, logins=4, idle=50, playing=10, starts=2, rest_seconds=1),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main():
    options = parse()
    for number in SIGNALS:
        signal.signal(number, leave)
    if not servers.BOTH <= os.sched_getaffinity(0):
        sys.exit("processors 0 and 1 are needed: one for the servers, one for the clients")
    # Whatever this process does, it does not do it where the servers are.
    os.sched_setaffinity(0, servers.OTHER)
    scratch = pathlib.Path(options.scratch)
    films = Films(scratch / "films", options.hot_bytes, options.cold_bytes)
    need_disk(scratch, films.bytes + OTHER_FILES)
    clients = Clients(options.load, options.seconds, options.warm)
    is_for_programs = options.json or options.markdown
    table = Table(about(options), sys.stderr if is_for_programs else sys.stdout)
    with contextlib.ExitStack() as stack:
        films.make()
        running = all_servers(options, films, scratch, stack)
        bench = workloads.Bench(options, scratch, stack, running, films, clients, table)
        table.begin()
        for name in options.only:
            WORKLOADS[name](bench)
    if clients.errors:
        sys.exit(f"{clients.errors} requests failed: the figures are worth nothing")
    if options.smoke:
        smoke.check(table, options.only)
    if options.json:
        print(json.dumps(table.as_json(), indent=1))
    if options.markdown:
        print(table.as_markdown())


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    for name in ("--reelway", "--load", "--scratch", "--command"):
        parser.add_argument(name, required=True, help=argparse.SUPPRESS)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true")
    length.add_argument("--smoke", action="store_true")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true")
    output.add_argument("--markdown", action="store_true")
    parser.add_argument("--only", metavar="WORKLOAD,…", type=lambda names: names.split(","))
    options = parser.parse_args()
    if options.only is None:
        options.only = [name for name in WORKLOADS if not (options.quick and name == "slow")]
    for name in options.only:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name}, but {', '.join(WORKLOADS)}")
    sizes = SMOKE if options.smoke else QUICK if options.quick else FULL
    vars(options).update(sizes)
    return options


def all_servers(options, films, scratch, stack):
    """All at work, for as long as `stack` lasts."""
    below = scratch / ("www" + servers.PREFIX)
    below.parent.mkdir(parents=True)
    below.symlink_to(films.folder)
    ours = functools.partial(servers.Reelway, options.reelway, films=films.folder, folder=scratch, environment=LIMITS)
    made = {
        "reelway": ours(name="reelway"), "reelway-2": ours(name="reelway-2", shards=2),
        "nginx": servers.nginx(scratch), "nginx-2": servers.nginx(scratch, workers=2),
        "nginx-aio": servers.nginx(scratch, with_threads=True), "lighttpd": servers.lighttpd(scratch),
        "floor": servers.floor(options.load, films.folder / "hot.mp4", scratch),
    }
    for server in made.values():
        stack.callback(server.end)
        if isinstance(server, servers.Reelway):
            server.add_user("ann", memory.PASSWORD)
        server.start()
        if isinstance(server, servers.Reelway):
            # Always as somebody, with sessions, playbacks and limits; the peers ask nobody.
            server.sign_in("ann")
    return made


def about(options):
    """What the figures are of."""
    def said(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return (done.stdout + done.stderr).splitlines()[0].strip()

    with open("/proc/cpuinfo") as lines:
        models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "command": options.command,
        "machine": {
            "processor": models[0] if models else platform.machine(), "processors": os.cpu_count(),
            "kernel": f"Linux {platform.release()}", "congestion_control": "cubic, loopback",
        },
        "versions": {
            "ours": said(options.reelway, "--version"),
            "nginx": said("nginx", "-v").removeprefix("nginx version: "),
            "lighttpd": said("lighttpd", "-v").split(" (")[0],
        },
        "repetitions": options.repetitions,
        "seconds": options.seconds,
    }


def leave(number, _frame):
    """Ends everything on the way out; another signal does not disturb that."""
    for other in SIGNALS:
        signal.signal(other, lambda *_: None)
    sys.exit(128 + number)


main()
