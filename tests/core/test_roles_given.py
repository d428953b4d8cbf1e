"""Who gets a role, what becomes of those who fail, and what a holder's words are worth."""

from dataclasses import replace

import pytest
from tests.core.roles_by_hand import ROLES, TICK, Roles, standing_by, with_holder

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.order_kinds import Declare, Forget, Join, Pause
from beatward.core.protocol.roles import RoleOrder

THREE = ("db-1", "db-2", "db-3")


# --- candidates ---


def test_the_highest_priority_is_first():
    hand = standing_by(offers={"db-2": {"priority": 200}})
    assert hand.view.holder == "db-2"


def test_among_equals_the_first_zone_is_first():
    zoned = {"db-1": {"zone": "c"}, "db-2": {"zone": "b"}, "db-3": {"zone": "a"}}
    roles = replace(ROLES, zones=("b", "a"))
    assert standing_by(roles, nodes=THREE, offers=zoned).view.holder == "db-2"


def test_the_zone_may_be_the_nodes_own_label():
    hand = Roles(replace(ROLES, zones=("b",)))
    hand.turn(hand.now, orders=(Join("db-2", {"zone": "b"}),))
    for name in hand.nodes:
        hand.say(name, "standby")
    hand.run(4 * SECOND)
    assert hand.view.holder == "db-2"


def test_the_freshest_is_first():
    hand = Roles(nodes=THREE)
    for name, freshness in zip(THREE, (5, 7, None), strict=True):
        hand.say(name, "standby", freshness=freshness)
    hand.run(4 * SECOND)
    assert hand.view.holder == "db-2"


def test_who_lags_too_far_behind_the_dead_holder_is_not_promoted():
    hand = Roles(replace(ROLES, max_lag=10), nodes=THREE)
    hand.say("db-1", "standby", freshness=100)
    hand.say("db-2", "standby", freshness=50)
    hand.say("db-3", "standby")
    hand.run(4 * SECOND)
    hand.say("db-1", "active", 1, freshness=120)
    hand.run(SECOND)
    hand.hush("db-1")
    hand.run(5 * SECOND)
    assert hand.role == "vacant - 1"
    assert hand.view.reason == (
        "no node can take it: db-1 was not heard for too long; db-2 lags too far behind; "
        "db-3 does not say how fresh its data is"
    )
    hand.say("db-2", "standby", freshness=110)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


@pytest.mark.parametrize("state", ["unable", "stuck"])
def test_who_cannot_be_promoted_is_not(state):
    hand = with_holder()
    hand.say("db-2", state)
    hand.hush("db-1")
    hand.run(5 * SECOND)
    assert hand.role == "vacant - 1"


def test_a_node_that_is_not_alive_is_not_promoted():
    hand = with_holder(nodes=THREE)
    hand.silent.add("db-1")
    hand.turn(hand.now, orders=(Pause(("db-2",)),))
    hand.run(5 * SECOND)
    assert hand.role == "promoting db-3 2"


def test_why_nobody_is_promoted_is_said_once():
    hand = with_holder()
    hand.say("db-2", "unable")
    hand.hush("db-1")
    hand.run(30 * SECOND)
    assert hand.facts()[2:] == ["silent", "expired", "vacant"]
    hand.silent.add("db-2")
    hand.run(10 * SECOND)
    # Its node is suspect, and then dead.
    assert hand.facts()[5:] == ["vacant", "vacant"]


# --- promotions that fail ---


def test_a_candidate_that_failed_is_followed_by_the_next():
    hand = standing_by(nodes=THREE)
    assert hand.role == "promoting db-1 1"
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    hand.say("db-2", "unable", 2)
    hand.run(SECOND)
    assert hand.role == "promoting db-3 3"


def test_after_all_have_failed_a_new_round_begins_after_a_while():
    hand = standing_by()
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    hand.say("db-2", "standby", 2)
    hand.run(SECOND)
    assert hand.role == "vacant - 2"
    assert hand.view.reason == (
        "every candidate failed: db-1: it did not become active; db-2: it did not become active"
    )
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-2 3"  # the last one to have had it comes first


def test_each_round_that_fails_is_followed_by_a_longer_pause():
    hand = standing_by(nodes=("db-1",))
    pauses = []
    while len(pauses) < 8:
        hand.say("db-1", "standby", hand.view.token)
        pauses.append(round(_ticks_until(hand, "promoting") * TICK / SECOND))
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    # Who then holds for as long as a promotion may take has not failed at it.
    hand.say("db-1", "active", hand.view.token)
    hand.run(40 * SECOND)
    hand.say("db-1", "standby", hand.view.token)
    assert _ticks_until(hand, "promoting") * TICK < SECOND


def _ticks_until(hand, phase):
    """Return how long a role took to get there, from where it was somewhere else."""
    while hand.role.startswith(phase):
        hand.run(TICK)
    count = 0
    while not hand.role.startswith(phase):
        hand.run(TICK)
        count += 1
    return count


def test_a_promotion_that_takes_too_long_is_taken_back_and_waited_for():
    hand = standing_by()
    hand.say("db-1", "promoting", 1)
    hand.run(30 * SECOND + SECOND // 4)
    assert hand.role == "demoting db-1 1"
    assert hand.words() == (
        "db: db-1 is to release the role (token 1): it was not active within 30 s"
    )
    hand.grants.clear()
    hand.run(2 * SECOND)
    assert ("DEMOTE", 1) in hand.heard_words("db-1")
    # It was lent the role until a moment ago, and has not said that it is done.
    assert hand.role == "demoting db-1 1"
    hand.say("db-1", "unable", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_candidate_that_does_not_answer_to_its_promotion_is_given_up_after_a_term():
    hand = standing_by()
    hand.hush("db-1")
    hand.run(4 * SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_candidate_that_never_gets_the_word_is_asked_again_and_given_up_in_the_end():
    # Its words come through and ours do not.
    hand = standing_by()
    hand.run(29 * SECOND)
    assert hand.role == "promoting db-1 1"
    hand.run(5 * SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_candidate_that_cannot_take_the_role_any_more_is_not_promoted():
    hand = standing_by()
    hand.say("db-1", "unable")
    hand.run(SECOND)
    hand.grants.clear()
    hand.run(SECOND)
    assert hand.heard_words("db-1") == [("STAND_BY", 1)]
    hand.say("db-1", "unable", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_candidate_that_acts_under_an_older_token_is_lent_nothing():
    hand = standing_by()
    hand.say("db-1", "active", 0)
    hand.grants.clear()
    hand.run(5 * SECOND)
    assert [grant.order for _, to, grant in hand.grants if to == "db-1" and grant.lease_ms] == []


def test_a_holder_that_gives_up_soon_after_comes_last():
    hand = with_holder()
    hand.say("db-1", "standby", 1)
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-2 2"


def test_a_holder_that_gives_up_after_a_long_time_may_have_it_again():
    hand = with_holder()
    hand.run(60 * SECOND)
    hand.say("db-1", "standby", 1)
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-1 2"


# --- what the holder says ---


def test_a_holder_that_gives_up_by_itself_is_not_given_more_time():
    hand = with_holder()
    hand.say("db-1", "demoting", 1)
    hand.grants.clear()
    hand.run(2 * SECOND)
    assert hand.role == "demoting db-1 1"
    assert hand.heard_words("db-1") == [("STAND_BY", 1)]


def test_a_holder_that_forgot_its_token_is_not_told_it():
    # It would say that it has given the token up, and its workload may still run.
    hand = with_holder()
    last = max(at for at, to, grant in hand.grants if to == "db-1" and grant.lease_ms)
    hand.say("db-1", "standby", 0)
    hand.grants.clear()
    hand.run(last + 3 * SECOND - hand.now)
    assert hand.view.holder == "db-1"
    assert [grant for _, to, grant in hand.grants if to == "db-1"] == []
    hand.run(SECOND)
    assert hand.role == "promoting db-1 2"


def test_a_holder_is_held_whatever_its_node_is():
    hand = with_holder()
    hand.turn(hand.now, orders=(Pause(("db-1",)),))
    hand.run(20 * SECOND)
    assert hand.role == "held db-1 1"


def test_an_older_word_of_the_holder_changes_nothing():
    hand = with_holder()
    old = hand.standing("db-1", "standby", 1, counter=2)
    hand.turn(hand.now + MILLISECOND, old)
    assert hand.role == "held db-1 1"
    assert hand.rejected()["replay"] == 1


def test_of_many_words_in_one_batch_the_newest_counts():
    hand = with_holder()
    rows = [hand.standing("db-1", *said) for said in (("active", 1), ("demoting", 1))]
    last = hand.standing("db-1", "standby", 1)
    hand.rejected()
    hand.turn(hand.now + MILLISECOND, last, *rows)
    assert hand.role == "promoting db-2 2"
    assert hand.rejected() == {}


def test_a_life_that_is_not_proven_says_nothing():
    hand = with_holder()
    for life, reason in ((hand.lives["db-1"] + 1, "unproven"), (5, "old_life")):
        hand.rejected()
        hand.turn(hand.now + MILLISECOND, hand.standing("db-1", "standby", 1, life=life))
        assert hand.role == "held db-1 1"
        assert hand.rejected() == {reason: 1}


def test_who_claims_a_token_of_before_is_told_to_give_it_up():
    hand = with_holder()
    hand.hush("db-1")
    hand.run(5 * SECOND)
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    grant = hand.tell("db-1", "active", 1)["db-1"]
    assert (grant.order, grant.token, grant.lease_ms) == (RoleOrder.DEMOTE, 2, 0)
    assert hand.role == "held db-2 2"


def test_a_holder_that_is_heard_again_before_its_term_keeps_the_role():
    hand = with_holder()
    hand.hush("db-1")
    hand.run(2 * SECOND + SECOND // 2)
    assert hand.role == "waiting db-1 1"
    hand.say("db-1", "active", 1)
    hand.run(20 * SECOND)
    assert hand.role == "held db-1 1"
    assert hand.facts()[-1] == "heard"


def test_a_forgotten_holder_has_its_term():
    hand = with_holder()
    hand.turn(hand.now, orders=(Forget("db-1"),))
    hand.nodes.remove("db-1")
    hand.hush("db-1")
    hand.run(2 * SECOND)
    assert hand.view.holder == "db-1"
    hand.run(2 * SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_holder_that_offers_the_service_no_more_has_its_term():
    hand = with_holder()
    hand.turn(hand.now, orders=(Declare("db-1"),))
    hand.run(2 * SECOND)
    assert hand.view.holder == "db-1"
    hand.run(2 * SECOND)
    assert hand.role == "promoting db-2 2"


# --- our own pauses ---


def test_a_grant_counts_from_the_end_of_its_drain():
    # Frozen within a drain: what came meanwhile was sent long after the watermark.
    hand = with_holder()
    at = hand.now + MILLISECOND
    row = hand.standing("db-1", "active", 1)
    hand.turn(at, row, arrived_ns=at + 9 * SECOND, drained_ns=at + 10 * SECOND)
    hand.hush("db-1")
    hand.turn(at + 10 * SECOND, *hand.beat_all())
    hand.run(3 * SECOND)
    assert hand.view.holder == "db-1"
    hand.run(SECOND)
    assert hand.view.holder == "db-2"


def test_after_our_own_pause_candidates_have_to_speak_anew():
    # Without stamps of the kernel, what waited in our socket seems to be said just now.
    hand = with_holder()
    at = hand.now + 20 * SECOND
    hand.beats += 39  # they beat on while we stood still
    rows = [hand.standing("db-1", "standby", 1), hand.standing("db-2", "standby")]
    hand.turn(at, *hand.beat_all(), *rows)
    hand.hush("db-1", "db-2")
    hand.run(SECOND // 4)
    assert hand.role == "vacant - 1"
    hand.say("db-2", "standby")
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-2 2"


def test_what_waited_is_heard_before_the_role_moves():
    hand = with_holder()
    at = hand.now + 20 * SECOND
    hand.turn(at, hand.standing("db-1", "active", 1), hand.standing("db-2", "standby"))
    assert hand.view.holder == "db-1"
