"""The doors to the outside world, as the wheel sees them.

Production stands behind them in `server/`, the simulated world in `simulate/`; `cycle.turn` knows
only these. None of them blocks, and none raises for a fault of the outside world.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from beatward.core.entry import Entry, JobPlan, Recovered
from beatward.core.intake import Replies
from beatward.core.monitor import Inputs
from beatward.core.outbox import Action


class Clock(Protocol):
    """Time. The only place where production reads it is `server/clock.py`."""

    def now_ns(self) -> int:
        """Return monotonic nanoseconds; only differences mean anything."""

    def wall_ns(self) -> int:
        """Return nanoseconds since 1970 UTC, for people; it may jump."""


class Inbox(Protocol):
    """All that has come in since the last turn."""

    def drain(self) -> Inputs:
        """Take what is there, bounded in count, never waiting for more.

        `Inputs.watermark_ns` is the instant before the read that emptied the sockets: everything
        that arrived earlier is in this or an earlier drain, so silence until then is silence.
        """


class Journal(Protocol):
    """The writing down; a receipt comes back through the inbox when it is safe on disk."""

    def submit(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Take entries in order, at once; adding the offset to `at_ns` gives wall-clock time.

        While the disk refuses, entries are held back in order and written once it can.
        """


class Store(Protocol):
    """What the journal writes into; one file an engine. Called from one thread, may block."""

    def load(self, *, wall_offset_ns: int) -> Recovered:
        """Return the last sequence, all nodes and all actions without a final outcome."""

    def append(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Write entries and their rows in one transaction: all of them or none.

        An entry whose sequence is already there is skipped, so a doubtful write may be repeated.
        Raises TemporaryError when the disk is full or the database locked.
        """

    def close(self) -> None:
        """Release the file; calling it twice does nothing."""


class Sender(Protocol):
    """The way back to the nodes."""

    def send(self, replies: Replies) -> None:
        """Send sealed records, one datagram each; what the network refuses is counted and lost."""


class Drivers(Protocol):
    """The hands. Outcomes come back through the inbox."""

    def submit(self, actions: Sequence[Action]) -> None:
        """Begin journaled actions, at once; an action already running under its key is ignored."""


class PlanQueue(Protocol):
    """When jobs are due. `core.jobs.Dues` come back through the inbox, again and again."""

    def submit(self, plans: Mapping[str, JobPlan | None]) -> None:
        """Take schedules by the name of their job, in place of earlier ones; None: no more."""
