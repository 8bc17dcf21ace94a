"""The servers: each is a process of its own, on processors of its own, from `start` to `end`."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
PREFIX = "/api/stream/video/"
# The server has the first, the clients the second; who uses two threads has both.
ONE, OTHER, BOTH = {0}, {1}, {0, 1}


@contextlib.contextmanager
def on(processors):
    """What is started meanwhile runs there, and so does this process."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A server, at work or not. `label` is its name in the table; two may have the same with other numbers of threads."""

    def __init__(self, label, name, command, port, folder, processors, environment=None):
        self.label, self.name, self.command, self.port, self.processors = label, name, command, port, processors
        self.environment = {**os.environ, **(environment or {})}
        self.log = folder / f"{name}.log"
        # Lines of the heads of all requests.
        self.fields = ""
        self.process = None

    def start(self):
        """Starts it, and gives the milliseconds from then until somebody could connect."""
        begun = time.monotonic()
        with on(self.processors), open(self.log, "wb") as log:
            # A session of its own: Ctrl-C reaches the benchmark alone, which ends its servers in order.
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                start_new_session=True)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return (time.monotonic() - begun) * 1000
            except OSError:
                if self.process.poll() is not None or time.monotonic() - begun > 20:
                    sys.exit(f"{self.name} did not start; its log ends with\n{self.log_end()}")
                time.sleep(0.0002)

    def end(self):
        if self.process is None:
            return
        process, self.process = self.process, None
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log_end(self):
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def processes(self):
        """All of them: the master of nginx does no work, but its memory is paid for."""
        own = self.process.pid
        children = pathlib.Path(f"/proc/{own}/task/{own}/children").read_text().split()
        return [own, *map(int, children)]

    def memory(self):
        """The proportional set size in KiB, and the part of it that no file backs (proc_pid_smaps(5))."""
        total = anonymous = 0
        for process in self.processes:
            for line in pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
                elif line.startswith("Pss_Anon:"):
                    anonymous += int(line.split()[1])
        return total, anonymous


class Reelway(Server):
    """Ours, with the configuration that it is built with but for what `environment` says."""

    def __init__(self, binary, name, films, folder, shards=1, environment=None):
        home = folder / name
        for below in ("state", "cache", "runtime"):
            (home / below).mkdir(parents=True)
        (home / "empty.toml").touch()
        port = free_port()
        self.verb = [binary, "--config", str(home / "empty.toml")]
        environment = {
            "STATE_DIRECTORY": str(home / "state"), "CACHE_DIRECTORY": str(home / "cache"),
            "RUNTIME_DIRECTORY": str(home / "runtime"), "VIDEOS_PATH": str(films), "PORT": str(port),
            "REELWAY_SERVER__HOST": "127.0.0.1", "REELWAY_SERVER__SHARDS": str(shards),
            "REELWAY_SERVER__DRAIN_TIMEOUT": "1s", **(environment or {}),
        }
        processors = ONE if shards == 1 else BOTH
        super().__init__("ours", name, [*self.verb, "serve"], port, folder, processors, environment)

    def run(self, *words, **more):
        """A verb of the command line."""
        done = subprocess.run(
            [*self.verb, *words], env=self.environment, capture_output=True, text=True, **more)
        if done.returncode != 0:
            sys.exit(f"reelway {' '.join(words)}: {done.stderr}")
        return done.stdout

    def add_user(self, name, password):
        self.run("user", "add", name, "--role", "admin", "--password-stdin", input=f"{password}\n")

    def sign_in(self, name):
        """All requests are this user's from now on. The daemon runs."""
        self.fields = f"Authorization: Bearer {self.run('token', name).strip()}\r\n"


def nginx(folder, workers=1, with_threads=False):
    name = f"nginx-{workers}" + ("-aio" if with_threads else "")
    port = free_port()
    path = fill_in(
        "nginx.conf", folder / f"{name}.conf", WORKERS=workers, SCRATCH=folder, NAME=name, PORT=port,
        USER="user root;" if os.geteuid() == 0 else "", AIO="aio threads;" if with_threads else "")
    label = "nginx, aio threads" if with_threads else "nginx"
    return Server(label, name, ["nginx", "-p", str(folder), "-c", path], port, folder, ONE if workers == 1 else BOTH)


def lighttpd(folder):
    port = free_port()
    path = fill_in("lighttpd.conf", folder / "lighttpd.conf", SCRATCH=folder, PORT=port)
    return Server("lighttpd", "lighttpd", ["lighttpd", "-D", "-f", path], port, folder, ONE)


def floor(load, film, folder):
    port = free_port()
    return Server("bare sendfile", "floor", [load, "floor", str(film), str(port)], port, folder, ONE)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as held:
        return held.getsockname()[1]


def fill_in(template, path, **values):
    text = (HERE / template).read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    path.write_text(text)
    return str(path)
