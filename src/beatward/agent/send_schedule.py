"""The grid of one node's heartbeats, and how its interval changes without breaking a promise.

Each heartbeat promises the next one within an interval, so a change is a change of promise:

    shorter   at once: the next heartbeat comes early and begins a grid of its own. The monitor
              goes on waiting for as long as it was promised until it hears that.
    longer    is announced first: at least three heartbeats at the old rate promise the new
              interval (with the flag *slowing*) and ask for an acknowledgement; when the newest
              of them is acknowledged, it was the last on the old grid. Lost announcements and
              lost answers leave the old rate in force, so that neither breaks a promise.

One change is by a factor of two at most, the next comes no sooner than ten intervals later, and
nothing the monitor wishes goes beyond the bounds of this node's own settings. A node whose round
trip is longer than its interval never has its newest heartbeat acknowledged in time, and stays as
fast as it is.

The rules are BFD's (RFC 5880, section 6.8.3: announce, poll, and only then change) and those of
docs/pace.md. Not here: what is sent, and when an acknowledgement is to be believed (`protocol`).
"""

from dataclasses import dataclass

from beatward.core.instants import MILLISECOND

ANNOUNCED_COUNT_MIN = 3
STEP_MAX = 2
HOLD_INTERVALS = 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """The shortest and the longest interval that a node accepts when the monitor wishes another."""

    min_ns: int
    max_ns: int


class SendSchedule:
    """Slot i of the grid is due at `due_ns(i)`; `interval_ns` is what is in force.

    own_ns   the interval of the node's own settings, which holds when no other is wished
    """

    def __init__(self, own_ns: int, start_ns: int, bounds: Bounds | None = None) -> None:
        assert bounds is None or bounds.min_ns <= own_ns <= bounds.max_ns
        self.own_ns = self.interval_ns = own_ns
        self._bounds = bounds or Bounds(own_ns, own_ns)
        self._origin_ns = start_ns
        self._announced_ns: int | None = None
        self._announced_count = 0
        self._newest = -1  # the last heartbeat that was sent
        self._held_until_ns: int | None = None

    @property
    def promise_ns(self) -> int:
        """What a heartbeat sent now promises."""
        return self.interval_ns if self._announced_ns is None else self._announced_ns

    @property
    def is_slowing(self) -> bool:
        """Whether a longer interval is announced and not in force yet."""
        return self._announced_ns is not None

    def slot(self, now_ns: int) -> int:
        """Return the slot that an instant falls into."""
        return (now_ns - self._origin_ns) // self.interval_ns

    def due_ns(self, slot: int) -> int:
        """Return when a slot's heartbeat is due."""
        return self._origin_ns + slot * self.interval_ns

    def sent(self, slot: int) -> None:
        """Note the heartbeat of a slot; what it promised is `promise_ns`."""
        self._announced_count += slot != self._newest
        self._newest = slot

    def heard(self, slot: int, promise_ns: int, now_ns: int) -> None:
        """Take an acknowledgement, which says what promise the monitor has heard."""
        if self._announced_ns is None or promise_ns != self._announced_ns:
            return
        if slot == self._newest and self._announced_count >= ANNOUNCED_COUNT_MIN:
            self._begin(self._announced_ns, self.due_ns(slot) + self._announced_ns, now_ns)

    def wish(self, wanted_ns: int | None, now_ns: int) -> None:
        """Take what the monitor wishes; None: nothing, so the node's own interval holds."""
        wanted_ns = self.own_ns if wanted_ns is None else wanted_ns
        wanted_ns = max(self._bounds.min_ns, min(wanted_ns, self._bounds.max_ns))
        wanted_ns = max(
            -(-self.interval_ns // (STEP_MAX * MILLISECOND)) * MILLISECOND,
            min(wanted_ns, STEP_MAX * self.interval_ns),
        )
        if wanted_ns == self.interval_ns:
            self._announced_ns = None
        elif self._held_until_ns is not None and now_ns < self._held_until_ns:
            return
        elif wanted_ns < self.interval_ns:
            self._shorten(wanted_ns, now_ns)
        elif wanted_ns != self._announced_ns:
            self._announced_ns = wanted_ns
            self._announced_count = 0

    def forget_wish(self, now_ns: int) -> None:
        """Go back to the node's own pace: the monitor that wished another one does not answer any
        more.
        """
        self._announced_ns = None
        if self.interval_ns > self.own_ns:
            self._shorten(self.own_ns, now_ns)

    def _shorten(self, interval_ns: int, now_ns: int) -> None:
        sent_ns = self.due_ns(self._newest)
        passed = max(-(-(now_ns - sent_ns) // interval_ns), 1)
        # Never later than it was due anyway, or else this would break the old promise.
        due_ns = min(sent_ns + passed * interval_ns, sent_ns + self.interval_ns)
        self._begin(interval_ns, due_ns, now_ns)

    def _begin(self, interval_ns: int, due_ns: int, now_ns: int) -> None:
        """Begin a grid on which the next heartbeat is due at an instant."""
        self._announced_ns = None
        self._origin_ns = due_ns - (self._newest + 1) * interval_ns
        self.interval_ns = interval_ns
        self._held_until_ns = now_ns + HOLD_INTERVALS * interval_ns
