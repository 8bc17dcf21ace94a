"""Prints the rpm's list of files, made of the deb's: the assets of [package.metadata.deb] in Cargo.toml are the one list.

    python3 packaging/rpm/assets.py >rpm.toml && cargo generate-rpm --metadata-overwrite rpm.toml
"""

import json
import tomllib

# Files that mean something to Debian only.
OF_DEBIAN = ("usr/share/lintian/", "usr/share/doc/reelway/changelog.Debian.gz")
# Where Debian has a place of its own for something that others keep elsewhere.
ELSEWHERE = {"usr/share/zsh/vendor-completions/": "usr/share/zsh/site-functions/"}


def whole(source, destination):
    """The path of a file in the package: where a folder is named, it keeps its name."""
    return destination + source.rsplit("/", 1)[-1] if destination.endswith("/") else destination


def asset(source, destination, mode, conf_files):
    for debian, other in ELSEWHERE.items():
        destination = destination.replace(debian, other)
    table = {"source": source, "dest": "/" + destination, "mode": mode}
    if "/" + whole(source, destination) in conf_files:
        table["config"] = "noreplace"
    elif destination.startswith(("usr/share/doc/", "usr/share/man/")):
        table["doc"] = True
    return table


with open("Cargo.toml", "rb") as file:
    deb = tomllib.load(file)["package"]["metadata"]["deb"]
print("assets = [")
for source, destination, mode in deb["assets"]:
    if not whole(source, destination).startswith(OF_DEBIAN):
        items = asset(source, destination, mode, deb["conf-files"]).items()
        print("    {", ", ".join(f"{name} = {json.dumps(value)}" for name, value in items), "},")
print("]")
