"""What `--smoke` holds the table to: that it is whole. No figure is held to anything, on a machine that others use."""

import json
import math
import sys

# Rows of each workload.
ROWS = {"memory": 8, "hot": 5, "small": 5, "cold": 5, "first-byte": 1, "slow": 4}


def check(table, names):
    said = json.loads(json.dumps(table.as_json(), allow_nan=False))
    missing = sum(ROWS[name] for name in names) - len(said["workloads"])
    wrong = [f"{missing} rows are missing"] if missing else []
    for row in said["workloads"]:
        is_count = row["unit"] == "readers"
        figures = [row["ours"]["median"], *(peer["median"] for peer in row["peers"].values())]
        if not all(math.isfinite(figure) and (figure > 0 or is_count or not row["peers"]) for figure in figures):
            wrong.append(f"{row['workload']}: {figures}")
        if is_count and row["ours"]["median"] > 0:
            wrong.append(f"{row['workload']}: {row['ours']['median']}")
        for label, peer in row["peers"].items():
            if not is_count and not (peer["low"] <= peer["ratio"] <= peer["high"]):
                wrong.append(f"{row['workload']}: the ratio to {label} is {peer}")
    lines = table.as_markdown().splitlines()
    if len({line.count("|") for line in lines if line.startswith("|")}) != 1:
        wrong.append("the rows of the markdown have not as many cells")
    if wrong:
        sys.exit("the smoke of the benchmark:\n" + "\n".join(wrong))
