"""What the web asks of the running program: `web.backend` made of the wheel, inbox and journal."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from beatward.core.entry import Failure
from beatward.core.intake import Via
from beatward.core.mass import Hold
from beatward.core.order_kinds import Order
from beatward.core.snapshot import Snapshot
from beatward.core.speakers import Speaker
from beatward.server.clock import SystemClock
from beatward.server.inbox import NO_PEER, ServerInbox
from beatward.server.job_scheduler import JobScheduler
from beatward.server.wheel import DURATION_BOUNDS_NS, Wheel
from beatward.store.journal import JournalWriter
from beatward.transport.udp_sockets import UdpSockets
from beatward.web.backend import HealthReport, Turns


class MachineAdapter:
    """Implements `web.backend.MonitorMachine`."""

    def __init__(self, wheel: Wheel, inbox: ServerInbox, clock: SystemClock) -> None:
        self._wheel = wheel
        self._inbox = inbox
        self._clock = clock

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._wheel.latest()

    def now_ns(self) -> int:
        """Return the instant on the snapshot's clock."""
        return self._clock.now_ns()

    def wall_offset_ns(self) -> int:
        """Return what turns an instant into nanoseconds since 1970 UTC."""
        return self._clock.wall_ns() - self._clock.now_ns()

    def submit(self, records: bytes, via: Via, peer: bytes = NO_PEER) -> bool:
        """Put records into the inbox, all or none."""
        return self._inbox.put_records(records, via, peer)

    def order(self, order: Order) -> bool:
        """Put an order into the inbox."""
        return self._inbox.put_order(order)


class HealthAdapter:
    """Implements `web.backend.HealthSource`.

    holds           returns what a mass failure holds back now; frozen, from any thread
    conflicts       returns one sentence for each name under which two processes speak; the same
    speakers        returns the nodes that speak and are not enrolled; the same
    wanted_buffer   bytes that the settings ask for
    failures        asks which actions of the settings failed when they were tried last
    actions         the names of all of them
    """

    def __init__(
        self,
        wheel: Wheel,
        journal: JournalWriter,
        doors: UdpSockets,
        job_scheduler: JobScheduler,
        *,
        holds: Callable[[], Sequence[Hold]],
        speakers: Callable[[], Sequence[Speaker]],
        conflicts: Callable[[], Sequence[str]],
        wanted_buffer: int,
        failures: Callable[[], Sequence[Failure]],
        actions: Sequence[str],
    ) -> None:
        self._holds = holds
        self._speakers = speakers
        self._conflicts = conflicts
        self._wheel = wheel
        self._journal = journal
        self._doors = doors
        self._job_scheduler = job_scheduler
        self._wanted_buffer = wanted_buffer
        self._failures = failures
        self._actions = actions

    def report(self) -> HealthReport:
        """Return the monitor's opinion of itself."""
        journal, wheel = self._journal.health(), self._wheel
        counts, running = [], 0
        for count in wheel.duration_counts[:-1]:
            running += count
            counts.append(running)
        return HealthReport(
            written=journal.written,
            waiting=journal.waiting_count,
            journal_error=journal.error,
            turns=wheel.turns_count,
            last_turn_ns=wheel.last_turn_ns,
            durations=Turns(DURATION_BOUNDS_NS, counts, wheel.turns_count, wheel.turning_total_ns),
            watermark_ns=self._doors.watermark_ns,
            holds=tuple(hold.text(wheel.last_turn_ns) for hold in self._holds()),
            conflicts=tuple(self._conflicts()),
            speakers=tuple(one for one in self._speakers() if one.kept_ns > wheel.last_turn_ns),
            warnings=tuple(self._warnings()),
            failures=self._failures(),
            actions=self._actions,
        )

    def _warnings(self) -> list[str]:
        warnings = self._job_scheduler.faults()
        left_out = self._journal.health().left_out_count
        if left_out:
            warnings.append(
                f"{left_out:,} lines of the journal were given up while it could not be written; "
                "the rows of nodes and actions are complete"
            )
        granted = self._doors.receive_buffer
        if granted < self._wanted_buffer:
            warnings.append(
                f"the kernel grants a receive buffer of {granted:,} bytes instead of "
                f"{self._wanted_buffer:,}; raise it with: sysctl net.core.rmem_max="
                f"{self._wanted_buffer}"
            )
        warnings += self._doors.shortcomings
        drops = self._doors.drops()
        if drops:
            warnings.append(f"the kernel threw {drops:,} datagrams away before we could read them")
        return warnings


def decorator(doors: UdpSockets, inbox: ServerInbox) -> Callable[[Snapshot], Snapshot]:
    """Return what adds the counts of the doors to a snapshot of the machine."""

    def decorate(snapshot: Snapshot) -> Snapshot:
        counters = {
            **snapshot.counters,
            "datagrams": doors.datagrams_count,
            "bytes": doors.bytes_count,
            "kernel_drops": doors.drops() or 0,
            "filtered": doors.filtered(),
            "receive_errors": doors.errors_count,
            "replies_sent": doors.sent_count,
            "replies_refused": doors.refused_count,
            "inbox_refused": inbox.refused_count,
        }
        return replace(snapshot, counters=counters)

    return decorate
