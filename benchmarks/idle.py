"""What an idle monitor costs by this beatward and by another, taking turns in one run.

    .venv/bin/python benchmarks/idle.py --against ../before/.venv/bin/python --rounds 3

Ratios are medians of the rounds' ratios: on a machine that others use as well, trust these.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from beatward.bench import idle, machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", required=True, help="python of the other installation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--nodes", type=int, nargs="+", default=[0, 10, 100, 1000])
    wanted = parser.parse_args()
    rows = []
    for count in wanted.nodes:
        pairs = [_pair(count, wanted.seconds, wanted.against) for _ in range(wanted.rounds)]
        found = {"nodes": count}
        for key in ("percent", "wake_ups", "turns", "resident_bytes"):
            ours, theirs = ([one[key] for one in side] for side in zip(*pairs, strict=True))
            ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
            found[key] = {
                "ours": statistics.median(ours),
                "theirs": statistics.median(theirs),
                "ratio": round(statistics.median(ratios), 3),
            }
        found["others_cores"] = statistics.median(
            one["strangers_cores"] for pair in pairs for one in pair
        )
        rows.append(found)
        print(json.dumps(found), file=sys.stderr, flush=True)
    print(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1))


def _pair(count: int, seconds: float, other: str) -> tuple[dict, dict]:
    found = []
    for python in (sys.executable, other):
        with tempfile.TemporaryDirectory(prefix="beatward-idle-") as folder:
            found.append(idle.of_monitor(count, Path(folder), seconds, python=python))
    return found[0], found[1]


if __name__ == "__main__":
    main()
