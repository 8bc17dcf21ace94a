"""A file system that somebody else answers for: FUSE, spoken directly, with every answer as late as is asked for.

    fuse.py MOUNTPOINT DELAYS    (as root)

It holds any file whose name ends in .mp4, 4 MiB of one byte, and lists film.mp4. DELAYS is a file with lines such as
OPEN=3: seconds that the answers to such requests are late from now on; a line that is gone releases those that are late
already. OPEN=-5 has them answered with error 5 instead. Ends when it is unmounted. Protocol: linux/fuse.h, version 7.31.
"""
import ctypes
import errno
import os
import struct
import sys
import threading
import time

MOUNTPOINT, DELAYS = sys.argv[1:]
SIZE = 4 << 20
NAMES = {1: "LOOKUP", 3: "GETATTR", 14: "OPEN", 15: "READ", 25: "FLUSH", 18: "RELEASE", 28: "READDIR"}
libc = ctypes.CDLL(None, use_errno=True)
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
if libc.mount(b"reelway-test", MOUNTPOINT.encode(), b"fuse", 6, options) != 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
print("mounted", flush=True)


def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100644, SIZE)
    return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 1000, 1000, 1000, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def delay(name):
    with open(DELAYS) as lines:
        # The file may just be written anew.
        return float(dict(line.strip().split("=") for line in lines if "=" in line).get(name, 0) or 0)


def answer(unique, data=b"", error=0):
    try:
        os.write(device, struct.pack("<IiQ", 16 + len(data), -error, unique) + data)
    except OSError:
        pass  # The kernel has given the request up.


def handle(request):
    _, operation, unique, node, _, _, _, _ = struct.unpack("<IIQQIIII", request[:40])
    body = request[40:]
    name, since = NAMES.get(operation, ""), time.monotonic()
    while time.monotonic() - since < delay(name):
        time.sleep(0.02)
    if delay(name) < 0:
        answer(unique, error=-int(delay(name)))
    elif operation == 26:  # INIT
        answer(unique, struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 12, 10, 65536, 1, 0, 0, 0) + b"\0" * 28)
    elif operation == 1:  # LOOKUP: names and attributes are never believed for longer than the answer
        name = body.rstrip(b"\0").decode()
        if name.endswith(".mp4"):
            found = 2 + sum(name.encode()) % 1000
            answer(unique, struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + attributes(found))
        else:
            answer(unique, error=errno.ENOENT)
    elif operation == 3:  # GETATTR
        answer(unique, struct.pack("<QII", 0, 0, 0) + attributes(node))
    elif operation in (14, 27):  # OPEN, OPENDIR
        answer(unique, struct.pack("<QII", 1, 0, 0))
    elif operation == 15:  # READ
        _, offset, length = struct.unpack("<QQI", body[:20])
        answer(unique, b"\xab" * max(0, min(length, SIZE - offset)))
    elif operation == 28:  # READDIR: all of it at once, then nothing
        _, offset, _ = struct.unpack("<QQI", body[:20])
        answer(unique, struct.pack("<QQII8s", 2, 1, 8, 8, b"film.mp4") if offset == 0 else b"")
    elif operation in (18, 25, 29, 34):  # RELEASE, FLUSH, RELEASEDIR, ACCESS
        answer(unique)
    elif operation == 17:  # STATFS
        answer(unique, b"\0" * 80)
    elif operation not in (2, 42):  # FORGET and BATCH_FORGET want no answer
        answer(unique, error=errno.ENOSYS)


while True:
    try:
        request = os.read(device, 1 << 20)
    except OSError:
        break  # Unmounted.
    threading.Thread(target=handle, args=(request,), daemon=True).start()
