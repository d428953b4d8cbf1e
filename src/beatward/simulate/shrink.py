"""A smaller world that still breaks the same promise: what a failing seed has to say, and no more.

Kinds of fault are left out one by one, then the adversary, then nodes, then time is cut, as long as
a promise by the same name is still broken. All chance of a kind, a node and a link is its own, so
what remains is what it was. The result is a `Variant`, which is played again by one command; tell
it as a scene with a name then, because a seed means another world after the next change of the
drawing. The idea is that of A. Zeller, R. Hildebrandt, "Simplifying and isolating failure-inducing
input", IEEE Transactions on Software Engineering 28(2), 2002. Not here: the playing (`run`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

# Less would be the warm-up, some faults and no time to settle anyway.
_MINUTES_STEP = 0.5


@dataclass(frozen=True, slots=True)
class Variant:
    """What of a seed's world is asked for; see `scenario.draw`."""

    minutes: float = 6.0
    without: frozenset[str] = frozenset()
    only: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One attempt: what was tried, whether the promise is still broken, and the smallest so far."""

    tried: str
    is_smaller: bool
    wish: Variant


def shrink(
    wish: Variant, kinds: tuple[str, ...], nodes: tuple[int, ...], fails: Callable[[Variant], bool]
) -> Iterator[Step]:
    """Make a wish smaller that fails; yield every attempt, the last of which holds the smallest.

    kinds, nodes   what there is in the world of the wish
    fails          plays a world and tells whether the promise is broken in it
    """
    for kind in kinds:
        without = replace(wish, without=wish.without | {kind})
        is_smaller = fails(without)
        wish = without if is_smaller else wish
        yield Step(f"without {kind}", is_smaller, wish)
    kept = list(nodes)
    size = max(1, len(kept) // 2)
    while len(kept) > 1:
        for begin in range(0, len(kept), size):
            fewer = kept[:begin] + kept[begin + size :]
            smaller = replace(wish, only=frozenset(fewer))
            is_smaller = bool(fewer) and fails(smaller)
            if is_smaller:
                kept, wish = fewer, smaller
            yield Step(f"with {len(fewer)} nodes", is_smaller, wish)
            if is_smaller:
                break
        else:
            if size == 1:
                break
            size //= 2
        size = max(1, min(size, len(kept) // 2))
    yield from _shorter(wish, fails)


def _shorter(wish: Variant, fails: Callable[[Variant], bool]) -> Iterator[Step]:
    """Halve what is left of the time, between what fails and what holds."""
    holds, broken = 0.0, wish.minutes
    while broken - holds > _MINUTES_STEP:
        middle = (holds + broken) / 2.0
        smaller = replace(wish, minutes=round(middle, 2))
        is_smaller = fails(smaller)
        if is_smaller:
            wish, broken = smaller, middle
        else:
            holds = middle
        yield Step(f"{smaller.minutes:g} minutes", is_smaller, wish)
