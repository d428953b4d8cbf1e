"""Heartbeats that arrived, through detectors once more: which mistakes, and how soon a crash shows.

    Arrivals, DetectorSettings -> replay.deadlines -> quality.judge -> Quality
    Arrivals, many settings    -> curve.measure -> Curve -> Curve.at(mistakes)
    events of the journal      -> journal.Past -> core.figures.Figures

The detectors are those of production, fed as the monitor feeds them. Arrivals may be recorded or
made (`simulate.traces`); this room does not know which.
Not here: the choice of settings, and tables and pictures of it (`bench`).
"""

from .curve import Curve, Measured, measure
from .journal import Past, instant_ns
from .quality import ReplayQuality, judge
from .replay import Arrivals, deadlines

__all__ = [
    "Arrivals",
    "Curve",
    "Measured",
    "Past",
    "ReplayQuality",
    "deadlines",
    "instant_ns",
    "judge",
    "measure",
]
