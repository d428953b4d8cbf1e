"""Figures of quality: what was counted in groups of nodes, and what follows from it by Chen.

Many nodes are rows of arrays, one node is an array of one. The measures are those of DETECTION 1.1:

    detection_time T_D   mistake_rate lambda_M   mistake_recurrence_time T_MR   mistake_duration T_M
    query_accuracy P_A

Not here: the counting (`core.quality`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.instants import HOUR, SECOND

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

# Powers of two of a second, 250 ms to 18 h; what is longer is counted beyond the last.
BOUNDS_NS = tuple((SECOND << power) // 4 for power in range(19))


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of a node: found so fast, and no more than one mistake in so long."""

    detect_within_ns: int | None = None
    mistakes_every_ns: int | None = None


class Adds:
    """Adds up values (m,) by their groups (m,), numbers below `count`.

    Floats, because the nanoseconds of a large fleet exceed 64 bits within a day.
    """

    def __init__(self, groups: IntArray, count: int) -> None:
        self._groups, self._count = groups, count

    def sum(self, values: npt.NDArray[Any]) -> FloatArray:
        """Return the sum of each group (count,)."""
        total = np.bincount(self._groups, values.astype(np.float64), self._count)
        # Of no values at all numpy makes whole numbers.
        return total.astype(np.float64, copy=False)

    def largest(self, values: npt.NDArray[Any]) -> FloatArray:
        """Return the largest of each group (count,), 0 where there is none."""
        found = np.zeros(self._count)
        np.maximum.at(found, self._groups, values.astype(np.float64))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What was counted in k groups of nodes, and what follows from it; every array is (k,).

    Times are sums over the nodes of a group, in nanoseconds, or the largest; what nothing is known
    of yet is NaN.

    trusted_ns     held alive, failing or recovering
    mistaken_ns    suspected wrongly: mistakes that are over
    beyond         detections that took longer than the goal
    overdue_ns     the part of detection times after the next heartbeat was due
    outages        (k, len(BOUNDS_NS) + 1): how many were no longer than each bound and longer than
                   the one before; the last: longer than all
    open           nodes that are silent now, and suspected for it
    """

    goal: Goal
    nodes: FloatArray
    trusted_ns: FloatArray
    mistaken_ns: FloatArray
    suspicions_refuted: FloatArray
    verdicts_refuted: FloatArray
    detections: FloatArray
    detection_ns: FloatArray
    detection_max_ns: FloatArray
    overdue_ns: FloatArray
    beyond: FloatArray
    exits: FloatArray
    exit_ns: FloatArray
    exit_max_ns: FloatArray
    received: FloatArray
    missing: FloatArray
    jitters: FloatArray
    jitter_ns: FloatArray
    round_trips: FloatArray
    round_trip_ns: FloatArray
    outages: FloatArray
    outage_ns: FloatArray
    outage_max_ns: FloatArray
    open: FloatArray

    @property
    def alive_ns(self) -> FloatArray:
        """Time alive, in which to suspect is a mistake: trusted + mistaken."""
        return self.trusted_ns + self.mistaken_ns

    @property
    def mistakes(self) -> FloatArray:
        """Suspicions refuted + verdicts refuted."""
        return self.suspicions_refuted + self.verdicts_refuted

    @property
    def mistake_rate(self) -> FloatArray:
        """lambda_M = 1 / E(T_MR) = mistakes / time alive; of one node, per hour."""
        return _ratio(self.mistakes * HOUR, self.alive_ns)

    @property
    def mistake_recurrence_time_ns(self) -> FloatArray:
        """E(T_MR) = time alive / mistakes."""
        return _ratio(self.alive_ns, self.mistakes)

    @property
    def mistake_duration_ns(self) -> FloatArray:
        """E(T_M) = time mistaken / mistakes."""
        return _ratio(self.mistaken_ns, self.mistakes)

    @property
    def query_accuracy(self) -> FloatArray:
        """P_A = 1 - E(T_M) / E(T_MR) = 1 - time mistaken / time alive."""
        return 1.0 - _ratio(self.mistaken_ns, self.alive_ns)

    @property
    def detection_time_ns(self) -> FloatArray:
        """E(T_D) at most: mean of (verdict - last word) over verdicts that nobody refuted."""
        return _ratio(self.detection_ns, self.detections)

    @property
    def slots(self) -> FloatArray:
        """Places of the senders' grids: heartbeats taken + missing."""
        return self.received + self.missing

    @property
    def loss(self) -> FloatArray:
        """p_L = missing / (taken + missing), between the first and the newest of each life."""
        return _ratio(self.missing, self.slots)

    @property
    def mean_jitter_ns(self) -> FloatArray:
        """J of RFC 3550, 6.4.1, the mean over nodes: J += (|D| - J) / 16.

        D = (this arrival - the one before) - steps * interval.
        """
        return _ratio(self.jitter_ns, self.jitters)

    @property
    def mean_round_trip_ns(self) -> FloatArray:
        """Mean of (answer - probe) over single probes that were answered."""
        return _ratio(self.round_trip_ns, self.round_trips)

    def public(self, group: int) -> dict[str, Any]:
        """Return a group as the object that the API and `--json` show; unknown is None."""
        outages = self.outages[group]
        return {
            "nodes": int(self.nodes[group]),
            "alive_ns": int(self.alive_ns[group]),
            "detection_time": {
                "count": int(self.detections[group]),
                "mean_ns": whole(self.detection_time_ns[group]),
                "max_ns": whole(self.detection_max_ns[group]) if self.detections[group] else None,
                "overdue_mean_ns": whole(_ratio(self.overdue_ns, self.detections)[group]),
            },
            "exits": {
                "count": int(self.exits[group]),
                "mean_ns": whole(_ratio(self.exit_ns, self.exits)[group]),
                "max_ns": whole(self.exit_max_ns[group]) if self.exits[group] else None,
            },
            "suspicions_refuted": int(self.suspicions_refuted[group]),
            "verdicts_refuted": int(self.verdicts_refuted[group]),
            "mistake_rate_per_hour": known(self.mistake_rate[group]),
            "mistake_duration_ns": whole(self.mistake_duration_ns[group]),
            "mistake_recurrence_time_ns": whole(self.mistake_recurrence_time_ns[group]),
            "query_accuracy": known(self.query_accuracy[group]),
            "slots": int(self.slots[group]),
            "missing": int(self.missing[group]),
            "loss": known(self.loss[group]),
            "jitter_ns": whole(self.mean_jitter_ns[group]),
            "round_trip_ns": whole(self.mean_round_trip_ns[group]),
            "outages": {
                "count": int(outages.sum()),
                "open": int(self.open[group]),
                "mean_ns": whole(self.outage_ns[group] / outages.sum()) if outages.any() else None,
                "max_ns": whole(self.outage_max_ns[group]) if outages.any() else None,
                "counts": outages.astype(np.int64).tolist(),
            },
            "goal": self._compared(group),
        }

    def _compared(self, group: int) -> dict[str, Any] | None:
        """Compare with the goal, plainly: `kept`, `missed`, or `open` while too little was seen."""
        goal, found = self.goal, {}
        if goal.detect_within_ns is not None:
            count, beyond = int(self.detections[group]), int(self.beyond[group])
            found["detect_within"] = {
                "goal_ns": goal.detect_within_ns,
                "state": "missed" if beyond else "kept" if count else "open",
                "beyond": beyond,
            }
        if goal.mistakes_every_ns is not None:
            every_ns, alive_ns = goal.mistakes_every_ns, self.alive_ns[group]
            mistakes = self.mistakes[group]
            is_kept = alive_ns >= every_ns * max(mistakes, 1)
            found["mistakes_every"] = {
                "goal_ns": every_ns,
                "state": "kept" if is_kept else "missed" if mistakes else "open",
            }
        return found or None


def known(value: float) -> float | None:
    """Return a figure, None where it is not known."""
    return None if np.isnan(value) else float(value)


def whole(value: float) -> int | None:
    """Return a length of time in whole nanoseconds, None where it is not known."""
    return None if np.isnan(value) else round(float(value))


def _ratio(part: FloatArray, of: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(part, of, out=np.full(len(of), np.nan), where=of > 0)
    return ratio
