"""Delays and losses of single messages: independent, correlated from one to the next, in bursts.

Delays are drawn in nanoseconds above a smallest one. The families are those that measurements were
fitted with: exponential (the simulations of Chen, Toueg and Aguilera, 2002), lognormal and Weibull
(heavy tails). Losses are independent or come in bursts (Gilbert, 1960; Elliott, 1963), which fits
measured backbones (Hasslinger and Hohlfeld, MMB 2008).
Not here: outages, which last a time however often one sends (`weather`).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from beatward.core.arrays import BoolArray, FloatArray

# The powers of a correlation are divided out block by block of this length; 0.3 ** -512 is 1e267.
_BLOCK = 512
_CORRELATION_MIN = 0.3


class Delay(Protocol):
    """How long messages are under way."""

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return `count` delays in nanoseconds (count,), in the order of sending."""
        ...  # pragma: no cover


class Loss(Protocol):
    """Which messages get lost."""

    def draw(self, rng: np.random.Generator, count: int) -> BoolArray:
        """Return whether each of `count` messages is lost (count,), in the order of sending."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class Exponential:
    """least_ns and an exponential part of this mean."""

    mean_ns: float
    least_ns: float = 0.0

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:  # noqa: D102
        return self.least_ns + rng.exponential(self.mean_ns, count)


@dataclass(frozen=True, slots=True)
class Weibull:
    """least_ns and a Weibull part of this mean; a shape below 1 has a tail heavier than e^-x."""

    mean_ns: float
    shape: float
    least_ns: float = 0.0

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:  # noqa: D102
        scale = self.mean_ns / math.gamma(1.0 + 1.0 / self.shape)
        return self.least_ns + scale * rng.weibull(self.shape, count)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """least_ns and a lognormal part of this mean and standard deviation.

    correlation, memory  of the underlying normal numbers (a Gaussian copula), see `correlated`:
                         queues empty slowly, so one late message is followed by others
    """

    mean_ns: float
    deviation_ns: float
    least_ns: float = 0.0
    correlation: float = 0.0
    memory: float | None = None

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:  # noqa: D102
        variance = math.log1p((self.deviation_ns / self.mean_ns) ** 2)
        location = math.log(self.mean_ns) - variance / 2.0
        normal = correlated(rng, count, self.correlation, self.memory)
        return self.least_ns + np.exp(location + math.sqrt(variance) * normal)


def correlated(
    rng: np.random.Generator, count: int, correlation: float, memory: float | None = None
) -> FloatArray:
    """Return standard normal numbers (count,) that are correlated.

    correlation  of neighbours: 0, or 0.3 to below 1
    memory       after this many messages correlation has fallen to 1/e of that; None: it falls by
                 the same factor from each to the next, AR(1), and is gone after a few
    """
    if correlation == 0:
        return rng.standard_normal(count)
    if not _CORRELATION_MIN <= correlation < 1:
        raise ValueError(f"a correlation is 0 or from 0.3 to below 1, not {correlation}")
    if memory is None:
        return _autoregressive(rng, count, correlation)
    # A slow part, which neighbours share but for little, and a part that each has for itself.
    factor = math.exp(-1.0 / memory)
    share = correlation / factor
    slow = _autoregressive(rng, count, factor)
    return math.sqrt(share) * slow + math.sqrt(1.0 - share) * rng.standard_normal(count)


def _autoregressive(rng: np.random.Generator, count: int, correlation: float) -> FloatArray:
    rows = -(-count // _BLOCK)
    fresh = rng.standard_normal((rows, _BLOCK)) * math.sqrt(1.0 - correlation**2)
    # x[i] = c^i * (sum of fresh[k] / c^k), within a block; then what the block before left.
    powers = correlation ** np.arange(1, _BLOCK + 1, dtype=np.float64)
    blocks = np.cumsum(fresh / powers, axis=1) * powers
    carried = np.empty(rows)
    last = float(rng.standard_normal())
    for row, end in enumerate(blocks[:, -1].tolist()):
        carried[row] = last
        last = end + last * powers[-1]
    blocks += carried[:, None] * powers
    return blocks.reshape(-1)[:count]


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Every message is lost with this probability, whatever became of the others."""

    probability: float

    def draw(self, rng: np.random.Generator, count: int) -> BoolArray:  # noqa: D102
        if self.probability == 0:
            return np.zeros(count, np.bool_)
        return rng.random(count) < self.probability


NO_LOSS = Bernoulli(0.0)


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """A good and a bad state, changing from message to message.

    worsens, recovers  probability of good -> bad and of bad -> good, a message
    good, bad          probability of loss in each; with 0 and 1 a burst has 1 / recovers messages
    """

    worsens: float
    recovers: float
    good: float = 0.0
    bad: float = 1.0

    def draw(self, rng: np.random.Generator, count: int) -> BoolArray:  # noqa: D102
        share_bad = self.worsens / (self.worsens + self.recovers)
        begins_bad = bool(rng.random() < share_bad)
        # This many pairs of sojourns last at least `count` messages but for a negligible chance.
        expected = count / (1.0 / self.worsens + 1.0 / self.recovers)
        pairs = int(expected + 10.0 * math.sqrt(expected) + 20)
        sojourns = np.empty(2 * pairs, np.int64)
        first, second = (
            (self.recovers, self.worsens) if begins_bad else (self.worsens, self.recovers)
        )
        sojourns[::2] = rng.geometric(first, pairs)
        sojourns[1::2] = rng.geometric(second, pairs)
        states = np.tile(np.array([begins_bad, not begins_bad]), pairs)
        bad = np.repeat(states, sojourns)[:count]
        assert len(bad) == count, "the sojourns drawn do not last"
        return rng.random(count) < np.where(bad, self.bad, self.good)
