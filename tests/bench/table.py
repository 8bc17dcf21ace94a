"""The table: what was measured, as lines for people, as JSON, and as markdown for the README.

A row has the figures of each server, one a repetition. Shown are medians; a ratio is ours to theirs, made within a repetition,
and its median is shown with the interval in which the true median lies in 95 of 100 cases.
"""

import math
import statistics
from dataclasses import dataclass

OURS = "ours"


def interval(values):
    """The two values between which the true median lies in 95 of 100 cases (order statistics): of 9 the 2nd and the 8th.

    Of less than six not even the least and the greatest are so certain; they are given all the same.
    """
    values = sorted(values)
    count = len(values)

    def doubt(left_out):
        return 2 * sum(math.comb(count, number) for number in range(left_out + 1)) / 2**count

    left_out = max((number for number in range((count + 1) // 2) if doubt(number) <= 0.05), default=0)
    return values[left_out], values[count - 1 - left_out]


@dataclass
class Row:
    """`figures` has a list for each server by its label, ours first; `better` is "less" or "more"."""

    workload: str
    unit: str
    better: str
    figures: dict

    def of(self, label):
        """The median of one server's figures, with its interval."""
        return summary(self.figures[label])

    def ratio(self, label):
        """That of ours to theirs, or None where theirs are nothing."""
        ratios = [own / other for own, other in zip(self.figures[OURS], self.figures[label]) if other]
        return summary(ratios) if ratios else None

    @property
    def peers(self):
        return [label for label in self.figures if label != OURS]

    def as_json(self):
        row = {"workload": self.workload, "unit": self.unit, "better": self.better, "ours": self.of(OURS), "peers": {}}
        for label in self.peers:
            ratio = self.ratio(label) or {"median": None, "low": None, "high": None}
            row["peers"][label] = {
                "median": self.of(label)["median"], "ratio": ratio["median"], "low": ratio["low"], "high": ratio["high"]}
        return row

    def as_text(self):
        peers = "".join(f" | {label} {short(self.of(label)['median'])}, {self.times(label)}" for label in self.peers)
        arrow = "↓" if self.better == "less" else "↑"
        return f"{self.workload:<58} {short(self.of(OURS)['median']):>7} {self.unit:<9} {arrow}{peers}"

    def times(self, label):
        ratio = self.ratio(label)
        return f"{ratio['median']:.2f}x [{ratio['low']:.2f}-{ratio['high']:.2f}]" if ratio else "-"


def summary(values):
    low, high = interval(values)
    return {"median": statistics.median(values), "low": low, "high": high}


def short(value):
    """Three digits, as people read them."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


class Table:
    def __init__(self, about, out):
        """`about` says what was measured where and how; rows are written to `out` as they come."""
        self.about, self.out, self.rows = about, out, []

    def begin(self):
        print(self.about_in_words(), file=self.out, flush=True)
        print("Medians, and ours to theirs with its interval; ↓ less is better, ↑ more is better", file=self.out, flush=True)

    def note(self, workload, unit, figures, better="less"):
        row = Row(workload, unit, better, figures)
        self.rows.append(row)
        print(row.as_text(), file=self.out, flush=True)

    def about_in_words(self):
        about, machine = self.about, self.about["machine"]
        return "; ".join([
            about["date"], f"{machine['processor']}, {machine['processors']} processors", machine["kernel"],
            *about["versions"].values(), machine["congestion_control"],
            f"{about['repetitions']} x {about['seconds']} s", f"`{about['command']}`",
        ])

    def as_json(self):
        return {**self.about, "workloads": [row.as_json() for row in self.rows]}

    def as_markdown(self):
        labels = list(dict.fromkeys(label for row in self.rows for label in row.peers))
        lines = ["| workload | unit | better | reelway | " + " | ".join(labels) + " |", "| --- " * (4 + len(labels)) + "|"]
        for row in self.rows:
            cells = [row.workload, row.unit, row.better, f"**{short(row.of(OURS)['median'])}**"]
            for label in labels:
                cells.append(f"{short(row.of(label)['median'])}: {row.times(label)}" if label in row.figures else "")
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, "", self.about_in_words() + "."])
