"""Whether a change of interval was announced before it held, and waited for while it was promised.

node      A longer gap between two heartbeats follows only on one that arrived and promised it. What
          was lost has promised nothing, so the rate before stays in force (`agent.send_schedule`).
monitor   After a change no node is suspected before the promise of the last heartbeat heard has run
          out. (Without one, a heartbeat may be so late by its own schedule that its successor is.)

Between them, no announced change ever causes a suspicion, whatever is lost, late or overtaken.
Both look away where a machine was in trouble: its heartbeats are late for another reason.
"""

import struct
from dataclasses import dataclass
from itertools import pairwise

from beatward.core.entry import Entry, Event
from beatward.core.instants import MILLISECOND, NEVER, format_duration
from beatward.core.protocol.record import Flag, Kind

from .checker import Checker, Findings, WorldFacts
from .network import End
from .truth import NodeTruth

_FIELDS = struct.Struct("<3xB4xIxB2x8xQQ")  # kind, interval_ms, flags, incarnation, sequence
# Plain numbers: an enumeration's own operators take ten times as long.
_HEARTBEAT, _SLOWING = int(Kind.HEARTBEAT), int(Flag.SLOWING)
# Timers that fire late, and 200 ppm of drift over the longest interval that is drawn.
_SLACK_NS = 50 * MILLISECOND
# A detector that meets a new grid waits for a whole interval longer until it has heard this many.
_CHANGE_BEATS = 8


@dataclass(slots=True)
class _Beat:
    """A heartbeat as it was said first; who introduces itself says it again.

    promised_ns   from `sent_ns` on; less if it was taken back when it was repeated
    arrived_ns    NEVER if it did not, nor any of its repetitions, nor by the adversary's hand
    is_swallowed  the adversary has it, or a repetition, and may say it at any time
    """

    life: int
    sequence: int
    promised_ns: int
    is_slowing: bool
    sent_ns: int
    arrived_ns: int
    is_swallowed: bool


class IntervalChecker(Checker):
    """Reads what nodes really said, and compares it with how they and the monitor behaved."""

    def __init__(self, facts: WorldFacts, findings: Findings) -> None:
        super().__init__(facts, findings)
        self._read: dict[str, tuple[int, int]] = {}
        self._in_force_ns: dict[str, int] = {}

    def submitted(self, entry: Entry) -> None:
        """Check a suspicion."""
        is_suspicion = entry.event == Event.TRANSITION and entry.cause == "overdue"
        if is_suspicion and not self._facts.twins.is_doubled(str(entry.node)):
            self._check_suspicion(entry, self._facts.truths[str(entry.node)])

    def audit(self) -> None:
        """Check the heartbeats that nodes have sent since the last audit."""
        for truth in self._facts.truths.values():
            if not self._facts.twins.is_doubled(truth.name):
                self._audit(truth)

    def _audit(self, truth: NodeTruth) -> None:
        beats = self._beats(truth, self._read.get(truth.name, (-1, -1)))
        for before, after in pairwise(beats):
            self._check_gap(truth, before, after)
        if beats:
            self._read[truth.name] = (beats[-1].life, beats[-1].sequence)

    def _beats(self, truth: NodeTruth, since: tuple[int, int] = (-1, -1)) -> list[_Beat]:
        """Return what is remembered of a node's heartbeats, from a life and sequence on.

        A sixth of a world's time was spent here, once a second over all that is remembered: what
        is not wanted is left out before anything is made of it.
        """
        beats: list[_Beat] = []
        played = self._facts.network.played
        for fate in self._facts.network.to_monitor[truth.name].fates:
            kind, interval_ms, flags, life, sequence = _FIELDS.unpack_from(fate.data)
            if kind != _HEARTBEAT or (life, sequence) < since:
                continue
            promised_ns = interval_ms * MILLISECOND
            arrived_ns = fate.arrived_ns if fate.end == End.ARRIVED else NEVER
            arrived_ns = min(arrived_ns, played.get(fate.data, NEVER))
            if beats and (beats[-1].life, beats[-1].sequence) == (life, sequence):
                beats[-1].arrived_ns = min(beats[-1].arrived_ns, arrived_ns)
                # Seed 100034: a second is promised, and half of one when it is said again later,
                # so the next is due by the earlier of the two, not half a second after the first.
                promised_ns += fate.sent_ns - beats[-1].sent_ns
                beats[-1].promised_ns = min(beats[-1].promised_ns, promised_ns)
                beats[-1].is_swallowed |= fate.end == End.WITHHELD
                continue
            slowing, swallowed = bool(flags & _SLOWING), fate.end == End.WITHHELD
            beat = (life, sequence, promised_ns, slowing, fate.sent_ns, arrived_ns)
            beats.append(_Beat(*beat, is_swallowed=swallowed))
        return beats

    def _check_gap(self, truth: NodeTruth, before: _Beat, after: _Beat) -> None:
        follows = (after.life, after.sequence) == (before.life, before.sequence + 1)
        heard = before.is_swallowed or before.arrived_ns <= after.sent_ns
        in_force_ns = self._in_force_ns.get(truth.name)
        if not follows or in_force_ns is None or (heard and not before.is_slowing):
            in_force_ns = before.promised_ns
        allowed_ns = max(in_force_ns, before.promised_ns if heard else 0)
        gap_ns = after.sent_ns - before.sent_ns
        is_longer = gap_ns > in_force_ns + _SLACK_NS
        # A longer interval holds after a gap that it allowed, or once it was heard.
        if not after.is_slowing and (is_longer or after.promised_ns < in_force_ns):
            self._findings.counts["interval changed"] += after.promised_ns != in_force_ns
            in_force_ns = after.promised_ns
        self._in_force_ns[truth.name] = in_force_ns
        if not follows or gap_ns <= allowed_ns + _SLACK_NS:
            return
        if truth.history.within(before.sent_ns - allowed_ns, after.sent_ns):
            return
        gap, allowed = format_duration(gap_ns), format_duration(allowed_ns)
        message = f"{gap} between two heartbeats, but no more than {allowed} was promised and heard"
        self._findings.violate("promise", truth.name, message)

    def _check_suspicion(self, entry: Entry, truth: NodeTruth) -> None:
        """Check that the promise last heard had run out when the node was suspected."""
        at_ns = self._facts.monitor.clock.true_ns(entry.at_ns)
        monitor = self._facts.monitor.monitor
        assert monitor is not None
        registry = monitor.snapshot(0).state.registry
        slot = registry.slot_of(truth.name)
        newest = (int(registry.incarnation[slot]), int(registry.sequence[slot]))
        beats = self._beats(truth)
        place = next((i for i, one in enumerate(beats) if (one.life, one.sequence) == newest), None)
        if place is None:
            return
        beat, before = beats[place], beats[max(place - _CHANGE_BEATS, 0) : place]
        if at_ns >= beat.sent_ns + beat.promised_ns - _SLACK_NS or beat.arrived_ns > at_ns:
            return
        if not before or all(one.promised_ns == beat.promised_ns for one in before):
            return
        if truth.history.within(before[0].sent_ns, at_ns):
            return
        silent = format_duration(at_ns - beat.sent_ns)
        promised = format_duration(beat.promised_ns)
        message = f"suspected {silent} after it promised the next heartbeat within {promised}"
        self._findings.violate("promise", truth.name, message)
