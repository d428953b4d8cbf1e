"""Heartbeats a second through the whole monitor, beside a loop that only receives.

At each rate the bare receiver takes the fleet's datagrams before and after the monitor does, in the
same run, from the same sender. What counts is processor time a heartbeat, because on loopback the
sender soon is the limit; `share` is bare / monitor: 1 would mean that all but receiving is free.

Lost is what was sent and neither accepted, refused nor dropped; that it is nothing is checked from
three counters of three programs: the sender's, the monitor's, the kernel's. A rate that was not
kept up ends the climb, and the promise that it would be.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beatward.bench import bare, machine, sender, subject
from beatward.bench.report import BenchCheck, BenchFailed, BenchReport, BenchTable, Tell, number
from beatward.core.instants import SECOND

# The first heartbeats of a new interval have more work than the later ones.
_SETTLE_SECONDS = 0.7
_FRESH_SECONDS = 30.0
# What an agent does: see `agent.heartbeat_protocol.ASK_SPACING_NS`.
ASK_NS = 10 * SECOND
# What was taken may lie behind what was offered by this share, and by a breath of the sender's.
_SHARE_SLACK = 0.03
_SECONDS_SLACK = 0.1
# Issue 3's aims.
_SHARE_AIM = 0.6


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What is to be measured. `rates` are heartbeats a second, `seconds` the length of each step.

    per_datagram   records in a datagram, 1 to 22
    asks           nodes ask for an acknowledgement every 10 s, as agents do
    """

    nodes: int
    rates: tuple[float, ...]
    seconds: float
    per_datagram: int = 1
    asks: bool = True

    def pace(self, rate: float) -> sender.SendPace:
        """Return the fleet's pace for a rate."""
        ask_ns = ASK_NS if self.asks else 0
        return sender.pace_of(self.nodes, rate, per_datagram=self.per_datagram, ask_ns=ask_ns)


@dataclass(frozen=True, slots=True)
class RateStep:
    """One rate at one receiver.

    ns       its processor time a heartbeat
    waited   cores that it would have used and did not get
    """

    offered: float
    rate: float
    seconds: float
    cores: float
    waited: float
    ns: float | None
    drops: int
    sender_cores: float
    strangers_cores: float
    sender_late_ms: float
    sender_skipped: int

    @property
    def kept_up(self) -> bool:
        """Whether all that was offered was taken."""
        wanted_s = self.seconds * (1 - _SHARE_SLACK) - _SECONDS_SLACK
        return self.drops == 0 and self.rate * self.seconds >= self.offered * wanted_s


@dataclass(frozen=True, slots=True)
class Seen:
    """A receiver's counters, as of an instant on a clock of its own."""

    at_s: float
    records: int
    drops: int


def measure(options: IngestOptions, folder: Path, tell: Tell) -> BenchReport:
    """Take the rates one after the other, each at the bare receiver and at the monitor."""
    errors = machine.receive_buffer_errors()
    with subject.scene(folder, options.nodes) as scene:
        before, language = _at_bare(options, folder, lambda at: tell("bare receiver", 0.3 * at))
        tell("waking the fleet", 0.35)
        scene.wake(options.nodes)
        steps = _climb(
            options,
            scene.sender,
            scene.subject.process_id,
            lambda: seen_by_monitor(scene.subject),
            lambda at: tell("monitor", 0.4 + 0.3 * at),
        )
        sent = scene.sender.end()
        counts = scene.subject.wait_for(sent.records)
    after, _ = _at_bare(options, folder, lambda at: tell("bare receiver again", 0.7 + 0.3 * at))
    errors = machine.receive_buffer_errors() - errors
    rows = [
        _row(step, [s[index] for s in (before, after) if index < len(s)])
        for index, step in enumerate(steps)
    ]
    lost = subject.unaccounted(sent, counts, options.per_datagram)
    counters = {
        "sent": sent.records,
        "accepted": counts.accepted,
        # One in every run: the first word of a fleet, which has not proved its life yet.
        "refused": counts.refused,
        "kernel_drops": counts.drops,
        "lost": lost,
        "rcvbuf_errors": errors,
    }
    figures = {
        "nodes": options.nodes,
        "seconds": options.seconds,
        "per_datagram": options.per_datagram,
        "asks": options.asks,
        "bare": language,
        "sustained": max((step.rate for step in steps if step.kept_up), default=0.0),
        "steps": rows,
        "counters": counters,
    }
    return BenchReport(
        "ingest",
        machine.describe(),
        figures,
        (_table(rows),),
        _promises(options, steps, counters),
        _remarks(language, rows),
    )


def _promises(
    options: IngestOptions, steps: Sequence[RateStep], counters: dict[str, int]
) -> tuple[BenchCheck, ...]:
    kept = [step.kept_up for step in steps]
    found = f"{sum(kept)} of {len(options.rates)}"
    drops = counters["kernel_drops"]
    sums = f"{counters['sent']:,} sent, {counters['accepted']:,} accepted, "
    sums += f"{counters['refused']:,} refused, {drops:,} dropped"
    return (
        BenchCheck("every rate was kept up", all(kept) and len(kept) == len(options.rates), found),
        BenchCheck("the kernel dropped nothing at the monitor", drops == 0, f"{drops:,}"),
        BenchCheck("what was sent is accounted for", counters["lost"] == 0, sums),
    )


def _remarks(language: str, rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    remarks = []
    if language != "c":
        remarks.append("no C compiler here: the bare receiver was ours, in Python; read share so")
    if max((row["strangers_cores"] for row in rows), default=0) > 0.1:
        remarks.append("other programs were at work (column `others`); trust ratios, not times")
    if any(row["sender_skipped"] for row in rows):
        remarks.append("the sender was the limit: it skipped heartbeats it could not send in time")
    return tuple(remarks)


def seen_by_monitor(monitor: subject.Subject) -> Seen:
    """Look at the monitor's counters."""
    counts = monitor.counts()
    return Seen(counts.at_s, counts.accepted, counts.drops)


def seen_by_bare(receiver: bare.Bare) -> Seen:
    """Look at the bare receiver's counters."""
    look = receiver.look()
    return Seen(look.at_ns / 1e9, look.records, look.drops)


def _at_bare(
    options: IngestOptions, folder: Path, tell: Callable[[float], None]
) -> tuple[list[RateStep], str]:
    with (
        bare.running(folder, tick_ns=subject.TICK_NS, receive_buffer=subject.RECEIVE_BUFFER) as it,
        sender.running(folder / "fleet.npz") as hands,
    ):
        hands.aim(it.address, proving=False)
        steps = _climb(options, hands, it.process_id, lambda: seen_by_bare(it), tell)
        return steps, it.language


def _climb(
    options: IngestOptions,
    hands: sender.SenderProcess,
    receiver: int,
    look: Callable[[], Seen],
    tell: Callable[[float], None],
) -> list[RateStep]:
    steps: list[RateStep] = []
    for index, rate in enumerate(options.rates):
        tell(index / len(options.rates))
        pace = options.pace(rate)
        hands.begin(pace)
        steps.append(step_of(hands, receiver, look, pace.rate, seconds=options.seconds))
        if not steps[-1].kept_up:
            break
    return steps


def step_of(
    hands: sender.SenderProcess,
    receiver: int,
    look: Callable[[], Seen],
    offered: float,
    *,
    seconds: float,
) -> RateStep:
    """Measure the pace that has just begun, for a number of seconds after it has settled."""
    time.sleep(_SETTLE_SECONDS)
    before, meter = _look_anew(look), machine.Meter((receiver, hands.process_id), time.monotonic())
    sent = hands.look()
    time.sleep(seconds)
    used = meter.look(time.monotonic())
    after, later = _look_anew(look), hands.look()
    window_s = after.at_s - before.at_s
    rate = (after.records - before.records) / window_s
    return RateStep(
        offered,
        rate,
        window_s,
        used.cores[receiver],
        used.waited,
        used.cores[receiver] / rate * 1e9 if rate else None,
        after.drops - before.drops,
        used.cores[hands.process_id],
        used.strangers,
        later.late_max_ns / 1e6,
        later.skipped - sent.skipped,
    )


def _look_anew(look: Callable[[], Seen]) -> Seen:
    """Look at counters that were taken after this call began.

    Of a million nodes the monitor takes a new snapshot every few seconds only.
    """
    old, until = look(), time.monotonic() + _FRESH_SECONDS
    while (seen := look()).at_s == old.at_s:
        if time.monotonic() > until:
            raise BenchFailed(f"the monitor has shown nothing new for {_FRESH_SECONDS:g} s")
        time.sleep(0.05)
    return seen


def _row(step: RateStep, alone: Sequence[RateStep]) -> dict[str, Any]:
    times = [one.ns for one in alone if one.ns is not None]
    bare_ns = sum(times) / len(times) if times else None
    return {
        **asdict(step),
        "kept_up": step.kept_up,
        "bare_ns": bare_ns,
        "bare_each_ns": times,
        "bare_drops": sum(one.drops for one in alone),
        "share": bare_ns / step.ns if bare_ns and step.ns else None,
        "share_aim": _SHARE_AIM,
    }


def _table(rows: Sequence[dict[str, Any]]) -> BenchTable:
    columns = (
        "offered/s",
        "taken/s",
        "drops",
        "cores",
        "waited",
        "ns each",
        "bare ns",
        "share",
        "sender",
    )
    return BenchTable(
        (*columns, "others"),
        tuple(
            (
                number(row["offered"]),
                number(row["rate"]),
                number(row["drops"]),
                number(row["cores"], 2),
                number(row["waited"], 2),
                number(row["ns"]),
                number(row["bare_ns"]),
                "-" if row["share"] is None else f"{row['share']:.0%}",
                number(row["sender_cores"], 2),
                number(row["strangers_cores"], 2),
            )
            for row in rows
        ),
    )
