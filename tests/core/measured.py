"""Monitors by hand whose quality is measured: a heartbeat a second, a margin of 50 ms.

In turns of 100 ms, silence after second n is a suspicion at n + 1.1 s and a verdict at n + 2.1 s.
"""

import numpy as np
from tests.core.by_hand import ByHand, said

from beatward.core.detect import DetectorSettings
from beatward.core.instants import MILLISECOND
from beatward.core.monitor import CoreSettings
from beatward.core.protocol.record import Kind

FIXED = CoreSettings(detector=DetectorSettings(margin_ns=50 * MILLISECOND))


def by_hand(**settings):
    return ByHand(CoreSettings(detector=FIXED.detector, **settings))


def figures(monitor, *names):
    snapshot = monitor.snapshot()
    rows = np.array([snapshot.find(name) for name in names or ("web-1",)])
    return snapshot.state.quality.figures(rows, snapshot.taken_ns)


def of(monitor, name="web-1"):
    return figures(monitor, name).public(0)


def fleet(monitor):
    snapshot = monitor.snapshot()
    return snapshot.state.quality.fleet(snapshot.taken_ns).public(0)


def answer(monitor, at_ns, sequence):
    """Let the node answer the newest probe at an instant."""
    echo = int(monitor.snapshot().state.membership.challenge[0])
    return monitor.step(at_ns, said(kind=Kind.PROBE_REPLY, sequence=sequence, echo=echo))
