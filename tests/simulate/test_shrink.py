"""Making a failing world smaller, with worlds that are nothing but a condition."""

import pytest

from beatward.simulate.shrink import Variant, shrink

KINDS = ("crash", "cut", "disk", "adversary")
NODES = tuple(range(12))


def smallest(fails, wish=None):
    """Return the smallest wish that was found and how many worlds it took."""
    wish = wish or Variant(6.0)
    steps = list(shrink(wish, KINDS, NODES, fails))
    return (steps[-1].wish if steps else wish), len(steps)


@pytest.mark.parametrize("guilty", [{0}, {11}, {3, 4}, {0, 7, 11}])
def test_only_what_is_needed_remains(guilty):
    def fails(wish):
        nodes = set(NODES) if wish.only is None else wish.only
        return "cut" not in wish.without and guilty <= nodes and wish.minutes >= 2.4

    wish, tries = smallest(fails)
    assert wish.without == {"crash", "disk", "adversary"}
    assert wish.only == guilty
    assert 2.4 <= wish.minutes <= 2.9
    assert tries < 60


def test_two_kinds_that_need_each_other_both_remain():
    wish, _ = smallest(lambda wish: not wish.without & {"crash", "adversary"})
    assert wish.without == {"cut", "disk"}


def test_what_is_as_small_as_can_be_stays_as_it_is():
    begun = Variant(3.0)
    wish, _ = smallest(lambda wish: wish == begun, begun)
    assert wish == begun
