"""When silence becomes suspicion: one file a detector, each a deadline per slot.

Every threshold detector can be turned round into the instant at which silence becomes suspicion,
so a detector learns from a batch of arrivals and moves `deadline_ns`; judging is one comparison
in the sweep. Not here: what happens after the deadline (`core.membership`).
"""

from beatward.core.detect.adaptive import Adaptive
from beatward.core.detect.base import Detector, DetectorSettings
from beatward.core.detect.bertier import Bertier
from beatward.core.detect.calendar import Calendar
from beatward.core.detect.chen import Chen
from beatward.core.detect.fixed import Fixed
from beatward.core.detect.histogram import Histogram
from beatward.core.detect.phi import Phi
from beatward.core.detect.phi_exponential import PhiExponential
from beatward.core.detect.two_window import TwoWindow

DETECTORS: dict[str, type[Detector]] = {
    "adaptive": Adaptive,
    "bertier": Bertier,
    "calendar": Calendar,
    "chen": Chen,
    "fixed": Fixed,
    "histogram": Histogram,
    "phi": Phi,
    "phi_exponential": PhiExponential,
    "two_window": TwoWindow,
}

__all__ = [
    "DETECTORS",
    "Adaptive",
    "Bertier",
    "Calendar",
    "Chen",
    "Detector",
    "DetectorSettings",
    "Fixed",
    "Histogram",
    "Phi",
    "PhiExponential",
    "TwoWindow",
]
