"""From a change of status to a deed: rules, receipts, outcomes, and everything written down."""

import pytest
from tests.core.by_hand import LIFE, START, ByHand

from beatward.core.entry import Event, public
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Forget
from beatward.core.outbox import Outcome
from beatward.core.policy import ActionRules, Rule

WALL = 1_800_000_000 * SECOND  # added to an instant it is the time of day
SETTINGS = CoreSettings(
    rules=(Rule(("dead",), ("page", "restart"), nodes="web-*"),),
    actions={
        "page": ActionRules("page", "webhook"),
        "restart": ActionRules("restart", "exec", attempts_max=2, revives=True),
    },
)


def with_dead_node(settings=SETTINGS):
    """A node that was found dead in the last turn, 11.05 s after the start."""
    hand = ByHand(settings)
    hand.beat(*range(10))
    hand.walk(11 * SECOND, tick_ns=50 * MILLISECOND)
    hand.entries.clear()
    hand.step(11 * SECOND + 50 * MILLISECOND, wall_offset_ns=WALL)
    assert hand.status() == "dead"
    return hand


def told(hand):
    return [(str(entry.event), entry.action, entry.outcome) for entry in hand.entries]


def journal_all(hand):
    """Give the receipt for everything so far; return what is released."""
    return hand.step(hand.now, journaled=hand.entries[-1].sequence).actions


def test_a_repair_of_a_node_that_is_removed_is_withdrawn_and_the_message_about_it_goes_out():
    hand = with_dead_node()
    hand.step(hand.now, orders=(Forget("web-1"),))
    assert told(hand)[3:] == [("outcome", "restart", "withdrawn"), ("forgotten", None, None)]
    assert [action.name for action in journal_all(hand)] == ["page"]


def outcome(action, result, message="because"):
    return Outcome(action.key, action.attempt, result, message)


def test_a_verdict_and_what_is_decided_for_it_are_written_down_together():
    hand = with_dead_node()
    assert told(hand) == [
        ("transition", None, None),
        ("action", "page", None),
        ("action", "restart", None),
    ]
    verdict, page, restart = hand.entries
    assert (verdict.status, verdict.cause) == ("dead", "silent")
    assert page.explanation == "page for web-1, because it is dead"
    assert restart.detail["because_of"] == verdict.sequence
    assert (restart.status, restart.cause, restart.node) == ("dead", "silent", "web-1")
    row = restart.action_record
    assert (row.name, row.kind, row.node, row.state, row.attempt) == (
        "restart",
        "exec",
        "web-1",
        "decided",
        0,
    )
    assert row.key == restart.detail["key"]
    assert str(verdict.sequence) in row.key


def test_a_driver_gets_the_event_as_the_api_shows_it():
    hand = with_dead_node()
    verdict = hand.entries[0]
    page, _ = journal_all(hand)
    shown = public(verdict, "2027-01-15T08:00:00Z")
    event = dict(page.event)
    assert event.pop("at_wall_ns") == verdict.at_ns + WALL == START + hand.now + WALL
    assert {"at": "2027-01-15T08:00:00Z", "action": None, "outcome": None, **event} == shown


def test_nothing_is_done_before_the_journal_holds_it():
    hand = with_dead_node()
    verdict, page, restart = hand.entries
    assert hand.step(hand.now, journaled=verdict.sequence).actions == ()
    assert [a.name for a in hand.step(hand.now, journaled=page.sequence).actions] == ["page"]
    assert [a.name for a in hand.step(hand.now, journaled=restart.sequence).actions] == ["restart"]
    assert hand.step(hand.now, journaled=restart.sequence).actions == ()


def test_an_older_receipt_takes_nothing_back():
    hand = with_dead_node()
    assert len(hand.step(hand.now, journaled=hand.entries[-1].sequence).actions) == 2
    assert hand.step(hand.now, journaled=1).actions == ()
    assert hand.snapshot().journaled == hand.entries[-1].sequence


def test_outcomes_are_written_down_and_a_failed_attempt_is_made_again():
    hand = with_dead_node()
    page, restart = journal_all(hand)
    hand.entries.clear()
    hand.step(hand.now, outcomes=(outcome(page, "success", ""), outcome(restart, "temporary")))
    assert told(hand) == [("outcome", "page", "success"), ("outcome", "restart", "retry")]
    assert [entry.explanation for entry in hand.entries] == [
        "page for web-1: success",
        "restart for web-1: retry: because; again in 1 s",
    ]
    assert hand.entries[1].detail == {
        "key": restart.key,
        "attempt": 1,
        "message": "because",
        "again_in_ns": SECOND,
    }
    assert [entry.action_record.state for entry in hand.entries] == ["done", "decided"]
    assert hand.walk(hand.now + SECOND - 1) == []
    (again,) = hand.step(hand.now + 1).actions
    assert (again.key, again.attempt) == (restart.key, 2)
    hand.step(hand.now, outcomes=(outcome(again, "temporary"),))
    assert hand.entries[-1].explanation == (
        "restart for web-1: failed: because (attempt 2, the last)"
    )
    assert hand.snapshot().outbox == {"waiting": 0, "running": 0, "held": 0, "guarded": 0}


def test_an_outcome_nobody_waits_for_is_no_fact():
    hand = with_dead_node()
    hand.entries.clear()
    hand.step(hand.now, outcomes=(Outcome("9-page", 1, "success", ""),))
    assert hand.entries == []


@pytest.mark.parametrize("is_running", [False, True])
def test_a_repair_that_has_not_begun_is_withdrawn_when_the_node_is_back(is_running):
    hand = with_dead_node()
    if is_running:
        journal_all(hand)
    hand.entries.clear()
    hand.come_back(hand.now, incarnation=LIFE + 1)
    expected = [("life", None, None), ("transition", None, None)]
    if not is_running:
        expected.append(("outcome", "restart", "withdrawn"))
        assert hand.entries[-1].explanation == (
            "restart for web-1: withdrawn: web-1 is recovering without it"
        )
        assert hand.entries[-1].action_record.state == "withdrawn"
    assert told(hand) == expected
    assert [action.name for action in journal_all(hand)] == ([] if is_running else ["page"])


def test_the_machine_asks_to_be_woken_for_the_next_attempt():
    hand = with_dead_node()
    page, restart = journal_all(hand)
    done = outcome(page, "success")
    output = hand.step(hand.now, outcomes=(done, outcome(restart, "temporary")))
    assert output.wake_ns == START + hand.now + SECOND


def test_every_decision_has_a_key_of_its_own():
    hand = with_dead_node()
    for life, second in ((1, 12), (2, 22)):
        hand.come_back(second * SECOND, sequence=second, incarnation=LIFE + life)
        hand.beat(second + 1, incarnation=LIFE + life)
        hand.walk((second + 10) * SECOND)
    keys = [entry.detail["key"] for entry in hand.entries if entry.event == Event.ACTION]
    assert len(keys) == 6  # dead three times
    assert len(set(keys)) == 6


def test_two_journals_never_give_one_key_to_two_decisions():
    # Receivers and agents remember keys for longer than a journal may live.
    first, second = with_dead_node(), ByHand(SETTINGS)
    second.beat(*range(10))
    second.walk(12 * SECOND, wall_offset_ns=2 * WALL)
    keys = [
        [entry.detail["key"] for entry in hand.entries if entry.event == Event.ACTION]
        for hand in (first, second)
    ]
    assert len(keys[0]) == len(keys[1]) == 2
    assert not set(keys[0]) & set(keys[1])


def test_numbers_grow_by_one():
    hand = with_dead_node()
    sequences = [entry.sequence for entry in hand.entries]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
