"""When the wheel takes its next turn: instants in, instants out, no clock of its own.

    what brings a turn                              when
    an order, an outcome, a receipt                 at once
    a datagram, a record over HTTP                  at once while few come, together while many do
    the earliest thing the machine has to do        at its instant
    nothing                                         after QUIET_NS, so that readers see a recent one

"At once" is a tick after the turn before, at the earliest. A turn costs 0.2 to 0.4 ms where it
finds every cache cold, whether it takes one heartbeat or fifty, so a monitor that hears 100
heartbeats a second takes what comes within GATHER_NS together. None is left waiting where few come
(BURST turns are free, and each GATHER_NS earns one), where the machine expects an urgent one
(`Monitor.is_expecting`), or where what waits would fill an eighth of the kernel's buffer or half of
a batch: then turns follow each other by the tick.

GATHER_NS is no longer than the least margin (50 ms): an alarm clock that rings for a node whose
heartbeat lies unread brings the turn at once, and nothing would be gained.

A heartbeat that waits arrived no later for that: the kernel has stamped it. Without stamps none
waits.
"""

from beatward.core.instants import MILLISECOND
from beatward.transport.wire import BATCH_SIZE

GATHER_NS = 50 * MILLISECOND
QUIET_NS = 200 * MILLISECOND
BURST = 8
# A datagram of one record takes 768 bytes of the kernel's memory, one of 22 three times as much.
_DATAGRAM_BYTES = 768
_BUFFER_SHARE = 8


class TurnSchedule:
    """Says when the next turn is due, from what the turns before brought.

    soonest_ns   no turn before, whatever comes
    listen_ns    datagrams and records bring a turn from then on
    due_ns       a turn is taken then though nothing came
    """

    def __init__(self, tick_ns: int, *, buffer: int, is_stamped: bool) -> None:
        """Plan the first turn for now.

        buffer       bytes that the kernel keeps of what arrives
        is_stamped   whether it notes when that was
        """
        self._tick_ns = tick_ns
        room = min(buffer // _DATAGRAM_BYTES // _BUFFER_SHARE, BATCH_SIZE // 2)
        self._gathered_max = room if is_stamped else 0
        self._begun_ns = 0
        self._full_ns = 0  # when all free turns are earned again
        self.soonest_ns = self.listen_ns = self.due_ns = 0

    def note_turn(self, begun_ns: int, ended_ns: int, *, wake_ns: int, count: int) -> None:
        """Plan the next turn after one that took `count` datagrams.

        wake_ns   when the machine wants a turn though nothing comes, or NEVER
        """
        gather_ns = self._gather_ns(count, begun_ns - self._begun_ns)
        self._begun_ns = begun_ns
        # A turn that took longer than a tick is not caught up.
        self.soonest_ns = max(begun_ns + self._tick_ns, ended_ns)
        if count:
            self._full_ns = max(self._full_ns, begun_ns) + gather_ns
        self.listen_ns = max(self.soonest_ns, self._full_ns - BURST * GATHER_NS)
        self.due_ns = max(min(wake_ns, begun_ns + QUIET_NS), self.soonest_ns)

    def hurry(self) -> None:
        """Let the next arrival bring a turn as soon as any may be taken."""
        self.listen_ns = self.soonest_ns

    @property
    def is_gathering(self) -> bool:
        """Whether what arrives is left waiting for a while."""
        return self.listen_ns > self.soonest_ns

    def _gather_ns(self, count: int, elapsed_ns: int) -> int:
        """Return how long arrivals may wait while `count` datagrams come in some time."""
        longest_ns = self._gathered_max * elapsed_ns // count if count else GATHER_NS
        return max(min(longest_ns, GATHER_NS), self._tick_ns)
