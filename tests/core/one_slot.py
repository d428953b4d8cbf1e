"""A detector of one slot, whose heartbeats are written out by the test.

Heartbeat s of the schedule is due at s intervals; instants are nanoseconds after T.
"""

import numpy as np

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.instants import SECOND

T = 1_000 * SECOND
SLOT = np.array([0])


class OneSlot:
    """One detector of one slot."""

    def __init__(self, kind, **settings):
        self.detector = DETECTORS[kind](DetectorSettings(kind=kind, **settings), 1)
        self.detector.forget(SLOT)
        self.sequence = -1

    def hear_at(self, sequence, at_ns, *, interval_ns=SECOND, learn=True):
        """Take one heartbeat at an instant after T; return the deadline."""
        steps, self.sequence = np.array([sequence - self.sequence]), sequence
        arrived = np.array([T + at_ns])
        self.detector.observe(SLOT, steps, np.array([interval_ns]), arrived, learn=learn)
        return self.deadline_ns

    def hear(self, sequence, late_ns=0, *, interval_ns=SECOND, learn=True):
        """Take one heartbeat, on time or late; return the deadline."""
        at_ns = sequence * interval_ns + late_ns
        return self.hear_at(sequence, at_ns, interval_ns=interval_ns, learn=learn)

    def hear_each(self, sequences, *, late_ns=0, interval_ns=SECOND):
        """Take these heartbeats, each equally late; return the last deadline."""
        for sequence in sequences:
            self.hear(sequence, late_ns, interval_ns=interval_ns)
        return self.deadline_ns

    def hear_all(self, lateness, *, interval_ns=SECOND):
        """Take the next heartbeats, each as late as is said; return all deadlines."""
        first = self.sequence + 1
        return [
            self.hear(first + place, int(late), interval_ns=interval_ns)
            for place, late in enumerate(lateness)
        ]

    @property
    def deadline_ns(self):
        return int(self.detector.deadline_ns[0]) - T

    @property
    def due_ns(self):
        return int(self.detector.due_ns(SLOT)[0]) - T

    @property
    def timeout_ns(self):
        return int(self.detector.timeout_ns(SLOT)[0])

    @property
    def margin_ns(self):
        return int(self.detector.margin_ns(SLOT)[0])

    @property
    def why(self):
        return self.detector.why(0)

    def suspicion_at(self, now_ns):
        return float(self.detector.suspicion(SLOT, np.array([T + now_ns]))[0])
