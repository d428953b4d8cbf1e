"""One seed, and a generator of chance for every concern, split from it.

Each concern draws from a generator of its own, so that switching one fault off, or drawing one
number more in the network, leaves everything else as it was: a failing seed can be narrowed down.
The split is made by text, which Python hashes with SHA-512: it does not depend on PYTHONHASHSEED.
Not here: any use of it.
"""

from random import Random

from beatward.core.instants import SECOND


def split(seed: int, concern: str) -> Random:
    """Return the generator of one concern of one seed."""
    return Random(f"beatward {seed} {concern}")  # noqa: S311  repeatable is what we want


def happens(rng: Random, probability: float) -> bool:
    """Draw once whether something happens; draws nothing when it never does."""
    return probability > 0 and rng.random() < probability


def exponential_ns(rng: Random, mean_ns: float) -> int:
    """Draw a whole number of nanoseconds with this mean."""
    return int(rng.expovariate(1.0) * mean_ns)


def uniform_ns(rng: Random, low_ns: int, high_ns: int) -> int:
    """Draw a whole number of nanoseconds, both ends included."""
    return rng.randint(low_ns, high_ns)


def duration_ns(rng: Random, median_ns: int, *, sigma: float = 1.0, most_ns: int) -> int:
    """Draw the length of a fault: lognormal, because outages have a heavy tail (DSN'11, IMC'13)."""
    drawn = median_ns * rng.lognormvariate(0.0, sigma)
    return max(1, min(int(drawn), most_ns))


def chosen_ns(rng: Random, *choices_s: float) -> int:
    """Draw one of some lengths in seconds, as nanoseconds."""
    return int(rng.choice(choices_s) * SECOND)
