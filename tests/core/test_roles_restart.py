"""Roles over restarts of the monitor, crashes before its journal, and backups that are too old."""

from dataclasses import replace

import pytest
from tests.core.by_hand import START, datagrams, said
from tests.core.roles_by_hand import ROLES, TERM, Roles, with_holder

from beatward.core.entry import ServiceRecord
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.membership import Membership, MembershipSettings
from beatward.core.order_kinds import FailOver, Forget
from beatward.core.protocol.roles import RoleOrder
from beatward.core.roles.machine import RoleMachine
from beatward.core.roles.phases import Phase
from beatward.core.roles.settings import RoleSettings


def leases(hand, name):
    return [(at, grant) for at, to, grant in hand.grants if to == name and grant.lease_ms]


def held(hand, name):
    """Return what a node was lent: grants that let it act."""
    return [grant.order for _, grant in leases(hand, name) if grant.order != RoleOrder.STAND_BY]


# --- the journal first ---


def test_nobody_is_told_a_token_that_the_journal_does_not_have():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.say("db-2", "standby")
    hand.lag = True
    hand.run(10 * SECOND)
    assert hand.role == "promoting db-1 1"
    assert {grant.token for _, _, grant in hand.grants} == {0}
    assert {grant.order for _, _, grant in hand.grants} == {RoleOrder.STAND_BY}
    # Its own question goes without an answer: it would learn the token as the newest.
    assert hand.grants[-1][1] == "db-2"


def test_the_candidate_is_told_as_soon_as_the_journal_has_it():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.lag = True
    hand.run(4 * SECOND)
    hand.lag = False
    output = hand.turn(hand.now + MILLISECOND)
    assert len(output.replies.rows) == 1
    (_, to, grant) = hand.grants[-1]
    assert (to, grant.order, grant.token) == ("db-1", RoleOrder.PROMOTE, 1)
    assert grant.counter == hand.counters["db-1"]


def test_a_candidate_that_died_before_the_journal_had_its_token_is_never_told():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.say("db-2", "standby")
    hand.lag = True
    hand.run(4 * SECOND)
    hand.hush("db-1")
    hand.run(3 * SECOND)
    hand.lag = False
    hand.run(SECOND)
    assert held(hand, "db-1") == []
    assert hand.role == "promoting db-2 2"


def test_a_token_lost_with_the_journals_end_was_never_said_and_is_given_again():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.say("db-2", "standby")
    hand.lag = True
    hand.run(4 * SECOND)
    decided = next(entry for entry in hand.entries if entry.cause == "chosen")
    again = hand.restarted(up_to=decided.sequence - 1)
    again.run(4 * SECOND)
    assert again.role == "promoting db-1 1"
    assert not again.view.reason


def test_a_new_life_does_not_get_the_answer_to_the_words_of_the_one_before():
    # It counts from 1 again: an answer to the old life's first word would lend it the role from
    # when it said its own first word, which may be much later.
    hand = Roles()
    hand.say("db-1", "standby")
    hand.lag = True
    hand.run(4 * SECOND)
    hand.lives["db-1"] += 1
    hand.counters["db-1"] = 0
    hand.hush("db-1")
    hand.turn(hand.now, *hand.beat_all())
    hand.lag = False
    hand.run(SECOND)
    assert held(hand, "db-1") == []
    assert hand.role == "vacant - 1"


def test_a_life_that_ends_in_the_same_turn_is_answered_as_what_it_was():
    hand = with_holder()
    word = hand.standing("db-1", "active", 1)
    hand.lives["db-1"] += 1
    hand.beats += 1
    row = said("db-1", sequence=hand.beats, incarnation=hand.lives["db-1"], interval_ms=500)
    at = hand.now + MILLISECOND
    hand.grants.clear()
    batches = tuple(datagrams([one], START + at) for one in (word, row))
    hand.turn(at, batches=batches)
    assert hand.grants == []


# --- restarts ---


def test_the_holder_of_before_is_lent_the_role_again_at_once():
    hand = with_holder()
    again = hand.restarted()
    assert again.role == "held db-1 1"
    again.run(SECOND)
    assert held(again, "db-1") == [RoleOrder.HOLD] * 2
    assert again.facts() == []


def test_a_holder_of_before_that_is_silent_has_a_whole_term_from_the_restart():
    hand = with_holder()
    hand.hush("db-1")
    hand.run(2 * SECOND + SECOND // 2)
    again = hand.restarted()
    again.run(3 * SECOND)
    assert again.view.holder == "db-1"
    again.run(SECOND)
    assert again.role == "promoting db-2 2"


def test_nothing_new_is_decided_for_a_term_even_if_the_role_was_given_back():
    hand = with_holder()
    again = hand.restarted()
    again.say("db-1", "standby", 1)
    again.run(3 * SECOND)
    assert again.role == "vacant - 1"
    again.run(SECOND)
    assert again.role == "promoting db-1 2"


def test_a_promotion_goes_on_over_a_restart():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.run(4 * SECOND)
    again = hand.restarted()
    assert again.role == "promoting db-1 1"
    again.run(SECOND)
    assert held(again, "db-1") == [RoleOrder.PROMOTE] * 2
    again.say("db-1", "active", 1)
    again.run(SECOND)
    assert again.role == "held db-1 1"


def test_a_promotion_of_before_a_restart_may_still_be_too_slow():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.run(4 * SECOND)
    hand.say("db-1", "promoting", 1)
    again = hand.restarted()
    again.run(31 * SECOND)
    assert again.facts() == ["too_slow"]


def test_a_lease_that_is_longer_now_is_lent_only_when_the_journal_knows():
    # The session after this one would otherwise wait for the term that it finds written down.
    hand = with_holder()
    longer = replace(ROLES, lease_ns=60 * SECOND)
    second = hand.restarted(longer)
    second.lag = True
    second.run(SECOND)
    assert held(second, "db-1") == []
    second.lag = False
    second.run(SECOND)
    assert held(second, "db-1")[0] == RoleOrder.HOLD
    assert second.role == "held db-1 1"
    third = second.restarted(ROLES)
    third.hush("db-1")
    third.run(60 * SECOND)
    assert third.view.holder == "db-1"
    third.run(2 * SECOND)
    assert third.role == "promoting db-2 2"


def test_a_longer_lease_of_an_earlier_session_is_still_written_down_in_the_next():
    hand = with_holder(replace(ROLES, lease_ns=60 * SECOND))
    second = hand.restarted(ROLES)
    second.hush("db-1")
    second.run(5 * SECOND)  # silent: an entry of this session
    assert second.facts() == ["silent"]
    third = second.restarted(ROLES)
    third.run(50 * SECOND)
    assert third.view.holder == "db-1"


def test_a_promotion_that_was_taken_back_before_a_restart_may_still_come_true():
    hand = Roles()
    hand.say("db-1", "standby")
    hand.run(4 * SECOND)
    hand.say("db-1", "promoting", 1)
    hand.run(31 * SECOND)
    assert hand.role == "demoting db-1 1"
    again = hand.restarted()
    again.run(SECOND)
    assert again.role == "promoting db-1 1"
    again.run(31 * SECOND)
    assert again.facts() == ["heard", "too_slow"]


def test_a_holder_is_not_held_for_new_for_hours_where_the_clock_was_set_back():
    # With the rows of a journal that lies ahead: what happened then happened at the latest now.
    hand = with_holder()
    again = hand.restarted(make=ahead_by_hours)
    assert again.view.since_ns == START
    again.run(31 * SECOND)
    again.say("db-1", "standby", 1)
    again.run(SECOND)
    assert again.role == "promoting db-1 2"


def ahead_by_hours(*args, recovered, **fields):
    services = tuple(
        replace(one, since_ns=one.since_ns + 7200 * SECOND) for one in recovered.services
    )
    return Roles(*args, recovered=replace(recovered, services=services), **fields)


# --- how fresh data is that nobody can ask any more ---

CLOSE = replace(ROLES, max_lag=10)


def with_fresh_holder(**fields):
    """db-1 holds the role and its data is at 120; db-2 stands by at 50."""
    hand = Roles(CLOSE, **fields)
    hand.say("db-1", "standby", freshness=100)
    hand.say("db-2", "standby", freshness=50)
    hand.run(4 * SECOND)
    hand.say("db-1", "active", 1, freshness=120)
    hand.run(SECOND)
    assert hand.role == "held db-1 1"
    return hand


def test_how_far_a_silent_holder_had_come_outlives_a_restart():
    hand = with_fresh_holder()
    hand.hush("db-1")
    hand.run(2 * SECOND + SECOND // 2)
    assert hand.role == "waiting db-1 1"
    again = hand.restarted().restarted()
    again.run(5 * SECOND)
    assert again.role == "vacant - 1"
    assert "db-2 lags too far behind" in again.view.reason
    again.say("db-2", "standby", freshness=110)
    again.run(SECOND)
    assert again.role == "promoting db-2 2"


def test_nobody_is_promoted_who_may_lag_behind_what_was_written_while_the_monitor_was_away():
    hand = with_fresh_holder()
    hand.hush("db-1")
    hand.say("db-2", "standby", freshness=115)
    again = hand.restarted()
    again.run(3 * SECOND)
    assert again.role == "waiting db-1 1"
    again = again.restarted()
    again.run(5 * SECOND)
    assert again.role == "refused - 1"
    assert again.facts() == ["expired", "unsure"]
    assert again.words() == (
        "db: no node may take the role: how far the others are behind db-1 is not known, for db-1 "
        "has not been heard since the monitor began, and max_lag is set; beatward failover --force "
        "takes that risk"
    )
    again = again.restarted()
    again.run(30 * SECOND)
    assert again.role == "refused - 1"
    again.say("db-1", "unable", 1, freshness=124)
    again.run(SECOND)
    assert again.role == "promoting db-2 2"


def with_unheard_holder():
    """db-1 held the role, and has not been heard since the monitor was away."""
    hand = with_fresh_holder()
    hand.hush("db-1")
    again = hand.restarted()
    again.run(10 * SECOND)
    return again


def test_force_takes_the_risk_of_a_lag_that_nobody_knows():
    again = with_unheard_holder()
    again.order(FailOver, force=True)
    assert again.role == "promoting db-2 2"
    assert again.words().endswith("at this risk: how far the others are behind db-1 is not known")
    again.say("db-2", "unable", 2, freshness=50)
    again.run(SECOND)
    assert again.role == "vacant - 2"


def test_who_had_the_role_and_was_forgotten_keeps_nobody_from_it():
    again = with_unheard_holder()
    again.turn(again.now, orders=(Forget("db-1"),))
    again.run(2 * SECOND)
    assert again.role == "promoting db-2 2"


def test_a_holder_that_goes_on_after_a_restart_leaves_nothing_to_be_unsure_of():
    hand = with_fresh_holder()
    hand.say("db-2", "standby", freshness=115)
    again = hand.restarted()
    again.run(SECOND)
    again.hush("db-1")
    again.run(5 * SECOND)
    assert again.role == "promoting db-2 2"


# --- a journal that is older than what has happened ---


def test_a_token_that_the_journal_does_not_know_stops_everything():
    hand = with_holder()
    hand.grants.clear()
    hand.say("db-2", "standby", 7)
    hand.run(10 * SECOND)
    assert hand.role == "refused db-1 1"
    assert hand.facts()[-1] == "doubt"
    assert hand.words() == (
        "db: no node may take the role: db-2 knows of token 7 and the journal only of 1, so it is "
        "older than what has happened; beatward failover --force ends this"
    )
    # Not even who holds it is lent anything more: somebody else may hold it as well.
    assert hand.grants == []


def test_a_backup_is_noticed_before_anything_is_decided():
    hand = with_holder()
    before = hand.entries[-1].sequence
    hand.hush("db-1")
    hand.run(5 * SECOND)
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    assert hand.role == "held db-2 2"
    restored = hand.restarted(up_to=before)
    assert restored.role == "held db-1 1"
    restored.run(2 * SECOND)
    assert restored.role == "refused db-1 1"
    restored.run(20 * SECOND)
    assert held(restored, "db-2") == []


def test_the_doubt_outlives_a_restart_and_the_member_that_raised_it():
    hand = with_holder()
    hand.say("db-2", "standby", 7)
    hand.run(SECOND)
    hand.hush("db-2")
    again = hand.restarted()
    again.run(20 * SECOND)
    assert again.role == "refused db-1 1"
    assert again.facts() == []
    assert held(again, "db-1") == []


def test_a_journal_that_was_lost_is_noticed_too():
    # The members remember; the service is new to this journal, and waits for them.
    hand = Roles()
    hand.say("db-1", "standby")
    hand.run(2 * SECOND)
    hand.say("db-2", "standby", 4)
    hand.run(3 * SECOND)
    assert hand.role == "refused - 0"


@pytest.mark.parametrize("state", ["promoting", "active", "demoting", "stuck"])
def test_two_that_claim_the_same_token_stop_everything(state):
    hand = with_holder()
    hand.say("db-2", state, 1)
    hand.run(SECOND)
    assert hand.role == "refused db-1 1"
    assert hand.view.reason == "db-2 claims token 1, which the journal gave to db-1"


def test_who_had_the_role_before_has_no_claim_to_the_next_token():
    hand = with_holder()
    hand.hush("db-1")
    hand.run(5 * SECOND)
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    hand.say("db-1", "active", 2)
    hand.run(SECOND)
    assert hand.role == "refused db-2 2"


def test_who_had_the_token_before_may_still_say_so():
    # A word that was under way while we restarted, and is older than its own last one.
    hand = with_holder(nodes=("db-1",))
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.role == "vacant - 1"
    again = hand.restarted()
    again.turn(MILLISECOND, *again.beat_all())
    assert [grant.order for grant in again.tell("db-1", "active", 1).values()] == [RoleOrder.DEMOTE]
    assert again.role == "vacant - 1"


def test_a_member_that_knows_the_newest_token_and_holds_nothing_is_no_reason_to_doubt():
    hand = with_holder()
    hand.say("db-2", "standby", 1)
    hand.run(2 * SECOND)
    assert hand.role == "held db-1 1"


def test_the_term_is_what_both_sides_count():
    assert TERM == 3 * SECOND + 3 * SECOND * 400 // 1_000_000 + SECOND // 10


# --- a row that contradicts itself ---


@pytest.mark.parametrize("holder", ["", "db-1"])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_row_that_was_mended_by_hand_keeps_no_monitor_from_starting(phase, holder):
    membership = Membership(MembershipSettings(), 4)
    role = RoleMachine("db", RoleSettings(), membership, now_ns=START)
    record = ServiceRecord("db", token=3, holder=holder, phase=str(phase), term_ns=10 * SECOND)
    role.restore(record, START)
    causes = []
    for seconds in range(60):
        now = START + seconds * SECOND
        while (event := role.advance(now)) is not None:
            causes.append(event.cause)
            role.written()
    # Time frees what it may hold, and nothing was given to a member that there is not.
    assert role.lease.holder == ""
    assert role.phase in (Phase.VACANT, Phase.REFUSED)
    assert "chosen" not in causes
