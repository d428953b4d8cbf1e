"""What the monitor holds to be true at one instant, copied, for readers: API and metrics.

The wheel takes a snapshot and publishes it; readers in other threads never touch the live rooms.
The copies are the rooms themselves with their arrays cut to the slots in use, so explanations are
made by the same code as in a verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import IntArray
from beatward.core.explanation import gather, numbers, sentence
from beatward.core.pace import PaceReport
from beatward.core.roles.views import ServiceView
from beatward.core.speakers import Speaker
from beatward.core.state import State


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Row i of every array is slot i; a row whose name is empty is free.

    state      a copy of all that was held to be true, of its own
    taken_ns   the watermark it stands for, on the monitor's clock
    wall_offset_ns   add it to an instant to get nanoseconds since 1970 UTC
    counters   what was counted since the session began; `rejects` by reason
    pace       None where no node is asked for another interval
    guarded    names of destructive actions that wait at the gate, by node; not of very many
    services   by name, in order, each with its members in order of their nodes
    roles      how often what became of a role since the session began, by cause
    speakers   of datagrams from nodes that are not enrolled, or have another key
    """

    state: State
    taken_ns: int
    wall_offset_ns: int
    session: int
    turns: int
    sequence: int
    journaled: int
    counters: Mapping[str, int]
    rejects: Mapping[str, int]
    outbox: Mapping[str, int]
    guarded: Mapping[str, tuple[str, ...]]
    pace: PaceReport | None = None
    services: Mapping[str, ServiceView] = field(default_factory=dict)
    roles: Mapping[str, int] = field(default_factory=dict)
    speakers: tuple[Speaker, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """The name in each row."""
        return self.state.registry.names

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """(n,) numbers of `membership.Status`."""
        return self.state.membership.status

    @property
    def cause(self) -> npt.NDArray[np.uint8]:
        """(n,) numbers of `membership.Cause`."""
        return self.state.membership.cause

    @property
    def since_ns(self) -> IntArray:
        """(n,) instants of the last change of status."""
        return self.state.membership.since_ns

    @property
    def tags(self) -> str:
        """How the machine checks tags, see `core.tags`."""
        return self.state.registry.tags.name

    @property
    def labels(self) -> Mapping[int, Mapping[str, str]]:
        """The labels of the rows that have any."""
        return self.state.registry.labels

    def rows(self) -> IntArray:
        """Return the rows that hold a node."""
        return np.flatnonzero(self.state.registry.node)

    def find(self, name: str) -> int:
        """Return the row of a name, or -1."""
        return self.state.registry.slot_of(name)

    def explain(self, row: int) -> tuple[str, dict[str, Any]]:
        """Return the sentence and the numbers behind a row's status, as of this snapshot."""
        (facts,) = gather(self.state, np.array([row]), self.taken_ns)
        guarded = self.guarded.get(facts.node, ())
        words = f"; waiting: {', '.join(guarded)}" if guarded else ""
        return sentence(facts) + words, {**numbers(facts), "actions_guarded": list(guarded)}


def freeze(state: State) -> State:
    """Return the state as it is, of one instant, without secrets.

    Of a node that is well 110 bytes are copied: what each heartbeat writes. What is written seldom
    is shared until it is written (`Rows.own`), and a column of zeros takes no memory.
    """
    count = state.registry.count
    registry, membership = state.registry.freeze(), state.membership.cut(count)
    return replace(
        state,
        registry=registry,
        membership=membership,
        detector=state.detector.cut(count),
        quality=state.quality.freeze(registry, membership),
        upkeep=state.upkeep.copy(),
        jobs=state.jobs.copy(),
        holds=tuple(replace(hold, group=hold.group.copy()) for hold in state.holds),
        offers=state.offers.copy(),
        reports=state.reports.copy(),
    )
