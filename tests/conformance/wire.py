"""One exchange over a fresh socket: bytes out, responses in, with every wait bounded.

The one idea: what a server did is read from its bytes, not through an HTTP library, so that a wrong answer, an answer
too many, a close and a silence can be told apart. Standard library only.
"""

import json
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

NAMES = ("reelway", "nginx", "lighttpd")
# No answer of these servers to a small request is longer; a film's first bytes are enough to know it.
RESPONSE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Server:
    """A server that the script started: where it is, and what lets us in."""

    name: str
    host: str
    port: int
    token: str
    process: int = 0

    def authorization(self):
        """The field that reelway wants, nothing for the others."""
        return f"Authorization: Bearer {self.token}\r\n".encode() if self.token else b""

    def url(self, path):
        """A URL for tools that can set no field."""
        query = f"?token={self.token}" if self.token else ""
        return f"http://{self.host}:{self.port}{path}{query}"


def servers(path):
    """The servers of the file that scripts/conformance wrote, in the order of NAMES."""
    known = json.loads(Path(path).read_text(encoding="utf-8"))
    return [
        Server(name, "127.0.0.1", known[name]["port"], known[name].get("token", ""), known[name].get("process", 0))
        for name in NAMES
    ]


@dataclass
class Response:
    """One response message."""

    status: int
    fields: dict
    body: bytes
    is_whole: bool


@dataclass
class Exchange:
    """All that came back, and how it ended: `closed` by the server, `reset` by it, or left `open`."""

    responses: list = field(default_factory=list)
    # Bytes that are no HTTP/1 response.
    foreign: bytes = b""
    end: str = "open"


def exchange(server, data, first_seconds, more_seconds, is_head=False):
    """Sends `data` and reads what comes: the first byte within `first_seconds`, each further one in `more_seconds`."""
    found = Exchange()
    received = bytearray()
    with socket.socket() as connection:
        connection.settimeout(10)
        connection.connect((server.host, server.port))
        try:
            connection.sendall(data)
        except OSError:
            pass  # The server may refuse before it has read everything: its answer counts.
        deadline = time.monotonic() + first_seconds
        while len(received) < RESPONSE_BYTES_MAX:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            connection.settimeout(left)
            try:
                part = connection.recv(65536)
            except TimeoutError:
                break
            except OSError:
                found.end = "reset"
                break
            if not part:
                found.end = "closed"
                break
            received += part
            deadline = time.monotonic() + more_seconds
    found.responses, found.foreign = split(bytes(received), is_head, found.end != "open")
    return found


def split(received, is_head, is_ended):
    """The responses in `received`, and the bytes behind them that are none."""
    responses = []
    while received.startswith(b"HTTP/1."):
        head, blank, rest = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        words = lines[0].split(b" ", 2)
        if not blank or len(words) < 2 or not words[1].isdigit():
            return responses, received
        fields = {}
        for line in lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            fields.setdefault(name.strip().lower(), value.strip())
        status = int(words[1])
        body, received, is_whole = split_body(status, fields, rest, is_head, is_ended)
        responses.append(Response(status, fields, body, is_whole))
        # An interim response does not answer the request (RFC 9110 §15.2).
        is_head = is_head and 100 <= status < 200
    return responses, received


def split_body(status, fields, rest, is_head, is_ended):
    """The body of a response, what stands behind it, and whether it is all there (RFC 9112 §6.3)."""
    if is_head or 100 <= status < 200 or status in (204, 304):
        return b"", rest, True
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return split_chunks(rest)
    if "content-length" in fields:
        length = int(fields["content-length"])
        return rest[:length], rest[length:], len(rest) >= length
    return rest, b"", is_ended


def split_chunks(rest):
    """The same for a body in chunks."""
    body = b""
    while True:
        line, end, behind = rest.partition(b"\r\n")
        if not end:
            return body, b"", False
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return body, behind.partition(b"\r\n")[2] if not behind.startswith(b"\r\n") else behind[2:], True
        if len(behind) < size + 2:
            return body + behind[:size], b"", False
        body, rest = body + behind[:size], behind[size + 2 :]
