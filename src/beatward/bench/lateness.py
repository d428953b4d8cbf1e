"""How late is the suspicion of a node that has fallen silent, and is every one found?

Some nodes of a fleet are silenced at instants known to the sender; the others beat on. The ideal
detector would speak at the deadline itself: the instant the heartbeat was due by the monitor's own
arithmetic, plus the margin it had learnt. `lateness` is what is added to that by ticks, sweeps and
queues until the verdict, and `told` what is added until a follower of the stream of events
reads it, journal on disk included. `detection_time` counts from the last heartbeat that was sent,
by the sender's clock; its greater part is the interval and the margin.

A node that lives and is suspected is counted: its heartbeat may really have been late, because the
sender shares this machine. That none of them is called dead is promised.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from beatward.bench import fleet, ingest, machine, sender, subject
from beatward.bench.follower import EventFollower, ReceivedEvent, following
from beatward.bench.report import BenchCheck, BenchReport, BenchTable, Tell, number, quantiles_ms

# Before this many heartbeats the margin is a whole interval, and falls for some time after.
_LEARNING_HEARTBEATS = 12
_SEED = 42
# Interval, margin and probing window apart, which are added to it.
_PATIENCE_SECONDS = 10.0
_WINDOW_SECONDS = 1.0
_AIM_MS = {"p50": 6.0, "p99": 13.0}


@dataclass(frozen=True, slots=True)
class LatenessOptions:
    """What is to be measured: `stopped` of `nodes`, spread over `seconds`."""

    nodes: int
    rate: float
    seconds: float
    stopped: int
    per_datagram: int = 1
    asks: bool = True


@dataclass(frozen=True, slots=True)
class _Stops:
    """Who falls silent: node -> when it sent its last heartbeat, seconds after the start."""

    at_s: np.ndarray[tuple[int], np.dtype[np.float64]]
    last_s: Mapping[str, float]


def measure(options: LatenessOptions, folder: Path, tell: Tell) -> BenchReport:
    """Silence some and wait until all of them were found."""
    ask_ns = ingest.ASK_NS if options.asks else 0
    pace = sender.pace_of(
        options.nodes, options.rate, per_datagram=options.per_datagram, ask_ns=ask_ns
    )
    learning_s = max(_LEARNING_HEARTBEATS * pace.interval_ms / 1000, 1.5)
    stops = _draw(options, pace, learning_s)
    with subject.scene(folder, options.nodes) as scene:
        tell("waking the fleet", 0.0)
        scene.wake(options.nodes)
        with following(scene.subject) as follower:
            sent = scene.sender.begin(
                sender.SendPace(
                    pace.rate,
                    pace.interval_ms,
                    pace.per_datagram,
                    asks_every=pace.asks_every,
                    stops=stops.at_s,
                )
            )
            meter = machine.Meter(scene.processes, time.monotonic())
            expected_s = (
                learning_s + options.seconds + 2 * pace.interval_ms / 1000 + _WINDOW_SECONDS
            )
            _wait_found(follower, stops, expected_s, tell)
            used = meter.look(time.monotonic())
        later = scene.sender.end()
        counts = scene.subject.wait_for(later.records)
        events = follower.received()
        pauses = int(scene.subject.get("/v1/status")["pauses"]["count"])
    found = _find(events, stops, sent.begun_wall_ns)
    figures = {
        "nodes": options.nodes,
        "rate": pace.rate,
        "interval_ms": pace.interval_ms,
        "per_datagram": options.per_datagram,
        "stopped": options.stopped,
        **found,
        "monitor_pauses": pauses,
        "cores": used.cores[scene.subject.process_id],
        "waited": used.waited,
        "strangers_cores": used.strangers,
        "sender_late_ms": later.late_max_ns / 1e6,
        "kernel_drops": counts.drops,
        "lost": subject.unaccounted(later, counts, options.per_datagram),
        "aim_ms": _AIM_MS,
    }
    return BenchReport(
        "lateness", machine.describe(), figures, (_table(figures),), _promises(figures)
    )


def _draw(options: LatenessOptions, pace: sender.SendPace, learning_s: float) -> _Stops:
    """Choose who falls silent and when; positions are the sender's, names the monitor's."""
    rng = np.random.default_rng(_SEED)
    order = np.random.default_rng(sender.SHUFFLE_SEED).permutation(options.nodes)
    at_s = np.full(options.nodes, np.inf)
    chosen = rng.choice(options.nodes, options.stopped, replace=False)
    at_s[chosen] = learning_s + rng.random(options.stopped) * options.seconds
    phase_s = chosen / pace.rate
    interval_s = options.nodes / pace.rate
    # Due strictly before the stop: the sender leaves out what is due at it or later.
    rounds = np.ceil((at_s[chosen] - phase_s) / interval_s) - 1
    last_s = phase_s + rounds * interval_s
    names = [fleet.name_of(int(index)) for index in order[chosen]]
    return _Stops(at_s, dict(zip(names, map(float, last_s), strict=True)))


def _wait_found(follower: EventFollower, stops: _Stops, expected_s: float, tell: Tell) -> None:
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < expected_s + _PATIENCE_SECONDS:
        dead = {one.event["node"] for one in follower.received() if one.event["status"] == "dead"}
        if passed >= expected_s and dead >= stops.last_s.keys():
            return
        tell(f"{len(dead)} of {len(stops.last_s)} found", min(passed / expected_s, 1.0))
        time.sleep(0.2)


def _find(events: Sequence[ReceivedEvent], stops: _Stops, begun_wall_ns: int) -> dict[str, Any]:
    """Sort what was said: of the silent the first suspicion, of the living every one."""
    suspected: dict[str, ReceivedEvent] = {}
    dead, false_suspicions, false_verdicts = set(), 0, 0
    for received in events:
        event = received.event
        if event["event"] != "transition" or event["status"] not in ("suspect", "dead"):
            continue
        node, status = str(event["node"]), event["status"]
        # Before its last heartbeat a node that is to fall silent is one of the living.
        last_ns = begun_wall_ns + stops.last_s.get(node, np.inf) * 1e9
        if not _wall_ns(event["at"]) > last_ns:
            false_suspicions += status == "suspect"
            false_verdicts += status == "dead"
        elif status == "dead":
            dead.add(node)
        else:
            suspected.setdefault(node, received)
    lateness, told_after, detection = [], [], []
    for node, received in suspected.items():
        detail = received.event["detail"]
        late_ns = detail["overdue_ns"] - detail["margin_ns"]
        lateness.append(late_ns)
        told_after.append(received.at_wall_ns - _wall_ns(received.event["at"]) + late_ns)
        detection.append(received.at_wall_ns - begun_wall_ns - stops.last_s[node] * 1e9)
    return {
        "suspected": len(suspected),
        "dead": len(dead),
        "false_suspicions": false_suspicions,
        "false_verdicts": false_verdicts,
        "lateness_ms": quantiles_ms(lateness),
        "told_ms": quantiles_ms(told_after),
        "detection_time_ms": quantiles_ms(detection),
    }


def _wall_ns(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1e6) * 1000


def _promises(figures: Mapping[str, Any]) -> tuple[BenchCheck, ...]:
    stopped, lost = figures["stopped"], figures["lost"]
    found = f"{figures['suspected']} suspected, {figures['dead']} dead of {stopped}"
    every = figures["suspected"] == figures["dead"] == stopped
    false = figures["false_verdicts"]
    return (
        BenchCheck("every node that fell silent was found", every, found),
        BenchCheck("no node that lives was called dead", false == 0, f"{false}"),
        BenchCheck("what was sent is accounted for", lost == 0, f"{lost:,} lost"),
    )


def _table(figures: Mapping[str, Any]) -> BenchTable:
    rows = []
    for key, title in (
        ("lateness_ms", "verdict beyond the ideal deadline"),
        ("told_ms", "read by a follower beyond it"),
        ("detection_time_ms", "from the last heartbeat to the follower"),
    ):
        one = figures[key]
        rows.append((title, *(number(one[part], 1) for part in ("p50", "p99", "max"))))
    rows.append(("aim, quiet machine", *(number(_AIM_MS.get(p), 1) for p in ("p50", "p99", "max"))))
    rows.append(("living nodes suspected", str(figures["false_suspicions"]), "", ""))
    rows.append(("monitor's own pauses", str(figures["monitor_pauses"]), "", ""))
    rows.append(("sender late, ms", "", "", number(figures["sender_late_ms"], 1)))
    rows.append(("monitor, cores", number(figures["cores"], 2), "", ""))
    rows.append(("monitor waited for, cores", number(figures["waited"], 2), "", ""))
    rows.append(("others, cores", number(figures["strangers_cores"], 2), "", ""))
    return BenchTable(("", "p50 ms", "p99 ms", "max ms"), tuple(rows))
