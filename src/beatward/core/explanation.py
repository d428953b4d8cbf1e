"""Why a node is held to be what it is: the facts behind a status, as numbers and as one sentence.

The same words go into the journal, the API, every message and `beatward explain`. Facts are
gathered from the rooms' arrays, live or in a snapshot, so a verdict of last night and the state of
this second are explained by the same code.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.entry import Conflict, Maintenance, Silence
from beatward.core.guard import Drops, Pauses
from beatward.core.instants import MILLISECOND, NEVER, format_duration
from beatward.core.intake import Via
from beatward.core.job_words import JobFacts
from beatward.core.mass import Hold
from beatward.core.membership import Cause, Status
from beatward.core.peers import shown_address
from beatward.core.protocol.record import SIGNAL_MIN
from beatward.core.protocol.report import SelfReport
from beatward.core.state import State
from beatward.core.upkeep import NO_NOTES, NodeNotes

_STATUSES, _CAUSES = tuple(Status), tuple(Cause)
# How a node reports, in words; a slot never heard from has none.
VIA_WORDS: dict[int, str] = {Via.UDP: "udp", Via.HTTP: "http", Via.PING: "ping"}
_NO_DROPS = Drops()
VIA_CODES = {word: code for code, word in VIA_WORDS.items()}


class Facts(NamedTuple):
    """What is known of one node at one instant. Instants that never were are None.

    bound_ns   the promised detection time: from its last moment to the verdict, at worst, beyond
               the delay of the network
    wish_ns    the interval that it is asked for; 0: no other one
    """

    node: str
    status: Status
    cause: Cause
    at_ns: int
    since_ns: int
    heard_ns: int | None
    sequence: int | None
    interval_ns: int
    due_ns: int | None
    deadline_ns: int | None
    margin_ns: int
    margin_from: str
    via: str
    probes_sent: int
    window_ns: int
    bound_ns: int
    pauses: Pauses
    started_ns: int
    exit_code: int | None
    drops: Drops = _NO_DROPS
    notes: NodeNotes = NO_NOTES
    job: JobFacts | None = None
    hold: Hold | None = None
    hold_down_ns: int = 0
    wish_ns: int = 0
    conflict: Conflict | None = None
    report: SelfReport | None = None


def gather(
    state: State, slots: IntArray, at_ns: int, *, exit_codes: Mapping[int, int] | None = None
) -> list[Facts]:
    """Collect the facts of slots (k,), all at once: many change their status in one turn.

    exit_codes   of those slots that said goodbye with one; a signal is negative
    """
    registry, membership = state.registry, state.membership
    names, labels, why = registry.names, registry.labels, state.detector.why
    window_ns, upkeep, jobs = membership.settings.window_ns, state.upkeep, state.jobs
    exits = exit_codes or {}
    return [
        Facts(
            node=names[slot],
            status=_STATUSES[status],
            cause=_CAUSES[cause],
            at_ns=at_ns,
            since_ns=since,
            heard_ns=heard or None,
            sequence=sequence if sequence >= 0 else None,
            interval_ns=every,
            due_ns=None if due == NEVER else due,
            deadline_ns=None if until == NEVER else until,
            margin_ns=margin,
            margin_from=why(slot),
            via=VIA_WORDS.get(via, ""),
            probes_sent=probes,
            window_ns=window_ns,
            bound_ns=every + margin + window_ns,
            pauses=state.pauses,
            started_ns=state.started_ns,
            exit_code=exits.get(slot),
            drops=state.drops,
            notes=upkeep.notes(slot, names[slot], labels.get(slot)),
            job=jobs.facts(slot, at_ns, every, wall_offset_ns=state.wall_offset_ns),
            hold=state.hold_of(slot),
            hold_down_ns=down,
            wish_ns=int(registry.wish_ms[slot]) * MILLISECOND,
            conflict=state.conflicts.get(slot),
            report=state.report_of(slot) if state.reports else None,
        )
        for (
            (slot, status, cause, since, heard, sequence),
            (every, due, until, margin, via, probes, down),
        ) in _rows(state, slots)
    ]


def _rows(state: State, slots: IntArray) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield what the rooms' arrays hold of each slot: of its status, and of its schedule."""
    registry, membership, detector = state.registry, state.membership, state.detector
    due_ns = detector.due_ns(slots)
    status = (
        slots,
        membership.status[slots],
        membership.cause[slots],
        membership.since_ns[slots],
        registry.heard_ns[slots],
        registry.sequence[slots],
    )
    schedule = (
        registry.interval_ns(slots),
        due_ns,
        detector.deadline_ns[slots],
        np.where(due_ns == NEVER, 0, detector.margin_ns(slots)),
        registry.via[slots],
        membership.probes_sent[slots],
        membership.hold_down_ns(slots),
    )
    first, second = (
        zip(*(column.tolist() for column in half), strict=True) for half in (status, schedule)
    )
    return zip(first, second, strict=True)


def numbers(facts: Facts) -> dict[str, Any]:
    """Return the facts as JSON values; lengths of time in nanoseconds, relative to the instant."""
    return {
        "silent_ns": None if facts.heard_ns is None else facts.at_ns - facts.heard_ns,
        "sequence_heard": facts.sequence,
        "sequence_due": None if facts.sequence is None else facts.sequence + 1,
        "interval_ns": facts.interval_ns,
        "interval_wished_ns": facts.wish_ns or None,
        "overdue_ns": None if facts.due_ns is None else facts.at_ns - facts.due_ns,
        "margin_ns": facts.margin_ns,
        "margin_from": facts.margin_from,
        "via": facts.via,
        "probes_sent": facts.probes_sent,
        "probe_window_ns": facts.window_ns,
        "bound_ns": facts.bound_ns,
        "exit_code": facts.exit_code,
        "monitor_pauses": facts.pauses.count,
        "monitor_pause_ns": facts.pauses.last_length_ns,
        "monitor_health": facts.pauses.health,
        "monitor_drops": facts.drops.count,
        "monitor_running_ns": facts.at_ns - facts.started_ns,
        "hold_down_ns": facts.hold_down_ns,
        "held_back": None if facts.hold is None else facts.hold.text(facts.at_ns),
        "would_change": _would_change(facts),
        **({} if facts.conflict is None else conflict_numbers(facts.conflict, facts.at_ns)),
        **_report_numbers(facts),
        **_notes_numbers(facts),
        **({} if facts.job is None else facts.job.numbers()),
    }


def sentence(facts: Facts) -> str:
    """Say in one sentence why the node has the status it has."""
    text = None if facts.job is None else facts.job.sentence(facts.status)
    return (
        f"{facts.node} {text or _SENTENCES[facts.cause](facts)}"
        f"{_wish(facts)}{_held_back(facts)}{_conflict(facts)}{_notes(facts)}"
    )


def conflict_words(node: str, conflict: Conflict) -> str:
    """Say in one sentence which two processes speak under a node's name, and what to do."""
    believed = shown_address(conflict.believed_raw_address) or "an unknown address"
    other = shown_address(conflict.raw_address) or "an unknown address"
    if conflict.incarnation == conflict.believed_incarnation:
        lives = f"both as life {conflict.incarnation}, as a copied machine does"
    else:
        lives = (
            f"the monitor believes life {conflict.believed_incarnation} and not "
            f"life {conflict.incarnation}"
        )
    return (
        f"two processes speak as {node}, one at {believed} and another at {other}: {lives}; end "
        "one of them, or give it a name of its own"
    )


def _conflict(facts: Facts) -> str:
    if facts.conflict is None:
        return ""
    return f"; {conflict_words(facts.node, facts.conflict)}"


def conflict_numbers(conflict: Conflict, at_ns: int) -> dict[str, Any]:
    """Return the facts about two processes under one name as JSON values."""
    return {
        "conflict_ns": at_ns - conflict.since_ns,
        "believed_address": shown_address(conflict.believed_raw_address) or None,
        "believed_incarnation": conflict.believed_incarnation,
        "other_address": shown_address(conflict.raw_address) or None,
        "other_incarnation": conflict.incarnation,
        "other_via": conflict.via,
    }


def _wish(facts: Facts) -> str:
    if facts.wish_ns in (0, facts.interval_ns):
        return ""
    wished, promised = format_duration(facts.wish_ns), format_duration(facts.interval_ns)
    return f"; it promises a heartbeat every {promised} and is asked for one every {wished}"


def _report_numbers(facts: Facts) -> dict[str, Any]:
    if facts.report is None:
        return {}
    return {"reason": facts.report.reason or None, "metrics": dict(facts.report.metrics)}


def _notes_numbers(facts: Facts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if (pause := facts.notes.maintenance) is not None:
        left_ns = None if pause.until_ns == NEVER else pause.until_ns - facts.at_ns
        found["maintenance_left_ns"] = left_ns
        found |= {"maintenance_by": pause.by, "maintenance_reason": pause.reason}
    if (known := facts.notes.acknowledgement) is not None:
        found["acknowledged_ago_ns"] = facts.at_ns - known.at_ns
        found |= {"acknowledged_by": known.by, "acknowledged_note": known.note}
    if (silence := facts.notes.silence) is not None:
        found["silence"] = silence.id
        found["silence_left_ns"] = silence.until_ns - facts.at_ns
        found |= {"silence_by": silence.by, "silence_reason": silence.reason}
    return found


def _notes(facts: Facts) -> str:
    """Say what people have said of it, beyond its status."""
    if facts.notes is NO_NOTES:
        return ""
    text = ""
    if (known := facts.notes.acknowledgement) is not None:
        ago = format_duration(facts.at_ns - known.at_ns)
        text += f"; acknowledged {ago} ago{credit(known.by, known.note)}"
    if (silence := facts.notes.silence) is not None:
        text += f"; notifications are held for another {held_for(silence, facts.at_ns)}"
    return text


def held_for(silence: Silence, at_ns: int) -> str:
    """Say how long a silence still holds, and whose it is."""
    left = format_duration(silence.until_ns - at_ns)
    return f"{left} by silence {silence.id}{credit(silence.by, silence.reason)}"


def credit(by: str, text: str) -> str:
    """Say who said something and what, as far as it is known; begins with a blank or is empty."""
    return (f" by {by}" if by else "") + (f" ({text})" if text else "")


def _paused(facts: Facts) -> str:
    pause = facts.notes.maintenance or Maintenance()
    planned = pause.until_ns != NEVER
    left = f" for another {format_duration(pause.until_ns - facts.at_ns)}" if planned else ""
    who = credit(pause.by, pause.reason)
    return f"is paused{left}: maintenance was announced{who}, silence does not count"


def _resumed(facts: Facts) -> str:
    pause = facts.notes.maintenance
    if pause is not None and pause.until_ns <= facts.at_ns:
        return "is watched again: the planned end of its maintenance has come"
    if pause is not None and pause.ended_by:
        return f"is watched again: {pause.ended_by} has ended its maintenance"
    return "is watched again: maintenance is over"


def _held_back(facts: Facts) -> str:
    if facts.hold is None or facts.status not in (Status.SUSPECT, Status.DEAD):
        return ""
    what = "destructive actions are held back"
    if facts.hold.cause == "cut_off":
        what = "no node is declared dead"
    return f"; {what}: {facts.hold.text(facts.at_ns)}"


def _silence(facts: Facts) -> str:
    if facts.heard_ns is None or facts.due_ns is None or facts.sequence is None:
        return "nothing was heard of it since the monitor's start or its enrolment"
    silent = format_duration(facts.at_ns - facts.heard_ns)
    overdue = format_duration(max(facts.at_ns - facts.due_ns, 0))
    margin = format_duration(facts.margin_ns)
    return (
        f"silent {silent}; heartbeat {facts.sequence + 1} was due {overdue} ago "
        f"with margin {margin} ({facts.margin_from})"
    )


def _probes(facts: Facts) -> str:
    if facts.via in ("http", "ping"):
        return f"it reports over HTTP and cannot be probed, so {_window(facts)} were waited"
    if facts.probes_sent == 0:
        return f"no address to probe, so {_window(facts)} were waited"
    plural = "s" if facts.probes_sent > 1 else ""
    return f"{facts.probes_sent} probe{plural} over {_window(facts)} unanswered"


def _window(facts: Facts) -> str:
    return format_duration(facts.window_ns)


def _self(facts: Facts) -> str:
    health = facts.pauses.health
    slow = f"; its own turns are late: margins and windows x {health}" if health > 1 else ""
    return _pauses(facts) + slow + _drops(facts)


def _drops(facts: Facts) -> str:
    # Only what was dropped since it was last heard can have been a word of this node.
    drops = facts.drops
    if facts.via != "udp" or drops.last_ns <= (facts.heard_ns or facts.started_ns):
        return ""
    ago = format_duration(facts.at_ns - drops.last_ns)
    return f"; its own machine dropped {drops.count:,} datagrams unread, the last {ago} ago"


def _pauses(facts: Facts) -> str:
    if facts.pauses.count == 0:
        return "the monitor itself never paused"
    ago = format_duration(facts.at_ns - facts.pauses.last_ns)
    length = format_duration(facts.pauses.last_length_ns)
    return f"the monitor itself last paused {ago} ago for {length}, and began its deadlines anew"


def _exited(facts: Facts) -> str:
    code = facts.exit_code
    if code is None:
        return "dead: its agent saw the process end"
    if SIGNAL_MIN <= code < 0:
        return f"dead: its agent saw the process end by signal {-code}"
    return f"dead: its agent saw the process end with exit code {code}"


def _heard(facts: Facts) -> str:
    if facts.sequence is None:  # its first word was the answer to a probe
        what = "it proved that it speaks now"
    else:
        what = f"heartbeat {facts.sequence} arrived"
    if facts.status != Status.RECOVERING:
        return f"is alive: {what}"
    if facts.via == "udp":  # the dead are asked first, see core.hearing
        what = "it answered when it was asked"
    held = format_duration(facts.hold_down_ns)
    flaps = f" for {held}, because it keeps dying" if facts.hold_down_ns else ""
    return f"is back: {what}; waiting for it to be steady{flaps}"


_SENTENCES: dict[Cause, Callable[[Facts], str]] = {
    Cause.ENROLLED: lambda _: "is enrolled; nothing was heard of it yet",
    Cause.HEARD: _heard,
    Cause.OVERDUE: lambda f: f"suspected: {_silence(f)}; probing for {_window(f)}; {_self(f)}",
    Cause.REFUTED: lambda f: f"is alive: the suspicion was refuted by {_refuter(f)}",
    Cause.SILENT: lambda f: f"dead: {_silence(f)}; {_probes(f)}; {_self(f)}",
    Cause.EXITED: _exited,
    Cause.GOODBYE: lambda _: "left: it said goodbye",
    Cause.PAUSE: _paused,
    Cause.RESUME: _resumed,
    Cause.ILL: lambda f: f"is failing: its heartbeats arrive and say that it is not well{_why(f)}",
    Cause.WELL: lambda _: "is alive: it says that it is well again",
    Cause.STEADY: lambda _: "is alive: it was steady for long enough after its return",
}


def _why(facts: Facts) -> str:
    reason = "" if facts.report is None else facts.report.reason
    return f": {reason}" if reason else ""


def _refuter(facts: Facts) -> str:
    match facts.probes_sent:
        case 0:
            return "a heartbeat"
        case 1:
            return "a heartbeat or the answer to the probe"
        case count:
            return f"a heartbeat or an answer to one of {count} probes"


def _would_change(facts: Facts) -> str:
    """Say what would have made, or would now make, another verdict."""
    text = None if facts.job is None else facts.job.would_change(facts.status)
    if text is not None:
        return text
    match facts.status:
        case Status.DEAD if facts.cause == Cause.EXITED:
            return "a new life of the node, as its restart begins one"
        case Status.DEAD:
            return "an answer to a probe, which any heartbeat of it leads to, or a new life"
        case Status.SUSPECT:
            return f"an answer to a probe, or a heartbeat in time, within {_window(facts)}"
        case Status.LEFT:
            return "a heartbeat"
        case Status.PAUSED:
            pause = facts.notes.maintenance
            if pause is None or pause.until_ns == NEVER:
                return "the end of the maintenance (resume)"
            left = format_duration(pause.until_ns - facts.at_ns)
            return f"the end of the maintenance, in {left} or by resume"
        case _ if facts.deadline_ns is not None:
            left = format_duration(max(facts.deadline_ns - facts.at_ns, 0))
            return f"silence for another {left} would make it suspect"
        case _:
            return "silence beyond the start grace would make it suspect"
