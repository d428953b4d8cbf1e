"""One turn of the wheel: drain, step, journal, send, act; the same file live and in simulation.

Nothing in it blocks. What the step decided is handed over in this order: entries first, so that
they are on their way to the disk before anything can come of them; actions last, and only those
whose receipt has come back.
"""

from beatward.core.monitor import Monitor
from beatward.ports import Clock, Drivers, Inbox, Journal, PlanQueue, Sender


class Cycle:
    """The only place where the rooms meet."""

    def __init__(
        self,
        monitor: Monitor,
        *,
        clock: Clock,
        inbox: Inbox,
        journal: Journal,
        sender: Sender,
        drivers: Drivers,
        timetable: PlanQueue,
    ) -> None:
        self.monitor = monitor
        self._clock = clock
        self._inbox = inbox
        self._journal = journal
        self._sender = sender
        self._drivers = drivers
        self._timetable = timetable

    def turn(self) -> int:
        """Take one turn; return the instant at which the machine wants the next."""
        inputs = self._inbox.drain()
        wall_offset_ns = self._clock.wall_ns() - self._clock.now_ns()
        output = self.monitor.step(inputs, wall_offset_ns=wall_offset_ns)
        if output.entries:
            self._journal.submit(output.entries, wall_offset_ns=wall_offset_ns)
        if len(output.replies.rows):
            self._sender.send(output.replies)
        if output.actions:
            self._drivers.submit(output.actions)
        if output.plans:
            self._timetable.submit(output.plans)
        return output.wake_ns
