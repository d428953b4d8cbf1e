"""Heartbeats of one node as arrays: millions of them in a second, from one seed and a few models.

    seed, name -> Path (delay, loss, weather) -> beat() -> Trace (sequence, sent_ns, arrived_ns)

The world of `simulate.world` plays every datagram and every fault and is far too slow for the
hundreds of hours that a rare mistake takes. A trace has one node, one path and no monitor; what it
has is time. `models` are the delays and losses, `weather` what comes in spells (outages, pauses,
regimes, clocks), `path` puts them together, `wan` is the twin of a measured week, `catalogue`
names them all. Every function is given its generator of chance; nothing else is chance.
Not here: detectors, and what they make of a trace (`backtest`, `bench`).
"""

from .catalogue import TRACES, Recipe, draw
from .models import Bernoulli, Delay, Exponential, GilbertElliott, Lognormal, Loss, Weibull
from .path import Trace, TraceClock, TracePath, TraceWeather, beat, generator
from .twin import wan
from .weather import Regime, Regimes, Spells, regimes, spells

__all__ = [
    "TRACES",
    "Bernoulli",
    "Delay",
    "Exponential",
    "GilbertElliott",
    "Lognormal",
    "Loss",
    "Recipe",
    "Regime",
    "Regimes",
    "Spells",
    "Trace",
    "TraceClock",
    "TracePath",
    "TraceWeather",
    "Weibull",
    "beat",
    "draw",
    "generator",
    "regimes",
    "spells",
    "wan",
]
