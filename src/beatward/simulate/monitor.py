"""The monitor's process on a simulated machine: it turns the very `cycle.Cycle` of production.

The process can be killed and started again from its disk, frozen between two turns or in the
middle of one, and refused by its disk. Production turns every tick; here a turn is taken at the
ticks when something has come in or is due, and often enough that an idle wheel is not taken for
a pause. Not here: when any of this happens (`faults`).
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from beatward.core.entry import Entry, JobPlan, Recovered
from beatward.core.instants import MILLISECOND, NEVER
from beatward.core.intake import Datagrams, Replies
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Order
from beatward.core.outbox import Action, Outcome
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.record import RECORD_SIZE
from beatward.cycle import Cycle

from .chance import happens
from .clock import HostClock
from .disk import FlakyStore, Writer
from .drivers import FailureRates, PlayedDriver
from .event_queue import EventQueue
from .network import Datagram, Network
from .truth import History, Trouble

# 4 MiB (config: receive_buffer) at 768 bytes of kernel memory a small datagram.
RECEIVE_BUFFER = 5461
MASTER = bytes(range(32))


class Observer:
    """What is told all that the monitor does: a checker. Each method does nothing here."""

    def started(self, monitor: Monitor, recovered: Recovered) -> None:
        """Note that a session began from the store."""

    def submitted(self, entry: Entry) -> None:
        """Note an entry as it is handed to the journal."""

    def written(self, entry: Entry) -> None:
        """Note that an entry has reached the disk."""

    def store_replaced(self, kept: Sequence[Entry]) -> None:
        """Note that the disk is lost, but for these entries of a backup."""

    def begun(self, action: Action) -> None:
        """Note that an attempt begins."""

    def done(self, action: Action) -> None:
        """Note that a deed was done."""

    def replied(self, data: bytes, target: bytes) -> None:
        """Note a reply as it is sent to an address."""


@dataclass(frozen=True, slots=True)
class MonitorHost:
    """How the monitor is built and run.

    tick_ns      the grid of turns
    drain_max    datagrams that one drain takes
    latency_ns   mean time of one write
    buffer       datagrams that wait in the kernel before it drops what comes
    """

    settings: CoreSettings
    tick_ns: int = 5 * MILLISECOND
    drain_max: int = 8192
    latency_ns: int = 2 * MILLISECOND
    buffer: int = RECEIVE_BUFFER
    build: Callable[..., Monitor] = Monitor


class MonitorProcess:
    """The machine, its disk, and at most one process of the monitor.

    act   does in the world what a deed is there for, at the instant when the deed is done
    """

    def __init__(
        self,
        host: MonitorHost,
        event_queue: EventQueue,
        network: Network,
        *,
        clock: HostClock,
        rng: Random,
        observers: Sequence[Observer] = (),
        act: Callable[[Action], None] = lambda _action: None,
    ) -> None:
        self.host = host
        self.clock = clock
        self.store = FlakyStore()
        self.history = History()
        self._skill = FailureRates()
        self.monitor: Monitor | None = None
        self.turns_count = 0
        self.drops_ns: list[int] = []  # true instants at which the kernel dropped a datagram
        self.drop_probability = 0.0  # by a flood of junk that is not played
        self._untold = 0
        self._event_queue = event_queue
        self._network = network
        self._rng = rng
        self._observers = observers
        self._act = act
        self._cycle: Cycle | None = None
        self._writer: Writer | None = None
        self._hands: PlayedDriver | None = None
        # The longest time without a turn, on a clock that is fast: not yet a pause.
        self._idle_ns = host.settings.guard.pause_limit_ns * 9 // 10 - host.tick_ns
        self._process = 0
        self._turn_at_ns = NEVER
        self._kernel: deque[Datagram] = deque()
        self._journaled = 0
        self._outcomes: list[Outcome] = []
        self._orders: list[Order] = []
        self._watermark_ns = 0
        self._held: _Held | None = None
        network.deliver_to_monitor = self._deliver
        self.history.begin(Trouble.DOWN, event_queue.now_ns)

    @property
    def is_up(self) -> bool:
        """Whether a process runs, be it frozen."""
        return self.monitor is not None

    @property
    def is_away(self) -> bool:
        """Whether it can do nothing now: down or frozen."""
        return not self.is_up or self.history.has(Trouble.FROZEN)

    # -- what can be done to it -----------------------------------------------------------------

    def start(self) -> None:
        """Start a process from what is on disk."""
        if self.is_up:
            return
        now_ns = self._event_queue.now_ns
        self.history.end(Trouble.DOWN, now_ns)
        self._process += 1
        session = self._rng.randrange(1, 2**31)
        monitor = self.host.build(self.host.settings, master=MASTER, session=session)
        wall_offset_ns = self.wall_ns() - self.now_ns()
        recovered = self.store.load(wall_offset_ns=wall_offset_ns)
        monitor.restore(recovered, self.now_ns())
        self._writer = Writer(
            self.store,
            self._event_queue,
            self._rng,
            latency_ns=self.host.latency_ns,
            receipt=self._receipt,
            written=self._written,
        )
        self._hands = PlayedDriver(
            self._event_queue,
            self._rng,
            self._skill,
            begun=self._begun,
            done=self._done,
            outcome=self._outcome,
        )
        self._cycle = Cycle(
            monitor,
            clock=self,
            inbox=self,
            journal=self,
            sender=self,
            drivers=self._hands,
            timetable=_NoTimetable(),
        )
        self.monitor = monitor
        self._journaled = 0
        self._watermark_ns = self.now_ns()
        for one in self._observers:
            one.started(monitor, recovered)
        self._want_turn(now_ns)

    def crash(self) -> None:
        """Kill the process: all that is not on disk is lost."""
        if not self.is_up:
            return
        self.thaw()
        assert self._writer is not None
        assert self._hands is not None
        self._hands.die()
        self._writer.die()
        self.monitor = self._cycle = None
        self._process += 1
        self._turn_at_ns = NEVER
        self._held = None
        self._kernel.clear()
        self._untold = 0
        self._outcomes.clear()
        self._orders.clear()
        self.history.begin(Trouble.DOWN, self._event_queue.now_ns)

    def teach(self, skill: FailureRates) -> None:
        """Let this and later processes' hands work that well."""
        self._skill = skill
        if self._hands is not None:
            self._hands.skill = skill

    def replace_store(self, kept_count: int) -> None:
        """Replace the disk of a monitor that is down by a backup of its first entries, if any."""
        assert not self.is_up
        self.store = self.store.earlier(kept_count)
        for one in self._observers:
            one.store_replaced(self.store.memory.entries)

    def freeze(self, place: str) -> bool:
        """Stop the process; tell whether that was possible.

        place   `between` two turns; `reading`: after the watermark was taken, so that the read
                returns, with old stamps, what came in meanwhile; `judging`: after the read
        """
        if self.is_away:
            return False
        if place == "between" or not self._kernel:
            # In production a turn was taken within the last tick; here it may be longer ago.
            self._take_turn()
        self.history.begin(Trouble.FROZEN, self._event_queue.now_ns)
        if place != "between":
            taken = list(self._kernel) if place == "judging" else None
            if taken is not None:
                self._kernel.clear()
            dropped = 0 if taken is None else self._take_drops()
            self._held = _Held(self.now_ns(), taken, self.now_ns(), dropped)
        return True

    def thaw(self) -> None:
        """Let the process run on; what waited is taken in its next turn."""
        if self.history.has(Trouble.FROZEN):
            self.history.end(Trouble.FROZEN, self._event_queue.now_ns)
            self._turn_at_ns = NEVER
            self._want_turn(self._event_queue.now_ns)

    def order(self, order: Order) -> bool:
        """Hand an order in, as the web room does; tell whether it was taken."""
        if self.is_away:
            return False
        self._orders.append(order)
        self._want_turn(self._event_queue.now_ns)
        return True

    # -- ports.Clock, ports.Inbox, ports.Journal, ports.Sender ----------------------------------

    def now_ns(self) -> int:
        """Return the machine's monotonic clock."""
        return self.clock.now_ns(self._event_queue.now_ns)

    def wall_ns(self) -> int:
        """Return the machine's wall clock."""
        return self.clock.wall_ns(self._event_queue.now_ns)

    def drain(self) -> Inputs:
        """Take what has come in, stamped as `transport.udp` stamps it."""
        now_ns = drained_ns = self.now_ns()
        held, self._held = self._held, None
        if held is not None:
            now_ns = held.watermark_ns
            drained_ns = held.drained_ns if held.taken is not None else drained_ns
        if held is not None and held.taken is not None:
            taken, emptied, dropped = held.taken, True, held.dropped
        else:
            dropped = self._take_drops()
            count = min(len(self._kernel), self.host.drain_max)
            taken = [self._kernel.popleft() for _ in range(count)]
            emptied = not self._kernel
        if emptied:
            self._watermark_ns = now_ns
        outcomes, self._outcomes = tuple(self._outcomes), []
        orders, self._orders = tuple(self._orders), []
        return Inputs(
            self._watermark_ns,
            drained_ns,
            datagrams=(_packed(taken, now_ns),) if taken else (),
            journaled=self._journaled,
            outcomes=outcomes,
            orders=orders,
            dropped=dropped,
        )

    def submit(self, entries: Sequence[Entry], *, wall_offset_ns: int) -> None:
        """Hand entries to the writer, and tell the observers."""
        assert self._writer is not None
        for entry in entries:
            for one in self._observers:
                one.submitted(entry)
        self._writer.submit(entries, wall_offset_ns=wall_offset_ns)

    def send(self, replies: Replies) -> None:
        """Send each reply on its way."""
        for row, peer in zip(replies.rows, replies.peers, strict=True):
            data = row.tobytes()
            target = peer.tobytes()
            for one in self._observers:
                one.replied(data, target)
            self._network.send_to_node(target, data)

    # -- the wheel ------------------------------------------------------------------------------

    def _turn(self, process: int, at_ns: int) -> None:
        if process == self._process and at_ns == self._turn_at_ns and not self.is_away:
            self._take_turn()

    def _take_turn(self) -> None:
        assert self._cycle is not None
        self._turn_at_ns = NEVER
        self.turns_count += 1
        wake_ns = self._cycle.turn()
        now_ns = self._event_queue.now_ns
        next_ns = now_ns + self._idle_ns
        if wake_ns < NEVER:
            next_ns = min(next_ns, self.clock.true_ns(wake_ns))
        if self._kernel:
            next_ns = now_ns
        self._want_turn(max(next_ns, now_ns + 1))

    def _want_turn(self, instant_ns: int) -> None:
        """See to it that a turn is taken at the first tick from an instant on."""
        tick_ns = self.host.tick_ns
        at_ns = -(-instant_ns // tick_ns) * tick_ns
        if at_ns < self._turn_at_ns:
            self._turn_at_ns = at_ns
            self._event_queue.at(at_ns, self._turn, self._process, at_ns)

    def _deliver(self, datagram: Datagram) -> bool:
        if not self.is_up:
            return False
        is_full = len(self._kernel) >= self.host.buffer
        if is_full or happens(self._rng, self.drop_probability):
            self.drops_ns.append(self._event_queue.now_ns)
            self._untold += 1
            self._want_turn(self._event_queue.now_ns)
            return False
        self._kernel.append(datagram)
        self._want_turn(self._event_queue.now_ns)
        return True

    def _take_drops(self) -> int:
        """Return how many were dropped since this was asked last."""
        untold, self._untold = self._untold, 0
        return untold

    def _written(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            for one in self._observers:
                one.written(entry)

    def _begun(self, action: Action) -> None:
        for one in self._observers:
            one.begun(action)

    def _done(self, action: Action) -> None:
        for one in self._observers:
            one.done(action)
        self._act(action)

    def _receipt(self, sequence: int) -> None:
        self._journaled = sequence
        self._want_turn(self._event_queue.now_ns)

    def _outcome(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._want_turn(self._event_queue.now_ns)


class _NoTimetable:
    """`ports.PlanQueue` of a world whose jobs have periods and no schedules."""

    def submit(self, plans: Mapping[str, JobPlan | None]) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A drain in the middle of which the process was frozen."""

    watermark_ns: int
    taken: list[Datagram] | None
    drained_ns: int
    dropped: int


def _packed(taken: list[Datagram], arrived_ns: int) -> Datagrams:
    sizes = np.array([len(datagram.data) for datagram in taken], np.int64)
    width = max(RECORD_SIZE, -(-int(sizes.max()) // RECORD_SIZE) * RECORD_SIZE)
    rows = b"".join(datagram.data.ljust(width, b"\0") for datagram in taken)
    peers = b"".join(datagram.source for datagram in taken)
    return Datagrams(
        np.frombuffer(rows, np.uint8).reshape(len(taken), width),
        sizes,
        np.frombuffer(peers, np.uint8).reshape(len(taken), PEER_SIZE),
        np.full(len(taken), arrived_ns, np.int64),
    )
