"""What comes in spells: outages of a path, pauses of a process, regimes of a network.

An outage lasts a time and not a number of messages: sending faster does not help. Spells begin
as a Poisson process and last long now and then (lognormal), as outages do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beatward.core.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Spells:
    """Spans of time [start, end) in nanoseconds (k,), in order, none touching another."""

    start_ns: IntArray
    end_ns: IntArray

    def index(self, instants_ns: IntArray) -> IntArray:
        """Return the spell that each instant lies in (n,), -1 where it lies in none."""
        index = np.searchsorted(self.start_ns, instants_ns, side="right") - 1
        if not len(self.start_ns):
            return index
        inside = (index >= 0) & (instants_ns < self.end_ns[index])
        return np.where(inside, index, -1)

    def cover(self, instants_ns: IntArray) -> BoolArray:
        """Return which instants lie in a spell (n,)."""
        covered: BoolArray = self.index(instants_ns) >= 0
        return covered

    def after(self, instants_ns: IntArray) -> IntArray:
        """Return each instant, or the end of the spell that it lies in (n,)."""
        index = self.index(instants_ns)
        if not len(self.end_ns):
            return instants_ns
        return np.where(index >= 0, self.end_ns[index], instants_ns)


NO_SPELLS = Spells(np.zeros(0, np.int64), np.zeros(0, np.int64))


def spells(
    rng: np.random.Generator,
    span_ns: int,
    *,
    every_ns: float,
    median_ns: float,
    sigma: float,
    longest_ns: float,
) -> Spells:
    """Draw spells that begin on average `every_ns` in [0, span): lognormal, cut at `longest_ns`.

    Spells that meet become one.
    """
    count = int(rng.poisson(span_ns / every_ns))
    start = np.sort(rng.integers(0, span_ns, count))
    length = median_ns * np.exp(sigma * rng.standard_normal(count))
    end = start + np.clip(length, 1.0, longest_ns).astype(np.int64)
    return joined(start, end)


def joined(start_ns: IntArray, end_ns: IntArray) -> Spells:
    """Return the spells that spans, sorted by their start, make together."""
    if not len(start_ns):
        return NO_SPELLS
    reach = np.maximum.accumulate(end_ns)
    first = np.concatenate(([True], start_ns[1:] > reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return Spells(start_ns[first], reach[last])


@dataclass(frozen=True, slots=True)
class Regime:
    """One state of a network: what is added to the delay, and by what its random part is scaled.

    loss_probability  on top of the path's own
    """

    added_ns: float
    scale: float
    loss_probability: float


@dataclass(frozen=True, slots=True)
class Regimes:
    """Which regime begins when: `start_ns` (k,) in order, the first at 0; `which` (k,)."""

    states: tuple[Regime, ...]
    start_ns: IntArray
    which: IntArray

    def at(self, instants_ns: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return (added_ns, scale, loss_probability), each (n,), in force at the instants."""
        index = np.maximum(np.searchsorted(self.start_ns, instants_ns, side="right") - 1, 0)
        table = np.array([(s.added_ns, s.scale, s.loss_probability) for s in self.states])
        found = table[self.which[index]]
        return found[:, 0], found[:, 1], found[:, 2]


def regimes(
    rng: np.random.Generator, span_ns: int, states: Sequence[Regime], *, hold_ns: float
) -> Regimes:
    """Draw regimes, each for an exponential time of mean `hold_ns`, never the same one twice."""
    expected = span_ns / hold_ns
    count = int(expected + 10.0 * math.sqrt(expected) + 20)
    lengths = rng.exponential(hold_ns, count).astype(np.int64)
    start = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    steps = rng.integers(1, len(states), count)
    which = np.cumsum(steps) % len(states)
    within = start < span_ns
    return Regimes(tuple(states), start[within], which[within])
