"""The turn's entries: every change of status, decision and outcome gets its number and its words.

Route: `Change -> transition entry -> policy -> action entries -> outbox`, and `Outcome -> outcome
entry`. A notification that a silence holds is decided and waits; one about an alarm that an
operator has acknowledged is not sent. Numbers go on from what the journal holds. Not here: writing
them down (`store`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.entry import ActionRecord, ActionState, Entry, Event, NodeRecord, Silence
from beatward.core.explanation import (
    VIA_WORDS,
    Facts,
    credit,
    gather,
    held_for,
    numbers,
    sentence,
)
from beatward.core.instants import MILLISECOND, format_duration
from beatward.core.jobs import Run
from beatward.core.mass import MassGuard
from beatward.core.membership import Cause, Change, Status
from beatward.core.outbox import Outbox, Outcome, Settled, fenced_by
from beatward.core.peers import PEER_SIZE
from beatward.core.policy import (
    ActionRules,
    Rule,
    decide,
    decide_for_many,
    decide_for_role,
)
from beatward.core.state import State

_NONE: Mapping[str, str] = {}
_STATUS_WORDS = tuple(status.word for status in Status)
_CAUSE_WORDS = tuple(cause.word for cause in Cause)
# A node that is in one of these is not in need of revival any more.
_REVIVED = (Status.ALIVE, Status.RECOVERING, Status.LEFT, Status.PAUSED)
# At most this many nodes of a mass failure are matched against rule patterns.
NAMES_TRIED_MAX = 10_000


class Ledger:
    """Numbers entries and keeps the outbox in step with them."""

    def __init__(
        self, state: State, outbox: Outbox, rules: tuple[Rule, ...], *, mass: MassGuard
    ) -> None:
        self._state = state
        self._mass = mass
        self.sequence = 0
        self._outbox = outbox
        self._rules = rules
        self._entries: list[Entry] = []

    def go_on(self, sequence: int) -> None:
        """Go on from the last number that the journal holds."""
        self.sequence = sequence

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

    def record_changes(
        self, changes: Sequence[Change], *, exit_codes: Mapping[int, int] | None = None
    ) -> None:
        """Record transitions of one instant, and the actions that the rules ask for.

        exit_codes   of slots that said goodbye with one; a signal is negative
        """
        if not changes:
            return
        self._state.quality.follow(changes)
        slots = np.array([change.slot for change in changes])
        at_ns = changes[0].at_ns
        folded = self._mass.follow(changes)
        known = gather(self._state, slots, at_ns, exit_codes=exit_codes)
        self._state.upkeep.follow(slots, self._state.membership.status)
        rows = self.node_records(slots)
        for place, (change, facts, row) in enumerate(zip(changes, known, rows, strict=True)):
            after, cause, is_folded = change.after, change.cause, place in folded
            if (facts.status, facts.cause) == (after, cause):
                self._record_change(change, facts, row, is_folded=is_folded)
                continue
            # One batch may hold several changes of a node; each is told as it was when it came.
            self._record_change(
                change,
                facts._replace(status=after, cause=cause),
                replace(row, status=after.word, cause=cause.word),
                is_folded=is_folded,
            )

    def _record_change(
        self, change: Change, facts: Facts, row: NodeRecord, *, is_folded: bool
    ) -> None:
        node = facts.node
        entry = self.record(
            Event.TRANSITION,
            change.at_ns,
            node=node,
            status=row.status,
            cause=row.cause,
            explanation=sentence(facts),
            detail={"before": change.before.word, **numbers(facts)},
            node_record=row,
        )
        self._withdraw(node, change.after, change.at_ns)
        for settled in self._outbox.drop_held(node, f"{node} is {row.status} by now"):
            self.record_settled(settled, change.at_ns)
        for name in decide(self._rules, node, row.status):
            # Of a mass there is one alarm for all, see `core.mass_entries`. What a silence holds
            # waits for its end all the same: of silenced nodes that alarm says nothing.
            if (
                is_folded
                and not self._outbox.destroys(name)
                and self._silence(change.slot, name) is None
            ):
                continue
            self._decide_by_rule(entry, name, change.slot)

    def record_node(self, event: Event, slot: int, at_ns: int, explanation: str) -> None:
        """Record a fact about a node that is no change of status."""
        (row,) = self.node_records(np.array([slot]))
        self._record_row(event, row, at_ns, explanation)

    def _record_row(self, event: Event, row: NodeRecord, at_ns: int, explanation: str) -> None:
        self.record(
            event,
            at_ns,
            node=row.name,
            status=row.status,
            cause=row.cause,
            explanation=explanation,
            detail={"incarnation": row.incarnation},
            node_record=row,
        )

    def tell_of_many(self, entry: Entry, slots: IntArray, statuses: Sequence[str]) -> None:
        """Decide for whom an entry about many nodes is an alarm: whoever would be told of one of
        them in one of the statuses.
        """
        touched = self._unsilenced(slots[:NAMES_TRIED_MAX])
        for name in decide_for_many(self._rules, touched, statuses):
            if not self._outbox.destroys(name):
                self._decide_by_rule(entry, name, -1)

    def _unsilenced(self, slots: IntArray) -> list[str]:
        """Return the names of those of many nodes of whom no silence holds the notifications."""
        registry, upkeep = self._state.registry, self._state.upkeep
        names = [(slot, registry.names[slot]) for slot in slots.tolist()]
        if not upkeep.silences:
            return [name for _, name in names]
        return [
            name
            for slot, name in names
            if upkeep.silence(name, registry.labels.get(slot), revives=False) is None
        ]

    def record_joined(self, slots: IntArray, at_ns: int) -> None:
        """Record that nodes were enrolled."""
        for row in self.node_records(slots):
            self._record_row(Event.JOINED, row, at_ns, f"{row.name} was enrolled")

    def record_lives(self, slots: IntArray, at_ns: int, changes: Mapping[int, Change]) -> None:
        """Record that new lives proved themselves; `changes` holds the first that each led to.

        The row then comes with the change: were it written here, with the status after the change,
        a crash between two writes would keep the status and lose the transition and its actions.
        """
        if not len(slots):
            return  # as in most turns; nine arrays would be asked for nothing
        for slot, row in zip(slots.tolist(), self.node_records(slots), strict=True):
            change = changes.get(slot)
            self.record(
                Event.LIFE,
                at_ns,
                node=row.name,
                status=row.status if change is None else change.before.word,
                cause=row.cause if change is None else None,
                explanation=f"{row.name} began a new life",
                detail={"incarnation": row.incarnation},
                node_record=row if change is None else None,
            )

    def record_run(self, run: Run, change: Change | None) -> None:
        """Record a word about a job's run; `change` is what it led to, if anything.

        The row comes with the change, as in `record_lives`.
        """
        slots = np.array([run.slot])
        (facts,) = gather(self._state, slots, run.at_ns)
        (row,) = self.node_records(slots)
        assert facts.job is not None, "only jobs have runs"
        self.record(
            Event.RUN,
            run.at_ns,
            node=row.name,
            status=row.status if change is None else change.before.word,
            cause=row.cause if change is None else None,
            explanation=f"{row.name} {facts.job.run_words(run.what, run.late_ns)}",
            detail={"run": run.what, "late_ns": run.late_ns, **facts.job.numbers()},
            node_record=row if change is None else None,
        )

    def record_outcome(self, outcome: Outcome, at_ns: int) -> Settled | None:
        """Record what became of an attempt; an outcome that is not waited for is no fact."""
        settled = self._outbox.settle(outcome, at_ns)
        if settled is None:
            return None
        self.record_settled(settled, at_ns)
        if settled.again_in_ns is not None:
            self.withdraw_needless(settled.record.node, at_ns)
        return settled

    def withdraw_needless(self, node: str, at_ns: int) -> None:
        """Take back repairs of a node that needs none by now."""
        slot = self._state.registry.slot_of(node)
        if slot >= 0:
            self._withdraw(node, Status(self._state.membership.status[slot]), at_ns)

    def drop_known(self, slot: int, at_ns: int) -> None:
        """Take back notifications that silences hold, of what an operator knows by now."""
        node, status = self._state.registry.names[slot], Status(self._state.membership.status[slot])
        if self._state.upkeep.knows(slot, status.word) is not None:
            for settled in self._outbox.drop_held(node, "it was acknowledged", repairs=False):
                self.record_settled(settled, at_ns)

    def review(self, node: str, at_ns: int) -> None:
        """Let go what was held of a node by silences that have ended."""
        slot = self._state.registry.slot_of(node)
        for record in self._outbox.held(node):
            if self._silence(slot, record.name) is not None:
                continue
            entry = self.record(
                Event.OUTCOME,
                at_ns,
                node=node,
                status=record.event.get("status"),
                cause=record.event.get("cause"),
                explanation=f"{record.name} for {node}: no silence holds it any more",
                action=record.name,
                outcome="unsilenced",
                detail={"key": record.key},
                action_record=record,
            )
            self._outbox.let_go(record.key, sequence=entry.sequence, now_ns=at_ns)

    def record_settled(self, settled: Settled, at_ns: int) -> None:
        """Record an action's new state."""
        record = settled.record
        text = f"{record.name} for {record.node or 'the fleet'}: {settled.outcome}"
        if settled.message:
            text += f": {settled.message}"
        if settled.again_in_ns is not None:
            text += f"; again in {format_duration(settled.again_in_ns)}"
        self.record(
            Event.OUTCOME,
            at_ns,
            node=record.node or None,
            status=record.event.get("status"),
            cause=record.event.get("cause"),
            explanation=text,
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

    def node_records(self, slots: IntArray) -> list[NodeRecord]:
        """Return the rows of nodes (k,) as they are now."""
        registry, membership = self._state.registry, self._state.membership
        names, labels, upkeep = registry.names, registry.labels, self._state.upkeep
        columns = (
            slots,
            registry.node[slots],
            membership.status[slots],
            membership.cause[slots],
            membership.since_ns[slots],
            registry.incarnation[slots],
            registry.interval_ns(slots),
            registry.via[slots],
        )
        address = registry.peers.of(slots).tobytes()
        rows = []
        for number, (slot, node, status, cause, since, life, interval, code) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            via = VIA_WORDS.get(code, "")
            begin = number * PEER_SIZE
            rows.append(
                NodeRecord(
                    name=names[slot],
                    node=node,
                    status=_STATUS_WORDS[status],
                    cause=_CAUSE_WORDS[cause],
                    since_ns=since,
                    incarnation=life,
                    interval_ns=interval,
                    address=address[begin : begin + PEER_SIZE] if via == "udp" else b"",
                    via=via,
                    labels=dict(labels.get(slot, _NONE)),
                    maintenance=upkeep.maintenance.get(slot),
                    acknowledgement=upkeep.acknowledged.get(slot),
                    job=self._state.jobs.records.get(slot),
                    services=self._state.offers.get(slot, ()),
                    conflict=self._state.conflicts.get(slot),
                )
            )
        return rows

    def take_up(self, record: ActionRecord, not_before_ns: int) -> None:
        """Take up an action that was decided before a restart; what a silence holds waits for it.

        What has been tried is not held any more: half of it may have been told.
        """
        slot = self._state.registry.slot_of(record.node)
        is_fence = fenced_by(record.key) is not None
        if record.attempt == 0 and not is_fence and self._silence(slot, record.name) is not None:
            self._outbox.hold(record)
        else:
            self._outbox.add(record, sequence=0, not_before_ns=not_before_ns)

    def decide_fence(self, cause: Entry, name: str, key: str, *, why: str) -> None:
        """Decide to isolate the node of an entry, under a key that says which token it holds.

        why   a few words about the node, whose status says nothing of it

        No silence holds it: it is neither a notification nor a repair.
        """
        settings = self._settings(name)
        slot = self._state.registry.slot_of(cause.node or "")
        record = self._decided(cause, settings, key)
        because = f" for {cause.node}, because it {why}"
        self._hand_over(cause, settings, record, slot, because=because)

    def tell_of_role(self, cause: Entry, service: str, word: str) -> None:
        """Decide what the rules ask for when a role has come to be so; the holder is the node."""
        slot = self._state.registry.slot_of(cause.node) if cause.node else -1
        because = f", because the role of {service} is {word}"
        for name in decide_for_role(self._rules, service, word):
            self._decide_by_rule(cause, name, slot, because=because)

    def tell_of_conflict(self, cause: Entry, slot: int) -> None:
        """Decide what the rules ask for when two processes speak under a node's name."""
        because = f" for {cause.node}, because two processes speak under its name"
        for name in decide(self._rules, cause.node or "", "conflict"):
            self._decide_by_rule(cause, name, slot, because=because)

    def _withdraw(self, node: str, status: Status, at_ns: int) -> None:
        if status in _REVIVED:
            for settled in self._outbox.withdraw(node, f"{node} is {status.word} without it"):
                self.record_settled(settled, at_ns)

    def _silence(self, slot: int, action: str) -> Silence | None:
        settings = self._outbox.settings(action)
        registry, upkeep = self._state.registry, self._state.upkeep
        if slot < 0 or settings is None or not upkeep.silences:
            return None
        labels = registry.labels.get(slot)
        return upkeep.silence(registry.names[slot], labels, revives=settings.revives)

    def _decide_by_rule(self, cause: Entry, name: str, slot: int, *, because: str = "") -> None:
        settings = self._settings(name)
        known = self._state.upkeep.knows(slot, str(cause.status))
        # Who knows of a node's alarm does not know yet of the role's.
        if known is not None and not settings.revives and not because:
            text = (
                f"no notification, because the alarm was acknowledged{credit(known.by, known.note)}"
            )
            self._record_action(cause, settings, text=text, outcome="acknowledged")
            return
        # The transition's number makes the key, and its wall-clock time, because receivers and
        # agents remember keys for longer than a journal may live: a new one begins at 1 again.
        wall_ms = (cause.at_ns + self._state.wall_offset_ns) // MILLISECOND
        key = f"{cause.sequence}.{wall_ms:x}-{name}"
        record = self._decided(cause, settings, key)
        silence = self._silence(slot, name)
        if silence is not None:
            text = f"held for another {held_for(silence, cause.at_ns)}"
            self._record_action(
                cause, settings, record, text=text, outcome="silenced", because=because
            )
            self._outbox.hold(record)
            return
        self._hand_over(cause, settings, record, slot, because=because)

    def _settings(self, name: str) -> ActionRules:
        settings = self._outbox.settings(name)
        assert settings is not None, f"config.Settings checks that {name} is an action"
        return settings

    def _decided(self, cause: Entry, settings: ActionRules, key: str) -> ActionRecord:
        node, event = cause.node or "", self._event(cause)
        return ActionRecord(key, settings.name, settings.kind, node, ActionState.DECIDED, 0, event)

    def _hand_over(
        self,
        cause: Entry,
        settings: ActionRules,
        record: ActionRecord,
        slot: int,
        *,
        because: str = "",
    ) -> None:
        """Record a decision and give it to the outbox, where a mass failure may hold it back."""
        hold = self._mass.hold_of(slot) if settings.destructive and slot >= 0 else None
        text = "" if hold is None else f"held back: {hold.text(cause.at_ns)}"
        entry = self._record_action(cause, settings, record, text=text, because=because)
        self._outbox.add(record, sequence=entry.sequence, not_before_ns=cause.at_ns)

    def _record_action(
        self,
        cause: Entry,
        settings: ActionRules,
        record: ActionRecord | None = None,
        *,
        text: str = "",
        outcome: str | None = None,
        because: str = "",
    ) -> Entry:
        if not because:
            why = f"it is {cause.status}" if cause.status else f"of {cause.cause}"
            because = f" for {cause.node or 'the fleet'}, because {why}"
        because = settings.name + because
        return self.record(
            Event.ACTION,
            cause.at_ns,
            node=cause.node,
            status=cause.status,
            cause=cause.cause,
            explanation=f"{because}: {text}" if text else because,
            action=settings.name,
            outcome=outcome,
            detail={
                "key": record and record.key,
                "kind": settings.kind,
                "because_of": cause.sequence,
            },
            action_record=record,
        )

    def _event(self, entry: Entry) -> Mapping[str, Any]:
        return {
            "id": entry.sequence,
            "event": str(entry.event),
            "at_wall_ns": entry.at_ns + self._state.wall_offset_ns,
            "node": entry.node,
            "status": entry.status,
            "cause": entry.cause,
            "explanation": entry.explanation,
            "detail": dict(entry.detail),
        }
