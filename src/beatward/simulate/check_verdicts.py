"""Whether a verdict was fair: what the monitor could have known, and what chance excuses.

A verdict DEAD by silence is

    excused   when the node was down, frozen, suspended or cut off, in either direction, at any
              moment between its last due heartbeat before the suspicion and the verdict, or the
              adversary swallowed a word of this time, or the monitor's own kernel dropped one:
              from outside, that is what a dead node looks like, and who owns the wire can always
              cut it. The same where he said lost words of the node from elsewhere, so that it was
              asked there;
    wrong     when an answer or a heartbeat of a proven life, sent and arrived in the probing
              window, was there to be read; when the probing window was shorter than promised,
              began before the monitor's own restart or pause, had drops of its own kernel in it
              and was not begun again, or had too few probes in it while the node was well;
    unlucky   when the node was well, and the network by plain chance lost every heartbeat and
              every probe or answer. The probability of that is a product over all of them. Below
              1e-9 it is not believed: all seeds ever run hold fewer verdicts than that, so there a
              verdict is wrong as well.

How long a silence may go unnoticed is written here too, with each term. Not here: anything the
monitor would not have to keep under any detector.
"""

import struct
from bisect import bisect_left

import numpy as np

from beatward.core.entry import Entry, Event, Recovered
from beatward.core.guard import DOUBTS_MAX
from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.monitor import Monitor
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import RECORD_SIZE, Kind
from beatward.core.registry import Registry

from .bounds import suspected_within_ns
from .check_mass import MassChecker
from .checker import Checker, Findings, WorldFacts
from .network import End, Fate, Path
from .truth import NodeTruth, Trouble

_HEAD = struct.Struct("<3xB12xQQQ4xI")  # kind, node, incarnation, sequence, echo
UNBELIEVABLE = 1e-9
# Beyond the drawn delays: timers of nodes that fire late, ticks, and 200 ppm of drift.
_SLACK_NS = 100 * MILLISECOND


def kind_of(data: bytes) -> int:
    """Return the kind of a record, as an honest party wrote it."""
    return data[3]


class VerdictChecker(Checker):
    """Judges verdicts; remembers since when each probing window has been open."""

    def __init__(self, facts: WorldFacts, findings: Findings, mass: MassChecker) -> None:
        super().__init__(facts, findings)
        self._mass = mass
        self._opened_ns: dict[str, int] = {}
        self._suspected_ns: dict[str, int] = {}
        self._asked_ns: dict[str, int] = {}
        self._started_ns = 0

    # -- bookkeeping ----------------------------------------------------------------------------

    def started(self, _monitor: Monitor, _recovered: Recovered) -> None:
        """Note that a session began: every window begins anew."""
        self._started_ns = self._facts.now_ns
        for name in self._opened_ns:
            self._opened_ns[name] = self._started_ns

    def submitted(self, entry: Entry) -> None:
        """Judge a verdict, and note windows that open."""
        is_verdict = entry.event == Event.TRANSITION and entry.cause == "silent"
        if is_verdict and not self._facts.twins.is_doubled(str(entry.node)):
            self._check(entry, self._facts.truths[str(entry.node)])
        at_ns = self._true_ns(entry)
        if entry.event == Event.GUARD and entry.cause in ("own_pause", "cut_off_over"):
            for name in self._opened_ns:
                self._opened_ns[name] = at_ns
        elif entry.event == Event.TRANSITION and entry.cause == "overdue":
            self._opened_ns[str(entry.node)] = self._suspected_ns[str(entry.node)] = at_ns
        elif entry.status in ("dead", "left") and entry.event == Event.TRANSITION:
            silent = entry.cause == "silent"
            begun_ns = self._suspected_ns.get(str(entry.node), 0) if silent else at_ns
            self._asked_ns[str(entry.node)] = begun_ns
        elif entry.event in (Event.JOINED, Event.TRANSITION):
            self._asked_ns.pop(str(entry.node), None)

    def asked_ns(self, name: str) -> int:
        """Return since when an answer of a node that is gone may have been said, 0 if it is not.

        What it said before it was asked brings no node back, however fresh it is.
        """
        return self._asked_ns.get(name, 0)

    def is_open(self, name: str) -> bool:
        """Tell whether a suspicion is so young that its probing has not ended yet."""
        since_ns = self._opened_ns.get(name)
        return since_ns is not None and self._facts.now_ns < since_ns + self._rest_ns()

    # -- how long ---------------------------------------------------------------------------------

    def timeout_ns(self, truth: NodeTruth) -> int:
        """Return the longest time from a node's last word to suspicion, at its worst."""
        detector = self._facts.scenario.settings.detector
        delay_ns = self._facts.network.longest_delay_ns(truth.name)
        return suspected_within_ns(detector, truth.interval_ns) + delay_ns

    def bound_ns(self, truth: NodeTruth) -> int:
        """Return the promised detection time of a node that was alive."""
        window_ns = self._facts.scenario.settings.membership.window_ns
        return self.timeout_ns(truth) + window_ns + self._lag_ns()

    def found_by_ns(self, truth: NodeTruth, since_ns: int) -> int:
        """Return until when a silence must have become a verdict.

        A new node and a restarted monitor give a start grace; a pause of the monitor begins every
        deadline anew, and the grace of those it has not heard yet. Drops of its own kernel give
        every deadline and every window that many times more. A verdict also waits for one other
        voice, until the slowest should have spoken, and for the end of what the monitor takes for
        a cut of its own.
        """
        settings = self._facts.scenario.settings
        grace_ns = max(settings.start_grace_ns, 2 * truth.interval_ns)
        if settings.pace.budget is not None:
            grace_ns = max(grace_ns, 2 * settings.pace.max_ns)
        proof_ns = max(self.timeout_ns(other) for other in self._facts.truths.values())
        again_ns = max(self.bound_ns(truth), grace_ns + self._rest_ns()) + proof_ns
        due_ns = since_ns + again_ns
        spans = (*self._facts.monitor.history.spans, *self._mass.cuts)
        for span in sorted(spans, key=lambda span: span.begin_ns):
            if span.end_ns <= since_ns:
                continue
            # A crash counts also after the verdict: what was not yet on disk is lost with it.
            if span.trouble != Trouble.DOWN and span.begin_ns > due_ns:
                continue
            due_ns = max(due_ns, span.end_ns + again_ns)
        # Each late turn multiplies margins and windows once more for a second.
        late_count = sum(
            span.trouble == Trouble.FROZEN and since_ns - 8 * SECOND < span.end_ns <= due_ns
            for span in self._facts.monitor.history.spans
        )
        due_ns += min(late_count, 7) * self.bound_ns(truth)
        if self._dropped_between(since_ns - self.timeout_ns(truth), due_ns):
            due_ns += DOUBTS_MAX * self.bound_ns(truth)
        return due_ns

    def horizon_ns(self, truth: NodeTruth) -> int:
        """Return the earliest instant at which a word may have been said that is news now.

        Its heartbeat is fresh until its own deadline, its answer until the window ends; what
        arrived during a freeze of the monitor is read after it.
        """
        horizon_ns = self._facts.now_ns - self.bound_ns(truth)
        for span in reversed(self._facts.monitor.history.spans):
            if span.trouble == Trouble.FROZEN and span.end_ns >= horizon_ns:
                horizon_ns -= min(span.end_ns, self._facts.now_ns) - span.begin_ns
        return horizon_ns

    def _rest_ns(self) -> int:
        return self._facts.scenario.settings.membership.window_ns + self._lag_ns()

    def _lag_ns(self) -> int:
        # The audit looks once a second.
        return 3 * self._facts.scenario.tick_ns + _SLACK_NS + SECOND

    def _true_ns(self, entry: Entry) -> int:
        return self._facts.monitor.clock.true_ns(entry.at_ns)

    # -- judging a verdict ------------------------------------------------------------------------

    def _check(self, entry: Entry, truth: NodeTruth) -> None:
        """Judge one verdict DEAD by silence."""
        counts = self._findings.counts
        counts["verdicts"] += 1
        at_ns = self._true_ns(entry)
        opened_ns = self._opened_ns.get(truth.name, self._started_ns)
        self._check_window(truth, opened_ns, at_ns)
        self._check_drops(truth, opened_ns, at_ns)
        begin_ns = opened_ns - self.timeout_ns(truth)
        troubles = truth.history.within(begin_ns, at_ns)
        swallowed = self._was_swallowed(truth, begin_ns, at_ns)
        swallowed |= self._dropped_between(begin_ns, at_ns)
        self._mass.check_verdict(truth, opened_ns)
        if self._check_evidence(truth, opened_ns, at_ns, well=not troubles):
            return
        if troubles or swallowed:
            counts["verdicts excused"] += 1
            since_ns = truth.silent_since_ns(at_ns)
            if since_ns is not None and truth.history.has(Trouble.DOWN):
                counts["verdicts right"] += 1
            return
        self._check_luck(truth, opened_ns, at_ns)

    def _check_window(self, truth: NodeTruth, opened_ns: int, at_ns: int) -> None:
        window_ns = self._facts.scenario.settings.membership.window_ns
        drift_ns = window_ns // 1000
        if at_ns - opened_ns < window_ns - drift_ns:
            silent = format_duration(at_ns - opened_ns)
            message = f"convicted after {silent} of a window of {format_duration(window_ns)}"
            self._findings.violate("verdict", truth.name, message)
        # What the adversary keeps back he hands over himself, from another address.
        if self._heard_in_session(truth) or self._was_swallowed(truth, self._started_ns, at_ns):
            return
        grace_ns = self._facts.scenario.settings.start_grace_ns
        if at_ns - self._started_ns < grace_ns + window_ns - drift_ns - grace_ns // 1000:
            after = format_duration(at_ns - self._started_ns)
            message = f"convicted {after} after the monitor's own start"
            self._findings.violate("verdict", truth.name, message)

    def _check_drops(self, truth: NodeTruth, opened_ns: int, at_ns: int) -> None:
        """Check that an answer, which its own kernel may have dropped, was waited for again."""
        world = self._facts
        window_ns = world.scenario.settings.membership.window_ns
        lag_ns = 2 * world.scenario.tick_ns + window_ns // 1000
        begun_ns = at_ns - window_ns + lag_ns
        is_early = at_ns - opened_ns < (1 + DOUBTS_MAX) * window_ns - lag_ns
        if is_early and self._dropped_between(begun_ns, at_ns - lag_ns):
            message = "convicted at once, though datagrams had just been dropped unread"
            self._findings.violate("verdict", truth.name, message)

    def _dropped_between(self, begin_ns: int, end_ns: int) -> bool:
        drops_ns = self._facts.monitor.drops_ns
        place = bisect_left(drops_ns, begin_ns)
        return place < len(drops_ns) and drops_ns[place] <= end_ns

    def _heard_in_session(self, truth: NodeTruth) -> bool:
        """Tell whether it could hear a word of a node; a swallowed one may have been said."""
        fates = self._facts.network.to_monitor[truth.name].fates
        return any(
            (fate.end == End.ARRIVED and fate.arrived_ns >= self._started_ns)
            or (fate.end == End.WITHHELD and fate.sent_ns >= self._started_ns)
            for fate in fates
        )

    def _check_evidence(self, truth: NodeTruth, opened_ns: int, at_ns: int, *, well: bool) -> bool:
        """Look for a word that arrived in the window and should have refuted; True if there is."""
        to_node = self._facts.network.to_node[truth.name].fates
        asked = {
            _HEAD.unpack_from(fate.data)[4]
            for fate in to_node
            if fate.sent_ns >= opened_ns and kind_of(fate.data) == Kind.PROBE
        }
        for fate in self._facts.network.to_monitor[truth.name].fates:
            if fate.end != End.ARRIVED or fate.sent_ns < opened_ns or fate.arrived_ns > at_ns:
                continue
            kind, _, incarnation, _, echo = _HEAD.unpack_from(fate.data)
            answer = kind == Kind.PROBE_REPLY and echo in asked
            beat = kind == Kind.HEARTBEAT and well and self._is_timely(truth)
            if (answer or beat) and self._is_believed(truth.name, incarnation):
                what = "an answer" if answer else "a heartbeat"
                ago = format_duration(at_ns - fate.arrived_ns)
                message = f"convicted although {what} had arrived {ago} before"
                self._findings.violate("verdict", truth.name, message)
                return True
        return False

    def _is_timely(self, truth: NodeTruth) -> bool:
        # After a sleep that its clock does not count, a node's schedule lies in the past until
        # an answer to a probe has shown that it lives.
        return not any(span.trouble == Trouble.SUSPENDED for span in truth.history.spans)

    def _is_stranger(self, name: str) -> bool:
        """Tell whether the monitor has heard a node in this session, and never believed it."""
        registry = self._registry()
        is_proven = bool(registry.proven[registry.slot_of(name)])
        heard = self._heard_in_session(self._facts.truths[name])
        return heard and not is_proven and not self._has_address(name)

    def _has_address(self, name: str) -> bool:
        registry = self._registry()
        return bool(registry.peers.of(np.array([registry.slot_of(name)])).any())

    def _is_believed(self, name: str, incarnation: int) -> bool:
        registry = self._registry()
        slot = registry.slot_of(name)
        return bool(registry.proven[slot]) and int(registry.incarnation[slot]) == incarnation

    def _registry(self) -> Registry:
        """Return the monitor's own: a snapshot would be a copy of all rooms, without addresses."""
        monitor = self._facts.monitor.monitor
        assert monitor is not None
        return monitor.state.registry

    def _check_luck(self, truth: NodeTruth, opened_ns: int, at_ns: int) -> None:
        """Check a verdict on a node that was well: only chance may have hidden it, and often."""
        network = self._facts.network
        settings = self._facts.scenario.settings.membership
        if self._is_stranger(truth.name):
            self._check_stranger(truth, at_ns)
            return
        since_ns = opened_ns - SECOND // 100
        probes = _sent(network.to_node[truth.name], Kind.PROBE, since_ns, at_ns)
        wanted = settings.window_ns // settings.spacing_ns
        heard = self._heard_in_session(truth)
        astray_count = self._count_astray(truth.name, opened_ns) if len(probes) < wanted else 0
        if astray_count and len(probes) + astray_count >= wanted:
            self._findings.counts["verdicts led astray"] += 1
            return
        # (An adversary that repeats its lost datagrams is asked, and no other node is.)
        if len(probes) < wanted and (heard or self._has_address(truth.name)):
            message = f"a well node was convicted after {len(probes)} probes, not {wanted}"
            self._findings.violate("verdict", truth.name, message)
            return
        # Who was never heard has no address to probe: all that it ever said was lost.
        since_ns = opened_ns if heard else self._started_ns
        beats = _sent(network.to_monitor[truth.name], Kind.HEARTBEAT, since_ns, at_ns)
        self._note_luck(truth, probes, beats, at_ns)

    def _check_stranger(self, truth: NodeTruth, at_ns: int) -> None:
        """Check a verdict on who was heard, and asked each time, and whose answer never came.

        Seed 100888: a burst took the first nine questions on their way to a node that was well. Who
        has not proved that it speaks now is asked once a word, or its address would be a weapon.
        """
        network, since_ns = self._facts.network, self._started_ns
        asked = _sent(network.to_node[truth.name], Kind.PROBE, since_ns, at_ns)
        beats = _sent(network.to_monitor[truth.name], Kind.HEARTBEAT, since_ns, at_ns)
        heard = [one for one in beats if one.end == End.ARRIVED and one.arrived_ns < at_ns - SECOND]
        for beat in heard:
            if not any(0 <= one.sent_ns - beat.arrived_ns <= SECOND for one in asked):
                message = "a well node was convicted, and a word of it had not been asked about"
                self._findings.violate("verdict", truth.name, message)
                return
        lost = [one for one in beats if one.end != End.ARRIVED]
        self._note_luck(truth, asked, lost, at_ns)

    def _note_luck(
        self, truth: NodeTruth, probes: list[Fate], beats: list[Fate], at_ns: int
    ) -> None:
        probability = self._missed_probability(truth.name, probes, beats, at_ns)
        self._findings.counts["verdicts unlucky"] += 1
        self._findings.luck.append(probability)
        if probability < UNBELIEVABLE:
            message = f"a well node was convicted; by chance this has probability {probability:.2g}"
            self._findings.violate("verdict", truth.name, message)

    def _count_astray(self, name: str, opened_ns: int) -> int:
        """Return how many probes the adversary has led to other addresses than the node's.

        He says, from addresses of his own, what the network lost: each of his words is news, and
        only the last two addresses are asked. A node that is well puts that right with its next
        heartbeat that arrives.
        """
        world = self._facts
        if not world.scenario.adversary_ns:
            return 0
        others = [path.fates for other, path in world.network.to_node.items() if other != name]
        number = node_id(name)
        return sum(
            fate.sent_ns >= opened_ns
            and kind_of(fate.data) == Kind.PROBE
            and _HEAD.unpack_from(fate.data)[1] == number
            for fates in (world.network.strays, *others)
            for fate in fates
        )

    def _missed_probability(
        self, name: str, probes: list[Fate], beats: list[Fate], at_ns: int
    ) -> float:
        """Return how likely chance was to keep all of this from a verdict at an instant."""
        network = self._facts.network
        up, down = network.to_monitor[name], network.to_node[name]
        probability = 1.0
        for probe in probes:
            half_ns = (at_ns - probe.sent_ns) // 2
            there = 1.0 - network.missed_probability(down, half_ns)
            back = 1.0 - network.missed_probability(up, half_ns)
            probability *= 1.0 - there * back
        for beat in beats:
            probability *= network.missed_probability(up, at_ns - beat.sent_ns)
        return probability

    def _was_swallowed(self, truth: NodeTruth, begin_ns: int, end_ns: int) -> bool:
        network = self._facts.network
        paths = (network.to_monitor[truth.name], network.to_node[truth.name])
        return any(
            fate.end == End.WITHHELD and begin_ns <= fate.sent_ns <= end_ns
            for path in paths
            for fate in path.fates
        )


def _sent(path: Path, kind: Kind, since_ns: int, until_ns: int) -> list[Fate]:
    """Return what became of datagrams of a kind that were sent on a path in that time."""
    return [
        fate
        for fate in path.fates
        if since_ns <= fate.sent_ns <= until_ns and kind_of(fate.data) == kind
    ]


assert _HEAD.size <= RECORD_SIZE
