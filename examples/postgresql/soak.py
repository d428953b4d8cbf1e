"""`make soak`: failovers of real PostgreSQL servers in a loop, by random faults from a seed.

The run is cut into series, each on a fresh stage with faults of its own seed. What a series found
is written down when it is over, so a run that was interrupted goes on with the next one. A series
that got stuck is written down too: what was waited for, and what came before.

    series 0, 4, ...  our defaults, synchronous      series 1, 5, ...  tuned, synchronous
    series 2, 6, ...  our defaults, synchronous      series 3, 7, ...  tuned, asynchronous
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.ground.cluster import TookTooLong
from examples.ground.telling import end_in_order, leave_if_missing, table, teller
from examples.postgresql.stage import DEFAULT, FAULTS, TUNED, Report, Stage

from beatward.bench.chart import ChartLine, Panel, draw

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "failover.json"
PICTURE = ROOT / "docs" / "images" / "failover.svg"
# Faults come at any phase of a lease, of a heartbeat and of a look at the server.
PAUSE_MAX_S = 2.5
# What the next primary has to wait for; the faults that are not here are of the third kind.
LEASE_ENDS = "lease runs out"
KINDS = {
    "switchover": "switchover",
    "server-killed": "role given back",
    "frozen": LEASE_ENDS,
    "server-and-monitor-killed": "monitor new too",
}


def main() -> None:
    """Play series until so many failovers are there, then write the table; 1: a promise broken."""
    given = _arguments()
    results = _read(given.results)
    if not given.draw:
        end_in_order()
        leave_if_missing("arping", "setpriv")
        say = teller()
        while sum(len(series["reports"]) for series in results["series"]) < given.count:
            index = len(results["series"])
            say(f"series {index}")
            results["series"].append(_series(given.seed, index, given.faults, say))
            _write(given.results, results)
    print(summary(results))
    if given.picture:
        given.picture.write_text(picture(results))
    sys.exit(is_broken(results))


def _series(seed: int, index: int, chosen: list[str], say: Callable[[str], None]) -> dict[str, Any]:
    chance = random.Random(f"{seed}/{index}")  # noqa: S311  a schedule, not a secret
    is_tuned, is_synchronous = index % 2 == 1, index % 4 != 3
    faults = chance.sample(chosen, k=len(chosen))
    reports: list[Report] = []
    stuck = ""
    try:
        with Stage(
            is_synchronous=is_synchronous, tuning=TUNED if is_tuned else DEFAULT, say=say
        ) as stage:
            for fault in faults:
                time.sleep(chance.uniform(0, PAUSE_MAX_S))
                reports.append(stage.suffer(fault))
                say(f"{fault}: writable after {reports[-1].writable:.2f} s")
    except (TookTooLong, OSError) as error:
        stuck = f"{faults[len(reports)]}: {error}"
        say(f"stuck: {stuck}")
    return {
        "index": index,
        "is_tuned": is_tuned,
        "is_synchronous": is_synchronous,
        "load": round(os.getloadavg()[0], 1),
        "stuck": stuck,
        "reports": [report.as_json() for report in reports],
    }


def rows(results: dict[str, Any], *, is_tuned: bool) -> dict[str, list[float]]:
    """Return the times to writable by fault, sorted."""
    found: dict[str, list[float]] = {fault: [] for fault in FAULTS}
    for series in results["series"]:
        if series["is_tuned"] == is_tuned:
            for report in series["reports"]:
                found[report["fault"]].append(report["writable"])
    return {fault: sorted(times) for fault, times in found.items() if times}


def summary(results: dict[str, Any]) -> str:
    """Return the tables of docs/failover.md."""
    parts = []
    for is_tuned, name in ((False, "our defaults"), (True, "tuned")):
        lines = [
            (
                fault,
                len(times),
                *(f"{value:.2f} s" for value in (times[0], times[len(times) // 2], times[-1])),
            )
            for fault, times in rows(results, is_tuned=is_tuned).items()
        ]
        parts.append(table((name, "failovers", "least", "median", "most"), lines))
    for is_synchronous, name in ((True, "synchronous"), (False, "asynchronous")):
        chosen = [s for s in results["series"] if s["is_synchronous"] == is_synchronous]
        reports = [report for series in chosen for report in series["reports"]]
        writes = sum(
            series["reports"][-1]["acknowledged"] for series in chosen if series["reports"]
        )
        parts.append(
            f"{name}: {len(reports)} failovers, {writes} acknowledged writes,"
            f" {sum(report['lost'] for report in reports)} lost,"
            f" {sum(report['doubles'] for report in reports)} taken by two holders"
        )
    stuck = [series["stuck"] for series in results["series"] if series["stuck"]]
    return "\n\n".join([*parts, f"stuck: {len(stuck)}", *stuck])


def is_broken(results: dict[str, Any]) -> bool:
    """Tell whether an acknowledged write is gone, or two took writes, where neither may be."""
    return any(
        series["stuck"]
        or any(
            series["is_synchronous"] and (report["lost"] or report["doubles"])
            for report in series["reports"]
        )
        for series in results["series"]
    )


def picture(results: dict[str, Any]) -> str:
    """Draw which share of the failovers was not writable yet after so many seconds."""
    panels = []
    for is_tuned, name in ((False, "our defaults"), (True, "tuned")):
        pooled: dict[str, list[float]] = {kind: [] for kind in dict.fromkeys(KINDS.values())}
        for fault, times in rows(results, is_tuned=is_tuned).items():
            pooled[KINDS.get(fault, LEASE_ENDS)] += times
        lines = [
            ChartLine(
                kind, [(at, 1 - index / len(times)) for index, at in enumerate(sorted(times))]
            )
            for kind, times in pooled.items()
        ]
        panels.append(Panel(f"share not writable yet, {name}", "seconds since the fault", lines))
    return draw(panels, legend_below=True)


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {"series": []}


def _write(path: Path, results: dict[str, Any]) -> None:
    lines = json.dumps(results, indent=1)
    temporary = path.with_suffix(".new")
    temporary.write_text(lines + "\n")
    temporary.replace(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument(
        "--count", type=int, default=100, help="failovers in all, with those before"
    )
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--seed", type=int, default=5, help="which faults come, and when")
    parser.add_argument("--results", type=Path, default=RESULTS, help="read, and added to")
    parser.add_argument("--draw", action="store_true", help="only the table and the picture")
    parser.add_argument("--picture", type=Path, help=f"where to draw, for example {PICTURE.name}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
