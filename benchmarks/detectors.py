"""What a heartbeat costs in each detector, and what a node costs in memory.

    python benchmarks/detectors.py [--nodes 100000] [--batch 1024] [--rounds 300] [--json]

Nanoseconds of processor time a heartbeat, in batches whose nodes are drawn anew each round, once
every node has been heard so often that all of them have learnt. All detectors take turns within a
round; the median of all rounds counts. `cantelli` is chen with the one-sided bound, which keeps no
histogram. Bytes a node are those of the arrays that every detector keeps for each slot.
"""

import argparse
import json
import platform
import statistics
import time

import numpy as np

from beatward.core.detect import DETECTORS, DetectorSettings

SECOND = 10**9
LEARN_COUNT = 40  # heartbeats of every node before anything is measured
WAYS = {kind: {"kind": kind} for kind in DETECTORS}
WAYS["cantelli"] = {"kind": "chen", "margin_from": "cantelli"}


class Fleet:
    """Nodes with exponential jitter of 20 ms around a grid of one second."""

    def __init__(self, nodes):
        self.rng = np.random.default_rng(1)
        self.sequence = np.zeros(nodes, np.int64)
        self.slots = np.arange(nodes)

    def beat(self, slots):
        self.sequence[slots] += 1
        jitter = self.rng.exponential(0.02 * SECOND, len(slots)).astype(np.int64)
        count = len(slots)
        arrived = self.sequence[slots] * SECOND + jitter
        return slots, np.ones(count, np.int64), np.full(count, SECOND), arrived


def measure(nodes, batch, rounds):
    """Return {way: (median ns a heartbeat, bytes a node)}."""
    fleet = Fleet(nodes)
    detectors = {
        way: DETECTORS[it["kind"]](DetectorSettings(**it), nodes) for way, it in WAYS.items()
    }
    for detector in detectors.values():
        detector.forget(fleet.slots)
    for _ in range(LEARN_COUNT):
        heard = fleet.beat(fleet.slots)
        for detector in detectors.values():
            detector.observe(*heard)
    spent = {way: [] for way in detectors}
    for _ in range(rounds):
        heard = fleet.beat(fleet.rng.choice(nodes, batch, replace=False))
        for way, detector in detectors.items():
            begun = time.process_time_ns()
            detector.observe(*heard)
            spent[way].append((time.process_time_ns() - begun) / batch)
    return {
        way: (statistics.median(spent[way]), bytes_of(detector, nodes))
        for way, detector in detectors.items()
    }


def bytes_of(detector, nodes):
    arrays = (it for it in vars(detector).values() if isinstance(it, np.ndarray))
    return sum(array.nbytes for array in arrays) // nodes


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = measure(asked.nodes, asked.batch, asked.rounds)
    if asked.json:
        print(json.dumps({"machine": platform.processor(), **vars(asked), "ways": found}))
        return
    print(f"{'detector':<18}{'ns a heartbeat':>16}{'bytes a node':>14}")
    for way, (nanoseconds, size) in sorted(found.items(), key=lambda it: it[1]):
        print(f"{way:<18}{nanoseconds:>16.0f}{size:>14}")


if __name__ == "__main__":
    main()
