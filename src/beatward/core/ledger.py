"""The turn's entries: every change of status, decision and outcome gets its number and its words.

Route: `Change -> transition entry -> policy -> action entries -> outbox`, and `Outcome -> outcome
entry`. Numbers go on from what the journal holds. Not here: writing them down (`store`).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from beatward.core.entry import ActionRecord, Entry, Event, NodeRecord
from beatward.core.explanation import VIA_WORDS, Rooms, gather, numbers, sentence
from beatward.core.instants import MILLISECOND, format_duration
from beatward.core.membership import Cause, Change, Status
from beatward.core.outbox import Outbox, Outcome, Settled
from beatward.core.policy import Rule, decide

# A node that is in one of these is not in need of revival any more.
_REVIVED = (Status.ALIVE, Status.RECOVERING, Status.LEFT, Status.PAUSED)


class Ledger:
    """Numbers entries and keeps the outbox in step with them."""

    def __init__(self, rooms: Rooms, outbox: Outbox, rules: tuple[Rule, ...]) -> None:
        self.rooms = rooms
        self.sequence = 0
        self._outbox = outbox
        self._rules = rules
        self._entries: list[Entry] = []
        self.wall_offset_ns = 0

    def take(self) -> tuple[Entry, ...]:
        """Hand over the entries made since the last call, in order."""
        entries, self._entries = tuple(self._entries), []
        return entries

    def record(self, event: Event, at_ns: int, **fields: Any) -> Entry:
        """Add one entry to this turn's, with the next number."""
        self.sequence += 1
        entry = Entry(self.sequence, event, at_ns, **fields)
        self._entries.append(entry)
        return entry

    def record_change(self, change: Change, *, exit_field: int | None = None) -> None:
        """Record a transition and the actions that the rules ask for."""
        facts = gather(self.rooms, change.slot, change.at_ns, exit_field=exit_field)
        # One batch may hold several changes of one node; each is told as it was, not as it ended.
        facts = replace(facts, status=change.after, cause=change.cause, since_ns=change.at_ns)
        node = facts.node
        entry = self.record(
            Event.TRANSITION,
            change.at_ns,
            node=node,
            status=change.after.word,
            cause=change.cause.word,
            explanation=sentence(facts),
            detail={"before": change.before.word, **numbers(facts)},
            node_record=replace(
                self.node_record(change.slot),
                status=change.after.word,
                cause=change.cause.word,
                since_ns=change.at_ns,
            ),
        )
        if change.after in _REVIVED:
            message = f"{node} is {change.after.word} without it"
            for settled in self._outbox.withdraw(node, message):
                self.record_settled(settled, change.at_ns)
        for name in decide(self._rules, node, change.after.word):
            self._decide(entry, name)

    def record_node(self, event: Event, slot: int, at_ns: int, explanation: str) -> None:
        """Record a fact about a node that is no change of status."""
        membership = self.rooms.membership
        self.record(
            event,
            at_ns,
            node=self.rooms.registry.names[slot],
            status=Status(membership.status[slot]).word,
            cause=Cause(membership.cause[slot]).word,
            explanation=explanation,
            detail={"incarnation": int(self.rooms.registry.incarnation[slot])},
            node_record=self.node_record(slot),
        )

    def record_life(self, slot: int, at_ns: int, change: Change | None) -> None:
        """Record that a new life proved itself; `change` is the first that it led to, if any.

        The row then comes with the change: were it written here, with the status after the change,
        a crash between two writes would keep the status and lose the transition and its actions.
        """
        node = self.rooms.registry.names[slot]
        words = f"{node} began a new life"
        if change is None:
            self.record_node(Event.LIFE, slot, at_ns, words)
            return
        detail = {"incarnation": int(self.rooms.registry.incarnation[slot])}
        status = change.before.word
        self.record(Event.LIFE, at_ns, node=node, status=status, explanation=words, detail=detail)

    def record_outcome(self, outcome: Outcome, at_ns: int) -> None:
        """Record what became of an attempt; an outcome nobody waits for is no fact."""
        settled = self._outbox.settle(outcome, at_ns)
        if settled is not None:
            self.record_settled(settled, at_ns)

    def record_settled(self, settled: Settled, at_ns: int) -> None:
        """Record an action's new state."""
        record = settled.record
        words = f"{record.name} for {record.node}: {settled.outcome}"
        if settled.message:
            words += f": {settled.message}"
        if settled.again_in_ns is not None:
            words += f"; again in {format_duration(settled.again_in_ns)}"
        self.record(
            Event.OUTCOME,
            at_ns,
            node=record.node,
            status=record.event.get("status"),
            cause=record.event.get("cause"),
            explanation=words,
            action=record.name,
            outcome=settled.outcome,
            detail={
                "key": record.key,
                "attempt": record.attempt,
                "message": settled.message,
                "again_in_ns": settled.again_in_ns,
            },
            action_record=record,
        )

    def node_record(self, slot: int) -> NodeRecord:
        """Return the row of a node as it is now."""
        registry, membership = self.rooms.registry, self.rooms.membership
        via = VIA_WORDS.get(int(registry.via[slot]), "")
        return NodeRecord(
            name=registry.names[slot],
            node=int(registry.node[slot]),
            status=Status(membership.status[slot]).word,
            cause=Cause(membership.cause[slot]).word,
            since_ns=int(membership.since_ns[slot]),
            incarnation=int(registry.incarnation[slot]),
            interval_ns=int(registry.interval_ms[slot]) * MILLISECOND,
            address=registry.peers.of(np.array([slot])).tobytes() if via == "udp" else b"",
            via=via,
            labels=dict(registry.labels.get(slot, {})),
        )

    def _decide(self, cause: Entry, name: str) -> None:
        settings = self._outbox.settings(name)
        assert settings is not None, f"config.Settings checks that rules name actions: {name}"
        # The transition's number makes the key, and its wall-clock time, because receivers and
        # agents remember keys for longer than a journal may live: a new one begins at 1 again.
        wall_ms = (cause.at_ns + self.wall_offset_ns) // MILLISECOND
        key = f"{cause.sequence}.{wall_ms:x}-{name}"
        record = ActionRecord(
            key, name, settings.kind, str(cause.node), "decided", 0, self._event(cause)
        )
        entry = self.record(
            Event.ACTION,
            cause.at_ns,
            node=cause.node,
            status=cause.status,
            cause=cause.cause,
            explanation=f"{name} for {cause.node}, because it is {cause.status}",
            action=name,
            detail={"key": key, "kind": settings.kind, "because_of": cause.sequence},
            action_record=record,
        )
        self._outbox.add(record, sequence=entry.sequence, not_before_ns=cause.at_ns)

    def _event(self, entry: Entry) -> Mapping[str, Any]:
        return {
            "id": entry.sequence,
            "event": str(entry.event),
            "at_wall_ns": entry.at_ns + self.wall_offset_ns,
            "node": entry.node,
            "status": entry.status,
            "cause": entry.cause,
            "explanation": entry.explanation,
            "detail": dict(entry.detail),
        }
