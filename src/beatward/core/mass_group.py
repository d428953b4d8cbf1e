"""The nodes of one mass failure: which are in it, and which changes of theirs are still to be told.

    gone dark while it grows ─► in it ─► told together, in one message
    gone dark later, alone   ─► not in it: its alarm and its repair are its own

A mass grows until no node of it was found dead for `guard.mass_within`, the time within which
silences count as one. A node that dies after that is a case of its own, however long the others
stay dead.
No change is swallowed: each one that is not told alone is in the message that the mass begins
with, in a message about what was added, or in the one that it is over.
Not here: when many are a mass (`core.mass`), and the messages (`core.ledger`).
"""

from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import BoolArray, IntArray
from beatward.core.instants import NEVER, SECOND
from beatward.core.membership import Cause, Change, Status

# Additions are gathered for this long before a message names them, and between two messages for at
# least this long, doubling up to the window: a fleet that goes dark node by node sends one in 30 s.
GATHER_NS = 2 * SECOND

_OUT, _ADDED, _NAMED, _BACK = range(4)
_DARK = (_ADDED, _NAMED)
_LOST, _FOUND = (Cause.OVERDUE, Cause.SILENT), (Cause.REFUTED, Cause.HEARD)


@dataclass(frozen=True, slots=True)
class News:
    """Changes of nodes of a mass that were not reported alone.

    gone   slots that were found dead
    back   slots that were heard again
    """

    gone: tuple[int, ...] = ()
    back: tuple[int, ...] = ()


class Group:
    """Holds a place for every slot: not in it, added since, named when it began, or back again.

    number      tells it from every other mass of this session
    is_for_all  whether it takes everybody, for ever: no node at all is heard
    """

    def __init__(
        self, number: int, slots: IntArray, now_ns: int, *, window_ns: int, is_for_all: bool = False
    ) -> None:
        """Begin with the dark, whom the first message names."""
        self.number = number
        self._window_ns = window_ns
        self._is_for_all = is_for_all
        self._place = np.zeros(int(slots.max(initial=-1)) + 1, np.uint8)
        self._place[slots] = _NAMED
        self._grown_ns = self._told_ns = now_ns
        self._wait_ns = GATHER_NS
        self._gone: dict[int, None] = {}
        self._back: dict[int, None] = {}
        self._gone_due_ns = self._back_due_ns = NEVER

    def has(self, slot: int) -> bool:
        """Tell whether a slot is in it, and dark."""
        return self._is_for_all or self._at(slot) in _DARK

    def dark(self) -> IntArray:
        """Return the slots in it, in order."""
        return np.flatnonzero((self._place == _ADDED) | (self._place == _NAMED))

    def among(self, slots: IntArray) -> BoolArray:
        """Tell of slots (k,) which are in it."""
        places = np.zeros(len(slots), np.uint8)
        known = slots < len(self._place)
        places[known] = self._place[slots[known]]
        found: BoolArray = (places == _ADDED) | (places == _NAMED)
        return found

    def copy(self) -> "Group":
        """Return what readers in other threads may ask for `has` and `dark`."""
        twin = Group(self.number, np.zeros(0, np.int64), 0, window_ns=0)
        twin._is_for_all, twin._place = self._is_for_all, self._place.copy()
        return twin

    # -- who is in it ------------------------------------------------------------------------

    def grows(self, now_ns: int) -> bool:
        """Tell whether a node that goes dark now is one of it."""
        return self._is_for_all or now_ns - self._grown_ns <= self._window_ns

    def keep(self, dark: IntArray) -> None:
        """Let go of all but these slots; the others have left, were paused or forgotten."""
        inside = self.dark()
        gone = inside[~np.isin(inside, dark)]
        self._place[gone] = _OUT

    def add(self, slots: IntArray, now_ns: int) -> None:
        """Take slots that are a mass by themselves; what becomes of them from now on is told."""
        self._reach(int(slots.max(initial=-1)))
        self._place[slots] = _ADDED
        self._grown_ns, self._wait_ns = now_ns, GATHER_NS

    def follow(self, change: Change, *, tells: bool) -> bool:
        """Take a change of a node in its scope; True where it is not reported alone.

        tells   whether it is for this mass to tell of it, and not for a wider one
        """
        place, slot = self._at(change.slot), change.slot
        if change.cause in _LOST:
            if place not in _DARK:
                place = _ADDED if self.grows(change.at_ns) else _OUT
                self._put(slot, place)
            if change.cause == Cause.OVERDUE:
                return place == _NAMED  # of another suspicion people are told as ever
            if place in _DARK:
                self._grown_ns = change.at_ns
            if place == _ADDED and tells:
                self._note_gone(slot, change.at_ns)
            return place in _DARK
        if change.cause in _FOUND and change.before in (Status.DEAD, Status.SUSPECT):
            was_suspect = place == _ADDED and change.before == Status.SUSPECT
            place = _BACK if place in _DARK and not was_suspect else _OUT
            self._put(slot, place)
        elif change.cause != Cause.STEADY:
            return False
        if place == _BACK and tells:
            self._back[slot] = None
            self._back_due_ns = min(self._back_due_ns, change.at_ns + self._window_ns)
        return place == _BACK

    def _at(self, slot: int) -> int:
        return int(self._place[slot]) if slot < len(self._place) else _OUT

    def _put(self, slot: int, place: int) -> None:
        if place != _OUT or slot < len(self._place):
            self._reach(slot)
            self._place[slot] = place

    def _reach(self, slot: int) -> None:
        if slot >= len(self._place):
            # By half as much again: a mass that grows node by node is not copied for each.
            room = np.zeros(slot + 1 + slot // 2 - len(self._place), np.uint8)
            self._place = np.concatenate((self._place, room))

    # -- what is to be told ------------------------------------------------------------------

    def _note_gone(self, slot: int, at_ns: int) -> None:
        self._gone[slot] = None
        if self._gone_due_ns == NEVER:
            self._gone_due_ns = max(at_ns + GATHER_NS, self._told_ns + self._wait_ns)

    def take_news(self, now_ns: int) -> News:
        """Return what is due to be told by now; mostly nothing.

        A return waits for a window: mostly the mass is over by then, and its end tells of all.
        """
        gone: tuple[int, ...] = ()
        back: tuple[int, ...] = ()
        if now_ns >= self._gone_due_ns:
            gone, self._gone, self._gone_due_ns = tuple(self._gone), {}, NEVER
            self._told_ns = now_ns
            self._wait_ns = min(2 * self._wait_ns, self._window_ns)
        if now_ns >= self._back_due_ns:
            back, self._back, self._back_due_ns = tuple(self._back), {}, NEVER
        return News(gone, back)

    def leave(self, slot: int, now_ns: int) -> News:
        """Let go of a node that is removed; return what was gathered of it, and with it of others.

        Later its slot has no name, or another node's.
        """
        if slot in self._gone:
            self._gone_due_ns = now_ns
        if slot in self._back:
            self._back_due_ns = now_ns
        self._put(slot, _OUT)
        return self.take_news(now_ns)

    def last_news(self) -> News:
        """Return what was not told when it is over; of returns its end tells."""
        return News(tuple(self._gone))
