"""Whole worlds by seed: every promise holds, and together they meet all that can happen.

`beatward simulate --seeds 1..300` plays more and longer ones.
"""

from collections import Counter

import pytest
from tests.simulate.clones import cloned

from beatward.core.instants import SECOND
from beatward.simulate import draw, play, run
from beatward.simulate.bounds import suspected_within_ns
from beatward.simulate.coverage import missing, ways_taken
from beatward.simulate.faults import FaultKind, among, draw_faults, draw_kinds
from beatward.simulate.scenario import SLOWEST_NS

# Chosen so that together, and with the twins, they meet everything `test_the_worlds_meet` asks for.
SEEDS = (28, 54, 82, 43, 60, 29, 75, 68, 44, 3)
# In which roles are held while their holders are copied, and one of these is stuck.
TWINS = (20, 23, 600, 1388)


@pytest.fixture(scope="module")
def worlds():
    """What came of each seed, played when it is first asked for."""
    played = {}

    def report(seed):
        if seed not in played:
            played[seed] = run(seed, minutes=3)
        return played[seed]

    return report


@pytest.fixture(scope="module")
def doubled():
    """What came of each world of twins."""
    return {seed: play(cloned(seed)) for seed in TWINS}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds(worlds, seed):
    report = worlds(seed)
    told = [f"{one.rule} {one.node} at {one.at_ns}: {one.message}" for one in report.violations]
    told.append(f"play it again: beatward simulate --seed {seed} --minutes 3")
    assert len(told) == 1, "\n".join(told)


def test_two_processes_under_one_name_never_make_two_holders(doubled):
    met = Counter()
    for seed, report in doubled.items():
        assert report.violations == (), f"python -m tests.simulate.clones {seed}..{seed}"
        met.update(report.counts)
    assert met["role another_process"]
    assert met["role copied work"]
    assert met["role last words"]


def test_the_worlds_meet_every_fault_and_every_trick(worlds, doubled):
    met = Counter()
    for report in (*map(worlds, SEEDS), *doubled.values()):
        met.update(report.counts)
    rest = ("deeds done again", "event guard", "verdicts excused", "verdicts right")
    assert missing(met) + [name for name in rest if not met[name]] == []
    taken, _ = ways_taken(met)
    # The rest of the table is walked by the core's own tests.
    assert taken >= 22


def test_a_world_without_a_kind_of_fault_keeps_all_the_others():
    kinds = draw_kinds(3)
    assert FaultKind.CRASH in kinds
    fewer = draw_kinds(3, without=frozenset({"crash"}))
    assert set(kinds) - set(fewer) == {FaultKind.CRASH}
    span = {"nodes_count": 10, "begin_ns": 0, "end_ns": 10**12}
    all_of_them = draw_faults(5, kinds, **span)
    assert [one for one in all_of_them if one.kind != FaultKind.CRASH] == list(
        draw_faults(5, fewer, **span)
    )


def test_faults_end_before_the_world_does():
    scenario = draw(7, minutes=3)
    assert max(fault.at_ns for fault in scenario.faults) < scenario.heal_ns < scenario.end_ns


def test_a_world_with_fewer_nodes_keeps_all_that_befalls_the_others():
    every = draw(3, minutes=3)
    few = draw(3, minutes=3, only=frozenset({0, 2}))
    assert few.nodes == (0, 2)
    assert (few.intervals_ns, few.settings, few.heal_ns) == (
        every.intervals_ns,
        every.settings,
        every.heal_ns,
    )
    assert few.faults == among(every.faults, frozenset({0, 2}))
    assert all(set(fault.targets) <= {0, 2} for fault in few.faults)
    assert len(few.faults) < len(every.faults)


def test_a_shorter_world_has_the_same_faults_up_to_its_end():
    longer, shorter = draw(4, minutes=8), draw(4, minutes=5)
    assert shorter.faults == tuple(
        fault for fault in longer.faults if fault.at_ns < shorter.heal_ns
    )


def test_a_detector_that_is_slow_gets_intervals_at_which_it_finds_something():
    slow = [draw(seed) for seed in range(40)]
    found = {one.settings.detector.kind: one for one in slow}
    assert {"phi", "phi_exponential"} <= set(found)
    for one in slow:
        interval_ns = max(one.intervals_ns)
        most_ns = suspected_within_ns(one.settings.detector, interval_ns)
        assert most_ns < SLOWEST_NS or interval_ns == SECOND // 2
