#!/usr/bin/env python3
"""viewers.py against servers that are well, that close, that lie, that are silent, and that are not there: it must tell them apart."""
import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

FILM = os.urandom(7 << 20)
VIEWERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "viewers.py")


def answer(connection, fault):
    """One request after another, as the fault of this server has it."""
    with connection:
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            is_film, ranged = b"/film" in head, b"Range:" in head
            if fault == "silent":
                continue
            if fault == "closes a request" and not is_film:
                return
            body = FILM[5 << 20:][:100_000] if ranged else FILM if is_film else b"{}"
            if fault == "lies" and is_film:
                body = body[:-1] + bytes([body[-1] ^ 1])
            status = b"503 Busy" if fault == "is busy" and not is_film else b"206 Partial" if ranged else b"200 OK"
            connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
            if fault == "cuts a film" and is_film and not ranged:
                connection.sendall(body[:3 << 20])
                return
            connection.sendall(body)


def serve(listener, fault):
    def quietly(connection):
        try:
            answer(connection, fault)
        except OSError:
            pass
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=quietly, args=(connection,), daemon=True).start()


def watch(fault, film):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if fault == "is not there":
        listener.close()
    else:
        threading.Thread(target=serve, args=(listener, fault), daemon=True).start()
    command = [sys.executable, VIEWERS, "--port", str(port), "--film", film, "--path", "/film", "--token", "t", "--films", "2",
               "--paused", "1", "--rate", "100", "--clients", "4", "--seconds", "0.6", "--pace", "8", "--patience", "0.5"]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=30)
    listener.close()
    return done.returncode, json.loads(done.stdout)


def main():
    with tempfile.NamedTemporaryFile() as file:
        file.write(FILM)
        file.flush()
        expected = {
            None: lambda told: not told["failures"] and all(film["complete"] for film in told["films"]) and told["keptConnections"] > 5,
            "is not there": lambda told: told["refused"] > 5,
            "closes a request": lambda told: told["failed"] > 5 and all(film["complete"] for film in told["films"]),
            "is busy": lambda told: told["failed"] > 5,
            "silent": lambda told: told["failed"] > 0 and not any(film["bytes"] for film in told["films"]),
            "lies": lambda told: not any(film["right"] for film in told["films"]) and told["failed"] > 0,
            "cuts a film": lambda told: not any(film["complete"] for film in told["films"]) and not told["failed"],
        }
        with concurrent.futures.ThreadPoolExecutor(len(expected)) as pool:
            results = pool.map(lambda fault: watch(fault, file.name), expected)
        for (fault, holds), (code, told) in zip(expected.items(), results):
            if code != (1 if fault else 0) or not holds(told):
                sys.exit(f"a server that {fault or 'is well'}: exit code {code}, {json.dumps(told, indent=1)}")


main()
