#!/usr/bin/env python3
"""A page of an allowed site and a page of another, in a real Chromium: who may show a film, and who may not.

    browser.py SERVERS.json FILM_PATH ALLOWED_PORT OTHER_PORT

reelway must have been started with net.cors_origins = ["http://127.0.0.1:ALLOWED_PORT"]. Standard library and Chromium.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import wire

PAGE = Path(__file__).resolve().parent / "page.html"
# What each page must say, line by line, as regular expressions.
ALLOWED = (
    r"a range: 206 bytes 5-9/\d+ 5 bytes",
    r"several ranges: 206 multipart/byteranges",
    r"no token: 401 Unauthorized",
    r"the api: refused by the browser",
    r"the film: plays at [1-9][\d.]* of [\d.]+, 256 bytes of picture",
)
OTHER = tuple(f"{name}: refused by the browser" for name in ("a range", "several ranges", "no token", "the api", "the film"))
SECONDS_MAX = 60


class Site:
    """A web site of one page, which sends home what it was let do."""

    def __init__(self, port, page):
        site, self.said, self.is_said = self, [], threading.Event()

        class Handler(BaseHTTPRequestHandler):
            """The page for GET, and its words by POST."""

            def do_GET(self):
                """The page."""
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def do_POST(self):
                """What the page says."""
                site.said = self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines()
                self.send_response(204)
                self.end_headers()
                site.is_said.set()

            def log_message(self, *_):
                """Nothing."""

        self.address = f"http://127.0.0.1:{port}/"
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def visit(self):
        """Opens the page in a browser of its own, until it has said all."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
            command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
            command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", self.address]
            browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.is_said.wait(SECONDS_MAX)
            finally:
                browser.terminate()
                browser.wait()
        return self.said


def main():
    """Shows both pages; the exit code says whether each was let do what it may, and no more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers")
    parser.add_argument("film")
    parser.add_argument("allowed", type=int)
    parser.add_argument("other", type=int)
    arguments = parser.parse_args()
    reelway = wire.servers(arguments.servers)[0]
    base = f"http://{reelway.host}:{reelway.port}"
    page = PAGE.read_text(encoding="utf-8").replace("@FILM@", base + arguments.film)
    page = page.replace("@API@", f"{base}/api/videos").replace("@TOKEN@", reelway.token).encode()
    complaints = []
    for name, port, expected in (("allowed", arguments.allowed, ALLOWED), ("other", arguments.other, OTHER)):
        said = Site(port, page).visit()
        for line in said:
            print(f"{name:8} {line}")
        if len(said) != len(expected) or not all(map(re.fullmatch, expected, said)):
            complaints.append(f"the page of the {name} site should say: {expected}")
    for complaint in complaints:
        print("  reelway: " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
