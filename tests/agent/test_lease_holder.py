"""The hold on a role as a pure machine: literal instants, and any order of whatever may happen."""

import hypothesis
import pytest
from hypothesis import strategies as st

from beatward.agent.roles.lease_holder import STUCK_PAUSE_NS, HolderState, LeaseHolder, RoleCommand
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.roles import Grant, RoleOrder, State, service_id

MS = MILLISECOND
DB = service_id("db")
LEASE_MS, DEMOTE_MS = 2000, 1000
# 2,000 ms less what two quartzes of 200 ppm may differ.
LEASE_NS = 1_999_200_000


def grant(counter, word, token, *, service=DB, lease_ms=LEASE_MS, demote_ms=DEMOTE_MS):
    return Grant(service, counter, word, token, lease_ms, demote_ms)


def standby(memory=None):
    """Return a member that could be promoted; its standing 1 was sent at 0."""
    holder = LeaseHolder("db", memory, now_ns=0)
    holder.report(0, able=True)
    assert holder.standing(0).state == State.STANDBY
    return holder


def active(token=7):
    """Return one that was promoted by the answer to standing 1, so until LEASE_NS; 2 is sent."""
    holder = standby()
    holder.hear(grant(1, RoleOrder.PROMOTE, token), 10 * MS)
    holder.done(RoleCommand("promote", token), 20 * MS, ok=True)
    assert holder.standing(20 * MS).state == State.ACTIVE
    return holder


# --- taking it ---


def test_a_promotion_is_taken_and_its_lease_counts_from_the_sending_of_the_standing():
    holder = standby()
    holder.hear(grant(1, RoleOrder.PROMOTE, 7), 30 * MS)
    assert holder.state == State.PROMOTING
    assert holder.command == RoleCommand("promote", 7)
    assert holder.memory == HolderState(7, 7, DEMOTE_MS)
    assert holder.lease_end_ns == LEASE_NS
    assert holder.over_ns == LEASE_NS + SECOND
    said = holder.standing(30 * MS)
    assert (said.counter, said.state, said.token) == (2, State.PROMOTING, 7)
    holder.done(RoleCommand("promote", 7), 40 * MS, ok=True)
    assert holder.is_holding
    assert holder.standing(40 * MS).state == State.ACTIVE
    assert holder.command is None


@pytest.mark.parametrize(
    ("heard", "at_ns"),
    [
        (grant(2, RoleOrder.PROMOTE, 7), 10 * MS),  # It answers what was never said.
        (grant(1, RoleOrder.PROMOTE, 7, service=DB + 1), 10 * MS),
        (grant(1, RoleOrder.PROMOTE, 7), LEASE_NS),  # Its lease is over.
        (grant(1, RoleOrder.PROMOTE, 5), 10 * MS),  # A token that is used up.
        (grant(1, RoleOrder.HOLD, 5), 10 * MS),
        (grant(1, RoleOrder.DEMOTE, 5), 10 * MS),
    ],
)
def test_what_is_no_promotion_of_now_changes_nothing(heard, at_ns):
    holder = standby(HolderState(5))
    holder.hear(heard, at_ns)
    assert holder.state == State.STANDBY
    assert holder.memory == HolderState(5)
    assert holder.command is None


def test_who_is_unable_says_no_by_having_seen_the_token():
    holder = LeaseHolder("db", now_ns=0)
    holder.standing(0)
    holder.hear(grant(1, RoleOrder.PROMOTE, 7), 10 * MS)
    said = holder.standing(10 * MS)
    assert (said.state, said.token) == (State.UNABLE, 7)
    assert holder.memory == HolderState(7)
    # And the same token is not taken later, when the monitor has gone on to another.
    holder.report(20 * MS, able=True)
    holder.hear(grant(2, RoleOrder.PROMOTE, 7), 20 * MS)
    assert holder.state == State.STANDBY


def test_the_newest_token_is_learned_by_standing_by():
    holder = standby()
    holder.hear(grant(1, RoleOrder.STAND_BY, 9), 10 * MS)
    assert holder.memory == HolderState(9)
    assert holder.standing(SECOND).token == 9


# --- keeping it ---


def test_each_answer_lends_the_role_anew_and_an_older_one_takes_nothing_back():
    holder = active()
    holder.standing(600 * MS)
    holder.hear(grant(3, RoleOrder.HOLD, 7), 610 * MS)
    assert holder.lease_end_ns == 600 * MS + LEASE_NS
    holder.hear(grant(2, RoleOrder.HOLD, 7), 620 * MS)
    assert holder.lease_end_ns == 600 * MS + LEASE_NS


@pytest.mark.parametrize("word", [RoleOrder.HOLD, RoleOrder.PROMOTE, RoleOrder.STAND_BY])
def test_a_grant_of_an_older_token_lends_nothing(word):
    holder = active()
    holder.standing(600 * MS)
    holder.hear(grant(3, word, 6), 610 * MS)
    assert holder.lease_end_ns == LEASE_NS
    assert holder.state == State.ACTIVE


def test_shorter_times_in_a_later_grant_do_not_outlast_what_that_grant_said():
    holder = active()
    holder.standing(600 * MS)
    holder.hear(grant(3, RoleOrder.HOLD, 7, lease_ms=1000, demote_ms=100), 610 * MS)
    # The first grant still counts as it was.
    assert holder.lease_end_ns == LEASE_NS
    assert holder.over_ns == LEASE_NS + SECOND
    holder.standing(1800 * MS)
    holder.hear(grant(4, RoleOrder.HOLD, 7, lease_ms=1000, demote_ms=100), 1810 * MS)
    assert holder.lease_end_ns == 1800 * MS + LEASE_NS // 2
    assert holder.over_ns == LEASE_NS + SECOND


def test_standings_are_said_twice_a_second_then_four_times_a_lease_and_at_once_on_a_change():
    holder = LeaseHolder("db", now_ns=0)
    assert holder.standing(0).counter == 1
    assert holder.standing(1) is None
    assert holder.turn(1) == 500 * MS
    assert holder.standing(500 * MS).counter == 2
    holder.hear(grant(2, RoleOrder.STAND_BY, 3, lease_ms=8000), 501 * MS)
    assert holder.turn(501 * MS) == 2500 * MS
    holder.report(600 * MS, able=True, freshness=11)
    said = holder.standing(600 * MS)
    assert (said.state, said.replication_position) == (State.STANDBY, 11)
    # Nobody has answered that one: it is said again sooner than a quarter of eight seconds.
    assert holder.turn(601 * MS) == 1100 * MS


# --- giving it up ---


def test_a_lease_that_runs_out_is_given_up_in_three_steps():
    holder = active()
    holder.standing(LEASE_NS - 2)
    assert holder.turn(LEASE_NS - 1) == LEASE_NS
    assert holder.is_holding
    holder.turn(LEASE_NS)
    assert holder.state == State.DEMOTING
    assert not holder.is_holding
    assert holder.command == RoleCommand("demote", 7)
    holder.standing(LEASE_NS)
    # The last 300 ms of the second are for stopping it.
    holder.turn(LEASE_NS + 700 * MS - 1)
    assert holder.command == RoleCommand("demote", 7)
    holder.turn(LEASE_NS + 700 * MS)
    assert holder.command == RoleCommand("stop", 7)
    holder.turn(LEASE_NS + SECOND)
    assert holder.state == State.STUCK
    assert holder.command == RoleCommand("stop", 7)
    holder.done(RoleCommand("stop", 7), LEASE_NS + 2 * SECOND, ok=True)
    assert holder.state == State.STANDBY
    assert holder.memory == HolderState(7, 0, DEMOTE_MS)


def test_an_answer_to_a_standing_of_before_a_freeze_comes_too_late():
    holder = active()
    holder.hear(grant(2, RoleOrder.HOLD, 7), 60 * SECOND)
    assert holder.state in (State.DEMOTING, State.STUCK)
    assert not holder.is_holding


def test_a_demotion_in_order_has_as_long_as_the_lease_goes_on():
    holder = active()
    holder.hear(grant(2, RoleOrder.DEMOTE, 7), 30 * MS)
    assert holder.state == State.DEMOTING
    for at_ns in range(SECOND, 9 * SECOND, SECOND):
        said = holder.standing(at_ns)
        assert said.state == State.DEMOTING
        holder.hear(grant(said.counter, RoleOrder.DEMOTE, 7), at_ns + MS)
    assert holder.command == RoleCommand("demote", 7)
    holder.report(9 * SECOND, able=False)
    holder.done(RoleCommand("demote", 7), 9 * SECOND, ok=True)
    said = holder.standing(9 * SECOND)
    assert (said.state, said.token) == (State.UNABLE, 7)


@pytest.mark.parametrize("word", list(RoleOrder))
def test_a_higher_token_is_somebody_elses_and_lends_nothing(word):
    holder = active()
    holder.standing(600 * MS)
    holder.hear(grant(3, word, 8), 610 * MS)
    assert holder.state == State.DEMOTING
    assert holder.lease_end_ns == LEASE_NS
    assert holder.memory == HolderState(8, 7, DEMOTE_MS)
    holder.done(RoleCommand("demote", 7), 700 * MS, ok=True)
    assert holder.standing(700 * MS).token == 8


def test_a_promotion_that_fails_is_undone_and_claimed_as_given_up():
    holder = standby()
    holder.hear(grant(1, RoleOrder.PROMOTE, 7), 10 * MS)
    holder.done(RoleCommand("promote", 7), 20 * MS, ok=False)
    assert holder.command == RoleCommand("demote", 7)
    holder.done(RoleCommand("demote", 7), 30 * MS, ok=True)
    said = holder.standing(30 * MS)
    assert (said.state, said.token) == (State.STANDBY, 7)


def test_a_promotion_that_ends_after_its_lease_does_not_count():
    holder = standby()
    holder.hear(grant(1, RoleOrder.PROMOTE, 7), 10 * MS)
    holder.done(RoleCommand("promote", 7), LEASE_NS, ok=True)
    assert holder.command == RoleCommand("demote", 7)


def test_a_demotion_that_fails_is_followed_by_a_stop_and_that_by_more():
    holder = active()
    holder.give_up(SECOND)
    holder.done(RoleCommand("demote", 7), SECOND, ok=False)
    assert holder.command == RoleCommand("stop", 7)
    holder.done(RoleCommand("stop", 7), SECOND, ok=False)
    assert holder.standing(SECOND).state == State.STUCK
    assert holder.command is None
    holder.turn(SECOND + STUCK_PAUSE_NS)
    assert holder.command == RoleCommand("stop", 7, 2)
    holder.done(RoleCommand("stop", 7), 7 * SECOND, ok=True)  # The first attempt's: overtaken.
    assert holder.state == State.STUCK
    holder.done(RoleCommand("stop", 7, 2), 7 * SECOND, ok=True)
    assert holder.standing(7 * SECOND).state == State.STANDBY
    assert holder.is_heard is False


def test_what_a_former_life_held_is_demoted_before_anything_else():
    holder = LeaseHolder("db", HolderState(9, 7, 400), now_ns=100 * SECOND)
    assert holder.command == RoleCommand("demote", 7)
    assert holder.over_ns == 100 * SECOND + 400 * MS
    assert holder.demote_until_ns == 100 * SECOND + 200 * MS
    holder.report(100 * SECOND, able=True)
    said = holder.standing(100 * SECOND)
    assert (said.state, said.token) == (State.DEMOTING, 7)
    holder.hear(grant(1, RoleOrder.PROMOTE, 10), 100 * SECOND + MS)
    assert holder.command == RoleCommand("demote", 7)
    holder.done(RoleCommand("demote", 7), 100 * SECOND + 2 * MS, ok=True)
    assert holder.standing(100 * SECOND + 2 * MS).token == 10


# --- whatever may happen ---

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("wait", "say", "grant", "done", "fail", "give up", "crash", "able")),
        st.integers(1, 3_000 * MS),
        st.integers(0, 6),
        st.sampled_from(RoleOrder),
        st.integers(1, 9),
        st.booleans(),
    ),
    max_size=60,
)


@hypothesis.given(STEPS)
def test_no_order_of_things_breaks_the_rules(steps):
    holder, now_ns, said, used = LeaseHolder("db", now_ns=0), 0, [], set()
    for what, pause_ns, back, word, token, is_able in steps:
        before, end_ns = holder.memory, holder.lease_end_ns
        was_acting = holder.state in (State.PROMOTING, State.ACTIVE)
        now_ns += pause_ns if what == "wait" else 0
        holder.turn(now_ns)
        if what == "say" and (standing := holder.standing(now_ns)) is not None:
            said.append((standing.counter, now_ns))
        elif what == "grant":
            counter = said[-1 - back][0] if back < len(said) else 99
            holder.hear(grant(counter, word, token), now_ns)
        elif what in ("done", "fail") and holder.command is not None:
            holder.done(holder.command, now_ns, ok=what == "done")
        elif what == "give up":
            holder.give_up(now_ns)
        elif what == "able":
            holder.report(now_ns, able=is_able)
        elif what == "crash":
            holder, said = LeaseHolder("db", holder.memory, now_ns=now_ns), []
        is_acting = holder.state in (State.PROMOTING, State.ACTIVE)
        if is_acting and not was_acting:
            # A token is used once, also over crashes, and only within its lease.
            assert holder.memory.held not in used
            assert holder.memory.held > before.token
            used.add(holder.memory.held)
        if is_acting:
            assert now_ns < holder.lease_end_ns
            newest_ns = max(sent_ns for _, sent_ns in said)
            assert holder.lease_end_ns <= newest_ns + LEASE_NS
        assert holder.memory.token >= before.token
        assert holder.memory.held in (0, before.held) or holder.memory.held > before.held
        assert what == "crash" or holder.lease_end_ns >= end_ns
        assert holder.next_due_ns > now_ns or holder.standing(now_ns) is not None
