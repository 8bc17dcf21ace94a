#!/usr/bin/env python3
"""Every row of the request tables, sent to reelway, nginx and lighttpd over fresh sockets.

The one idea: reelway must do what its table says, and wherever another server does otherwise, one line of
differences.txt says why ours is right. A difference without a line fails, and so does a line without a difference.

    compare.py SERVERS.json [--print]      --print shows every row, and the lines that differences.txt wants

Standard library only; it runs on Python 3.11. A new table is one line in TABLES.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import wire

HERE = Path(__file__).resolve().parent
VECTORS = HERE.parent / "vectors"
DIFFERENCES = HERE / "differences.txt"

# Seconds without a byte that count as silence: before the first answer, and after one.
FIRST_SECONDS, MORE_SECONDS = 1.0, 0.3
# A row that surprises is asked once more, among fewer and with more patience: the machine may have been busy.
PATIENT_FIRST_SECONDS, PATIENT_MORE_SECONDS = 4.0, 1.0
THREADS, PATIENT_THREADS = 96, 16

# The statuses by which a server says that it does not take the message. Any other says that it understood it, also
# 404, 405 and 403: these depend on what a server has to offer, not on the grammar.
REFUSALS = {400, 408, 411, 413, 414, 417, 421, 431, 501, 505}


@dataclass(frozen=True)
class Row:
    """A row of a table: the bytes to send, and what its table expects."""

    table: str
    rule: str
    data: bytes
    expected: str


def row_of_request(table, cells):
    """request.txt: rule | source | bytes | expected"""
    rule, _, data, expected = cells
    return Row(table, rule, completed(cell_bytes(data), expected.split(" ")), expected)


def completed(data, words):
    """A good request with the rest of a small body: the table is about heads, but a server may wait for the body."""
    head, blank, body = data.partition(b"\r\n\r\n")
    if words[0] != "ok" or "continue" in words:
        return data
    if "chunked" in words and not body:
        return data + b"0\r\n\r\n"
    lengths = [int(word.removeprefix("length=")) for word in words if word.startswith("length=")]
    if lengths and len(body) < lengths[0] <= 64:
        return head + blank + body.ljust(lengths[0], b"x")
    return data


def row_of_target(table, cells):
    """target.txt: rule | source | target | path or 400 | query"""
    rule, _, target, path, _ = cells
    data = b"GET " + cell_bytes(target) + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    if path == "400":
        return Row(table, rule, data, "400 target_invalid")
    # Understood, but not to be answered over a connection that is not encrypted (RFC 9110 §7.4).
    return Row(table, rule, data, "421" if target.lower().startswith("https:") else "ok GET")


# Each table with its number of columns and what makes a row of one: `partial`, `STATUS reason` or `ok …`.
TABLES = {
    "request.txt": (4, row_of_request),
    "target.txt": (5, row_of_target),
}


def lines_of(path):
    """The lines of a table, without comments."""
    text = path.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def rows_of(table):
    """The rows of one of TABLES."""
    columns, row = TABLES[table]
    rows = []
    for line in lines_of(VECTORS / table):
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != columns:
            raise SystemExit(f"{table}: a row has {columns} columns: {line}")
        rows.append(row(table, cells))
    return rows


ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "s": b" ", "\\": b"\\"}


def cell_bytes(cell):
    """A cell as bytes, exactly as `vectors::bytes` in src/http/mod.rs reads it."""
    out = bytearray()
    at = 0
    while at < len(cell):
        first = cell[at]
        if first == "¶":
            out += b"\r\n"
        elif first == "\\" and cell[at + 1 : at + 2] == "x":
            out.append(int(cell[at + 2 : at + 4], 16))
            at += 3
        elif first == "\\" and at + 1 < len(cell):
            out += ESCAPES[cell[at + 1]]
            at += 1
        elif first == "{":
            end = cell.index("}", at)
            text, _, count = cell[at + 1 : end].rpartition("*")
            out += cell_bytes(text) * int(count)
            at = end
        else:
            out += first.encode()
        at += 1
    return bytes(out)


def verdict(found):
    """What a server did, in a word: a refusal's status, `ok`, `closed`, `silent`, or several joined by `+`."""
    words = []
    for response in found.responses:
        is_plain = response.status in REFUSALS or response.status < 200
        words.append(str(response.status) if is_plain else "ok")
    if found.foreign:
        words.append("foreign")
    if not words:
        words.append("silent" if found.end == "open" else "closed")
    return "+".join(words)


def ask(server, row, is_patient=False):
    """The row's exchange with one server."""
    first, more = (PATIENT_FIRST_SECONDS, PATIENT_MORE_SECONDS) if is_patient else (FIRST_SECONDS, MORE_SECONDS)
    return wire.exchange(server, row.data, first, more, row.data.startswith(b"HEAD "))


def fault_of(row, found):
    """What is wrong with reelway's answer to a row, or nothing."""
    word = row.expected.split(" ")[0]
    if word == "partial":
        return None if verdict(found) == "silent" else f"a part of a request is answered: {verdict(found)}"
    if word == "421":
        return None if verdict(found) == "421" else f"421 expected, got {verdict(found)}"
    if word == "ok":
        if not found.responses or found.foreign:
            return f"a good request is not answered: {verdict(found)}, {found.end}"
        # A body that did not come may end the exchange with 408; only the first answer is about this head.
        final = next((response for response in found.responses if response.status >= 200), None)
        if final is None or final.status in REFUSALS - {411, 413}:
            return f"a good request is refused: {verdict(found)}"
        # Every server has something to say about itself (RFC 9110 §9.3.7).
        if row.expected.startswith("ok OPTIONS *") and final.status // 100 != 2:
            return f"the target * is always there, but the answer is {final.status}"
        return None if final.is_whole else "the answer is cut short"
    return fault_of_refusal(row, found)


def fault_of_refusal(row, found):
    """A refusal: that status, a problem document with that reason, and the end of the connection."""
    status, reason = row.expected.split(" ")
    if len(found.responses) != 1 or found.foreign:
        return f"{row.expected} expected, got {verdict(found)}, {found.end}"
    response = found.responses[0]
    if response.status != int(status):
        return f"{row.expected} expected, got {response.status} {response.body[:200]!r}"
    if found.end != "closed":
        return f"the connection must be closed after the answer, but was {found.end}"
    if response.fields.get("connection", "").lower() != "close":
        return "the answer does not say Connection: close"
    if response.fields.get("content-type") != "application/problem+json":
        return f"the answer is no problem document but {response.fields.get('content-type')}"
    if not response.is_whole:
        return "the problem document is cut short"
    if "date" not in response.fields:
        return "the answer has no Date"
    if row.data.startswith(b"HEAD "):
        return None
    try:
        problem = json.loads(response.body)
    except ValueError:
        return f"the problem document is no JSON: {response.body[:200]!r}"
    if problem.get("status") != int(status) or not problem.get("type", "").endswith(f":{reason}"):
        return f"{row.expected} expected, got {problem.get('status')} {problem.get('type')}"
    return None


def known_differences(path):
    """The lines of differences.txt: (table, rule) -> (three verdicts, why). Several rules may share a line."""
    known, table = {}, None
    for line in lines_of(path):
        if line.startswith("["):
            table = line.strip().strip("[]")
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if table is None or len(cells) != 5 or not cells[4]:
            raise SystemExit(f"{path.name}: not `rules | ours | nginx | lighttpd | why` below a [table]: {line}")
        for rule in cells[0].split():
            if (table, rule) in known:
                raise SystemExit(f"{path.name}: {table} {rule} stands twice")
            known[table, rule] = (tuple(cells[1:4]), cells[4])
    return known


def ask_all(servers, rows):
    """The exchanges of every row with every server, a list for each row."""
    with ThreadPoolExecutor(THREADS) as pool:
        tasks = [[pool.submit(ask, server, row) for server in servers] for row in rows]
        return [[task.result() for task in line] for line in tasks]


def ask_again(servers, rows, answers, known):
    """The answers, those that surprise replaced by those of a second, patient look."""
    with ThreadPoolExecutor(PATIENT_THREADS) as pool:
        tasks = []
        for row, found in zip(rows, answers):
            look = complaints_about(row, found, known)
            tasks.append([pool.submit(ask, server, row, True) for server in servers] if look else None)
        return [[task.result() for task in line] if line else found for line, found in zip(tasks, answers)]


def complaints_about(row, found, known):
    """What is to be said about a row: a fault of ours, or a difference that differences.txt does not know so."""
    fault = fault_of(row, found[0])
    complaints = [f"reelway: {row.table} {row.rule}: {fault}"] if fault else []
    verdicts = tuple(verdict(one) for one in found)
    line = known.get((row.table, row.rule))
    shown = " | ".join(verdicts)
    if line is None and len(set(verdicts)) > 1:
        complaints.append(f"no line explains the difference: {row.table}: {row.rule} | {shown} |")
    if line is not None and len(set(verdicts)) == 1:
        complaints.append(f"a line without a difference: {row.table}: {row.rule} | {shown} |")
    elif line is not None and line[0] != verdicts:
        complaints.append(f"the line says {' | '.join(line[0])}: {row.table}: {row.rule} | {shown} |")
    return complaints


def main():
    """Runs the comparison; the exit code says whether all is explained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("servers")
    parser.add_argument("--print", action="store_true", dest="is_printing")
    arguments = parser.parse_args()
    servers = wire.servers(arguments.servers)
    rows = [row for table in TABLES for row in rows_of(table)]
    known = known_differences(DIFFERENCES)
    answers = ask_all(servers, rows)
    answers = ask_again(servers, rows, answers, known)
    complaints, differing = [], 0
    for row, found in zip(rows, answers):
        complaints += complaints_about(row, found, known)
        verdicts = [verdict(one) for one in found]
        differing += len(set(verdicts)) > 1
        if arguments.is_printing:
            statuses = ["+".join(str(one.status) for one in each.responses) for each in found]
            print(row.table, row.rule, "|", " | ".join(verdicts), "|", " ".join(statuses), "|", row.expected)
    rules = {(row.table, row.rule) for row in rows}
    complaints += [f"a line about no row: {table} {rule}" for table, rule in known if (table, rule) not in rules]
    print(f"{len(rows)} rows of {len(TABLES)} tables to {len(servers)} servers: {differing} rows differ, ", end="")
    print(f"{len(known)} explained, {len(complaints)} complaints")
    for complaint in complaints:
        print("  " + complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
