"""The role checkers are checked: each rule of roles that is broken on purpose must be caught."""

import pytest
from tests.simulate.broken_roles import BROKEN
from tests.simulate.role_worlds import outlived

from beatward.simulate import play

SEEDS_MAX = 12


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_rule_of_roles_is_caught(name):
    """And the same world holds with the right monitor and members, or it would prove nothing."""
    broken = BROKEN[name]
    for seed in dict.fromkeys((broken.first, *range(1, SEEDS_MAX + 1))):
        world = broken.world(seed)
        report = play(world, build=broken.build, tenure=broken.tenure)
        if {one.rule for one in report.violations} & broken.rules:
            assert play(world).violations == ()
            return
    pytest.fail(f"who {name} goes unnoticed in worlds 1 to {SEEDS_MAX}")


def test_a_guardian_that_ends_what_was_stuck_frees_the_role_although_its_agent_is_gone():
    """Its last word is true, and the checkers know that, too: seed 600 of the clones."""
    report = play(outlived(1))
    assert report.violations == ()
    assert report.counts["role said stuck"] > 0
    causes = [str(entry.cause) for entry in report.journal if entry.service_record is not None]
    assert causes[causes.index("stuck") :] == ["stuck", "demoted", "chosen", "promoted"]
