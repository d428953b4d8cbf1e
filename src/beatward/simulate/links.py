"""Both directions between one node and the monitor, with the delays and losses of a trace model.

    name, seed -> Link -> ahead(seed, way) -> Ahead.draw(now) -> (is lost, delay)

The models are those of `traces` (docs/determinism.md lists them), with parameters drawn anew for
every node and time pressed together, so that minutes hold what traces have in hours. They are drawn
as arrays, some thousands of datagrams ahead, and taken one by one; after the last comes the first
again. So the longest delay of a direction is known, which is what a promise in time is measured
against. Outages are time: a link has a list of them, and `scenario` makes faults of it. Pauses of a
sender or the monitor and clocks that are slow or stand still befall a host and not its link: they
are faults as well. Not here: the plain weather, which is drawn datagram by datagram (`network`).
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from beatward.core.instants import MILLISECOND, MINUTE

from .traces import (
    Bernoulli,
    Exponential,
    GilbertElliott,
    Lognormal,
    Regime,
    Spells,
    TracePath,
    TraceWeather,
    Weibull,
    generator,
    regimes,
    spells,
    twin,
)
from .traces.weather import joined

# A node and the monitor exchange a few hundred datagrams in the minutes of a world.
_AHEAD = 2048
_CLEAR = Regime(0.0, 1.0, 0.0)
# As in `traces.catalogue`: a route of its own, the same when it is busy, and a detour.
_ROUTES = (_CLEAR, Regime(30 * MILLISECOND, 5.0, 0.01), Regime(150 * MILLISECOND, 12.0, 0.03))
_HOLD_NS = MINUTE
_OUTAGE_SPACING_NS = 3 * MINUTE
# The twin lost 814 bursts in a week of 168 hours, one in 12 minutes; the same on a bad day.
_BURST_SPACING_NS = 4 * MINUTE


def _iid(rng: np.random.Generator, span_ns: int) -> TracePath:  # noqa: ARG001  the same at any time
    delay = Exponential(rng.uniform(0.02, 20) * MILLISECOND, rng.uniform(0.05, 40) * MILLISECOND)
    return TracePath(delay, Bernoulli(_one_of(rng, 0.0, 0.01, 0.03, 0.1)), keeps_order=_coin(rng))


def _weibull(rng: np.random.Generator, span_ns: int) -> TracePath:  # noqa: ARG001
    mean_ns, shape = rng.uniform(0.1, 10) * MILLISECOND, _one_of(rng, 0.5, 0.7, 1.5)
    delay = Weibull(mean_ns, shape, rng.uniform(0.05, 40) * MILLISECOND)
    return TracePath(delay, Bernoulli(_one_of(rng, 0.0, 0.01, 0.03)), keeps_order=_coin(rng))


def _burst(rng: np.random.Generator, span_ns: int) -> TracePath:  # noqa: ARG001
    delay = Lognormal(10 * MILLISECOND, 15 * MILLISECOND, rng.uniform(1, 40) * MILLISECOND)
    loss = GilbertElliott(_one_of(rng, 0.002, 0.007, 0.02), _one_of(rng, 0.205, 0.5))
    return TracePath(delay, loss)


def _outage(rng: np.random.Generator, span_ns: int) -> TracePath:
    outages = spells(
        rng,
        span_ns,
        every_ns=_OUTAGE_SPACING_NS,
        median_ns=800 * MILLISECOND,
        sigma=1.2,
        longest_ns=MINUTE,
    )
    delay = Lognormal(10 * MILLISECOND, 10 * MILLISECOND, 20 * MILLISECOND)
    return TracePath(delay, Bernoulli(0.005), TraceWeather(outages=outages))


def _regime(rng: np.random.Generator, span_ns: int) -> TracePath:
    found = regimes(rng, span_ns, _ROUTES, hold_ns=_HOLD_NS)
    delay = Lognormal(5 * MILLISECOND, 5 * MILLISECOND, 40 * MILLISECOND, correlation=0.7)
    return TracePath(delay, weather=TraceWeather(regimes=found))


def _lan(rng: np.random.Generator, span_ns: int) -> TracePath:  # noqa: ARG001
    delay = Lognormal(0.1 * MILLISECOND, 0.3 * MILLISECOND, 0.1 * MILLISECOND)
    return TracePath(delay, Bernoulli(_one_of(rng, 0.0, 0.001)))


def _wan(rng: np.random.Generator, span_ns: int) -> TracePath:
    """Draw the moment-matched twin; its bursts of loss are time here, whatever the interval."""
    count = int(rng.poisson(span_ns / _BURST_SPACING_NS))
    start = np.sort(rng.integers(0, span_ns, count))
    # Some of a whole week's, or every link would have the longest one.
    lengths = twin.bursts(rng, twin.BURSTS)[:count]
    outages = joined(start, start + lengths * twin.INTERVAL_NS)
    return TracePath(twin.delay(), weather=TraceWeather(outages=outages))


MODELS: dict[str, Callable[[np.random.Generator, int], TracePath]] = {
    "iid": _iid,
    "weibull": _weibull,
    "burst": _burst,
    "outage": _outage,
    "regime": _regime,
    "lan": _lan,
    "wan": _wan,
}
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class NetworkLink:
    """The way between one node and the monitor. `model` is a name in MODELS."""

    model: str
    path: TracePath

    @property
    def outages(self) -> Spells:
        """When nothing gets through."""
        return self.path.weather.outages

    def ahead(self, seed: int, way: str) -> "Ahead":
        """Draw what becomes of the datagrams of one direction."""
        return Ahead(self.path, generator(seed, f"link {way}"))


def draw_link(seed: int, model: str, name: str, span_ns: int) -> NetworkLink:
    """Draw the parameters of a node's link, and the outages and regimes of its span of time."""
    rng = generator(seed, f"link {name} {model}")
    return NetworkLink(model, MODELS[model](rng, span_ns))


class Ahead:
    """What becomes of the datagrams of one direction, drawn ahead.

    longest_ns        no datagram takes longer
    loss_probability  at most so likely is a loss, whatever was lost before it
    """

    def __init__(self, path: TracePath, rng: np.random.Generator) -> None:
        self._delays = path.delay.draw(rng, _AHEAD).tolist()
        self._losses = path.loss.draw(rng, _AHEAD).tolist()
        self._chances = rng.random(_AHEAD).tolist()
        self._place = 0
        found = path.weather.regimes
        self._starts = [0] if found is None else found.start_ns.tolist()
        self._regimes = (
            [_CLEAR] if found is None else [found.states[which] for which in found.which.tolist()]
        )
        longest_ns = max(self._delays)
        self.longest_ns = int(max(r.added_ns + r.scale * longest_ns for r in self._regimes))
        worst = max(regime.loss_probability for regime in self._regimes)
        self.loss_probability = 1.0 - (1.0 - worst) * (1.0 - _most_likely(path))
        self.keeps_order = path.keeps_order

    def draw(self, now_ns: int) -> tuple[bool, int]:
        """Return whether the next datagram is lost, and how long it is under way."""
        place, self._place = self._place, (self._place + 1) % _AHEAD
        regime = self._regimes[bisect_right(self._starts, now_ns) - 1]
        lost = self._losses[place] or self._chances[place] < regime.loss_probability
        return lost, int(regime.added_ns + regime.scale * self._delays[place])


def _most_likely(path: TracePath) -> float:
    """Return how likely a loss is at most, when the one before it was lost too."""
    loss = path.loss
    if isinstance(loss, GilbertElliott):
        return (1.0 - loss.recovers) * loss.bad + loss.recovers * loss.good
    assert isinstance(loss, Bernoulli)
    return loss.probability


def _one_of(rng: np.random.Generator, *choices: float) -> float:
    return float(rng.choice(choices))


def _coin(rng: np.random.Generator) -> bool:
    return bool(rng.random() < 0.5)
