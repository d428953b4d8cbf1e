"""What operators, the API and drivers ask of the machine, one order after the other.

    Order -> registry, membership, detector, upkeep -> entries of the ledger

An order about a node or a service that is not known does nothing: the API has refused it, or the
node was forgotten in the moment between. What concerns many nodes is done by and by, BULK_MAX of
them a turn, because sentences and entries take time and heartbeats do not wait; of pauses and
resumptions the order is kept. Not here: who may order (`web.access`).
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.entry import Acknowledgement, Event, JobPlan, Maintenance, Silence
from beatward.core.explanation import credit
from beatward.core.instants import NEVER, format_duration
from beatward.core.job_words import plan_text
from beatward.core.jobs import Jobs
from beatward.core.ledger import Ledger
from beatward.core.mass import MassGuard
from beatward.core.mass_entries import MassEntries
from beatward.core.membership import Cause, Status
from beatward.core.order_kinds import (
    Acknowledge,
    AddSilence,
    Declare,
    EndSilence,
    FailOver,
    Forget,
    Join,
    Lift,
    NodeOrder,
    NoteReport,
    NotifyAgent,
    Order,
    Pause,
    PauseService,
    Readmit,
    Resume,
    ResumeService,
    Revoke,
    ServiceOrder,
    SwitchOver,
    Unacknowledge,
)
from beatward.core.outbox import Outbox
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.phases import RoleEvent
from beatward.core.services import Services
from beatward.core.state import State
from beatward.core.upkeep import ALARMED, SILENCES_MAX
from beatward.core.voice import Voice

# A pause takes about 50 us with its words and its entry.
BULK_MAX = 200
_NO_LABELS: Mapping[str, str] = {}


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
        # The tables of handlers stand here together, which is why this is long.
        self._for_node: dict[type[NodeOrder], Callable[[Any, int, int], None]] = {
            Forget: self._forget,
            Declare: self._declare_services,
            NoteReport: self._note_report,
            NotifyAgent: self._notify_agent,
            Acknowledge: self._acknowledge,
            Unacknowledge: self._unacknowledge,
        }
        self._for_service: dict[
            type[ServiceOrder], Callable[[Any, RoleMachine, int], RoleEvent | None]
        ] = {
            SwitchOver: _switch_over,
            FailOver: _fail_over,
            PauseService: _pause_service,
            ResumeService: _resume_service,
        }
        self._for_many: dict[type, Callable[[Any, int], None]] = {
            Pause: self._begin_pause,
            Resume: self._begin_resumption,
            AddSilence: self._silence,
            EndSilence: self._end_silence,
            Lift: self._lift,
            Revoke: self._revoke,
        }

    def obey(self, orders: Sequence[Order], now_ns: int) -> None:
        """Do what is asked, and a turn's share of what is under way; call it every turn.

        Raises KeyError for an order of no known kind.
        """
        for is_join, together in groupby(orders, key=lambda order: isinstance(order, Join)):
            if is_join:
                joins = [one for one in together if isinstance(one, Join) and self._may_join(one)]
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
        if isinstance(order, NodeOrder):
            handle = self._for_node[type(order)]
            slot = self._registry.slot_of(order.name)
            if slot >= 0:  # else it was forgotten since it was asked
                handle(order, slot, now_ns)
        elif isinstance(order, ServiceOrder):
            decide = self._for_service[type(order)]
            role = self._services.roles.get(order.service)
            event = None if role is None else decide(order, role, now_ns)
            if role is not None and event is not None:
                self._services.record(role, event, now_ns)
        else:
            self._for_many[type(order)](order, now_ns)

    def _begin_pause(self, order: Pause, now_ns: int) -> None:
        maintenance = Maintenance(_end_ns(order.for_ns, now_ns), order.by, order.reason)
        self._bulks.append(_Bulk(order.names, maintenance, is_pause=True))

    def _begin_resumption(self, order: Resume, _now_ns: int) -> None:
        self._bulks.append(_Bulk(order.names, Maintenance(by=order.by), is_pause=False))

    def _lift(self, order: Lift, now_ns: int) -> None:
        self._mass.lift(order.zone)
        # An order after this one may remove a node that its end names.
        self._mass_entries.take(now_ns)

    def _end_silence(self, order: EndSilence, now_ns: int) -> None:
        self._unsilence(order.id, f"was ended{credit(order.by, '')}", now_ns)

    def _declare_services(self, order: Declare, slot: int, now_ns: int) -> None:
        self._services.declare(slot, order.services, now_ns)

    def _note_report(self, order: NoteReport, slot: int, _now_ns: int) -> None:
        self._state.note_report(slot, order.report)

    def _notify_agent(self, _order: NotifyAgent, slot: int, _now_ns: int) -> None:
        self._voice.probe(np.array([slot]), np.array([self._voice.session]), mail=True)

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

    def _may_join(self, order: Join) -> bool:
        # Asked between the forgetting and its being on disk, where `web.declaring` looks.
        is_refused = isinstance(order, Readmit) and self._registry.was_forgotten(order.name)
        self.refused_count += is_refused
        return not is_refused

    def _join(self, orders: Sequence[Join], now_ns: int) -> None:
        slots, is_new = self._registry.enrol_all([order.name for order in orders])
        # Two names of one identity: by chance never, by effort perhaps. It must not end
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
            text = f"{self._registry.names[slot]} was enrolled again, with other labels"
            self._ledger.record_node(Event.LABELLED, slot, now_ns, text)

        for slot, order in zip(slots.tolist(), orders, strict=True):
            if slot >= 0 and order.replaced_by:
                words = f"{order.name} was enrolled again from {order.replaced_by}, without its key"
                self._ledger.record_node(Event.REPLACED, slot, now_ns, words)
            if slot >= 0 and order.job is not None:
                self._declare(slot, order.job, now_ns)

    def _declare(self, slot: int, plan: JobPlan, now_ns: int) -> None:
        if self._membership.status[slot] == Status.LEFT:
            # From now on it is expected again.
            slots = np.array([slot])
            self._membership.place(slots, Status.NEW, Cause.ENROLLED, since_ns=now_ns, due_ns=NEVER)
        if self._jobs.declare(slot, plan, now_ns):
            name = self._registry.names[slot]
            self._ledger.record_node(Event.JOB, slot, now_ns, f"{name} is a job: {plan_text(plan)}")

    def _pause(self, slots: IntArray, maintenance: Maintenance, now_ns: int) -> None:
        already = slots[self._membership.status[slots] == Status.PAUSED]
        self._upkeep.pause(slots, maintenance)
        changes = self._membership.apply(slots, Cause.PAUSE, now_ns)
        self._membership.plan(slots, maintenance.until_ns)
        self._ledger.record_changes(changes)
        left = "until an operator ends it"
        if maintenance.until_ns != NEVER:
            left = f"for another {format_duration(maintenance.until_ns - now_ns)}"
        who = credit(maintenance.by, maintenance.reason)
        for slot in already.tolist():
            text = f"{self._registry.names[slot]} stays paused {left}{who}"
            self._ledger.record_node(Event.MAINTENANCE, slot, now_ns, text)

    def _resume(self, slots: IntArray, by: str, now_ns: int) -> None:
        paused = slots[self._membership.status[slots] == Status.PAUSED]
        if by:
            self._upkeep.resume(paused, by)
        self.end_maintenance(paused, now_ns)

    def _acknowledge(self, order: Acknowledge, slot: int, now_ns: int) -> None:
        status = Status(self._membership.status[slot])
        if status not in ALARMED:
            return  # it is over by now
        known = Acknowledgement(now_ns, status.word, order.by, order.note)
        self._upkeep.acknowledge(slot, known)
        who = credit(known.by, known.note)
        text = f"the alarm of {order.name}, which is {status.word}, was acknowledged{who}"
        self._ledger.record_node(Event.ACKNOWLEDGED, slot, now_ns, text)
        self._ledger.drop_known(slot, now_ns)

    def _unacknowledge(self, order: Unacknowledge, slot: int, now_ns: int) -> None:
        if self._upkeep.unacknowledge(slot):
            who = credit(order.by, "")
            text = f"the alarm of {order.name} is not acknowledged any more{who}"
            self._ledger.record_node(Event.UNACKNOWLEDGED, slot, now_ns, text)

    def _silence(self, order: AddSilence, now_ns: int) -> None:
        silences = self._upkeep.silences
        if order.id in silences or len(silences) >= SILENCES_MAX:
            self.refused_count += 1
            return
        until_ns = now_ns + order.for_ns
        silence = Silence(
            order.id,
            now_ns,
            until_ns,
            order.nodes,
            dict(order.labels),
            order.actions,
            order.by,
            order.reason,
        )
        self._upkeep.begin_silence(silence)
        what = "notifications and repairs" if order.actions else "notifications"
        self._ledger.record(
            Event.SILENCED,
            now_ns,
            explanation=f"silence {order.id}: {what} about {described(silence)} are held for "
            f"{format_duration(order.for_ns)}{credit(order.by, order.reason)}",
            detail={"silence": order.id, "for_ns": order.for_ns, "actions": order.actions},
            silence=silence,
        )

    def _unsilence(self, name: str, text: str, now_ns: int) -> None:
        silence = self._upkeep.end_silence(name)
        if silence is None:
            return
        self._ledger.record(
            Event.UNSILENCED,
            now_ns,
            explanation=f"silence {name} about {described(silence)} {text}",
            detail={"silence": name},
            silence=silence,
        )
        self._reviewed.extend(self._outbox.held_nodes())

    def _forget(self, order: Forget, slot: int, now_ns: int) -> None:
        text = f"{order.name} was removed on request{credit(order.by, '')}"
        self._remove(slot, text, now_ns)
        self._ledger.record(Event.FORGOTTEN, now_ns, node=order.name, explanation=text)

    def _revoke(self, order: Revoke, now_ns: int) -> None:
        name, who = order.name, credit(order.by, "")
        text = f"the key of {name} was revoked{who}: it opens nothing any more"
        slot = self._registry.slot_of(name)
        if slot >= 0:
            text += f", and {name} was removed"
            self._remove(slot, text, now_ns)
        self._registry.begin_epoch(name, order.epoch)
        detail = {"epoch": order.epoch}
        self._ledger.record(Event.FORGOTTEN, now_ns, node=name, explanation=text, detail=detail)

    def _remove(self, slot: int, text: str, now_ns: int) -> None:
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
        for settled in self._outbox.withdraw(name, text) + self._outbox.drop_held(name, text):
            self._ledger.record_settled(settled, now_ns)


def _switch_over(order: SwitchOver, role: RoleMachine, now_ns: int) -> RoleEvent | None:
    return role.switch_over(order.to, credit(order.by, order.reason), now_ns)


def _fail_over(order: FailOver, role: RoleMachine, now_ns: int) -> RoleEvent | None:
    who = credit(order.by, order.reason)
    return role.force(order.to, who, now_ns) if order.force else role.fail_over(order.to, who)


def _pause_service(order: PauseService, role: RoleMachine, now_ns: int) -> RoleEvent | None:
    until_ns = _end_ns(order.for_ns, now_ns)
    return role.pause(Maintenance(until_ns, order.by, order.reason), now_ns)


def _resume_service(order: ResumeService, role: RoleMachine, now_ns: int) -> RoleEvent | None:
    return role.resume(order.by, now_ns)


def _end_ns(for_ns: int, now_ns: int) -> int:
    return NEVER if for_ns == NEVER else now_ns + for_ns


def described(silence: Silence) -> str:
    """Say whom a silence is about: `web-*`, `all nodes with zone=a`, `everything`."""
    labels = " ".join(f"{key}={value}" for key, value in sorted(silence.labels.items()))
    if silence.nodes == "*":
        return f"all nodes with {labels}" if labels else "everything"
    return f"{silence.nodes} with {labels}" if labels else silence.nodes
