"""What operators, the API and drivers ask of the machine, one order after the other.

    Order -> registry, membership, detector, upkeep -> entries of the ledger

An order for somebody who is not there does nothing: whoever asked was told so by the API, or it
was forgotten in the moment between. What concerns many nodes is done by and by, BULK_MAX of them a
turn, because words and entries take time and heartbeats do not wait; of pauses and resumptions the
order is kept. Not here: who may order (`web.access`).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from beatward.core.entry import (
    Acknowledgement,
    Declaration,
    Event,
    JobPlan,
    Maintenance,
    Silence,
)
from beatward.core.explanation import credit
from beatward.core.failover import Role
from beatward.core.instants import NEVER, format_duration
from beatward.core.intake import IntArray
from beatward.core.job_words import said
from beatward.core.jobs import Jobs
from beatward.core.ledger import Ledger
from beatward.core.mass import MassGuard
from beatward.core.mass_entries import MassEntries
from beatward.core.membership import Cause, Status
from beatward.core.outbox import Outbox
from beatward.core.protocol.report import SelfReport
from beatward.core.roles import Fact
from beatward.core.services import Services
from beatward.core.state import State
from beatward.core.switching import fail_over, force, pause, switch_over
from beatward.core.upkeep import ALARMED, SILENCES_MAX
from beatward.core.voice import Voice

# A pause takes about 50 us with its words and its entry.
BULK_MAX = 200
_NO_LABELS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator, the API or a driver asks of the machine.

    kind     `join` (enrol or enrol again), `readmit` (the same by the node's own key, which does
             not bring back what was forgotten), `forget`, `mail` (tell an agent that an action
             waits for it), `pause`, `resume`, `acknowledge`, `unacknowledge`, `silence`,
             `unsilence`, `lift` (end what a mass failure holds back), `declare` (the services of a
             node), `report` (what a node says of itself), `switchover`, `failover`,
             `pause_service`, `resume_service`
    name     of the node; silence: a pattern of names; lift: of a zone, empty for all; of the
             service, where one is meant
    names    pause and resume: of many nodes, in place of `name`
    labels   join: of the node; silence: those that a node must have
    relabels join: no labels means none, and not those of before
    for_ns   pause, pause_service and silence: how long from now on
    id       silence and unsilence: what it is called
    by, words   who asks, and why
    actions  silence: repairs are held too
    job      join: what it promises, if it is a job; a node that is known becomes one
    services   declare: all that the node offers, in place of what it offered before
    to       switchover and failover: the node that is to have the role; empty: the best
    force    failover: whatever the machine is unsure of
    report   report: a reason and metrics, in place of those of before
    """

    kind: str
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    relabels: bool = False
    names: tuple[str, ...] = ()
    for_ns: int = NEVER
    id: str = ""
    by: str = ""
    words: str = ""
    actions: bool = False
    job: JobPlan | None = None
    services: tuple[Declaration, ...] = ()
    to: str = ""
    force: bool = False
    report: SelfReport | None = None


@dataclass(slots=True)
class _Bulk:
    """Pauses or resumptions under way; of the latter `maintenance` says only who ends it."""

    names: tuple[str, ...]
    maintenance: Maintenance
    is_pause: bool
    done_count: int = 0


class Orders:
    """Obeys; keeps what cannot be done in one turn."""

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        outbox: Outbox,
        *,
        mass: MassGuard,
        mass_entries: MassEntries,
        jobs: Jobs,
        services: Services,
        voice: Voice,
        start_grace_ns: int,
    ) -> None:
        self._state = state
        self._registry = state.registry
        self._membership = state.membership
        self._detector = state.detector
        self._upkeep = state.upkeep
        self._ledger = ledger
        self._outbox = outbox
        self._mass = mass
        self._mass_entries = mass_entries
        self._jobs = jobs
        self._services = services
        self._voice = voice
        self._start_grace_ns = start_grace_ns
        self._bulks: deque[_Bulk] = deque()
        self._reviewed: deque[str] = deque()  # nodes of which something may be let go
        self.refused_count = 0

    def obey(self, orders: Sequence[Order], now_ns: int) -> None:
        """Do what is asked, and a turn's share of what is under way; call it every turn.

        An order of no known kind does nothing.
        """
        for is_join, together in groupby(orders, key=_is_join):
            if is_join:
                joins = [one for one in together if self._may_join(one)]
                if joins:
                    self._join(joins, now_ns)
                continue
            for order in together:
                self._obey(order, now_ns)
        self._go_on(now_ns)
        self._end_silences(now_ns)
        for _ in range(min(len(self._reviewed), BULK_MAX)):
            self._ledger.review(self._reviewed.popleft(), now_ns)

    def next_ns(self) -> int:
        """Return when there is something to do without an order, or NEVER; 0: at once."""
        return 0 if self._bulks or self._reviewed else self._upkeep.next_end_ns()

    def end_maintenance(self, slots: IntArray, now_ns: int) -> None:
        """Watch paused slots (k,) again; each has a whole grace from now."""
        if not len(slots):
            return
        changes = self._membership.apply(slots, Cause.RESUME, now_ns)
        watched = np.array([change.slot for change in changes], np.int64)
        self._membership.plan(watched, now_ns + self.grace_ns(watched))
        for slot in watched[self._jobs.among(watched)].tolist():
            self._jobs.watch(slot)
        self._ledger.record_changes(changes)

    def _obey(self, order: Order, now_ns: int) -> None:
        match order.kind:
            case "pause" | "resume":
                until_ns = NEVER if order.for_ns == NEVER else now_ns + order.for_ns
                maintenance = Maintenance(until_ns, order.by, order.words)
                names = order.names or (order.name,)
                self._bulks.append(_Bulk(names, maintenance, order.kind == "pause"))
            case "switchover" | "failover" | "pause_service" | "resume_service":
                role = self._services.roles.get(order.name)
                if role is not None:
                    self._obey_for_role(order, role, now_ns)
            case "lift":
                self._mass.lift(order.name)
            case "silence":
                self._silence(order, now_ns)
            case "unsilence":
                words = f"was ended{credit(order.by, order.words)}"
                self._unsilence(order.id, words, now_ns)
            case _:
                slot = self._registry.slot_of(order.name)
                if slot >= 0:  # else it was forgotten since it was asked
                    self._obey_for_one(order, slot, now_ns)

    def _obey_for_one(self, order: Order, slot: int, now_ns: int) -> None:
        match order.kind:
            case "forget":
                self._forget(slot, now_ns)
            case "declare":
                self._services.declare(slot, order.services, now_ns)
            case "report" if order.report is not None:
                self._state.note_report(slot, order.report)
            case "mail":
                self._voice.probe(np.array([slot]), np.array([self._voice.session]), mail=True)
            case "acknowledge":
                self._acknowledge(order, slot, now_ns)
            case "unacknowledge":
                self._unacknowledge(order, slot, now_ns)

    def _obey_for_role(self, order: Order, role: Role, now_ns: int) -> None:
        who = credit(order.by, order.words)
        fact: Fact | None
        match order.kind:
            case "switchover":
                fact = switch_over(role, order.to, who, now_ns)
            case "failover" if order.force:
                fact = force(role, order.to, who, now_ns)
            case "failover":
                fact = fail_over(role, order.to, who)
            case "pause_service":
                until_ns = NEVER if order.for_ns == NEVER else now_ns + order.for_ns
                fact = pause(role, Maintenance(until_ns, order.by, order.words), now_ns)
            case _:
                fact = role.resume(order.by, now_ns)
        if fact is not None:
            self._services.record(role, fact, now_ns)

    def _go_on(self, now_ns: int) -> None:
        rest = BULK_MAX
        while self._bulks and rest > 0:
            bulk = self._bulks[0]
            share = bulk.names[bulk.done_count : bulk.done_count + rest]
            slots = np.unique([self._registry.slot_of(name) for name in share])
            slots = slots[slots >= 0]
            if bulk.is_pause:
                self._pause(slots, bulk.maintenance, now_ns)
            else:
                self._resume(slots, bulk.maintenance.by, now_ns)
            bulk.done_count += len(share)
            rest -= len(share)
            if bulk.done_count == len(bulk.names):
                self._bulks.popleft()

    def _end_silences(self, now_ns: int) -> None:
        if self._upkeep.next_end_ns() <= now_ns:
            ended = [one for one in self._upkeep.silences.values() if one.until_ns <= now_ns]
            for one in ended:
                self._unsilence(one.id, "has ended: its time is over", now_ns)

    def grace_ns(self, slots: IntArray) -> IntArray:
        """Return how long slots (k,) have until their silence counts."""
        return self._registry.grace_ns(slots, self._start_grace_ns)

    def _may_join(self, order: Order) -> bool:
        # Asked between the forgetting and its being on disk, where `web.declaring` looks.
        is_refused = order.kind == "readmit" and self._registry.was_forgotten(order.name)
        self.refused_count += is_refused
        return not is_refused

    def _join(self, orders: Sequence[Order], now_ns: int) -> None:
        slots, is_new = self._registry.enrol_all([order.name for order in orders])
        # Two names of one identity: by chance never, by somebody's effort perhaps. It must not end
        # the monitor; the second name stays unknown.
        self.refused_count += int(np.count_nonzero(slots < 0))
        self._state.make_room()
        new = slots[is_new]
        labelled = []
        for slot, order in zip(slots.tolist(), orders, strict=True):
            speaks = bool(order.labels) or order.relabels
            known = self._registry.labels.get(slot, _NO_LABELS)
            if slot >= 0 and speaks and known != order.labels:
                self._registry.label(slot, order.labels)
                self._services.relabel(slot)
                labelled.append(slot)
        self._state.quality.enrol(new)
        self._detector.forget(new)
        due_ns = now_ns + self._start_grace_ns
        self._membership.place(new, Status.NEW, Cause.ENROLLED, since_ns=now_ns, due_ns=due_ns)
        self._ledger.record_joined(new, now_ns)
        for slot in np.setdiff1d(np.array(labelled, np.int64), new).tolist():
            words = f"{self._registry.names[slot]} was enrolled again, with other labels"
            self._ledger.record_node(Event.LABELLED, slot, now_ns, words)

        for slot, order in zip(slots.tolist(), orders, strict=True):
            if slot >= 0 and order.job is not None:
                self._declare(slot, order.job, now_ns)

    def _declare(self, slot: int, plan: JobPlan, now_ns: int) -> None:
        if self._membership.status[slot] == Status.LEFT:
            # From now on it is expected again.
            slots = np.array([slot])
            self._membership.place(slots, Status.NEW, Cause.ENROLLED, since_ns=now_ns, due_ns=NEVER)
        if self._jobs.declare(slot, plan, now_ns):
            name = self._registry.names[slot]
            self._ledger.record_node(Event.JOB, slot, now_ns, f"{name} is a job: {said(plan)}")

    def _pause(self, slots: IntArray, maintenance: Maintenance, now_ns: int) -> None:
        already = slots[self._membership.status[slots] == Status.PAUSED]
        self._upkeep.maintenance.update(dict.fromkeys(slots.tolist(), maintenance))
        changes = self._membership.apply(slots, Cause.PAUSE, now_ns)
        self._membership.plan(slots, maintenance.until_ns)
        self._ledger.record_changes(changes)
        left = "until somebody ends it"
        if maintenance.until_ns != NEVER:
            left = f"for another {format_duration(maintenance.until_ns - now_ns)}"
        who = credit(maintenance.by, maintenance.reason)
        for slot in already.tolist():
            words = f"{self._registry.names[slot]} stays paused {left}{who}"
            self._ledger.record_node(Event.MAINTENANCE, slot, now_ns, words)

    def _resume(self, slots: IntArray, by: str, now_ns: int) -> None:
        paused = slots[self._membership.status[slots] == Status.PAUSED]
        maintenance = self._upkeep.maintenance
        for slot in paused.tolist() if by else ():
            maintenance[slot] = replace(maintenance.get(slot, Maintenance()), ended_by=by)
        self.end_maintenance(paused, now_ns)

    def _acknowledge(self, order: Order, slot: int, now_ns: int) -> None:
        status = Status(self._membership.status[slot])
        if status not in ALARMED:
            return  # it is over by now
        known = Acknowledgement(now_ns, status.word, order.by, order.words)
        self._upkeep.acknowledged[slot] = known
        who = credit(known.by, known.note)
        words = f"the alarm of {order.name}, which is {status.word}, was acknowledged{who}"
        self._ledger.record_node(Event.ACKNOWLEDGED, slot, now_ns, words)
        self._ledger.drop_known(slot, now_ns)

    def _unacknowledge(self, order: Order, slot: int, now_ns: int) -> None:
        if self._upkeep.acknowledged.pop(slot, None) is not None:
            who = credit(order.by, order.words)
            words = f"the alarm of {order.name} is not acknowledged any more{who}"
            self._ledger.record_node(Event.UNACKNOWLEDGED, slot, now_ns, words)

    def _silence(self, order: Order, now_ns: int) -> None:
        silences = self._upkeep.silences
        if order.id in silences or len(silences) >= SILENCES_MAX:
            self.refused_count += 1
            return
        until_ns = now_ns + order.for_ns
        silence = Silence(
            order.id,
            now_ns,
            until_ns,
            order.name,
            dict(order.labels),
            order.actions,
            order.by,
            order.words,
        )
        silences[order.id] = silence
        what = "notifications and repairs" if order.actions else "notifications"
        self._ledger.record(
            Event.SILENCED,
            now_ns,
            explanation=f"silence {order.id}: {what} about {described(silence)} are held for "
            f"{format_duration(order.for_ns)}{credit(order.by, order.words)}",
            detail={"silence": order.id, "for_ns": order.for_ns, "actions": order.actions},
            silence=silence,
        )

    def _unsilence(self, name: str, words: str, now_ns: int) -> None:
        silence = self._upkeep.silences.pop(name, None)
        if silence is None:
            return
        self._ledger.record(
            Event.UNSILENCED,
            now_ns,
            explanation=f"silence {name} about {described(silence)} {words}",
            detail={"silence": name},
            silence=silence,
        )
        self._reviewed.extend(self._outbox.held_nodes())

    def _forget(self, slot: int, now_ns: int) -> None:
        self._mass_entries.leave(slot, now_ns)
        name = self._registry.names[slot]
        self._state.quality.forget(slot, now_ns)
        self._membership.place(
            np.array([slot]), Status.NEW, Cause.ENROLLED, since_ns=0, due_ns=NEVER
        )
        self._detector.forget(np.array([slot]))
        self._upkeep.forget(slot)
        self._state.forget_report(slot)
        self._jobs.drop(slot)
        self._services.forget(slot)
        self._registry.forget(slot)
        words = f"{name} was removed on request"
        for settled in self._outbox.withdraw(name, words) + self._outbox.drop_held(name, words):
            self._ledger.record_settled(settled, now_ns)
        self._ledger.record(Event.FORGOTTEN, now_ns, node=name, explanation=words)


def _is_join(order: Order) -> bool:
    return order.kind in ("join", "readmit")


def described(silence: Silence) -> str:
    """Say whom a silence is about: `web-*`, `all nodes with zone=a`, `everything`."""
    labels = " ".join(f"{key}={value}" for key, value in sorted(silence.labels.items()))
    if silence.nodes == "*":
        return f"all nodes with {labels}" if labels else "everything"
    return f"{silence.nodes} with {labels}" if labels else silence.nodes
