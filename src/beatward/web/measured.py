"""The families of /metrics that say how well the monitor detects; see `core.quality`."""

from collections.abc import Iterator, Sequence

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from beatward.core.figures import BOUNDS_NS, Figures
from beatward.core.instants import SECOND
from beatward.core.snapshot import Snapshot


def fleet(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the fleet's families; counters never fall, also where nodes are forgotten."""
    quality = snapshot.state.quality
    figures = quality.fleet(snapshot.taken_ns)
    yield _histogram(
        "beatward_detection_time_seconds",
        "Silence at verdicts, from the last word; also at those that were refuted later.",
        quality.verdict_counts.tolist(),
        quality.verdict_ns,
    )
    outages = figures.outages[0].astype(np.int64).tolist()
    text = "Silences that led to suspicion, and exits, from the last word to the next."
    yield _histogram("beatward_outage_seconds", text, outages, figures.outage_ns[0])
    mistakes = CounterMetricFamily(
        "beatward_mistakes", "Suspicions and verdicts that were refuted.", labels=["of"]
    )
    mistakes.add_metric(["suspicion"], figures.suspicions_refuted[0])
    mistakes.add_metric(["verdict"], figures.verdicts_refuted[0])
    yield mistakes
    yield SummaryMetricFamily(
        "beatward_exit_seconds",
        "Exits that agents told of, from the word's arrival to the verdict.",
        count_value=int(figures.exits[0]),
        sum_value=figures.exit_ns[0] / SECOND,
    )
    for name, text, value in (
        ("mistake_seconds", "How long nodes were suspected wrongly.", figures.mistaken_ns / SECOND),
        ("alive_seconds", "How long nodes were alive, all in all.", figures.alive_ns / SECOND),
        ("heartbeat_slots", "Heartbeats that the schedules had room for.", figures.slots),
        ("heartbeats_missing", "Those of them that never came, or too late.", figures.missing),
    ):
        yield CounterMetricFamily(f"beatward_{name}", text, value=float(value[0]))
    yield from _gauges(figures)
    yield from _goal(figures)


def nodes(snapshot: Snapshot, rows: Sequence[int]) -> Iterator[Metric]:
    """Yield the families of single nodes; who has no value yet has no series."""
    figures = snapshot.state.quality.figures(np.array(rows, np.int64), snapshot.taken_ns)
    names = snapshot.names
    for name, text, values in (
        (
            "query_accuracy",
            "The share of its life in which it was not suspected.",
            figures.query_accuracy,
        ),
        ("mistakes", "Suspicions and verdicts that were refuted.", figures.mistakes),
        ("loss_ratio", "The share of its heartbeats that never came.", figures.loss),
        (
            "jitter_seconds",
            "How much the time between two varies.",
            figures.mean_jitter_ns / SECOND,
        ),
    ):
        family = GaugeMetricFamily(f"beatward_node_{name}", text, labels=["node"])
        for row, value in zip(rows, values.tolist(), strict=True):
            if value == value:  # noqa: PLR0124  NaN is not equal to itself
                family.add_metric([names[row]], value)
        yield family


def _gauges(figures: Figures) -> Iterator[Metric]:
    for name, text, value in (
        (
            "query_accuracy",
            "The share of time alive in which no node was suspected wrongly.",
            figures.query_accuracy,
        ),
        (
            "jitter_seconds",
            "As in RFC 3550, the mean of the nodes.",
            figures.mean_jitter_ns / SECOND,
        ),
        (
            "round_trip_seconds",
            "From a single probe to its answer, the mean.",
            figures.mean_round_trip_ns / SECOND,
        ),
    ):
        yield GaugeMetricFamily(f"beatward_{name}", text, float(value[0]))


def _goal(figures: Figures) -> Iterator[Metric]:
    wanted = GaugeMetricFamily("beatward_goal_seconds", "What is wanted.", labels=["goal"])
    missed = GaugeMetricFamily(
        "beatward_goal_missed", "1 while what is measured falls short of it.", labels=["goal"]
    )
    for name, compared in figures.compared(0).items():
        wanted.add_metric([name], compared["goal_ns"] / SECOND)
        missed.add_metric([name], int(compared["state"] == "missed"))
    yield from (wanted, missed)


def _histogram(name: str, text: str, counts: Sequence[int], total_ns: float) -> Metric:
    bounds = [str(bound_ns / SECOND) for bound_ns in BOUNDS_NS]
    cumulated = np.cumsum(counts).tolist()
    return HistogramMetricFamily(
        name,
        text,
        buckets=list(zip((*bounds, "+Inf"), map(float, cumulated), strict=True)),
        sum_value=total_ns / SECOND,
    )
