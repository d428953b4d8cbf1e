"""Goodbyes and exits: direct evidence, believed at once, undone by nothing that was under way."""

import pytest
from tests.core.by_hand import LIFE, SESSION, ByHand, changes, heard, said

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.order_kinds import Pause
from beatward.core.protocol.record import Farewell, Flag, Kind, exit_code_field


def goodbye(sequence=10, **fields):
    return said(kind=Kind.GOODBYE, sequence=sequence, **{"flags": Flag.ACKNOWLEDGE, **fields})


def exited(code=1, sequence=10, **fields):
    field = exit_code_field(code)
    return goodbye(sequence, status=Farewell.EXITED, cpu=field, **fields)


def beating(count=10):
    hand = ByHand()
    hand.beat(*range(count))
    return hand


def test_who_says_goodbye_has_left_and_is_not_missed():
    hand = beating()
    assert changes(hand.step(hand.now, goodbye())) == [("web-1", "left", "goodbye")]
    assert hand.entries[-1].explanation == "web-1 left: it said goodbye"
    assert hand.walk(60 * SECOND) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "with exit code 0"),
        (3, "with exit code 3"),
        (-9, "by signal 9"),
        (-1, "by signal 1"),
    ],
)
def test_an_exit_that_the_agent_saw_is_death_at_once(code, words):
    hand = beating()
    output = hand.step(hand.now, exited(code))
    assert changes(output) == [("web-1", "dead", "exited")]
    (entry,) = output.entries
    assert entry.explanation == f"web-1 dead: its agent saw the process end {words}"
    assert entry.detail["exit_code"] == code
    assert entry.detail["would_change"] == "a new life of the node, as its restart begins one"


@pytest.mark.parametrize("via", [Via.UDP, Via.HTTP])
def test_a_goodbye_is_acknowledged_each_time_it_is_said_and_counts_once(via):
    hand = beating()
    found = []
    for _ in range(5):
        output = hand.step(hand.now, goodbye(), via=via)
        found += changes(output)
        answers = [(answer.kind, answer.sequence, answer.echo) for answer in heard(output)]
        expected = (Kind.ACKNOWLEDGEMENT, 10, SESSION)
        assert answers == ([expected] if via == Via.UDP else [])
    assert found == [("web-1", "left", "goodbye")]


def test_a_goodbye_that_does_not_ask_is_not_answered():
    hand = beating()
    assert len(hand.step(hand.now, goodbye(flags=0)).replies.rows) == 0
    assert hand.status() == "left"


@pytest.mark.parametrize("farewell", [goodbye, exited])
def test_a_goodbye_older_than_what_was_heard_is_a_replay(farewell):
    hand = beating()
    assert changes(hand.step(hand.now, farewell(sequence=8))) == []
    assert hand.rejected() == {"replay": 1}
    assert hand.status() == "alive"


def test_a_goodbye_of_an_old_life_does_not_end_the_new_one():
    hand = beating()
    hand.step(hand.now, said(incarnation=LIFE + 1))
    assert changes(hand.step(hand.now, exited(sequence=10**6))) == []
    assert hand.rejected() == {"old_life": 1}


def test_a_life_may_say_nothing_but_goodbye():
    hand = ByHand()
    output = hand.step(0, goodbye(0, echo=0))
    (probe,) = heard(output)
    assert (probe.kind, probe.echo) == (Kind.PROBE, SESSION)
    output = hand.step(MILLISECOND, goodbye(0))
    assert changes(output) == [("web-1", "left", "goodbye")]


def test_a_dead_node_that_came_back_only_to_leave_has_left():
    hand = beating()
    hand.walk(13 * SECOND)
    output = hand.step(13 * SECOND, goodbye(0, incarnation=LIFE + 1))
    assert changes(output) == [("web-1", "left", "goodbye")]


def test_heartbeats_that_the_goodbye_overtook_are_old():
    hand = beating()
    hand.step(hand.now, goodbye(11))
    assert changes(hand.step(hand.now, said(sequence=10), said(sequence=11))) == []
    assert hand.rejected() == {"replay": 2}


def test_in_one_batch_a_goodbye_has_the_last_word():
    hand = beating()
    hand.step(hand.now, goodbye(11), said(sequence=10))
    assert hand.status() == "left"


def test_an_answer_that_was_under_way_does_not_bring_an_exited_node_back():
    hand = beating()
    hand.walk(10 * SECOND + 200 * MILLISECOND)
    challenge = int(hand.snapshot().state.membership.challenge[0])
    assert changes(hand.step(hand.now, exited(sequence=10))) == [("web-1", "dead", "exited")]
    answer = said(kind=Kind.PROBE_REPLY, sequence=10, echo=challenge)
    assert changes(hand.step(hand.now, answer)) == []
    assert hand.rejected() == {"late_reply": 1}


def test_an_exited_node_is_not_revived_by_an_answer_that_nobody_asked_for():
    hand = beating()
    hand.step(hand.now, exited())
    answer = said(kind=Kind.PROBE_REPLY, sequence=11, echo=0)
    assert changes(hand.step(hand.now, answer)) == []
    assert hand.status() == "dead"


@pytest.mark.parametrize("end", [goodbye, exited])
def test_after_its_end_a_node_comes_back_with_a_new_life(end):
    hand = beating()
    hand.step(hand.now, end())
    output = hand.come_back(hand.now, incarnation=LIFE + 1)
    expected = {goodbye: ("alive", "heard"), exited: ("recovering", "heard")}[end]
    assert changes(output) == [("web-1", *expected)]


@pytest.mark.parametrize(
    ("before", "farewell", "expected"),
    [
        ("new", goodbye, [("web-1", "left", "goodbye")]),
        ("new", exited, [("web-1", "dead", "exited")]),
        ("suspect", goodbye, [("web-1", "left", "goodbye")]),
        ("suspect", exited, [("web-1", "dead", "exited")]),
        ("dead", exited, []),
        ("paused", goodbye, []),
        ("paused", exited, []),
    ],
)
def test_a_farewell_by_the_status_it_finds(before, farewell, expected):
    hand = ByHand()
    if before != "new":
        hand.beat(*range(10))
    if before == "paused":
        hand.step(hand.now, orders=(Pause(("web-1",)),))
    seconds = {"suspect": 10.5, "dead": 12}.get(before, 0)
    hand.walk(int(seconds * SECOND))
    assert hand.status() == before
    assert changes(hand.step(hand.now, farewell(20))) == expected


def test_an_exited_node_that_beats_on_is_asked_with_a_number_of_its_own():
    hand = beating()
    hand.walk(10 * SECOND + 200 * MILLISECOND)
    hand.step(hand.now, exited())
    (probe,) = heard(hand.step(hand.now, said(sequence=12)))
    assert probe.kind == Kind.PROBE
    assert probe.echo > SESSION
    answer = said(kind=Kind.PROBE_REPLY, sequence=12, echo=probe.echo)
    assert changes(hand.step(hand.now, answer)) == [("web-1", "recovering", "heard")]


def test_probing_ends_with_the_goodbye():
    hand = beating()
    hand.walk(10 * SECOND + 200 * MILLISECOND)
    hand.step(hand.now, goodbye())
    for _ in range(10):
        assert len(hand.step(hand.now + 100 * MILLISECOND).replies.rows) == 0
