"""One node's heartbeats through one detector, millions of them: the deadline after each.

A detector takes a batch of slots as easily as one, so the trace is cut into pieces that are
replayed side by side, a slot each: piece and setting are slots, as nodes are in production. Each
piece begins with a warm-up of heartbeats that lie before it, in which its detector forgets that it
began there; what the warm-up says is thrown away. An estimate that weighs heartbeats by
1 - 2/(n+1) each has, five windows n later, less than e^-10 of its weight from before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.detect import DETECTORS, Detector, DetectorSettings

# Enough that numpy's price of a call is shared by many, few enough that the pieces are much longer
# than their warm-up: 6 million heartbeats take 2 s.
PIECES = 512
_WARM_UP_WINDOWS = 5
_WARM_UP_MIN = 1_000
# What counts how often heartbeats are late has to have seen some that were (`core.tails`).
_WARM_UP_LATE, _WARM_UP_MAX = 16, 65_000
_QUANTILES = ("adaptive", "chen", "two_window")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The heartbeats of one node that arrived, in order, on the monitor's clock.

    sequence    (n,) strictly increasing
    sent_ns     (n,) when each was sent, or would have been on the sender's schedule
    arrived_ns  (n,) non-decreasing
    """

    interval_ns: int
    sequence: IntArray
    sent_ns: IntArray
    arrived_ns: IntArray

    def __len__(self) -> int:
        return len(self.sequence)

    def part(self, begin: int, end: int) -> "Arrivals":
        """Return the heartbeats of these indices."""
        cut = slice(begin, end)
        return Arrivals(
            self.interval_ns, self.sequence[cut], self.sent_ns[cut], self.arrived_ns[cut]
        )


def warm_up(settings: DetectorSettings) -> int:
    """Return how many heartbeats a detector gets before its deadlines count."""
    heartbeats = max(_WARM_UP_MIN, _WARM_UP_WINDOWS * settings.samples)
    if settings.kind == "histogram" or (settings.margin_ns is None and settings.kind in _QUANTILES):
        heartbeats = max(heartbeats, round(_WARM_UP_LATE / settings.late_probability))
    return min(heartbeats, _WARM_UP_MAX)


def deadlines(
    arrivals: Arrivals, settings: DetectorSettings, *, skipped: int, pieces: int = PIECES
) -> IntArray:
    """Return the deadline in force after each heartbeat from index `skipped` on (n - skipped,).

    skipped  heartbeats of warm-up, at least 1
    """
    return _replay(arrivals, settings, skipped, pieces, (_deadline,))[0]


def deadlines_and_margins(
    arrivals: Arrivals, settings: DetectorSettings, *, skipped: int
) -> tuple[IntArray, IntArray]:
    """Return, as `deadlines` does, deadlines and the margins behind due instants in force."""
    deadline, margin = _replay(arrivals, settings, skipped, PIECES, (_deadline, _margin))
    return deadline, margin


Read = Callable[[Detector, IntArray], IntArray]


def _deadline(detector: Detector, slots: IntArray) -> IntArray:
    return detector.deadline_ns[slots]


def _margin(detector: Detector, slots: IntArray) -> IntArray:
    return detector.margin_ns(slots)


def _replay(
    arrivals: Arrivals,
    settings: DetectorSettings,
    skipped: int,
    pieces: int,
    reads: Sequence[Read],
) -> list[IntArray]:
    count = len(arrivals) - skipped
    pieces = max(1, min(pieces, count // skipped))
    length = -(-count // pieces)
    # The last pieces may begin earlier than their turn, so that all are equally long.
    begins = np.minimum(np.arange(pieces) * length, count - length)
    detector = DETECTORS[settings.kind](settings, pieces)
    slots = np.arange(pieces)
    detector.forget(slots)
    interval = np.full(pieces, arrivals.interval_ns, np.int64)
    found = np.empty((len(reads), pieces, length), np.int64)
    before = arrivals.sequence[np.maximum(begins - 1, 0)]
    for step in range(skipped + length):
        sequence = arrivals.sequence[begins + step]
        steps = sequence - before
        detector.observe(slots, steps, interval, arrivals.arrived_ns[begins + step])
        before = sequence
        if step >= skipped:
            for index, read in enumerate(reads):
                found[index, :, step - skipped] = read(detector, slots)
    return [_joined(rows, begins, count) for rows in found]


def _joined(rows: IntArray, begins: IntArray, count: int) -> IntArray:
    """Return what the pieces (pieces, length) say of all `count` heartbeats."""
    whole = np.empty(count, np.int64)
    for begin, row in zip(begins.tolist(), rows, strict=True):
        whole[begin : begin + len(row)] = row
    return whole
