"""How good the detectors are: each on every trace, and the verdict in two stages against listening.

Nothing of this machine is measured but how long it takes: heartbeats are simulated, from a seed,
and the detectors are those of the product. The aims are what we want to be held to. Whether they
are met is told and changes no exit code; the promises say whether the figures may be believed.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from beatward.bench import frontier, machine, two_stage
from beatward.bench.report import BenchCheck, BenchReport, BenchTable, Tell
from beatward.core.detect import DETECTORS
from beatward.simulate.traces import TRACES, twin

_VALUES, _VALUES_QUICK = 16, 8
QUICK_TRACES = ("iid", "wan")
_QUICK_COUNT = 15_000
_QUICK_SHARE = 0.004


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """What is to be measured; `quick` takes so little of each that figures mean nothing."""

    traces: tuple[str, ...]
    seed: int
    quick: bool
    jobs: int | None = None


def measure(options: DetectorOptions, tell: Tell) -> BenchReport:
    """Measure every registered detector on the traces, and the two stages on their channels."""
    kinds = [kind for kind in DETECTORS if kind in frontier.KNOBS]
    tasks = [("trace", name, kind) for name in options.traces for kind in ("", *kinds)]
    tasks += [("channel", name, "") for name in two_stage.CHANNELS]
    traces: dict[str, Any] = {}
    channels: list[dict[str, Any]] = []
    for done, (task, found) in enumerate(_results(tasks, options)):
        what, name, kind = task
        tell(f"{what} {name} {kind}", (done + 1) / len(tasks))
        if what == "channel":
            channels += found
        elif not kind:
            traces[name] = {**found, "detectors": {}}
        else:
            traces[name]["detectors"][kind] = found
    aims = [*_two_stage_aims(channels), *_adaptive_aims(traces)]
    figures = {
        "seed": options.seed,
        "quick": options.quick,
        "traces": traces,
        "two_stage": channels,
        "aims": aims,
    }
    tables = (
        *(frontier.table(name, found) for name, found in traces.items()),
        channels_table(channels),
        aims_table(aims),
    )
    unknown = sorted(DETECTORS.keys() - set(kinds) - frontier.SAME.keys())
    remarks = [f"no knob is known of: {', '.join(unknown)}"] if unknown else []
    if options.quick:
        remarks += ["quick: far too few heartbeats for figures; it only shows that all of it runs"]
    promises = () if options.quick else tuple(_promises(traces))
    return BenchReport("detectors", machine.describe(), figures, tables, promises, tuple(remarks))


Task = tuple[str, str, str]


def _results(tasks: Sequence[Task], options: DetectorOptions) -> Iterator[tuple[Task, Any]]:
    jobs = options.jobs or min(os.cpu_count() or 1, 8)
    wishes = [options] * len(tasks)
    if jobs == 1:
        yield from zip(tasks, map(_work, tasks, wishes), strict=True)
        return
    # Not forked: a copy of this process's threads and locks would not be repeatable.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from zip(tasks, pool.map(_work, tasks, wishes), strict=True)


def _work(task: Task, options: DetectorOptions) -> Any:
    what, name, kind = task
    if what == "channel":
        share = _QUICK_SHARE if options.quick else 1.0
        return list(two_stage.measure_channel(name, options.seed, share))
    count = _QUICK_COUNT if options.quick else TRACES[name].count
    if not kind:
        return frontier.trace_figures(name, options.seed, count)
    values = _VALUES_QUICK if options.quick else _VALUES
    return frontier.frontier(name, options.seed, count, kind, values)


# --- may the figures be believed --------------------------------------------------------------


def _promises(traces: Mapping[str, Any]) -> Iterator[BenchCheck]:
    empty = [
        f"{kind} on {name}"
        for name, trace in traces.items()
        for kind, detector in trace["detectors"].items()
        if not detector["points"]
    ]
    yield BenchCheck(
        "every detector has a point on every trace", not empty, ", ".join(empty) or "all"
    )
    if "wan" in traces:
        week = traces["wan"]
        wanted = {
            "lost": (twin.LOST, 0.01),
            "gaps": (twin.BURSTS, 0.0),
            "arrival_mean_s": (twin.ARRIVAL_MEAN_S, 0.001),
            "arrival_deviation_s": (twin.ARRIVAL_DEVIATION_S, 0.02),
        }
        near = all(abs(week[key] / of - 1.0) <= by for key, (of, by) in wanted.items())
        text = ", ".join(f"{key} {week[key]:.5g} of {of:g}" for key, (of, _) in wanted.items())
        yield BenchCheck("the twin has the moments of the week", near, text)


# --- aims -------------------------------------------------------------------------------------


def _aim(aim: str, wanted: float, found: float | None, *, at_most: bool = False) -> dict[str, Any]:
    met = found is not None and (found <= wanted if at_most else found >= wanted)
    return {"aim": aim, "wanted": wanted, "found": found, "at_most": at_most, "met": met}


# Channel -> least reduction of the mean and of the longest detection time.
_TWO_STAGE = {"B": (0.30, 0.23), "C": (0.50, 0.35)}
_EXTRA_MOST = 0.02
_ADAPTIVE_RATES = (30, 6)
_ADAPTIVE_GAIN, _ADAPTIVE_TAIL, _ADAPTIVE_LOSS = 0.20, 1.05, 1.06
_STEADY = ("iid", "lan", "burst")


def _two_stage_aims(channels: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in channels:
        wanted = _TWO_STAGE.get(row["channel"])
        if wanted is None or row["window_s"] > 1.0:
            continue
        where = (
            f"two stages, margin {row['margin']}, T {row['interval_s']:g}, W {row['window_s']:g} s"
        )
        for key, title, least in zip(("mean", "max"), ("mean", "longest"), wanted, strict=True):
            yield _aim(f"{where}: {title} shorter by", least, reduction(row, key))
        yield _aim(f"{where}: more messages", _EXTRA_MOST, row["extra"], at_most=True)


def reduction(row: Mapping[str, Any], key: str) -> float | None:
    """Return by which share the detection time of two stages is shorter than that of listening."""
    passive = row[f"passive_{key}_s"]
    return None if not passive else 1.0 - float(row[f"detection_{key}_s"]) / float(passive)


def _adaptive_aims(traces: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for rate in _ADAPTIVE_RATES if "wan" in traces else ():
        where = f"adaptive, wan, {rate} mistakes/h"
        for rival in ("chen", "phi"):
            ratio = _ratio(traces["wan"], rival, rate, "mean_s")
            found = None if ratio is None else 1.0 - ratio
            yield _aim(f"{where}: mean below {rival} by", _ADAPTIVE_GAIN, found)
        tail = _ratio(traces["wan"], "chen", rate, "p99_s")
        yield _aim(f"{where}: p99, times chen's", _ADAPTIVE_TAIL, tail, at_most=True)
    for name in _STEADY:
        if name in traces:
            ratios = [_ratio(traces[name], "chen", rate, "mean_s") for rate in frontier.RATES]
            worst = max((ratio for ratio in ratios if ratio is not None), default=None)
            aim = f"adaptive, {name}, any rate: mean, times chen's"
            yield _aim(aim, _ADAPTIVE_LOSS, worst, at_most=True)


def _ratio(trace: Mapping[str, Any], rival: str, rate: float, key: str) -> float | None:
    detectors = trace["detectors"]
    ours = frontier.at(detectors.get("adaptive"), rate)
    theirs = frontier.at(detectors.get(rival), rate)
    return ours[key] / theirs[key] if ours and theirs else None


def aims_table(aims: Iterable[Mapping[str, Any]]) -> BenchTable:
    """Return what was aimed for and what was found."""
    rows = []
    for aim in aims:
        found = "not measured" if aim["found"] is None else f"{aim['found']:.3f}"
        word = "at most" if aim["at_most"] else "at least"
        rows.append(
            (aim["aim"], f"{word} {aim['wanted']:g}", found, "met" if aim["met"] else "MISSED")
        )
    return BenchTable(("aim", "wanted", "found", ""), tuple(rows))


def channels_table(channels: Iterable[Mapping[str, Any]]) -> BenchTable:
    """Return the two stages against listening, one channel, margin and window a row."""
    columns = (
        *("two stages", "T s", "W s", "margin s", "mistakes/h", "messages"),
        *("mean s", "max s", "listening", "max", "mean by", "max by"),
    )
    return BenchTable(columns, tuple(_channel_row(row) for row in channels))


def _channel_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    def seconds(key: str) -> str:
        return "-" if row[key] is None else frontier.significant(row[key])

    def shorter(key: str) -> str:
        share = reduction(row, key)
        return "-" if share is None else f"-{share:.0%}" if share >= 0 else f"+{-share:.0%}"

    return (
        row["channel"],
        f"{row['interval_s']:g}",
        f"{row['window_s']:g}",
        f"{row['margin']} {row['margin_s']:.3f}",
        f"{row['mistake_rate']:.3f}",
        f"+{row['extra']:.1%}",
        *(seconds(key) for key in ("detection_mean_s", "detection_max_s")),
        *(seconds(key) for key in ("passive_mean_s", "passive_max_s")),
        shorter("mean"),
        shorter("max"),
    )
