"""A fixed timeout since the last arrival.

    deadline = arrived + timeout                      timeout: by default three intervals

The oldest idea and the easiest to say aloud. It needs no history, so it is right from the first
heartbeat and never fooled by what it learnt. It is wrong in two ways: a late heartbeat buys as
much extra trust as it was late, because freshness hangs on the arrival and not on the sender's
schedule; and it is unknown which mistakes the number chosen will make. Detection time without loss
lies between timeout - interval and timeout, beyond the delay of the last heartbeat.

Source: folklore; its arithmetic is in Chen, Toueg, Aguilera, "On the Quality of Service of
Failure Detectors", IEEE Transactions on Computers 51(5), May 2002.
"""

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.detect.base import INTERVAL_MAX_NS, Detector

# Two heartbeats lost in a row are not yet a suspicion; the usual choice of Consul, VRRP and others.
INTERVALS = 3


class Fixed(Detector):
    """One number for every node, or three of its own promised intervals."""

    READS = ("timeout",)

    def observe(  # noqa: D102
        self,
        slots: IntArray,
        steps: IntArray,  # noqa: ARG002  this detector does not look at the schedule
        interval_ns: IntArray,
        arrived_ns: IntArray,
        *,
        learn: bool = True,  # noqa: ARG002  nor does it learn
    ) -> None:
        interval = np.minimum(interval_ns, INTERVAL_MAX_NS)
        self.interval_ns[slots] = interval
        self.expected_ns[slots] = arrived_ns
        self.deadline_ns[slots] = arrived_ns + self.timeout_ns(slots)

    def reanchor(self, slots: IntArray) -> None:  # noqa: D102
        pass

    def timeout_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        if self.settings.timeout_ns is not None:
            return np.full(len(slots), self.settings.timeout_ns, np.int64)
        return INTERVALS * self.interval_ns[slots]

    def margin_ns(self, slots: IntArray) -> IntArray:  # noqa: D102
        return self.timeout_ns(slots) - self.interval_ns[slots]

    def why(self, slot: int) -> str:  # noqa: ARG002, D102
        if self.settings.timeout_ns is not None:
            return "a fixed timeout from the settings"
        return f"a fixed timeout of {INTERVALS} intervals"
