"""Whole worlds by seed: every promise holds, and together they meet all that can happen.

`beatward simulate --seeds 1..300` plays more and longer ones.
"""

from collections import Counter

import pytest

from beatward.core.membership import TABLE
from beatward.simulate import draw, run
from beatward.simulate.faults import Kind, draw_faults, draw_kinds

# Chosen so that together they meet everything `test_the_worlds_meet` asks for.
SEEDS = (1, 5, 6, 8, 11, 12, 13, 14, 16, 17, 20, 22, 23, 27, 28, 29, 34, 36, 38, 39)


@pytest.fixture(scope="module")
def worlds():
    """What came of each seed, played when it is first asked for."""
    played = {}

    def report(seed):
        if seed not in played:
            played[seed] = run(seed, minutes=3)
        return played[seed]

    return report


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds(worlds, seed):
    report = worlds(seed)
    told = [f"{one.rule} {one.node} at {one.at_ns}: {one.message}" for one in report.violations]
    told.append(f"play it again: beatward simulate --seed {seed} --minutes 3")
    assert len(told) == 1, "\n".join(told)


def test_the_worlds_meet_every_fault_and_every_trick(worlds):
    met = Counter()
    for seed in SEEDS:
        met.update(worlds(seed).counts)
    wanted = [f"fault {kind}" for kind in Kind]
    wanted += [f"adversary {trick}" for trick in ("replayed", "released", "forged", "invented")]
    wanted += ["adversary mangled", "adversary played back", "deeds done again"]
    wanted += ["datagrams lost", "datagrams cut", "datagrams damaged", "datagrams withheld"]
    wanted += ["event guard", "verdicts excused", "verdicts right"]
    assert [name for name in wanted if not met[name]] == []
    ways = {(before.word, cause.word) for before, cause in TABLE}
    taken = {
        (name.partition("->")[0], name.partition("(")[2].rstrip(")"))
        for name in met
        if "->" in name
    }
    # The rest of the table is walked by the core's own tests.
    assert taken <= ways
    assert len(taken) >= 20


def test_a_world_without_a_kind_of_fault_keeps_all_the_others():
    kinds = draw_kinds(5)
    assert Kind.CRASH in kinds
    fewer = draw_kinds(5, without=frozenset({"crash"}))
    assert set(kinds) - set(fewer) == {Kind.CRASH}
    span = {"nodes_count": 10, "begin_ns": 0, "end_ns": 10**12}
    all_of_them = draw_faults(5, kinds, **span)
    assert [one for one in all_of_them if one.kind != Kind.CRASH] == list(
        draw_faults(5, fewer, **span)
    )


def test_faults_end_before_the_world_does():
    scenario = draw(7, minutes=3)
    assert max(fault.at_ns for fault in scenario.faults) < scenario.heal_ns < scenario.end_ns
