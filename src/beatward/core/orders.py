"""What operators, the API and drivers ask of the machine, one order after the other.

    Order -> registry, membership, detector -> entries of the ledger

An order for somebody who is not there does nothing: whoever asked was told so by the API, or it
was forgotten in the moment between. Not here: who may order (`web.access`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from beatward.core.entry import Event
from beatward.core.instants import NEVER
from beatward.core.intake import IntArray
from beatward.core.ledger import Ledger
from beatward.core.membership import Cause, Status
from beatward.core.outbox import Outbox
from beatward.core.voice import Voice


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator, the API or a driver asks of the machine.

    kind    `join` (enrol or enrol again), `pause`, `resume`, `forget`, or `mail` (tell an agent
            that an action waits for it)
    """

    kind: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


class Orders:
    """Obeys; holds nothing but what it was made with and a count."""

    def __init__(
        self, ledger: Ledger, outbox: Outbox, *, voice: Voice, start_grace_ns: int
    ) -> None:
        self._registry = ledger.rooms.registry
        self._membership = ledger.rooms.membership
        self._detector = ledger.rooms.detector
        self._ledger = ledger
        self._outbox = outbox
        self._voice = voice
        self._start_grace_ns = start_grace_ns
        self.refused_count = 0

    def obey(self, orders: Sequence[Order], now_ns: int) -> None:
        """Do what is asked, and write it down; an order of no known kind does nothing."""
        for is_join, together in groupby(orders, key=_is_join):
            if is_join:
                self._join(tuple(together), now_ns)
                continue
            for order in together:
                self._obey(order, now_ns)

    def _obey(self, order: Order, now_ns: int) -> None:
        slot = self._registry.slot_of(order.name)
        if slot < 0:
            return  # forgotten since it was asked: the API has said 404 to whoever asked later
        match order.kind:
            case "pause":
                self._change(slot, Cause.PAUSE, now_ns)
            case "resume":
                self._resume(slot, now_ns)
            case "forget":
                self._forget(slot, now_ns)
            case "mail":
                self._voice.probe(np.array([slot]), np.array([self._voice.session]), mail=True)

    def make_room(self) -> None:
        """Let every array have the registry's capacity."""
        if self._membership.status.shape[0] < self._registry.capacity:
            self._membership.grow(self._registry.capacity)
            self._detector.grow(self._registry.capacity)

    def grace_ns(self, slots: IntArray) -> IntArray:
        """Return how long slots (k,) have until their silence counts."""
        # Twice a long interval, or else a node that beats once an hour would never make it.
        return np.maximum(self._start_grace_ns, 2 * self._registry.interval_ns(slots))

    def _join(self, orders: Sequence[Order], now_ns: int) -> None:
        slots, is_new = self._registry.enrol_all([order.name for order in orders])
        # Two names of one identity: by chance never, by somebody's effort perhaps. It must not end
        # the monitor; the second name stays unknown.
        self.refused_count += int(np.count_nonzero(slots < 0))
        self.make_room()
        for slot, order in zip(slots.tolist(), orders, strict=True):
            if slot >= 0 and order.labels:
                self._registry.labels[slot] = dict(order.labels)
        new = slots[is_new]
        self._detector.forget(new)
        due_ns = now_ns + self._start_grace_ns
        self._membership.place(new, Status.NEW, Cause.ENROLLED, since_ns=now_ns, due_ns=due_ns)
        self._ledger.record_joined(new, now_ns)

    def _resume(self, slot: int, now_ns: int) -> None:
        self._change(slot, Cause.RESUME, now_ns)
        if self._membership.status[slot] == Status.NEW:
            slots = np.array([slot])
            self._membership.due_ns[slots] = now_ns + self.grace_ns(slots)

    def _forget(self, slot: int, now_ns: int) -> None:
        name = self._registry.names[slot]
        self._membership.place(
            np.array([slot]), Status.NEW, Cause.ENROLLED, since_ns=0, due_ns=NEVER
        )
        self._detector.forget(np.array([slot]))
        self._registry.forget(slot)
        for settled in self._outbox.withdraw(name, f"{name} was removed on request"):
            self._ledger.record_settled(settled, now_ns)
        self._ledger.record(
            Event.FORGOTTEN, now_ns, node=name, explanation=f"{name} was removed on request"
        )

    def _change(self, slot: int, cause: Cause, now_ns: int) -> None:
        self._ledger.record_changes(self._membership.apply(np.array([slot]), cause, now_ns))


def _is_join(order: Order) -> bool:
    return order.kind == "join"
