"""Small worlds in which two processes bear one name again and again.

    nice .venv/bin/python -m tests.simulate.clones 1..3000

Each is the world of its seed, of whose nodes only the members of services exist, with copies and
snapshots of them on top of the faults that it has anyway. One line a world that breaks a promise,
and one with the counts of all at the end, and every fifty worlds.
"""

import sys
from collections import Counter
from dataclasses import replace

from beatward.core.instants import SECOND
from beatward.simulate import Scenario, draw, play
from beatward.simulate.faults import FaultKind, among, draw_faults, in_order
from beatward.simulate.scenario import WARM_UP_NS
from beatward.simulate.services import count_services

MINUTES = 1.5
KINDS = (FaultKind.COPY, FaultKind.SNAPSHOT)
# So many times as often as their habit is; some last for seconds only.
TIMES = 4
_SHORT = 3


def cloned(seed: int) -> Scenario:
    """Return the world of a seed with twins; it must have services."""
    drawn = draw(seed, minutes=MINUTES)
    nodes = frozenset(one for service in drawn.services for one in service.members)
    span = {"begin_ns": WARM_UP_NS - 5 * SECOND, "end_ns": drawn.heal_ns}
    count = len(drawn.intervals_ns)
    more = [
        replace(fault, duration_ns=fault.duration_ns // (_SHORT if number % 2 else 1))
        for time in range(TIMES)
        for number, fault in enumerate(
            draw_faults(seed + time * 10**9, KINDS, nodes_count=count, **span)
        )
    ]
    return replace(
        drawn,
        nodes=tuple(sorted(nodes)),
        faults=among(in_order((*drawn.faults, *more)), nodes),
    )


def main(text: str) -> int:
    """Play them and return how many promises were broken."""
    first, _, last = text.partition("..")
    total: Counter[str] = Counter()
    for seed in range(int(first), int(last) + 1):
        if not count_services(seed):
            continue
        report = play(cloned(seed))
        total["worlds"] += 1
        total.update(
            {
                name: count
                for name, count in report.counts.items()
                if name.startswith(("role two", "fault")) or name in _TOLD
            }
        )
        for one in report.violations:
            total[f"broken {one.rule}"] += 1
        for one in report.violations[:1]:
            print(f"seed {seed}: {one.rule} {one.node} {one.message} at {one.at_ns / SECOND:.3f}")
        if total["worlds"] % 50 == 0:
            _tell(total, f"to seed {seed}")
    _tell(total, "in all")
    return sum(count for name, count in total.items() if name.startswith("broken"))


_TOLD = (
    "sessions",
    "role promotions",
    "role another_process",
    "role copied work",
    "role last words",
    "role switchover",
    "role forced",
    "role expired",
    "role given_back",
)


def _tell(total: Counter[str], where: str) -> None:
    counts = "  ".join(f"{name} {count}" for name, count in sorted(total.items()))
    print(f"{where}: {counts}", flush=True)


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1]) else 0)
