"""Every detector over every trace: how long a crash takes to show, at equal mistakes.

A detector has one knob that trades mistakes for time; here it is turned over its whole range, and
compared where mistakes are equal, so no detector is judged by one choice of its setting. The
other settings are the defaults of the product. Choosing the knob in hindsight is the best case of
each; what a knob set in advance delivers is another question.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from beatward.backtest import Arrivals, Curve, measure
from beatward.bench import chart
from beatward.bench.report import BenchTable
from beatward.core.detect import DetectorSettings
from beatward.core.instants import SECOND
from beatward.simulate.traces import TRACES, Trace, draw

# Mistakes an hour at which detectors are compared, and those that stand in the table.
RATES = (600, 200, 60, 30, 12, 6, 3, 1.2, 0.6, 0.3, 0.12, 0.06, 0.03, 0.012)
TABLE_RATES = (30, 6, 0.6, 0.06)
# A rate is a count over a time: below this many mistakes its error is above a quarter.
FEWEST = 20
# A detector that doubts every fiftieth heartbeat is of no use.
_MOST_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Knob:
    """What of a detector is turned: the name of its setting, and values from eager to patient.

    settings_of  (interval_ns, value) -> settings
    """

    name: str
    least: float
    most: float
    settings_of: Callable[[int, float], DetectorSettings]

    def values(self, count: int) -> list[float]:
        """Return `count` values in equal ratios."""
        return [float(value) for value in np.geomspace(self.least, self.most, count)]


def _margin(kind: str) -> Knob:
    def settings_of(interval_ns: int, value: float) -> DetectorSettings:
        return DetectorSettings(kind=kind, margin_ns=round(value * interval_ns))

    return Knob("margin, intervals", 0.02, 200.0, settings_of)


def _fixed(interval_ns: int, value: float) -> DetectorSettings:
    return DetectorSettings(kind="fixed", timeout_ns=round((1.0 + value) * interval_ns))


def _phi(_interval_ns: int, value: float) -> DetectorSettings:
    # The paper's detector has no pause; Pekko's three intervals of it hide all that lies below.
    return DetectorSettings(kind="phi", threshold=value, pause_ns=0)


def _phi_exponential(_interval_ns: int, value: float) -> DetectorSettings:
    return DetectorSettings(kind="phi_exponential", threshold=value)


def _bertier(_interval_ns: int, value: float) -> DetectorSettings:
    return DetectorSettings(kind="bertier", deviation_weight=value)


def _histogram(_interval_ns: int, value: float) -> DetectorSettings:
    return DetectorSettings(kind="histogram", factor=value)


KNOBS: dict[str, Knob] = {
    "adaptive": _margin("adaptive"),
    "bertier": Knob("deviation_weight", 0.5, 3000.0, _bertier),
    "chen": _margin("chen"),
    "fixed": Knob("timeout - interval, intervals", 0.02, 200.0, _fixed),
    "histogram": Knob("factor", 1.01, 200.0, _histogram),
    "phi": Knob("threshold", 0.4, 300.0, _phi),
    "phi_exponential": Knob("threshold", 0.45, 90.0, _phi_exponential),
    "two_window": _margin("two_window"),
}
# What has no schedule to go by is the other one, to the nanosecond, and would be drawn twice.
SAME = {"calendar": "fixed"}


@lru_cache(maxsize=1)
def _drawn(name: str, seed: int, count: int) -> Trace:
    # The tasks of one trace follow each other, so a process draws each trace once.
    return draw(name, seed, count=count)


def trace_figures(name: str, seed: int, count: int) -> dict[str, Any]:
    """Return what is to be known of a trace."""
    trace = _drawn(name, seed, count)
    between = np.diff(trace.arrived_ns) / SECOND
    gaps = np.diff(trace.sequence) - 1
    return {
        "shows": TRACES[name].shows,
        "interval_s": trace.interval_ns / SECOND,
        "hours": trace.hours,
        "sent": trace.sent_count,
        "lost": trace.sent_count - len(trace.sequence),
        "gaps": int((gaps > 0).sum()),
        "arrival_mean_s": float(between.mean()),
        "arrival_deviation_s": float(between.std()),
        "silence_max_s": float(between.max()),
    }


def frontier(name: str, seed: int, count: int, kind: str, values: int) -> dict[str, Any]:
    """Measure one detector on one trace and return its points at `RATES`."""
    trace = _drawn(name, seed, count)
    arrivals = Arrivals(trace.interval_ns, trace.sequence, trace.sent_ns, trace.arrived_ns)
    knob = KNOBS[kind]
    curve = measure(
        arrivals,
        knob.values(values),
        lambda value: knob.settings_of(trace.interval_ns, value),
        fewest=FEWEST,
    )
    return {"knob": knob.name, "points": _points(curve, trace)}


def _points(curve: Curve, trace: Trace) -> list[dict[str, float]]:
    most = _MOST_SHARE * SECOND * 3600 / trace.interval_ns
    points = []
    for rate in RATES:
        point = curve.at(rate) if FEWEST / trace.hours <= rate <= most else None
        if point is not None:
            points.append(
                {
                    "mistakes_per_hour": rate,
                    "value": point.value,
                    "mean_s": point.detection_mean_s,
                    "p99_s": point.detection_p99_s,
                    "max_s": point.detection_max_s,
                }
            )
    return points


def at(detector: Mapping[str, Any] | None, rate: float) -> Mapping[str, float] | None:
    """Return the point of a detector at a rate, if it has one."""
    if detector is None:
        return None
    found = (p for p in detector["points"] if p["mistakes_per_hour"] == rate)
    return next(found, None)


def table(name: str, figures: Mapping[str, Any]) -> BenchTable:
    """Return a table of one trace: mean / p99 / max of the detection time, in seconds."""
    detectors = figures["detectors"]
    rates = [
        rate for rate in TABLE_RATES if any(at(each, rate) for each in detectors.values())
    ] or sorted(_rates_of(detectors))[:4]
    columns = (f"{name}: s at", *(f"{rate:g} mistakes/h" for rate in rates))
    rows = []
    for kind, detector in detectors.items():
        found = (at(detector, rate) for rate in rates)
        rows.append((kind, *(_three(point) for point in found)))
    return BenchTable(columns, tuple(rows))


def _rates_of(detectors: Mapping[str, Any]) -> set[float]:
    return {p["mistakes_per_hour"] for each in detectors.values() for p in each["points"]}


def _three(point: Mapping[str, float] | None) -> str:
    if point is None:
        return "-"
    return " / ".join(significant(point[key]) for key in ("mean_s", "p99_s", "max_s"))


def significant(value: float) -> str:
    """Write a number with three significant digits and no exponent."""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"


def picture(figures: Mapping[str, Any]) -> str:
    """Return the three panels of one trace as an SVG."""
    columns = (("mean_s", "mean"), ("p99_s", "99th percentile"), ("max_s", "longest"))
    panels = [
        chart.Panel(
            f"Detection time, s: {name}", "mistakes an hour", _lines(figures["detectors"], key)
        )
        for key, name in columns
    ]
    return chart.draw([p for p in panels if p.lines], legend_below=True)


def _lines(detectors: Mapping[str, Any], key: str) -> Sequence[chart.ChartLine]:
    return [
        chart.ChartLine(
            kind, [(p["mistakes_per_hour"], p[key]) for p in detector["points"] if p[key]]
        )
        for kind, detector in detectors.items()
        if detector["points"]
    ]
