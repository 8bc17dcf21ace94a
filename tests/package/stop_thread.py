#!/usr/bin/env python3
"""Stops one thread of a process, the others go on: what a thread that hangs looks like to everybody else.

    stop_thread.py PID NAME [SECONDS]

The thread is stopped by ptrace(2), as a debugger does, so that the product needs no door for it. It stays so until the
process ends or SECONDS (300) are over. `stopped TID` is printed once it stands; `gone` when the process was ended.
"""
import ctypes
import os
import sys
import time

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
# waitpid(2): also threads that are not our children.
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        number = ctypes.get_errno()
        sys.exit(f"thread {thread} cannot be stopped: {os.strerror(number)}")


def thread_of(process, name):
    names = {}
    for thread in os.listdir(f"/proc/{process}/task"):
        with open(f"/proc/{process}/task/{thread}/comm") as file:
            names[file.read().rstrip("\n")] = int(thread)
    if name not in names:
        sys.exit(f"process {process} has no thread {name}; it has {', '.join(sorted(names))}")
    return names[name]


def main():
    process, name = int(sys.argv[1]), sys.argv[2]
    end = time.monotonic() + float(sys.argv[3] if len(sys.argv) > 3 else 300)
    thread = thread_of(process, name)
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    _, status = os.waitpid(thread, WALL)
    if not os.WIFSTOPPED(status):
        sys.exit(f"thread {thread} ended instead")
    print(f"stopped {thread}", flush=True)
    while time.monotonic() < end:
        ended, status = os.waitpid(thread, WALL | os.WNOHANG)
        # Whoever traces a thread has to take note of its end, else the process stays.
        if ended and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            print("gone", flush=True)
            return
        time.sleep(0.05)
    ptrace(PTRACE_DETACH, thread)
    print("let go", flush=True)


main()
