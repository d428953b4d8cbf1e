"""When silence becomes suspicion: one file a detector, each a deadline per slot.

Every threshold detector can be turned round into the instant at which silence becomes suspicion,
so a detector learns from a batch of arrivals and moves `deadline_ns`; judging is one comparison
in the sweep. Not here: what happens after the deadline (`core.membership`).
"""

from beatward.core.detect.base import Detector, DetectorSettings
from beatward.core.detect.chen import Chen
from beatward.core.detect.fixed import Fixed

DETECTORS: dict[str, type[Detector]] = {"chen": Chen, "fixed": Fixed}

__all__ = ["DETECTORS", "Chen", "Detector", "DetectorSettings", "Fixed"]
