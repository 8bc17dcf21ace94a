"""Prints the copyright file (DEP-5): ours, and what each crate that is linked into reelway says of itself.

    python3 packaging/copyright.py
"""

import json
import os
import re
import subprocess

# Licences whose text stands once, at the end; a crate with any other one brings its own text along.
STANDARD = ("MIT", "Apache-2.0", "LGPL-2.1-or-later WITH GCC-exception-2.0")
SHORT = {"LGPL-2.1-or-later WITH GCC-exception-2.0": "LGPL-2.1+ with GCC exception"}


def linked_crates():
    """The packages of cargo's metadata that end in the binary, ours left out."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.check_output(command))
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            deps = nodes[node]["deps"]
            waiting += [dep["pkg"] for dep in deps if any(kind["kind"] is None for kind in dep["dep_kinds"])]
    packages = [package for package in metadata["packages"] if package["id"] in found - {root}]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def licence_texts(package):
    folder = os.path.dirname(package["manifest_path"])
    names = sorted(name for name in os.listdir(folder) if re.match(r"(?i)(un)?licen[cs]e|copying|copyright|notice", name))
    files = [path for path in (os.path.join(folder, name) for name in names) if os.path.isfile(path)]
    texts = [open(path, encoding="utf-8", errors="replace").read() for path in files]
    # Its text stands on every system, and once is enough.
    whole = re.compile(r"Apache License\s+Version 2\.0.*?END OF TERMS AND CONDITIONS", re.S)
    return [whole.sub("Apache License, Version 2.0: see the paragraph Apache-2.0 of this file", text) for text in texts]


def copyrights(package, texts):
    """The lines in which somebody says that it is theirs, else who is named as an author."""
    lines = []
    for text in texts:
        for line in text.splitlines():
            claim = re.match(r"\W*(Copyright\b.*(?:\d{4}|\bby\b|The .*(?:developers|authors|project|contributors)).*)", line, re.I)
            if claim and not re.search(r"\[yyyy\]|notice|license", claim[1], re.I):
                lines.append(re.sub(r"^Copyright\s*(\([cC©]\)|©)?\s*(by\s)?", "", claim[1]).strip(" .*"))
    return list(dict.fromkeys(lines)) or package["authors"] or [f"the authors of {package['name']}"]


def choice(expression):
    """The licences of an expression that we may choose among, in DEP-5's words; None where it is none of the standard ones."""
    expression = expression.replace("/", " OR ")
    known = [part for part in expression.split(" OR ") if part in STANDARD]
    return " or ".join(SHORT.get(part, part) for part in sorted(known)) or None


def paragraph(text):
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().splitlines())


def crate_stanza(package):
    texts = licence_texts(package)
    owners = "\n           ".join(copyrights(package, texts))
    licence = choice(package["license"] or "")
    own = "" if licence else "\n" + paragraph(f"{package['license']}\n\n" + "\n\n".join(texts))
    # A licence that is written as an "and" of several names is one of its own, with the text of them all.
    name = licence or f"{package['name']}"
    return f"Files: vendor/{package['name']}-{package['version']}/*\nCopyright: {owners}\nLicense: {name}{own}\n"


def main():
    with open("LICENSE", encoding="utf-8") as file:
        _, owner, mit = file.read().split("\n\n", 2)
    print("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/")
    print("Upstream-Name: reelway")
    print("Source: the tree in which scripts/package was run")
    print("Comment: reelway is one binary, into which the crates below vendor/ are linked; Cargo.lock names them exactly. It is")
    print(" linked with libsystemd (LGPL-2.1+) as a shared library, and by the crate systemd, whose licence lets it be part of")
    print(" programs under any other: its source, and all it takes to link reelway with another version, is where ours is.\n")
    print(f"Files: *\nCopyright: {owner.removeprefix('Copyright (c) ')}\nLicense: MIT\n")
    for package in linked_crates():
        print(crate_stanza(package))
    print("Files: vendor/libsqlite3-sys-*/sqlite3/*\nCopyright: none\nLicense: public-domain")
    print(" The authors of SQLite disclaim copyright to its source code.\n")
    print("Files: rust/library/*\nCopyright: The Rust Project Developers\nLicense: Apache-2.0 or MIT\n")
    print(f"License: MIT\n{paragraph(mit)}\n")
    print("License: Apache-2.0\n On Debian systems the text is in /usr/share/common-licenses/Apache-2.0, elsewhere at")
    print(" https://www.apache.org/licenses/LICENSE-2.0\n")
    print("License: LGPL-2.1+ with GCC exception\n On Debian systems the text of the LGPL is in")
    print(" /usr/share/common-licenses/LGPL-2.1, elsewhere at https://www.gnu.org/licenses/lgpl-2.1.html\n .")
    print(" As an exception, a program that links with this library does not come under the LGPL by that alone:")
    print(" https://spdx.org/licenses/GCC-exception-2.0.html")


main()
