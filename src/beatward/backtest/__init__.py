"""Heartbeats that arrived, through detectors once more: which mistakes, and how soon a crash shows.

    Arrivals, DetectorSettings -> replay.deadlines -> quality.judge -> Quality
    Arrivals, many settings    -> curve.measure -> Curve -> Curve.at(mistakes)

The detectors are those of production, fed as the monitor feeds them. Arrivals may be recorded or
made (`simulate.traces`); this room does not know which.
Not here: the choice of settings, and tables and pictures of it (`bench`).
"""

from .curve import Curve, Measured, measure
from .quality import Quality, judge
from .replay import Arrivals, deadlines

__all__ = ["Arrivals", "Curve", "Measured", "Quality", "deadlines", "judge", "measure"]
