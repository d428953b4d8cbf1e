"""Roles that people move: in order, by force, back to whom they prefer, and not at all."""

from dataclasses import replace

import pytest
from tests.core.roles_by_hand import ROLES, Roles, standing_by, with_holder

from beatward.core.instants import SECOND
from beatward.core.order_kinds import FailOver, PauseService, ResumeService, SwitchOver
from beatward.core.protocol.roles import TOKEN_AHEAD_MAX, RoleOrder

UNABLE = "db-2 could not be promoted, as it says"
THREE = ("db-1", "db-2", "db-3")


# --- switchover ---


def test_a_switchover_asks_the_holder_and_then_promotes_the_other():
    hand = with_holder()
    hand.order(SwitchOver, to="db-2", by="ann", reason="kernel")
    assert (
        hand.words()
        == "db: db-1 is to release the role (token 1) for db-2, as asked by ann (kernel)"
    )
    hand.grants.clear()
    hand.run(SECOND)
    assert hand.role == "demoting db-1 1"
    (word, lease) = {(g.order, g.lease_ms) for _, to, g in hand.grants if to == "db-1"}.pop()
    assert (word, lease) == (
        RoleOrder.DEMOTE,
        2000,
    )  # a lease goes on, so that it may take its time
    hand.say("db-1", "demoting", 1)
    hand.run(10 * SECOND)
    assert hand.role == "demoting db-1 1"
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    assert hand.facts()[-4:] == ["switchover", "demoted", "chosen", "promoted"]
    assert hand.view.target == ""


def test_after_its_time_the_lease_of_the_old_holder_does_not_go_on():
    hand = with_holder()
    hand.order(SwitchOver)
    hand.say("db-1", "demoting", 1)
    hand.run(59 * SECOND)
    hand.grants.clear()
    hand.run(5 * SECOND)
    last = [grant for _, to, grant in hand.grants if to == "db-1"][-1]
    # Not DEMOTE: an agent would take that for more time.
    assert last.order == RoleOrder.STAND_BY
    hand.run(60 * SECOND)
    # And yet nobody is promoted by time, while it says that it is not done.
    assert hand.role == "demoting db-1 1"
    hand.hush("db-1")
    hand.run(3 * SECOND)
    assert hand.role == "promoting db-2 2"


def test_an_old_holder_that_dies_while_it_is_asked_is_waited_for():
    hand = with_holder()
    hand.order(SwitchOver)
    hand.run(SECOND)
    last = max(at for at, to, grant in hand.grants if to == "db-1" and grant.lease_ms)
    hand.hush("db-1")
    hand.run(2 * SECOND + SECOND // 2)
    assert hand.role == "waiting db-1 1"
    hand.run(last + 3 * SECOND + SECOND // 4 - hand.now)
    assert hand.role == "promoting db-2 2"


def test_a_target_that_is_gone_meanwhile_is_replaced_and_the_old_holder_comes_last():
    hand = with_holder(nodes=THREE)
    hand.order(SwitchOver, to="db-3")
    hand.hush("db-3")
    hand.run(3 * SECOND)
    hand.say("db-1", "standby", 1)
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-2 2"


def test_where_nobody_else_can_the_old_holder_gets_it_back():
    hand = with_holder()
    hand.order(SwitchOver, to="db-2")
    hand.hush("db-2")
    hand.run(3 * SECOND)
    hand.say("db-1", "standby", 1)
    hand.run(SECOND // 2)
    assert hand.role == "promoting db-1 2"


def test_a_switchover_goes_on_while_automatic_failover_is_paused():
    hand = with_holder()
    hand.order(PauseService)
    hand.order(SwitchOver)
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_switchover_goes_on_over_a_restart():
    hand = with_holder(nodes=THREE)
    hand.order(SwitchOver, to="db-3")
    again = hand.restarted()
    assert (again.role, again.view.target) == ("demoting db-1 1", "db-3")
    again.run(SECOND)
    assert again.heard_words("db-1") == [("DEMOTE", 1)]
    again.say("db-1", "standby", 1)
    again.run(3 * SECOND)
    assert again.role == "promoting db-3 2"


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("db-1", "db-1 is active, as it says"),
        ("db-9", "db-9 does not offer the service"),
        ("db-2", UNABLE),
        ("", f"no node can take it: db-1 is active, as it says; {UNABLE}"),
    ],
)
def test_a_switchover_to_nobody_is_declined(to, why):
    hand = with_holder()
    hand.say("db-2", "unable")
    hand.run(SECOND)
    hand.order(SwitchOver, to=to, by="ann")
    goal = f" to {to}" if to else ""
    assert hand.words() == f"db: a switchover{goal} was declined by ann: {why}"
    assert hand.role == "held db-1 1"


def test_a_switchover_from_nobody_is_declined():
    hand = with_holder()
    hand.hush("db-1")
    hand.run(5 * SECOND)
    hand.order(SwitchOver)
    assert hand.facts()[-1] == "declined"


# --- failover on request ---


def test_a_failover_without_force_waits_for_the_holders_term():
    hand = standing_by(replace(ROLES, automatic=False))
    assert hand.role == "vacant - 0"
    assert hand.view.reason == "automatic failover is off"
    hand.order(FailOver, to="db-1")
    hand.run(SECOND)
    assert hand.role == "promoting db-1 1"
    hand.say("db-1", "active", 1)
    hand.run(SECOND)
    hand.hush("db-1")
    hand.run(10 * SECOND)
    assert hand.role == "vacant - 1"
    hand.order(FailOver)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_failover_is_declined_while_the_holder_answers():
    hand = with_holder()
    hand.order(FailOver)
    assert hand.words() == (
        "db: a failover was declined: db-1 has the role and answers; a switchover moves it in order"
    )


def test_a_failover_that_was_asked_for_is_forgotten_when_the_holder_is_back():
    hand = with_holder()
    hand.hush("db-1")
    hand.run(2 * SECOND + SECOND // 2)
    hand.order(FailOver, to="db-2")
    assert hand.view.target == "db-2"
    hand.say("db-1", "active", 1)
    hand.run(10 * SECOND)
    assert (hand.role, hand.view.target) == ("held db-1 1", "")


def test_by_force_the_role_goes_at_once_and_the_risk_is_written_down():
    hand = with_holder()
    hand.run(SECOND)
    hand.order(FailOver, force=True, by="ann")
    assert hand.role == "promoting db-2 2"
    assert hand.facts()[-1] == "forced"
    left = hand.words().rpartition(" for ")[2]
    assert hand.words() == (
        "db: db-2 is to take the role under token 2, by force by ann, at this risk: db-1 may "
        f"still act under token 1 for {left}"
    )
    hand.grants.clear()
    hand.run(SECOND)
    assert hand.heard_words("db-1") == [("DEMOTE", 2)]
    assert {grant.lease_ms for _, to, grant in hand.grants if to == "db-1"} == {0}


def test_force_ends_a_doubt_above_everything_that_was_claimed():
    hand = with_holder()
    hand.say("db-2", "standby", 7)
    hand.run(SECOND)
    assert hand.role == "refused db-1 1"
    hand.order(FailOver, force=True)
    assert hand.role == "promoting db-2 8"
    assert "db-2 knows of token 7 and the journal only of 1" in hand.words()
    hand.run(SECOND)
    hand.say("db-2", "active", 8)
    hand.run(SECOND)
    assert hand.role == "held db-2 8"
    again = hand.restarted()
    again.run(SECOND)
    assert again.role == "held db-2 8"


def test_what_was_claimed_before_is_no_new_doubt_while_the_journal_lags():
    hand = with_holder()
    hand.say("db-2", "standby", 7)
    hand.run(SECOND)
    hand.lag = True
    hand.order(FailOver, force=True)
    hand.run(2 * SECOND)
    assert hand.role == "promoting db-2 8"


def test_who_is_robbed_of_the_role_is_no_doubt_while_the_journal_lags():
    hand = with_holder()
    hand.lag = True
    hand.order(FailOver, force=True)
    hand.grants.clear()
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    # It is lent nothing any more, and told so as soon as there is a token to tell.
    assert {grant.order for _, to, grant in hand.grants if to == "db-1"} == {RoleOrder.DEMOTE}
    assert {grant.lease_ms for _, to, grant in hand.grants if to == "db-1"} == {0}


def test_a_token_that_took_the_place_of_an_unwritten_one_waits_for_its_own_entry():
    hand = Roles()
    for name in hand.nodes:
        hand.say(name, "standby")
    hand.lag = True
    hand.run(4 * SECOND)
    assert hand.role == "promoting db-1 1"
    first = hand.entries[-1].sequence
    hand.order(FailOver, force=True, to="db-2")
    hand.inputs = {"journaled": first}
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    assert {grant.order for _, _, grant in hand.grants} == {RoleOrder.STAND_BY}


def test_a_doubt_is_new_when_a_higher_token_still_is_claimed():
    hand = with_holder()
    hand.say("db-2", "standby", 7)
    hand.run(SECOND)
    hand.order(FailOver, force=True)
    hand.say("db-2", "standby", 9)
    hand.run(SECOND)
    assert hand.role == "refused db-2 8"


@pytest.mark.parametrize("ahead", [2 * TOKEN_AHEAD_MAX, 2**54 - 2])
def test_a_claim_that_no_monitor_can_have_given_is_not_believed(ahead):
    hand = with_holder()
    before = hand.snapshot().rejects["range"]
    hand.say("db-2", "standby", 1 + ahead)
    hand.run(10 * SECOND)
    assert hand.role == "held db-1 1"
    assert hand.snapshot().rejects["range"] > before
    # Who says only what cannot be is not heard, so it cannot be promoted either.
    hand.hush("db-1")
    hand.run(10 * SECOND)
    assert hand.role == "vacant - 1"
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-1 2"


def test_the_largest_claim_that_is_believed_leaves_tokens_for_the_next():
    # A hostile member says it again after each time: 4,000,000 times would use the tokens up.
    hand = with_holder()
    for n in range(1, 4):
        newest = hand.view.token + TOKEN_AHEAD_MAX
        hand.say("db-2", "standby", newest)
        hand.run(SECOND)
        assert hand.view.phase == "refused"
        hand.say("db-1", "standby", 1)
        hand.run(SECOND)
        hand.order(FailOver, force=True, to="db-1")
        assert hand.role == f"promoting db-1 {1 + n * (TOKEN_AHEAD_MAX + 1)}"
        hand.run(SECOND)
        hand.say("db-1", "active", hand.view.token)
        hand.run(SECOND)
        assert hand.view.phase == "held"
    assert hand.view.holder == "db-1"


def test_force_needs_somebody_to_take_it():
    hand = with_holder()
    hand.hush("db-2")
    hand.run(3 * SECOND)
    hand.order(FailOver, force=True)
    assert hand.facts()[-1] == "declined"
    assert hand.role == "held db-1 1"


def test_force_is_not_stopped_by_a_lag():
    hand = Roles(replace(ROLES, max_lag=10))
    hand.say("db-1", "standby", freshness=1000)
    hand.say("db-2", "standby", freshness=5)
    hand.run(4 * SECOND)
    hand.say("db-1", "active", 1, freshness=1000)
    hand.run(SECOND)
    hand.order(FailOver, force=True)
    assert hand.view.holder == "db-2"


# --- failing back ---


def test_the_role_goes_back_to_who_is_preferred_once_it_could_for_long_enough():
    hand = Roles(replace(ROLES, failback_ns=60 * SECOND), offers={"db-1": {"priority": 200}})
    hand.say("db-2", "standby")
    hand.run(4 * SECOND)
    hand.say("db-2", "active", 1)
    hand.say("db-1", "standby")
    hand.run(59 * SECOND)
    assert hand.role == "held db-2 1"
    hand.say("db-1", "unable")
    hand.run(SECOND)
    hand.say("db-1", "standby")
    hand.run(59 * SECOND)
    assert hand.role == "held db-2 1"
    hand.run(3 * SECOND)
    assert (hand.role, hand.view.target) == ("demoting db-2 1", "db-1")
    assert hand.facts()[-1] == "failback"


def test_who_has_just_failed_at_it_is_not_given_the_role_back():
    roles = replace(ROLES, failback_ns=SECOND)
    hand = with_holder(roles, offers={"db-1": {"priority": 200}})
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    hand.say("db-2", "active", 2)
    hand.run(20 * SECOND)
    assert hand.role == "held db-2 2"
    # Once it has been held for as long as a promotion may take, that is forgotten.
    hand.run(15 * SECOND)
    assert (hand.role, hand.view.target) == ("demoting db-2 2", "db-1")


def test_who_lags_too_far_behind_now_and_then_is_not_given_the_role_back():
    roles = replace(ROLES, failback_ns=10 * SECOND, max_lag=100)
    hand = Roles(roles, offers={"db-1": {"priority": 200}})
    hand.say("db-2", "standby", freshness=0)
    hand.run(4 * SECOND)
    for freshness in range(1000, 41_000, 1000):
        hand.say("db-2", "active", 1, freshness=freshness)
        hand.say("db-1", "standby", freshness=freshness - (500 if freshness % 5000 == 0 else 50))
        hand.run(SECOND)
        assert hand.role == "held db-2 1"
    hand.say("db-1", "standby", freshness=40_950)
    hand.run(12 * SECOND)
    assert (hand.role, hand.view.target) == ("demoting db-2 1", "db-1")


def test_without_failback_the_holder_stays():
    hand = Roles(offers={"db-1": {"priority": 200}})
    hand.say("db-2", "standby")
    hand.run(4 * SECOND)
    hand.say("db-2", "active", 1)
    hand.say("db-1", "standby")
    hand.run(300 * SECOND)
    assert hand.role == "held db-2 1"


# --- pauses ---


def test_while_it_is_paused_nothing_fails_over_by_itself():
    hand = with_holder()
    hand.order(PauseService, for_ns=60 * SECOND, by="ann", reason="drill")
    assert hand.words() == "db: automatic failover is paused for 60 s by ann (drill)"
    assert hand.view.paused.by == "ann"
    hand.hush("db-1")
    hand.run(20 * SECOND)
    assert hand.role == "vacant - 1"
    assert hand.view.reason == "automatic failover is off"
    hand.run(41 * SECOND)
    assert hand.role == "promoting db-2 2"
    assert "resumed" in hand.facts()


def test_a_pause_lets_the_holder_go_on_and_outlives_a_restart():
    hand = with_holder()
    hand.order(PauseService, by="ann")
    hand.run(10 * SECOND)
    assert hand.role == "held db-1 1"
    again = hand.restarted()
    assert again.view.paused.by == "ann"
    again.hush("db-1")
    again.run(20 * SECOND)
    assert again.role == "vacant - 1"
    again.order(ResumeService, by="bob")
    again.run(SECOND)
    assert again.role == "promoting db-2 2"
