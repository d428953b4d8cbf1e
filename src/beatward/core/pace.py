"""Who should beat how often, so that a budget of heartbeats finds the dead as soon as it can.

A node that beats every T is found some T/2 after its death, beyond margin and window. With w the
weight of a node and f the rate at which it fails, the cost of waiting is the sum of w * f * T / 2;
under a budget B >= sum of 1/T it is least for

    T = S / (B * sqrt(w * f))          S = sum of sqrt(w * f) over all nodes

(So and Sirer's square-root allocation.) Within the bounds min and max this becomes T = clip(a /
sqrt(w * f), min, max) with the one `a` that spends the budget, found over a histogram of sqrt(w *
f). Of f only the ratio between nodes matters: 1 + 3 n, where n counts suspicions and deaths, those
of the past forgotten by half every ten minutes, and one more while it is suspect or returning. So
one suspicion halves an interval, and a node that flaps beats several times as fast.

A wish is no order: a node has bounds of its own (`agent.send_schedule`), and a node that has not
followed once its time is over, or cannot be asked because it speaks over HTTP, is counted at the
rate that it promises. A wish changes by more than a fifth, by a factor of two from what the node
promises at most, and not before ten intervals have passed (rule 3 of docs/pace.md).

The table is walked in slices, one a turn and all of it about once a second, so that a turn costs
no more for a million nodes than for four thousand. A node has 8 bytes for this: its wish and its
class in the registry, the others here. Not here: saying it (`core.voice`).

Source: K. So, E. G. Sirer, "Latency and bandwidth-minimizing failure detectors", EuroSys 2007.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import translate
from re import compile as compile_pattern

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, FloatArray, IntArray, grown
from beatward.core.instants import MILLISECOND, MINUTE, SECOND
from beatward.core.intake import Via
from beatward.core.membership import WATCHED, Cause, Membership, Status
from beatward.core.registry import Registry

SLICE = 4096
PASS_NS = SECOND
BAND = 1.2
STEP_MAX = 2.0
HOLD_INTERVALS = 10
# A node asks about every ten seconds, and announces for three intervals and a little.
HEAR_S = 15
TROUBLE_WEIGHT = 3
FORGET_NS = 10 * MINUTE
WEIGHTS_MAX = 250
# The histogram: sixteen bins an octave of sqrt(w * f), which lies far within 2^-8 to 2^16.
_PER_OCTAVE, _LOWEST, _BINS = 16, -8, 24 * 16
_UNKNOWN, _ORDINARY = 0, 1

_COUNTED = WATCHED.copy()
_COUNTED[Status.SUSPECT] = True
_IN_TROUBLE = np.zeros(len(Status), np.uint16)
_IN_TROUBLE[[Status.SUSPECT, Status.RECOVERING]] = 1
_WAS_TROUBLE = np.zeros(len(Cause), np.bool_)
_WAS_TROUBLE[[Cause.REFUTED, Cause.SILENT, Cause.EXITED]] = True


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight for the nodes whose name, or whose label, fits a pattern.

    label   the key of the label that is meant; "" for the name
    """

    pattern: str
    weight: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """budget: heartbeats a second; None: no node is asked for another interval."""

    budget: float | None = None
    min_ns: int = SECOND
    max_ns: int = 10 * SECOND
    weights: tuple[Weight, ...] = ()


@dataclass(frozen=True, slots=True)
class PaceReport:
    """Rates are heartbeats a second, as of the last walk through the table.

    deaf_count   nodes that are not as fast as they were asked to be, or cannot be asked
    """

    budget: float
    promised: float
    planned: float
    deaf_count: int


class Pace:
    """Says which intervals nodes are asked for; used only where a budget is set."""

    def __init__(self, settings: PaceSettings, registry: Registry, membership: Membership) -> None:
        assert settings.budget is not None
        assert len(settings.weights) <= WEIGHTS_MAX
        self._budget = settings.budget
        self.settings = settings
        self._registry = registry
        self._membership = membership
        self.hold_s = np.zeros(registry.capacity, np.uint16)
        self.trouble = np.zeros(registry.capacity, np.uint8)
        self._weights = np.array([1.0, 1.0, *(one.weight for one in settings.weights)])
        self._fits = [compile_pattern(translate(one.pattern)).match for one in settings.weights]
        self._scale: float | None = None  # `a`, in milliseconds
        self._place: int | None = None
        self._next_ns = 0
        # When each slice was looked at last, and until when its holds and troubles are reckoned.
        self._looked_ns: dict[int, int] = {}
        self._held_ns: dict[int, int] = {}
        self._forgot_ns: dict[int, int] = {}
        self._begin_tally()
        self.report = PaceReport(self._budget, 0.0, 0.0, 0)

    def turn(self, now_ns: int) -> None:
        """Look at one more slice, if it is time."""
        if self._place is None:
            if now_ns < self._next_ns:
                return
            self._place, self._next_ns = 0, now_ns + PASS_NS
            self._begin_tally()
        end = min(self._place + SLICE, self._registry.count)
        if len(self.hold_s) < self._registry.capacity:
            for name in ("hold_s", "trouble"):
                setattr(self, name, grown(getattr(self, name), self._registry.capacity))
        if self._place < end:
            self._look(np.arange(self._place, end), self._place // SLICE, now_ns)
        self._place = end
        if end == self._registry.count:
            self._place = None
            self._scale = self._solve()

    def next_ns(self, now_ns: int) -> int:
        """Return when the next slice is to be looked at: within a walk at once."""
        return self._next_ns if self._place is None else now_ns

    # -- one slice ---------------------------------------------------------------------------

    def _begin_tally(self) -> None:
        self._counts = np.zeros(_BINS)
        self._roots = np.zeros(_BINS)
        self._fixed = self._promised = 0.0
        self._deaf_count = 0

    def _look(self, slots: IntArray, which: int, now_ns: int) -> None:
        registry = self._registry
        self._reckon(slots, which, now_ns)
        status = self._membership.status[slots]
        promised = registry.interval_ms[slots].astype(np.float64)
        counted = _COUNTED[status] & (promised > 0) & (registry.node[slots] != 0)
        if not counted.any():
            return
        slots, status, promised = slots[counted], status[counted], promised[counted]
        self._classify(slots[registry.pace_class[slots] == _UNKNOWN])
        root = self._root(slots, status)
        wish = registry.wish_ms[slots].astype(np.float64)
        asked = registry.via[slots] == Via.UDP
        strays = (wish > 0) & (np.maximum(wish / promised, promised / np.maximum(wish, 1)) > BAND)
        deaf = ~asked | (strays & (self.hold_s[slots] == 0))
        self._tally(root, promised, deaf)
        if self._scale is not None:
            able = np.flatnonzero(asked & (self.hold_s[slots] == 0))
            self._wish(slots[able], root[able], promised[able], wish[able])

    def _reckon(self, slots: IntArray, which: int, now_ns: int) -> None:
        """Let time pass for a slice: holds end, troubles come and are forgotten."""
        membership, first, last = self._membership, int(slots[0]), int(slots[-1]) + 1
        hold, trouble = self.hold_s[first:last], self.trouble[first:last]
        held_ns = self._held_ns.setdefault(which, now_ns)
        seconds = (now_ns - held_ns) // SECOND
        hold -= np.minimum(hold, np.uint16(min(seconds, 0xFFFF)))
        self._held_ns[which] = held_ns + seconds * SECOND
        if now_ns - self._forgot_ns.setdefault(which, now_ns) >= FORGET_NS:
            self._forgot_ns[which] = now_ns
            trouble >>= np.uint8(1)
        looked_ns = self._looked_ns.get(which, now_ns)
        self._looked_ns[which] = now_ns
        came = membership.since_ns[first:last] > looked_ns
        came &= _WAS_TROUBLE[membership.cause[first:last]]
        trouble += (came & (trouble < np.iinfo(np.uint8).max)).astype(np.uint8)

    def _classify(self, slots: IntArray) -> None:
        """Find the weights of nodes that are new here, or have new labels."""
        registry = self._registry
        self.trouble[slots] = 0
        self.hold_s[slots] = 0
        for slot in slots.tolist():
            registry.classify(slot, self._class_of(slot) if self._fits else _ORDINARY)

    def _class_of(self, slot: int) -> int:
        labels = self._registry.labels.get(slot, {})
        for place, (one, fits) in enumerate(zip(self.settings.weights, self._fits, strict=True)):
            text = labels.get(one.label) if one.label else self._registry.name(slot)
            if text is not None and fits(text):
                return _ORDINARY + 1 + place
        return _ORDINARY

    def _root(self, slots: IntArray, status: npt.NDArray[np.uint8]) -> FloatArray:
        """Return sqrt(w * f) (k,)."""
        troubles = self.trouble[slots] + _IN_TROUBLE[status]
        weights = self._weights[self._registry.pace_class[slots]]
        root: FloatArray = np.sqrt(weights * (1 + TROUBLE_WEIGHT * troubles.astype(np.float64)))
        return root

    def _tally(self, root: FloatArray, promised: FloatArray, deaf: BoolArray) -> None:
        rates = 1000.0 / promised
        self._promised += float(rates.sum())
        self._fixed += float(rates[deaf].sum())
        self._deaf_count += int(deaf.sum())
        willing = root[~deaf]
        places = np.rint((np.log2(willing) - _LOWEST) * _PER_OCTAVE).astype(np.int64)
        self._counts += np.bincount(places, minlength=_BINS)
        self._roots += np.bincount(places, willing, minlength=_BINS)

    def _wish(
        self, slots: IntArray, root: FloatArray, promised: FloatArray, wish: FloatArray
    ) -> None:
        settings = self.settings
        assert self._scale is not None
        low, high = settings.min_ns / MILLISECOND, settings.max_ns / MILLISECOND
        target = np.clip(self._scale / root, low, high)
        # From what the node promises: a wish that it cannot reach in one step is none.
        target = np.rint(np.clip(target, promised / STEP_MAX, promised * STEP_MAX))
        before = np.where(wish > 0, wish, promised)
        moved = np.flatnonzero(np.maximum(target / before, before / target) > BAND)
        slots, target = slots[moved], target[moved]
        self._registry.wish(slots, target.astype(np.uint32))
        longer_s = np.maximum(target, promised[moved]) / 1000.0
        hold = np.ceil(HOLD_INTERVALS * longer_s) + HEAR_S
        self.hold_s[slots] = np.minimum(hold, np.iinfo(np.uint16).max).astype(np.uint16)

    # -- the whole table ---------------------------------------------------------------------

    def _solve(self) -> float:
        """Return the `a` in milliseconds that spends what the others leave of the budget."""
        used = self._counts > 0
        counts, roots = self._counts[used], self._roots[used] / self._counts[used]
        low, high = self.settings.min_ns / SECOND, self.settings.max_ns / SECOND
        left = self._budget - self._fixed

        def rate(scale: float) -> float:
            return float((counts / np.clip(scale / roots, low, high)).sum())

        least, most = 0.0, high * float(roots.max(initial=1.0))
        for _ in range(64):
            middle = (least + most) / 2
            least, most = (least, middle) if rate(middle) <= left else (middle, most)
        self.report = PaceReport(
            self._budget, self._promised, self._fixed + rate(most), self._deaf_count
        )
        return most * 1000.0


def read_weights(pairs: Sequence[tuple[str, float]]) -> tuple[Weight, ...]:
    """Read weights as settings have them: a pattern for the name, or `label=pattern`."""
    found = []
    for text, weight in pairs:
        label, separator, pattern = text.partition("=")
        found.append(Weight(pattern, weight, label) if separator else Weight(text, weight))
    return tuple(found)
