"""The role of a service: given, lent, lost, and given to the next; never to two."""

from tests.core.roles_by_hand import TERM, Roles, with_holder

from beatward.core.instants import SECOND
from beatward.core.protocol.roles import RoleOrder


def test_a_service_waits_for_its_members_and_then_the_first_is_promoted():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.say("db-2", "standby")
    hand.run(3 * SECOND)
    assert hand.role == "vacant - 0"
    assert hand.view.reason == "members may not all have been heard yet"
    assert hand.heard_words("db-1") == [("STAND_BY", 0)]
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-1 1"
    assert hand.heard_words("db-1") == [("STAND_BY", 0), ("PROMOTE", 1)]
    assert hand.words() == "db: db-1 is to take the role under token 1, the best of 2 candidates"


def test_the_life_of_a_role():
    hand = with_holder()
    assert hand.role == "held db-1 1"
    hand.hush("db-1")
    hand.run(SECOND + SECOND // 2)
    assert hand.role == "held db-1 1"
    hand.run(SECOND)
    assert hand.role == "waiting db-1 1"
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    assert hand.role == "held db-2 2"
    assert hand.facts() == ["chosen", "promoted", "silent", "expired", "chosen", "promoted"]


def test_the_next_is_promoted_no_sooner_than_a_term_after_the_last_grant():
    hand = with_holder()
    last = max(at for at, to, grant in hand.grants if to == "db-1" and grant.lease_ms)
    hand.hush("db-1")
    hand.run(5 * SECOND)
    first = min(
        at for at, to, grant in hand.grants if grant.order == RoleOrder.PROMOTE and to == "db-2"
    )
    # The grant counts from the end of its drain, which is a microsecond after the watermark.
    assert last + TERM < first <= last + TERM + SECOND // 10
