"""/metrics: the snapshot and the monitor's own health as Prometheus reads them.

A collector over what is published anyway, so that counting costs the wheel nothing. Aggregates by
default: 100,000 nodes as single series take a second to render; `metrics_per_node` asks for them.
Rendered in the web's thread pool, never in the loop.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from fastapi import APIRouter, Depends, Request
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.responses import Response

from beatward import __version__
from beatward.core.instants import SECOND
from beatward.core.mass import CAUSES
from beatward.core.membership import Status
from beatward.core.snapshot import Snapshot
from beatward.web import measured, role_metrics
from beatward.web.access import Served, may_read
from beatward.web.backend import Backend, HealthReport, Turns
from beatward.web.events import Streams
from beatward.web.health import status_counts, unread_ns
from beatward.web.shapes import problems

router = APIRouter(tags=["monitor"])

_COUNTERS = {
    "records": "Records that came in, by whatever door.",
    "accepted": "Records that were genuine, fresh and believed.",
    "datagrams": "Datagrams received.",
    "bytes": "Bytes of datagrams received.",
    "kernel_drops": "Datagrams the kernel dropped because the receive buffer was full.",
    "filtered": "Datagrams that were junk and that the kernel threw away for us.",
    "receive_errors": "Errors of the datagram socket.",
    "replies_sent": "Acknowledgements and probes sent.",
    "replies_refused": "Acknowledgements and probes that the network refused.",
    "probes_put_off": "Suspects that waited for their first probe, because of `probe.rate`.",
    "standings": "Words of members of services that were believed.",
    "services_refused": "Declarations of services that contradict what is known.",
    "conflicts_overflow": "Hints of two processes under one name that found no room.",
    "speakers_overflow": "Looks at unknown speakers for whom the list had no room.",
    "inbox_refused": "Records and orders turned away because the inbox was full.",
}


class MonitorCollector(Collector):
    """Yields the metric families of one moment."""

    def __init__(
        self, backend: Backend, doors: Mapping[str, Mapping[str, int]], streams: Streams
    ) -> None:
        self._backend = backend
        self._doors = doors
        self._streams = streams

    def collect(self) -> Iterator[Metric]:
        """Yield everything about one snapshot."""
        backend = self._backend
        snapshot, report = backend.machine.snapshot(), backend.health.report()
        yield InfoMetricFamily(
            "beatward_build",
            "The program.",
            {"version": __version__, "name": backend.identity.name, "tags": snapshot.tags},
        )
        yield from _fleet(snapshot)
        yield from _upkeep(snapshot)
        yield from role_metrics.families(snapshot)
        yield from _arrivals(snapshot)
        yield _speakers(snapshot)
        yield GaugeMetricFamily(
            "beatward_conflicts",
            "Nodes under whose name two processes speak.",
            len(snapshot.state.conflicts),
        )
        yield from measured.fleet(snapshot)
        yield from self._web()
        yield from _journal(report)
        yield _failing(report)
        yield from _wheel(snapshot, report, backend.machine.now_ns())
        if backend.identity.metrics_per_node:
            yield from _single_nodes(snapshot)
            yield from measured.nodes(snapshot, snapshot.rows().tolist())

    def _web(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "beatward_http",
            "Heartbeats and pings over HTTP, by what became of them.",
            labels=["door", "result"],
        )
        for door, counts in self._doors.items():
            for result, count in counts.items():
                family.add_metric([door, result], count)
        yield family
        yield GaugeMetricFamily(
            "beatward_streams", "Event streams that are open.", self._streams.count
        )

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: asked at registration, a collector need not know its names."""
        return iter(())


def _fleet(snapshot: Snapshot) -> Iterator[Metric]:
    nodes = GaugeMetricFamily("beatward_nodes", "Nodes by status.", labels=["status"])
    counts = status_counts(snapshot)
    for status in Status:
        nodes.add_metric([status.word], counts[status.word])
    yield nodes
    actions = GaugeMetricFamily(
        "beatward_actions", "Actions without a final outcome.", labels=["state"]
    )
    for state, count in snapshot.outbox.items():
        actions.add_metric([state], count)
    yield actions
    yield from _guards(snapshot)
    yield from _pace(snapshot)


def _pace(snapshot: Snapshot) -> Iterator[Metric]:
    if snapshot.pace is None:
        return
    rates = GaugeMetricFamily(
        "beatward_pace_heartbeats_per_second",
        "Heartbeats a second: `budget`, `promised` by the nodes, `planned` for them.",
        labels=["rate"],
    )
    for name in ("budget", "promised", "planned"):
        rates.add_metric([name], getattr(snapshot.pace, name))
    yield rates
    yield GaugeMetricFamily(
        "beatward_pace_deaf_nodes",
        "Nodes that are not as fast as they were asked to be, or cannot be asked.",
        snapshot.pace.deaf_count,
    )


def _guards(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield what mass failures hold back; a cause without one is 0, so that alarms can watch it."""
    holds = GaugeMetricFamily(
        "beatward_guard_holds", "Mass failures that hold back actions.", labels=["cause"]
    )
    dark = GaugeMetricFamily("beatward_guard_dark_nodes", "Nodes in them.", labels=["cause"])
    for cause in CAUSES:
        mine = [hold for hold in snapshot.state.holds if hold.cause == cause]
        holds.add_metric([cause], len(mine))
        dark.add_metric([cause], sum(hold.dark for hold in mine))
    yield holds
    yield dark


def _upkeep(snapshot: Snapshot) -> Iterator[Metric]:
    upkeep = snapshot.state.upkeep
    yield GaugeMetricFamily("beatward_silences", "Silences.", len(upkeep.silences))
    yield GaugeMetricFamily(
        "beatward_acknowledged", "Alarms that were acknowledged.", len(upkeep.acknowledged)
    )


def _arrivals(snapshot: Snapshot) -> Iterator[Metric]:
    for name, value in snapshot.counters.items():
        text = _COUNTERS.get(name, f"Counted by the monitor as {name}.")
        yield CounterMetricFamily(f"beatward_{name}", text, value=value)
    rejects = CounterMetricFamily(
        "beatward_rejects", "Records that changed nothing, by reason.", labels=["reason"]
    )
    for reason, count in snapshot.rejects.items():
        rejects.add_metric([reason], count)
    yield rejects


def _speakers(snapshot: Snapshot) -> Metric:
    """Yield both kinds also where there is none, so that alarms can watch them."""
    speakers = GaugeMetricFamily(
        "beatward_unknown_speakers",
        "Nodes that send datagrams and are not watched: `ours` have a key of this monitor.",
        labels=["key"],
    )
    ours = sum(one.is_ours for one in snapshot.speakers)
    speakers.add_metric(["ours"], ours)
    speakers.add_metric(["other"], len(snapshot.speakers) - ours)
    return speakers


def _journal(report: HealthReport) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "beatward_journal_written", "The journal holds every entry up to this id.", report.written
    )
    yield GaugeMetricFamily(
        "beatward_journal_waiting", "Entries that wait to be written.", report.waiting
    )
    yield GaugeMetricFamily(
        "beatward_journal_failing",
        "1 while the journal cannot be written.",
        int(report.journal_error is not None),
    )


def _failing(report: HealthReport) -> Metric:
    """Yield a series for every action of the settings, so that alarms can watch it."""
    family = GaugeMetricFamily(
        "beatward_action_failing",
        "1 from an attempt that failed until one succeeds.",
        labels=["action"],
    )
    failing = {one.name for one in report.failures}
    for name in report.actions:
        family.add_metric([name], int(name in failing))
    return family


def _wheel(snapshot: Snapshot, report: HealthReport, now_ns: int) -> Iterator[Metric]:
    yield CounterMetricFamily("beatward_wheel_turns", "Turns of the wheel.", value=report.turns)
    yield GaugeMetricFamily(
        "beatward_wheel_last_turn_ago_seconds",
        "How long ago the wheel turned last.",
        max(now_ns - report.last_turn_ns, 0) / SECOND,
    )
    yield GaugeMetricFamily(
        "beatward_unread_seconds",
        "How long before the last turn what it read had arrived; 0 where it reads all there is.",
        unread_ns(report) / SECOND,
    )
    if report.durations is not None:
        yield _histogram(report.durations)
    pauses = snapshot.state.pauses
    yield CounterMetricFamily(
        "beatward_pauses", "How often the monitor itself stood still.", value=pauses.count
    )
    yield GaugeMetricFamily(
        "beatward_health_multiplier",
        "What margins and windows are multiplied by, because the monitor's turns are late.",
        pauses.health,
    )
    yield CounterMetricFamily(
        "beatward_pause_seconds",
        "How long it stood still, all together.",
        value=pauses.total_ns / SECOND,
    )
    running_ns = snapshot.taken_ns - snapshot.state.started_ns
    yield GaugeMetricFamily(
        "beatward_running_seconds", "How long this session has lasted.", running_ns / SECOND
    )


def _histogram(turns: Turns) -> Metric:
    buckets = [
        (str(bound_ns / SECOND), float(count))
        for bound_ns, count in zip(turns.bounds_ns, turns.counts, strict=True)
    ]
    return HistogramMetricFamily(
        "beatward_wheel_turn_seconds",
        "How long a turn of the wheel took.",
        buckets=[*buckets, ("+Inf", float(turns.total_count))],
        sum_value=turns.total_ns / SECOND,
    )


def _single_nodes(snapshot: Snapshot) -> Iterator[Metric]:
    registry, membership = snapshot.state.registry, snapshot.state.membership
    rows = snapshot.rows()
    heard = rows[registry.heard_ns[rows] > 0]
    margins_ns = snapshot.state.detector.margin_ns(heard)
    up = np.isin(membership.status, (Status.ALIVE, Status.SUSPECT, Status.FAILING)).astype(int)
    series = (
        ("up", "1 while the node is alive, suspect or failing.", rows, up[rows]),
        ("status", "The number of its status; see docs/api.md.", rows, membership.status[rows]),
        (
            "silent_seconds",
            "How long ago it was heard of.",
            heard,
            (snapshot.taken_ns - registry.heard_ns[heard]) / SECOND,
        ),
        ("interval_seconds", "What it promised.", heard, registry.interval_ms[heard] / 1000),
        ("margin_seconds", "How late it may come.", heard, margins_ns / SECOND),
    )
    for name, text, of_rows, values in series:
        family = GaugeMetricFamily(f"beatward_node_{name}", text, labels=["node"])
        for row, value in zip(of_rows.tolist(), values.tolist(), strict=True):
            family.add_metric([registry.names[row]], value)
        yield family


def make_registry(
    backend: Backend, doors: Mapping[str, Mapping[str, int]], streams: Streams
) -> CollectorRegistry:
    """Return a registry of our own, without the process-wide default's collectors."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(MonitorCollector(backend, doors, streams))
    return registry


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    dependencies=[Depends(may_read)],
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus' text format, or OpenMetrics when it is asked for.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(401),
    },
)
def show_metrics(request: Request, backend: Served) -> Response:
    """Return the monitor's metrics: nodes by status, arrivals, rejects, journal and wheel."""
    del backend
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.metrics), media_type=content_type)
