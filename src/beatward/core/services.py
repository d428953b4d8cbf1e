"""Services and who offers them: what members say -> what becomes of roles, written down and told.

    ReceivedReport -> role -> RoleEvents -> entries -> (receipt of the journal) -> grants

In one turn all that members have said comes first, then each role that a member spoke of or whose
time has come is led as far as it goes, and then the members that spoke are answered, by what is
true then. A monitor without services in failover mode does none of this. Not here: what becomes of
a role (`core.roles.machine`), and who may order what (`web.access`).
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.entry import (
    ActionRecord,
    ActionState,
    Declaration,
    Entry,
    Event,
    ServiceRecord,
)
from beatward.core.instants import NEVER
from beatward.core.intake import Heartbeats, Intake, Reject
from beatward.core.ledger import Ledger
from beatward.core.membership import Status
from beatward.core.outbox import Outbox, Settled, fence_key, fenced_by
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.roles import LAST_WORD, TOKEN_AHEAD_MAX, Grant, service_id
from beatward.core.roles.candidates import Member, is_healthy, zone_of
from beatward.core.roles.fencing import is_answered, why_fence
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.phases import FenceState, RoleEvent
from beatward.core.roles.reports import ReceivedReport, RoleReports
from beatward.core.roles.rows import row_of
from beatward.core.roles.settings import RoleSettings
from beatward.core.roles.views import RoleCopy, ServiceViews
from beatward.core.state import State
from beatward.core.voice import Voice

# What is beyond is refused.
ROLES_MAX = 10_000
# Roles are led one by one, at 20 us each and 60 with an entry, and at most this many in one turn:
# the others' members are answered in the next, which costs them milliseconds of their leases.
LED_MAX = 500
_NOTHING: tuple[Declaration, ...] = ()


class _Fence(NamedTuple):
    """Whom it was decided to isolate, under which token, and when."""

    node: str
    token: int
    since_ns: int


class Services:
    """All services."""

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        outbox: Outbox,
        *,
        intake: Intake,
        reports: RoleReports,
        voice: Voice,
        settings: RoleSettings,
        named: Mapping[str, RoleSettings],
    ) -> None:
        """Begin without any service; `settings` are for all that `named` says nothing of."""
        self._state = state
        self._registry = state.registry
        self._membership = state.membership
        self._ledger = ledger
        self._outbox = outbox
        self._intake = intake
        self._reports = reports
        self._voice = voice
        self._settings, self._named = settings, named
        self.roles: dict[str, RoleMachine] = {}
        self.balanced: dict[str, dict[int, Declaration]] = {}
        self.refused_count = 0
        self.fact_counts: dict[str, int] = {}  # how often what became of a role, by cause
        self._by_id: dict[int, RoleMachine] = {}
        self._ids: IntArray = np.zeros(0, np.int64)  # the same identities, in order
        self._stirred: dict[str, None] = {}  # roles that something has happened to, in order
        self._unwritten: dict[str, int] = {}  # by name, the entry that the journal has to hold
        self._timers: list[tuple[int, str]] = []  # a heap; each role is there once
        self._due_ns: dict[str, int] = {}
        self._fences: dict[str, _Fence] = {}  # by service, until they are done, failed or undone

    @property
    def has_roles(self) -> bool:
        """Whether any service is in failover mode; if none is, no turn has to be taken here."""
        return bool(self.roles)

    def board(self, state: State, now_ns: int) -> ServiceViews:
        """Copy all that is known for readers; `state` is frozen already."""
        roles = {name: RoleCopy.of(role) for name, role in self.roles.items()}
        balanced = {name: offers.copy() for name, offers in self.balanced.items()}
        return ServiceViews(state, roles, balanced, now_ns)

    # -- declaring ---------------------------------------------------------------------------

    def declare(self, slot: int, offers: Sequence[Declaration], now_ns: int) -> None:
        """Let a node offer these services and no others; nothing happens where that is no news.

        What contradicts itself, or what other nodes offer, is left out and counted.
        """
        names = [one.name for one in offers]
        # The API has refused what is wrong before it comes here.
        possible = tuple(
            one for one in offers if names.count(one.name) == 1 and not self.refusal(slot, one)
        )
        self.refused_count += len(offers) - len(possible)
        if possible == self._state.offers.get(slot, _NOTHING):
            return
        self._place(slot, possible, now_ns)
        name = self._registry.name(slot)
        what = ", ".join(_described(one) for one in possible) or "no services any more"
        self._ledger.record_node(Event.SERVICE, slot, now_ns, f"{name} offers {what}")

    def refusal(self, slot: int, offer: Declaration) -> str:
        """Say why a node cannot offer a service; empty: it can."""
        name = offer.name
        if offer.mode == "failover":
            other = self._by_id.get(service_id(name))
            if other is not None and other.name != name:
                return f"{name} has the identity of the service {other.name}; choose another name"
            if any(at != slot for at in self.balanced.get(name, ())):
                return f"{name} is in balance mode on other nodes"
            if other is None and len(self.roles) >= ROLES_MAX:
                return f"there are {ROLES_MAX} services in failover mode already"
        elif name in self.roles and any(at != slot for at in self.roles[name].members):
            return f"{name} is in failover mode on other nodes"
        return ""

    def _place(self, slot: int, offers: tuple[Declaration, ...], now_ns: int) -> None:
        before = self._state.offers.get(slot, _NOTHING)
        kept = {one.name for one in offers if one.mode == "failover"}
        for one in before:
            if one.mode == "failover" and one.name not in kept:
                self._withdraw(slot, one.name)
            elif one.mode != "failover":
                members = self.balanced[one.name]
                del members[slot]
                if not members:
                    del self.balanced[one.name]
        self._state.note_offers(slot, offers)
        for one in offers:
            if one.mode == "failover":
                self._join(slot, one, now_ns)
            else:
                self.balanced.setdefault(one.name, {})[slot] = one

    def _join(self, slot: int, offer: Declaration, now_ns: int) -> None:
        role = self.roles.get(offer.name) or self._new_role(offer.name, now_ns)
        zone = zone_of(offer, self._registry.labels.get(slot, {}))
        member = role.members.get(slot) or Member(self._registry.name(slot), slot, offer)
        role.join(replace(member, offer=offer, zone=zone))
        self._stirred[role.name] = None

    def _new_role(self, name: str, now_ns: int) -> RoleMachine:
        role = RoleMachine(name, self._settings_of(name), self._membership, now_ns=now_ns)
        self.roles[name] = self._by_id[role.id] = role
        self._ids = np.array(sorted(self._by_id), np.int64)
        return role

    def _settings_of(self, name: str) -> RoleSettings:
        return self._named.get(name, self._settings)

    def _withdraw(self, slot: int, name: str) -> None:
        role = self.roles[name]
        role.leave(slot)
        self._stirred[name] = None
        if not role.members and not role.lease.token:
            # Nothing was ever lent, so there is nothing to remember.
            del self.roles[name], self._by_id[role.id], self._stirred[name]
            self._due_ns.pop(name, None)
            self._ids = np.array(sorted(self._by_id), np.int64)

    def relabel(self, slot: int) -> None:
        """Let the zone of a node's members be that of its labels of now."""
        for offer in self._state.offers.get(slot, _NOTHING):
            if offer.mode == "failover":
                self._join(slot, offer, 0)

    def forget(self, slot: int) -> None:
        """Drop what a node offered; what it may hold, it may hold until its term has passed."""
        self._place(slot, _NOTHING, 0)

    # -- one turn ----------------------------------------------------------------------------

    def hear(self, reports: Heartbeats, now_ns: int, *, is_stale: bool) -> None:
        """Take what members have said, one authenticated batch; it is answered in `turn`."""
        for received in self._reports.take(reports, self._ids):
            role = self._by_id[received.report.service]
            if received.report.token > role.lease.token + TOKEN_AHEAD_MAX:
                self._intake.refuse(Reject.RANGE, 1)
            elif received.report.counter == LAST_WORD:
                self._hear_last(role, received, now_ns)
            elif role.hear(received, now_ns, is_stale=is_stale):
                self._stirred[role.name] = None
            else:
                is_member = received.slot in role.members
                self._intake.refuse(Reject.REPLAY if is_member else Reject.NO_MEMBER, 1)

    def _hear_last(self, role: RoleMachine, received: ReceivedReport, now_ns: int) -> None:
        if role.hear_last(received, now_ns):
            self._stirred[role.name] = None
        else:
            self._intake.refuse(Reject.REPLAY, 1)

    def turn(self, now_ns: int, *, base_ns: int, journaled: int) -> None:
        """Lead every role that something has happened to, and answer.

        base_ns     not before anything of this turn arrived
        journaled   the journal holds every entry up to this sequence
        """
        self._ring(now_ns)
        grants: list[tuple[Member, Grant]] = []
        for name in [name for name, entry in self._unwritten.items() if entry <= journaled]:
            del self._unwritten[name]
            self._stirred[name] = None
            grants += self._push(self.roles[name], now_ns, base_ns)
        if not self._stirred:
            return
        for name in list(islice(self._stirred, LED_MAX)):
            role = self.roles[name]
            while (event := role.advance(now_ns)) is not None:
                self.record(role, event, now_ns)
            self._fence(role, now_ns)
            for slot in role.heard:
                grant = role.answer(slot, now_ns, base_ns)
                if grant is not None:
                    grants.append((role.members[slot], grant))
            self._plan(role, now_ns)
            del self._stirred[name]
        self._tell(grants)

    def _push(self, role: RoleMachine, now_ns: int, base_ns: int) -> list[tuple[Member, Grant]]:
        """Tell a candidate at once that the journal has its token; what it said last asks for it.

        A node that is not heard any more is not told: then it cannot have it, and the next one may.
        """
        role.written()
        member = role.holding
        if member is None or member.heard_ns is None or not self._is_current(member):
            return []
        if now_ns - member.heard_ns > role.settings.within_ns:
            return []
        grant = role.answer(member.slot, now_ns, base_ns)
        return [] if grant is None else [(member, grant)]

    def _is_current(self, member: Member) -> bool:
        registry = self._registry
        is_same = member.incarnation == int(registry.incarnation[member.slot])
        return is_same and bool(registry.proven[member.slot])

    def record(self, role: RoleMachine, event: RoleEvent, now_ns: int) -> Entry:
        """Write down what has become of a role; it is led on in this turn."""
        self._stirred[role.name] = None
        record = row_of(role, now_ns)
        entry = self._ledger.record(
            Event.ROLE,
            now_ns,
            node=event.node or None,
            status=self._status_word(event.node),
            cause=event.cause,
            explanation=event.text,
            detail={
                "service": role.name,
                "phase": record.phase,
                "token": record.token,
                "holder": record.holder or None,
                "reason": record.reason or None,
            },
            service_record=record,
        )
        self.fact_counts[event.cause] = self.fact_counts.get(event.cause, 0) + 1
        word = event.news(role.phase)
        if word and role.take_news(word):
            self._ledger.tell_of_role(entry, role.name, word)
        if not role.lease.is_written:
            self._unwritten[role.name] = entry.sequence
        return entry

    def _status_word(self, node: str) -> str | None:
        slot = self._registry.slot_of(node) if node else -1
        return None if slot < 0 else Status(self._membership.status[slot]).word

    # -- fences ------------------------------------------------------------------------------

    def _fence(self, role: RoleMachine, now_ns: int) -> None:
        """Decide to isolate a holder that cannot be asked, or take that back."""
        fence = self._fences.get(role.name)
        if fence is not None and is_answered(role, *fence):
            self._unfence(role, fence.token, now_ns)
        why = why_fence(role, self._membership, now_ns)
        if not why:
            return
        token = role.lease.token
        cause = self.record(role, role.begin_fence(why), now_ns)
        self._fences[role.name] = _Fence(role.lease.holder, token, now_ns)
        key = fence_key(role.name, token)
        self._ledger.decide_fence(cause, role.settings.fence, key, why=why)

    def _unfence(self, role: RoleMachine, token: int, now_ns: int) -> None:
        text = f"{role.name} does not need it any more"
        settled = self._outbox.cancel(fence_key(role.name, token), text)
        if settled is None:
            return  # it has begun
        del self._fences[role.name]
        self._ledger.record_settled(settled, now_ns)
        role.note_fence(token, FenceState.NONE)

    def take_up(self, record: ActionRecord, now_ns: int) -> None:
        """Note an action that was decided before a restart, if it is to isolate a holder."""
        role, token = self._fenced_by(record)
        if role is not None:
            self._fences[role.name] = _Fence(record.node, token, now_ns)
            role.note_fence(token, FenceState.DECIDED)

    def follow(self, settled: Settled, now_ns: int) -> None:
        """Take what became of an action, if it was to isolate a holder."""
        role, token = self._fenced_by(settled.record)
        if role is None or settled.record.state not in (ActionState.DONE, ActionState.FAILED):
            return
        fence = self._fences.get(role.name)
        if fence is not None and fence.token == token:
            del self._fences[role.name]
        is_done = settled.record.state == ActionState.DONE
        if is_done:
            # The same power feeds the roles of all its services.
            slot = self._registry.slot_of(settled.record.node)
            for other in self.roles.values():
                other.cut_off(slot)
        event = role.end_fence(token, settled.message, now_ns, done=is_done)
        if event is not None:
            self.record(role, event, now_ns)

    def _fenced_by(self, record: ActionRecord) -> tuple[RoleMachine | None, int]:
        """Return whose holder an action isolates, and its token; None: it does something else."""
        service, token = fenced_by(record.key) or ("", 0)
        return self.roles.get(service), token

    def is_needed(self, node: str, busy: Container[str]) -> bool:
        """Tell whether an action on a node would leave a service with too few healthy members.

        busy   nodes to which something is being done already
        """
        slot = self._registry.slot_of(node)
        for offer in self._state.offers.get(slot, _NOTHING):
            least = self._settings_of(offer.name).min_healthy
            if least and self._is_healthy(offer.name, slot):
                well = [at for at in self._slots(offer.name) if self._is_healthy(offer.name, at)]
                names = [self._registry.name(at) for at in well]
                if sum(name != node and name not in busy for name in names) < least:
                    return True
        return False

    def _slots(self, service: str) -> list[int]:
        if service in self.balanced:
            return list(self.balanced[service])
        return list(self.roles[service].members)

    def _is_healthy(self, service: str, slot: int) -> bool:
        role = self.roles.get(service)
        member = None if role is None else role.members.get(slot)
        return is_healthy(self._membership.status[slot], None if member is None else member.report)

    def _tell(self, grants: Sequence[tuple[Member, Grant]]) -> None:
        if not grants:
            return
        members = [member for member, _ in grants]
        self._voice.grant(
            np.array([member.slot for member in members], np.int64),
            np.array([member.incarnation for member in members], np.int64),
            [grant for _, grant in grants],
            np.frombuffer(b"".join(member.peer for member in members), np.uint8).reshape(
                -1, PEER_SIZE
            ),
        )

    # -- time --------------------------------------------------------------------------------

    def next_ns(self) -> int:
        """Return when a role wants a turn though no member has spoken, or NEVER; may be early."""
        if self._stirred:
            return 0
        return self._timers[0][0] if self._timers else NEVER

    def _ring(self, now_ns: int) -> None:
        while self._timers and self._timers[0][0] <= now_ns:
            at_ns, name = heappop(self._timers)
            if self._due_ns.get(name) == at_ns:
                del self._due_ns[name]
                self._stirred[name] = None

    def _plan(self, role: RoleMachine, now_ns: int) -> None:
        due_ns = role.due_ns(now_ns)
        # One that rings too early costs a look; most of them are moved on at every standing.
        if due_ns < self._due_ns.get(role.name, NEVER):
            self._due_ns[role.name] = due_ns
            heappush(self._timers, (due_ns, role.name))

    # -- a restart ---------------------------------------------------------------------------

    def restore(
        self,
        offers: Mapping[int, Sequence[Declaration]],
        records: Sequence[ServiceRecord],
        now_ns: int,
    ) -> None:
        """Take up what the journal knows: what each slot offers, and where each role stood."""
        for slot, said in offers.items():
            self._place(slot, tuple(said), now_ns)
        for record in records:
            if record.name not in self.roles and not record.token:
                continue  # no node offers it and nothing was ever lent
            role = self.roles.get(record.name) or self._new_role(record.name, now_ns)
            slot = self._registry.slot_of(record.holder) if record.holder else -1
            life = 0 if slot < 0 else int(self._registry.incarnation[slot])
            role.restore(record, now_ns, life=life)
            self._stirred[role.name] = None
            if not role.lease.is_written:
                text = f"{role.name}: a lease is longer by the settings of now"
                self.record(role, RoleEvent("longer", text, record.holder), now_ns)


def _described(offer: Declaration) -> str:
    place = f"{offer.address}:{offer.port}" if offer.port else offer.address
    return f"{offer.name} ({offer.mode}{', ' if place else ''}{place})"
