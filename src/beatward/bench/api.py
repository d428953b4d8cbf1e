"""How quickly the API answers, and events reach a follower, while a fleet beats.

One client that waits for each answer, over a kept-alive connection; between two questions it rests,
because it is the monitor's busy hours and not the client's that are asked about. An event is made
by announcing maintenance of a node and ending it again: from the order to the follower it passes
the inbox, a turn, the journal's disk and the stream.
"""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beatward.bench import fleet, machine, sender, subject
from beatward.bench.follower import EventFollower, following
from beatward.bench.report import (
    BenchCheck,
    BenchFailed,
    BenchReport,
    BenchTable,
    Tell,
    number,
    quantiles_ms,
)

_REST_SECONDS = 0.004
_EVENT_SECONDS = 10.0
_SETTLE_SECONDS = 1.0
_AIM_P99_MS = 20.0
# Nodes that are asked about; a stride, so that they lie far apart.
_STRIDE = 7919


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What is to be measured, while `nodes` beat `rate` times a second."""

    nodes: int
    rate: float
    seconds: float
    per_datagram: int = 1


def measure(options: ApiOptions, folder: Path, tell: Tell) -> BenchReport:
    """Ask for a number of seconds."""
    pace = sender.pace_of(options.nodes, options.rate, per_datagram=options.per_datagram)
    with subject.scene(folder, options.nodes) as scene:
        tell("waking the fleet", 0.0)
        scene.wake(options.nodes)
        # The one whose maintenance is announced; nothing else of it comes down the stream.
        with following(scene.subject, fleet.name_of(0)) as follower:
            scene.sender.begin(pace)
            time.sleep(_SETTLE_SECONDS)
            before, begun = scene.subject.counts(), time.monotonic()
            meter = machine.Meter(scene.processes, begun)
            times_ns, missing = _ask(scene.subject, follower, options, tell)
            used = meter.look(time.monotonic())
            after = scene.subject.counts()
        sent = scene.sender.end()
        counts = scene.subject.wait_for(sent.records)
    figures = {
        "nodes": options.nodes,
        "per_datagram": options.per_datagram,
        "rate": (after.accepted - before.accepted) / (after.at_s - before.at_s),
        "offered": pace.rate,
        "seconds": options.seconds,
        "cores": used.cores[scene.subject.process_id],
        "waited": used.waited,
        "strangers_cores": used.strangers,
        "aim_p99_ms": _AIM_P99_MS,
        "latency_ms": {route: quantiles_ms(times) for route, times in times_ns.items()},
        "kernel_drops": counts.drops,
        "lost": subject.unaccounted(sent, counts, options.per_datagram),
    }
    promises = (
        BenchCheck("every event reached the follower", missing == 0, f"{missing} missing"),
        BenchCheck("no heartbeat was lost", counts.drops == 0, f"{counts.drops} dropped"),
        BenchCheck(
            "what was sent is accounted for", figures["lost"] == 0, f"{figures['lost']} lost"
        ),
    )
    return BenchReport("api", machine.describe(), figures, (_table(figures),), promises)


class _Client:
    """One kept-alive connection."""

    def __init__(self, monitor: subject.Subject) -> None:
        self._connection = http.client.HTTPConnection(*monitor.http, timeout=30)
        self._headers = {"Authorization": f"Bearer {monitor.api_token}"}

    def ask(self, method: str, path: str) -> int:
        """Ask, read the whole answer, and return how long it took in nanoseconds."""
        begun_ns = time.perf_counter_ns()
        try:
            self._connection.request(method, path, headers=self._headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchFailed(f"the monitor does not answer {path}: {error!r}") from error
        took_ns = time.perf_counter_ns() - begun_ns
        if answer.status not in (200, 202):
            raise BenchFailed(f"{method} {path} was answered {answer.status}: {body[:300]!r}")
        json.loads(body)
        return took_ns

    def close(self) -> None:
        self._connection.close()


def _ask(
    monitor: subject.Subject, follower: EventFollower, options: ApiOptions, tell: Tell
) -> tuple[dict[str, list[int]], int]:
    """Return the times of each route, and how many events did not come."""
    times_ns: dict[str, list[int]] = {
        key: [] for key in ("GET node", "GET status", "GET events", "event to follower")
    }
    client, missing, index = _Client(monitor), 0, 0
    begun = time.monotonic()
    try:
        while (passed := time.monotonic() - begun) < options.seconds:
            tell("asking", passed / options.seconds)
            name = fleet.name_of(index * _STRIDE % options.nodes)
            times_ns["GET node"].append(client.ask("GET", f"/v1/nodes/{name}"))
            times_ns["GET status"].append(client.ask("GET", "/v1/status"))
            times_ns["GET events"].append(client.ask("GET", "/v1/events?limit=20"))
            waited_ns = _event(client, follower, "resume" if index % 2 else "pause")
            if waited_ns is None:
                missing += 1
            else:
                times_ns["event to follower"].append(waited_ns)
            index += 1
            time.sleep(_REST_SECONDS)
    finally:
        client.close()
    return times_ns, missing


def _event(client: _Client, follower: EventFollower, word: str) -> int | None:
    """Order it and wait until the follower has read that it is so; None: it never did."""
    known = len(follower.received())
    begun_ns = time.time_ns()
    client.ask("POST", f"/v1/nodes/{fleet.name_of(0)}/{word}")
    until = time.monotonic() + _EVENT_SECONDS
    while time.monotonic() < until:
        follower.wait_count(known + 1, max(until - time.monotonic(), 0))
        for received in follower.received()[known:]:
            if received.event["cause"] == word:
                return received.at_wall_ns - begun_ns
        known = max(known, len(follower.received()))
    return None


def _table(figures: Mapping[str, Any]) -> BenchTable:
    rows = [
        (
            f"{route}, {times['count']} times",
            *(number(times[key], 1) for key in ("p50", "p99", "max")),
        )
        for route, times in figures["latency_ms"].items()
    ]
    rows.append(("aim", "", number(_AIM_P99_MS, 1), ""))
    rows.append(("heartbeats/s meanwhile", number(figures["rate"]), "", ""))
    rows.append(("monitor, cores", number(figures["cores"], 2), "", ""))
    rows.append(("monitor waited for, cores", number(figures["waited"], 2), "", ""))
    rows.append(("others, cores", number(figures["strangers_cores"], 2), "", ""))
    return BenchTable(("", "p50 ms", "p99 ms", "max ms"), tuple(rows))
