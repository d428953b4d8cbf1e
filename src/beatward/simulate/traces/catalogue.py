"""The traces by name: what a detector may meet, one difficulty a trace, and the twin of a week.

Numbers without a source are round numbers of ours, chosen so that a trace shows its difficulty;
they are no measurement. `burst` has the loss of a backbone path (3.3 % in bursts of 5), `iid` is
the setting of the simulations of Chen, Toueg and Aguilera (2002), section 7.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from beatward.core.instants import HOUR, MILLISECOND, MINUTE, SECOND

from .models import Bernoulli, Exponential, GilbertElliott, Lognormal
from .path import Trace, TraceClock, TracePath, TraceWeather, beat, generator
from .twin import SENT, wan
from .weather import Regime, regimes, spells


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a trace is made: what it shows, how many heartbeats, and from which interval."""

    shows: str
    count: int
    make: Callable[[np.random.Generator, int], Trace]


def draw(name: str, seed: int, *, count: int | None = None) -> Trace:
    """Draw the trace of a name and a seed; `count` heartbeats in place of its own number."""
    recipe = TRACES[name]
    return recipe.make(generator(seed, f"trace {name}"), count or recipe.count)


def _iid(rng: np.random.Generator, count: int) -> Trace:
    return beat(rng, TracePath(Exponential(20 * MILLISECOND), Bernoulli(0.01)), SECOND, count)


def _lan(rng: np.random.Generator, count: int) -> Trace:
    """Draw a quiet network between processes that collect garbage, on both ends."""
    span = count * SECOND
    sender = spells(
        rng,
        span,
        every_ns=20 * MINUTE,
        median_ns=150 * MILLISECOND,
        sigma=1.2,
        longest_ns=2 * MINUTE,
    )
    monitor = spells(
        rng, span, every_ns=2 * HOUR, median_ns=50 * MILLISECOND, sigma=1.0, longest_ns=5 * SECOND
    )
    delay = Lognormal(0.1 * MILLISECOND, 0.3 * MILLISECOND, 0.1 * MILLISECOND)
    weather = TraceWeather(sender_pauses=sender, monitor_pauses=monitor)
    return beat(rng, TracePath(delay, Bernoulli(1e-5), weather), SECOND, count)


def _burst(rng: np.random.Generator, count: int) -> Trace:
    delay = Lognormal(10 * MILLISECOND, 15 * MILLISECOND, 40 * MILLISECOND)
    return beat(rng, TracePath(delay, GilbertElliott(0.007, 0.205)), 100 * MILLISECOND, count)


def _outage(rng: np.random.Generator, count: int) -> Trace:
    span = count * SECOND
    outages = spells(
        rng,
        span,
        every_ns=2 * HOUR,
        median_ns=800 * MILLISECOND,
        sigma=1.2,
        longest_ns=10 * MINUTE,
    )
    delay = Lognormal(10 * MILLISECOND, 10 * MILLISECOND, 20 * MILLISECOND)
    path = TracePath(delay, Bernoulli(0.005), TraceWeather(outages=outages))
    return beat(rng, path, SECOND, count)


# A route of its own, the same when it is busy, and a detour.
_ROUTES = (
    Regime(0.0, 1.0, 0.001),
    Regime(30 * MILLISECOND, 5.0, 0.01),
    Regime(150 * MILLISECOND, 12.0, 0.03),
)


def _regime(rng: np.random.Generator, count: int) -> Trace:
    interval = 100 * MILLISECOND
    found = regimes(rng, count * interval, _ROUTES, hold_ns=10 * MINUTE)
    delay = Lognormal(5 * MILLISECOND, 5 * MILLISECOND, 40 * MILLISECOND, correlation=0.7)
    return beat(rng, TracePath(delay, weather=TraceWeather(regimes=found)), interval, count)


def _drift(rng: np.random.Generator, count: int) -> Trace:
    """Draw a sender whose clock runs slow by what a bare crystal may, and is set now and then."""
    span = count * SECOND
    steps = max(1, span // (6 * HOUR))
    start = np.sort(rng.integers(0, span, steps))
    by = rng.normal(0.0, 0.3 * SECOND, steps).astype(np.int64)
    delay = Lognormal(5 * MILLISECOND, 8 * MILLISECOND, 20 * MILLISECOND)
    path = TracePath(delay, Bernoulli(0.001), clock=TraceClock(200.0, start, by))
    return beat(rng, path, SECOND, count)


def _wan_brief(rng: np.random.Generator, count: int) -> Trace:
    return wan(rng, count, memory=None)


TRACES: dict[str, Recipe] = {
    "iid": Recipe("1 % lost independently, delays exponential", 2_000_000, _iid),
    "lan": Recipe("a quiet network; sender and monitor pause", 2_000_000, _lan),
    "burst": Recipe("3.3 % lost in bursts of 5", 2_000_000, _burst),
    "outage": Recipe("outages of a second, now and then of minutes", 2_000_000, _outage),
    "regime": Recipe("the network changes every ten minutes", 2_000_000, _regime),
    "drift": Recipe("a clock that is slow and is set every six hours", 1_000_000, _drift),
    "wan": Recipe("the twin of a week between Japan and Switzerland", SENT, wan),
    "wan_brief": Recipe("the same twin, whose jitter is over after three", SENT, _wan_brief),
}
