"""Prints CHANGELOG.md as Debian has it.

    python3 packaging/changelog.py VERSION DATE MAINTAINER     (DATE as `date -R` prints it; "Unreleased" is VERSION)
"""

import re
import sys
import textwrap

version, date, maintainer = sys.argv[1:]


def entry(release, lines):
    print(f"reelway ({release}) unstable; urgency=medium\n")
    for line in lines:
        print(line)
    print(f"\n -- {maintainer}  {date}\n")


def items(text):
    """Each item of a release, with the heading it stands under before the first."""
    for part in re.split(r"\n(?=### |- )", "\n" + text):
        words = " ".join(part.split())
        if words.startswith("### "):
            heading, _, rest = words[4:].partition(" - ")
            yield f"  [ {heading} ]"
            words = f"- {rest}" if rest else ""
        if words.startswith("- "):
            yield textwrap.fill(words[2:].replace("`", ""), 78, initial_indent="  * ", subsequent_indent="    ")


with open("CHANGELOG.md", encoding="utf-8") as file:
    releases = re.split(r"\n## ", file.read())[1:]
for release in releases:
    name, _, text = release.partition("\n")
    name = name.strip("[] ").split(" ")[0].strip("[]")
    entry(version if name == "Unreleased" else f"{name}-1", items(text))
