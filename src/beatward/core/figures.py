"""Figures of quality: what was counted in groups of nodes, and what follows from it by Chen.

Many nodes are rows of arrays, one node is an array of one. The measures are those of DETECTION 1.1:

    detection_time T_D   mistake_rate lambda_M   mistake_recurrence_time T_MR   mistake_duration T_M
    query_accuracy P_A

Not here: the counting (`core.quality`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import FloatArray, IntArray
from beatward.core.instants import HOUR, SECOND

# Powers of two of a second, 250 ms to 18 h; what is longer is counted beyond the last.
BOUNDS_NS = tuple((SECOND << power) // 4 for power in range(19))


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted of a node: how fast it is found, and how long is between two mistakes."""

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
        """E(T_D) at most: mean of (verdict - last word) over verdicts that were not refuted."""
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

    def at(self, group: int) -> "Figures":
        """Return one group alone."""
        one = slice(group, group + 1)
        arrays = {name: getattr(self, name)[one] for name in self.__slots__ if name != "goal"}
        return Figures(goal=self.goal, **arrays)

    def briefs(self) -> list[dict[str, Any]]:
        """Return what a node's object says of each group; unknown is None."""
        columns = {
            "suspicions_refuted": self.suspicions_refuted.astype(np.int64).tolist(),
            "verdicts_refuted": self.verdicts_refuted.astype(np.int64).tolist(),
            "query_accuracy": _listed(self.query_accuracy, known),
            "loss": _listed(self.loss, known),
            "jitter_ns": _listed(self.mean_jitter_ns, whole),
            "round_trip_ns": _listed(self.mean_round_trip_ns, whole),
            "outages": self.outages.sum(axis=1).astype(np.int64).tolist(),
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def public(self, group: int) -> dict[str, Any]:
        """Return a group as the object that the API and `--json` show; unknown is None."""
        one = self.at(group)
        outages = one.outages[0]
        count, detections, exits = outages.sum(), one.detections[0], one.exits[0]
        return {
            "nodes": int(one.nodes[0]),
            "alive_ns": int(one.alive_ns[0]),
            "detection_time": {
                "count": int(detections),
                "mean_ns": whole(one.detection_time_ns[0]),
                "max_ns": whole(one.detection_max_ns[0]) if detections else None,
                "overdue_mean_ns": whole(_ratio(one.overdue_ns, one.detections)[0]),
            },
            "exits": {
                "count": int(exits),
                "mean_ns": whole(_ratio(one.exit_ns, one.exits)[0]),
                "max_ns": whole(one.exit_max_ns[0]) if exits else None,
            },
            "suspicions_refuted": int(one.suspicions_refuted[0]),
            "verdicts_refuted": int(one.verdicts_refuted[0]),
            "mistake_rate_per_hour": known(one.mistake_rate[0]),
            "mistake_duration_ns": whole(one.mistake_duration_ns[0]),
            "mistake_recurrence_time_ns": whole(one.mistake_recurrence_time_ns[0]),
            "query_accuracy": known(one.query_accuracy[0]),
            "slots": int(one.slots[0]),
            "missing": int(one.missing[0]),
            "loss": known(one.loss[0]),
            "jitter_ns": whole(one.mean_jitter_ns[0]),
            "round_trip_ns": whole(one.mean_round_trip_ns[0]),
            "outages": {
                "count": int(count),
                "open": int(one.open[0]),
                "mean_ns": whole(one.outage_ns[0] / count) if count else None,
                "max_ns": whole(one.outage_max_ns[0]) if count else None,
                "counts": outages.astype(np.int64).tolist(),
            },
            "goal": self.compared(group) or None,
        }

    def compared(self, group: int) -> dict[str, dict[str, Any]]:
        """Compare with what is wanted, plainly: it is `kept`, `missed`, or `open`: too early."""
        goal, found = self.goal, {}
        if goal.detect_within_ns is not None:
            beyond = int(self.beyond[group])
            found["detect_within"] = {
                "goal_ns": goal.detect_within_ns,
                "state": "missed" if beyond else "kept" if self.detections[group] else "open",
                "beyond": beyond,
            }
        if goal.mistakes_every_ns is not None:
            mistakes = self.mistakes[group]
            is_kept = self.alive_ns[group] >= goal.mistakes_every_ns * max(mistakes, 1)
            found["mistakes_every"] = {
                "goal_ns": goal.mistakes_every_ns,
                "state": "kept" if is_kept else "missed" if mistakes else "open",
            }
        return found


def known(value: float) -> float | None:
    """Return a figure, None where it is not known."""
    return None if math.isnan(value) else float(value)


def whole(value: float) -> int | None:
    """Return a length of time in whole nanoseconds, None where it is not known."""
    return None if math.isnan(value) else round(float(value))


def _listed(values: FloatArray, read: Callable[[float], Any]) -> list[Any]:
    return [read(value) for value in values.tolist()]


def _ratio(part: FloatArray, of: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(part, of, out=np.full(len(of), np.nan), where=of > 0)
    return ratio
