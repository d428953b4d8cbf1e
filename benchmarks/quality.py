"""What counting quality costs: a heartbeat, a change of status, a report of the fleet, a node.

    python benchmarks/quality.py [--nodes 100000] [--rounds 300] [--json]

Nanoseconds a heartbeat of `Quality.hear` in batches of distinct nodes, drawn anew each round, the
median of all rounds; every eighth heartbeat of a node is measured for jitter, as in production.
Nanoseconds a change of status of `Quality.follow` where a thousand nodes are suspected at once.
Milliseconds of a report of the fleet, of whose nodes a tenth have something to tell.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.figures import Goal
from beatward.core.intake import RECORD, Heartbeats, Via
from beatward.core.membership import Cause, Membership, MembershipSettings, Status
from beatward.core.quality import Quality
from beatward.core.registry import Registry

SECOND = 10**9
BATCHES = (8192, 512, 16)


class Fleet:
    """Nodes that are alive and beat once a second."""

    def __init__(self, nodes):
        self.rng = np.random.default_rng(1)
        self.registry = Registry(bytes(32))
        names = [f"node-{number}" for number in range(nodes)]
        self.slots, _ = self.registry.enrol_all(names)
        capacity = self.registry.capacity
        self.membership = Membership(MembershipSettings(), capacity)
        self.detector = DETECTORS["chen"](DetectorSettings(), capacity)
        self.detector.forget(self.slots)
        self.detector.interval_ns[self.slots] = SECOND
        self.registry.interval_ms[self.slots] = 1000
        self.membership.place(
            self.slots, Status.ALIVE, Cause.HEARD, since_ns=SECOND, due_ns=2 * SECOND
        )
        self.quality = Quality(Goal(), self.registry, self.membership, self.detector)
        self.registry.sequence[self.slots] = self.rng.integers(0, 8, nodes)

    def beat(self, slots):
        """Return heartbeats of slots (k,) and their sequences; the registry notes them after."""
        records = np.zeros(len(slots), RECORD)
        records["interval_ms"] = 1000
        sequence = self.registry.sequence[slots] + 1
        arrived = sequence * SECOND + self.rng.integers(0, 10**6, len(slots))
        peers = np.zeros((len(slots), 1), np.uint8)
        source = np.arange(len(slots))
        return Heartbeats(slots, records, peers, arrived, source, Via.UDP), sequence

    def hear(self, batch):
        """Return nanoseconds a heartbeat of one batch."""
        slots = self.rng.choice(self.slots, batch, replace=False)
        beats, sequence = self.beat(slots)
        steps = sequence - self.registry.sequence[slots]
        begun = time.perf_counter_ns()
        self.quality.hear(beats, sequence, steps, learn=True)
        spent = time.perf_counter_ns() - begun
        self.registry.sequence[slots] = sequence
        self.registry.heard_ns[slots] = beats.arrived_ns
        return spent / batch

    def suspect(self, slots):
        """Return nanoseconds a change, where all of these are suspected at once."""
        changes = self.membership.apply(slots, Cause.OVERDUE, 100 * SECOND)
        begun = time.perf_counter_ns()
        self.quality.follow(changes)
        return (time.perf_counter_ns() - begun) / len(slots)

    def report(self):
        """Return milliseconds of one report."""
        begun = time.perf_counter_ns()
        self.quality.fleet(200 * SECOND).public(0)
        return (time.perf_counter_ns() - begun) / 1e6


def measure(nodes, rounds):
    fleet = Fleet(nodes)
    heard = {
        batch: statistics.median(fleet.hear(batch) for _ in range(rounds)) for batch in BATCHES
    }
    tenth = np.array_split(fleet.slots[: nodes // 10], max(nodes // 10_000, 1))
    return {
        "heartbeat_ns": heard,
        "change_ns": statistics.median(fleet.suspect(slots) for slots in tenth),
        "report_ms": statistics.median(fleet.report() for _ in range(9)),
        "bytes": sum(getattr(fleet.quality, name).itemsize for name in Quality.ROWS),
        "row_bytes": fleet.quality.table.itemsize,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.nodes, asked.rounds)
    if asked.json:
        print(json.dumps({"machine": platform.machine(), "nodes": asked.nodes, **found}))
        return
    print(f"{asked.nodes:,} nodes, numpy {np.__version__}, {platform.machine()}")
    for batch, nanoseconds in found["heartbeat_ns"].items():
        print(f"a heartbeat, in batches of {batch:5}: {nanoseconds:7.1f} ns")
    print(f"a change of status: {found['change_ns']:,.0f} ns")
    print(f"a report of the fleet: {found['report_ms']:.1f} ms")
    print(f"a node: {found['bytes']} bytes; with something to tell {found['row_bytes']} more")


if __name__ == "__main__":
    main()
