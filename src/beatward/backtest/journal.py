"""Quality once more from the journal: what a session forgets, and how it was before this one.

The rules are those of `core.quality`, one event after the other. The journal knows no heartbeats,
so loss, jitter and round trips stay unknown, and instants are as exact as it writes them. While a
monitor is away nodes count as they stood. Not here: the formulas (`core.figures`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from beatward.core.figures import BOUNDS_NS, Figures, Goal
from beatward.core.instants import MICROSECOND, SECOND

TRUSTED = ("alive", "failing", "recovering")
SUSPECTED = ("suspect", "dead")
_COUNTS = [name for name in Figures.__slots__ if name not in ("goal", "nodes", "outages")]


@dataclass(slots=True)
class _Node:
    """What is known of one node: what was counted, and what is open.

    since_ns    when its status began, or the journal's stretch if that was later
    begun_ns    when its suspicion began, 0: it is not suspected; is_same_life since then
    silent_ns   since when it is silent and suspected for it, 0: it is not
    found_ns, late_ns   silence and time overdue at the verdict that stands
    """

    since_ns: int
    status: str = "new"
    begun_ns: int = 0
    is_same_life: bool = True
    has_lives: bool = True
    silent_ns: int = 0
    found_ns: int = 0
    late_ns: int = 0
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0.0))
    outages: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_NS) + 1))


class Past:
    """Takes events in their order, as the API shows them, and counts from an instant on."""

    def __init__(self, begin_ns: int, goal: Goal) -> None:
        self._begin_ns = begin_ns
        self._goal = goal
        self._nodes: dict[str, _Node] = {}
        self._jobs: set[str] = set()

    @property
    def names(self) -> tuple[str, ...]:
        """Everybody of whom something is known."""
        return tuple(self._nodes)

    def take(self, event: Mapping[str, Any]) -> None:
        """Take one event."""
        name = event["node"]
        if name is None:
            return
        at_ns = instant_ns(event["at"])
        node = self._nodes.get(name)
        match event["event"]:
            case "joined":
                node = self._nodes.setdefault(name, _Node(at_ns))
                node.status, node.since_ns = "new", at_ns
            case "life" if node is not None:
                node.is_same_life = False
            case "transition" if "schedule" in event["detail"]:
                # A job: a calendar judged it, see `core.quality`.
                self._nodes.pop(name, None)
                self._jobs.add(name)
            case "transition":
                if node is None:
                    node = self._nodes[name] = _Node(self._begin_ns)
                self._change(node, event, at_ns)
            case "forgotten" if node is not None:
                self._stand(node, node.status, at_ns)
                self._drop(node)
                node.status = "forgotten"

    def stand(self, name: str, status: str, since_ns: int) -> None:
        """Note how a node stands at the end, of which the stretch may hold no event at all."""
        if name not in self._jobs:
            node = self._nodes.setdefault(name, _Node(max(since_ns, self._begin_ns)))
            node.status = status

    def figures(self, end_ns: int, groups: Mapping[str, int], count: int) -> Figures:
        """Add up to an instant; `groups` has the group of each node that counts, below `count`."""
        sums = {name: np.zeros(count) for name in ("nodes", *_COUNTS)}
        outages = np.zeros((count, len(BOUNDS_NS) + 1))
        for name, node in self._nodes.items():
            if name not in groups:
                continue
            group = groups[name]
            sums["nodes"][group] += node.status != "forgotten"
            sums["open"][group] += node.silent_ns > 0
            for key, value in self._counted(node, end_ns).items():
                add = np.maximum if key.endswith("_max_ns") else np.add
                sums[key][group] = add(sums[key][group], value)
            outages[group] += node.outages
        # The journal says that an exit was told, and not how long before.
        sums["exit_ns"][:] = sums["exit_max_ns"][:] = np.nan
        return Figures(goal=self._goal, outages=outages, **sums)

    def _counted(self, node: _Node, end_ns: int) -> dict[str, float]:
        counts = dict(node.counts)
        if node.status in TRUSTED:
            counts["trusted_ns"] += max(end_ns - max(node.since_ns, self._begin_ns), 0)
        self._add_detection(counts, node)
        return counts

    def _stand(self, node: _Node, before: str, at_ns: int) -> None:
        if before in TRUSTED:
            node.counts["trusted_ns"] += max(at_ns - max(node.since_ns, self._begin_ns), 0)
        node.since_ns = at_ns

    def _change(self, node: _Node, event: Mapping[str, Any], at_ns: int) -> None:
        detail, after = event["detail"], event["status"]
        before = detail["before"]
        self._stand(node, before, at_ns)
        node.status = after
        is_exit = event["cause"] == "exited"
        if before == "new" and after == "alive":
            return
        if is_exit or (before in SUSPECTED and after not in (*SUSPECTED, "paused")):
            self._close(node, at_ns, is_verdict=before == "dead")
        if after == "paused":
            self._drop(node)
        if is_exit:
            node.counts["exits"] += 1
            node.silent_ns = at_ns
        elif after in SUSPECTED:
            self._open(node, detail, at_ns)
            if after == "dead" and detail["silent_ns"]:
                node.found_ns, node.late_ns = detail["silent_ns"], max(detail["overdue_ns"], 0)

    def _open(self, node: _Node, detail: Mapping[str, Any], at_ns: int) -> None:
        if node.begun_ns:
            return
        node.begun_ns = at_ns
        node.is_same_life = True
        node.has_lives = detail["via"] != "ping"
        node.silent_ns = at_ns - detail["silent_ns"] if detail["silent_ns"] else 0

    def _close(self, node: _Node, at_ns: int, *, is_verdict: bool) -> None:
        knows = node.has_lives or (not is_verdict and node.silent_ns > 0)
        if node.begun_ns and node.is_same_life and knows:
            node.counts["verdicts_refuted" if is_verdict else "suspicions_refuted"] += 1
            node.counts["mistaken_ns"] += at_ns - node.begun_ns
            node.found_ns = node.late_ns = 0
        if node.silent_ns:
            length_ns = at_ns - node.silent_ns
            node.counts["outage_ns"] += length_ns
            node.counts["outage_max_ns"] = max(node.counts["outage_max_ns"], length_ns)
            node.outages[int(np.searchsorted(BOUNDS_NS, length_ns))] += 1
        self._drop(node)

    def _drop(self, node: _Node) -> None:
        self._add_detection(node.counts, node)
        node.begun_ns = node.silent_ns = node.found_ns = node.late_ns = 0

    def _add_detection(self, counts: dict[str, float], node: _Node) -> None:
        if not node.found_ns:
            return
        goal_ns = self._goal.detect_within_ns
        counts["detections"] += 1
        counts["detection_ns"] += node.found_ns
        counts["overdue_ns"] += node.late_ns
        counts["detection_max_ns"] = max(counts["detection_max_ns"], node.found_ns)
        counts["beyond"] += goal_ns is not None and node.found_ns > goal_ns


def instant_ns(text: str) -> int:
    """Read an instant as the API writes it: nanoseconds since 1970 UTC."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * SECOND + moment.microsecond * MICROSECOND
