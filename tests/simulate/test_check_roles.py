"""Whose fence is waited for where time is not trusted: the checker, over a few leases by hand."""

import pytest
from tests.simulate.clones import cloned

from beatward.core.instants import SECOND
from beatward.simulate.check_role_liveness import RoleLivenessChecker
from beatward.simulate.check_roles import RoleChecker, _Lease
from beatward.simulate.world import World

OWNER, COPY, NEXT = "node-3", "node-3+3", "node-8"


def broken(leases, *, lent):
    """Return what the checker finds as token 2 is granted; leases: until when, by machine."""
    world = World(cloned(203))
    role_liveness = RoleLivenessChecker(world.facts, world.findings)
    roles = RoleChecker(world.facts, world.findings, role_liveness)
    book = roles.books["role-0"]
    assert roles._settings["role-0"].fence_required
    book.lent[1] = lent
    book.leases.update({name: _Lease(1, until_ns) for name, until_ns in leases.items()})
    roles._check_early(book, NEXT, 2)
    return [violation.message for violation in world.findings.violations]


def test_a_copy_that_was_only_told_to_demote_is_waited_for_and_not_fenced():
    """Seed 203 of the clones: the process that was lent the token had given it up."""
    assert broken({COPY: -1}, lent=OWNER) == []


@pytest.mark.parametrize(
    ("leases", "lent", "words"),
    [
        ({OWNER: -1}, OWNER, "node-3 was not fenced"),
        ({OWNER: -1, COPY: -1}, OWNER, "node-3 was not fenced"),
        ({COPY: -1}, COPY, "node-3+3 was not fenced"),
        ({COPY: SECOND}, OWNER, "node-3+3 may hold 1 for 1 s"),
    ],
)
def test_who_was_lent_the_token_is_fenced_and_a_copy_has_its_time(leases, lent, words):
    (message,) = broken(leases, lent=lent)
    assert words in message
