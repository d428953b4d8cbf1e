"""The checkers are checked: every rule that is broken on purpose must be caught by one of them."""

import pytest
from tests.simulate.broken import BROKEN, often_paused

from beatward.simulate import play


@pytest.mark.parametrize("name", BROKEN)
def test_a_monitor_with_one_broken_rule_is_caught(name):
    broken = BROKEN[name]
    for seed in broken.seeds:
        found = {one.rule for one in play(broken.world(seed), build=broken.build).violations}
        if found & broken.rules:
            return
    pytest.fail(f"a monitor that {name} goes unnoticed in worlds {broken.seeds}")


@pytest.mark.parametrize("name", BROKEN)
def test_the_same_world_holds_with_the_right_monitor(name):
    """Or else the test above would prove nothing."""
    broken = BROKEN[name]
    assert play(broken.world(broken.seeds[0])).violations == ()


@pytest.mark.parametrize("seed", [4, 8, 9, 11])
def test_a_monitor_that_is_stopped_all_the_time_convicts_nobody_for_it(seed):
    assert play(often_paused(seed)).violations == ()
