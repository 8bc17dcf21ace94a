#!/usr/bin/env python3
"""Writes accounts, sessions and links, and says so only once the server has acknowledged each; later, asks for all of them.

    writer.py write ROUND TOKEN SECONDS    a line of JSON for each acknowledged write, to be kept where no power cut reaches
    writer.py verify < LINES               everything said must be there, and what was ended must have stayed so

A line is said after its acknowledgement, so that a cut between the two loses the line, never the other way round.
"""
import http.client
import json
import sys
import time
import urllib.parse

PASSWORD = "correct horse battery"


class Server:
    """Asks over one connection, opened anew when the server has closed it."""

    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", 3000, timeout=30)

    def ask(self, method, path, token=None, body=None):
        fields = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            fields["Authorization"] = f"Bearer {token}"
        self.connection.request(method, path, json.dumps(body) if body is not None else None, fields)
        answer = self.connection.getresponse()
        text = answer.read()
        is_json = answer.headers.get("Content-Type", "").startswith("application/json")
        return answer.status, json.loads(text) if text and is_json else None


def say(what, **about):
    print(json.dumps({"what": what, **about}), flush=True)


def expect(status, answer, *wanted):
    if status not in wanted:
        sys.exit(f"{status} instead of {wanted}: {answer}")
    return answer


def login(server, name):
    return expect(*server.ask("POST", "/api/auth/login", body={"username": name, "password": PASSWORD}), 200)


def write(cycle, admin, seconds):
    """Accounts, with sessions of theirs of which one is ended and one stays, and links; every fourth account is disabled."""
    server, end, number = Server(), time.monotonic() + seconds, 0
    film = expect(*server.ask("GET", "/api/videos", admin), 200)["items"][0]["id"]
    while time.monotonic() < end:
        number += 1
        name = f"user-{cycle}-{number}"
        user = expect(*server.ask("POST", "/api/users", admin, {"username": name, "password": PASSWORD}), 201)
        say("account", name=name, id=user["id"], role="user")
        stays, ends = login(server, name)["token"], login(server, name)["token"]
        say("session", token=stays, name=name)
        expect(*server.ask("POST", "/api/auth/logout", ends), 200, 204)
        say("ended", token=ends, name=name)
        for _ in range(3):
            link = expect(*server.ask("POST", f"/api/videos/{film}/link", admin, {"expiresIn": 86400}), 200, 201)
            say("link", path=urllib.parse.urlsplit(link["url"]).path)
        if number % 4 == 0:
            expect(*server.ask("PATCH", f"/api/users/{user['id']}", admin, {"role": "admin"}), 200)
            say("account", name=name, id=user["id"], role="admin")
            say("ended", token=stays, name=name)


def verify():
    """Whatever was said last of a thing holds."""
    server, accounts, tokens, links, wrong = Server(), {}, {}, [], []
    admin = sys.argv[2]
    for line in sys.stdin:
        try:
            said = json.loads(line)
        except ValueError:
            # The cut may have gone through a line.
            continue
        if said["what"] == "account":
            accounts[said["id"]] = said
        elif said["what"] in ("session", "ended"):
            tokens[said["token"]] = said
        elif said["what"] == "link":
            links.append(said["path"])
    for identity, said in accounts.items():
        status, user = server.ask("GET", f"/api/users/{identity}", admin)
        if status != 200 or user["username"] != said["name"]:
            wrong.append(f"account {said['name']}: {status}")
        # A change that was under way at the cut may be there without a line; what had one must be.
        elif said["role"] == "admin" and user["role"] != "admin":
            wrong.append(f"account {said['name']} is {user['role']}")
    sessions = {"session": 0, "ended": 0}
    for token, said in tokens.items():
        sessions[said["what"]] += 1
        status, _ = server.ask("GET", "/api/auth/me", token)
        if said["what"] == "ended" and status != 401:
            wrong.append(f"the ended session of {said['name']} is alive: {status}")
        elif said["what"] == "session" and status != 200:
            # The role may have been changed, which ends the session, without a line of that.
            _, users = server.ask("GET", f"/api/users?query={said['name']}", admin)
            roles = [user["role"] for user in users["items"] if user["username"] == said["name"]]
            if roles != ["admin"]:
                wrong.append(f"the session of {said['name']} is gone: {status}")
    for path in links:
        status, _ = server.ask("HEAD", path)
        if status != 200:
            wrong.append(f"link {path}: {status}")
    print(json.dumps({"accounts": len(accounts), "sessions": sessions["session"], "ended": sessions["ended"], "links": len(links),
                      "wrong": len(wrong), "first": wrong[:10]}))
    return 1 if wrong else 0


if sys.argv[1] == "write":
    write(sys.argv[2], sys.argv[3], float(sys.argv[4]))
else:
    sys.exit(verify())
