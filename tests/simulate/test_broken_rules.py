"""The checkers are checked: every rule that is broken on purpose must be caught by one of them."""

import pytest
from tests.simulate.broken import BROKEN, attacked, isolated, often_paused, restless

from beatward.simulate import play

# The world of a seed is another one after each change of the drawing. So many are tried before a
# rule counts as broken unseen; then a world that asks for it (`world`) is better than more seeds.
SEEDS_MAX = 30


def _violations(broken, seed):
    return play(broken.world(seed), build=broken.build, protocol=broken.protocol).violations


@pytest.mark.parametrize("name", BROKEN)
def test_a_monitor_with_one_broken_rule_is_caught(name):
    """And the same world holds with the right monitor, or else it would prove nothing."""
    broken = BROKEN[name]
    for seed in dict.fromkeys((*broken.seeds, *range(1, SEEDS_MAX + 1))):
        found = {one.rule for one in _violations(broken, seed)}
        if found & broken.rules:
            assert play(broken.world(seed)).violations == ()
            return
    pytest.fail(f"a monitor that {name} goes unnoticed in worlds 1 to {SEEDS_MAX}")


@pytest.mark.parametrize("seed", [4, 8, 9, 11])
def test_a_monitor_that_is_stopped_all_the_time_convicts_nobody_for_it(seed):
    assert play(often_paused(seed)).violations == ()


def test_who_was_heard_only_through_the_adversary_was_heard():
    """He keeps a proof back, then hands it over himself; the node dies, and is found soon after."""
    report = play(attacked(17))
    assert report.violations == ()
    assert report.counts["verdicts right"] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_monitor_that_is_cut_off_from_everybody_convicts_nobody(seed):
    report = play(isolated(seed))
    assert report.violations == ()
    assert report.counts["guard cut_off"] >= 1
    assert report.counts.get("verdicts", 0) == 0


@pytest.mark.parametrize("seed", range(1, 7))
def test_intervals_that_change_all_the_time_lead_to_no_suspicion_by_themselves(seed):
    """Intervals change all the time, with a quarter of all datagrams lost and many overtaken."""
    report = play(restless(seed))
    assert report.violations == ()
    assert report.counts["interval changed"] > len(report.scenario.intervals_ns)
