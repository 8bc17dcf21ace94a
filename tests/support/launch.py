"""Becomes the daemon, with descriptors from 3 on, as the service manager passes them (sd_listen_fds(3)).

The descriptors come over standard input, a Unix socket: a line of JSON with their names and how many there are, then they
themselves. So none of them is ever inherited by another child of the tests.
"""
import fcntl
import json
import os
import socket
import sys

PER_MESSAGE_MAX = 253

with socket.socket(fileno=os.dup(0)) as manager:
    line = b""
    while not line.endswith(b"\n"):
        line += manager.recv(1)
    names = json.loads(line)
    passed = []
    while len(passed) < len(names):
        manager.sendall(b"\n")
        _, some, _, _ = socket.recv_fds(manager, 1, PER_MESSAGE_MAX)
        passed += some

# Out of the way first: 3 and those after it may be among them.
end = 3 + len(passed)
aside = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, end) for number in passed]
for number in passed:
    os.close(number)
for index, number in enumerate(aside):
    os.dup2(number, 3 + index, inheritable=True)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
if passed:
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(passed))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execvp(sys.argv[1], sys.argv[1:])
