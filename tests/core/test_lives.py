"""Which life speaks: proof by the session's number, higher and lower incarnations, replays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.core.by_hand import (
    LIFE,
    PEER,
    SESSION,
    START,
    ByHand,
    changes,
    datagrams,
    heard,
    said,
)

from beatward.core.entry import Event, NodeRecord, Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import INCARNATION_MAX, Flag, Health, Kind

WRONG = SESSION + 1000


def lives(hand):
    return [
        (entry.node, entry.detail["incarnation"])
        for entry in hand.entries
        if entry.event == Event.LIFE
    ]


def state(hand):
    """Everything that is held to be true, as bytes.

    Left out: counters of what was refused, and which number a node that is gone was asked last.
    """
    asked = ("challenge", "answer_by_ns")
    held = hand.snapshot().state
    return [
        (name, value.tobytes())
        for room in (held.registry, held.membership, held.detector)
        for name, value in sorted(vars(room).items())
        if isinstance(value, np.ndarray) and name not in asked
    ]


# --- the proof ---


@pytest.mark.parametrize("echo", [0, 1, WRONG, 2**32 - 1])
def test_a_life_that_did_not_echo_the_session_is_not_believed_but_asked(echo):
    hand = ByHand()
    output = hand.step(1, said(sequence=3, echo=echo))
    assert output.entries == ()
    assert hand.status() == "new"
    assert hand.rejected() == {"unproven": 1}
    (probe,) = heard(output)
    assert (probe.kind, probe.node, probe.incarnation, probe.echo, probe.sequence) == (
        Kind.PROBE,
        node_id("web-1"),
        LIFE,
        SESSION,
        0,
    )
    assert output.replies.peers[0].tobytes() == PEER


@pytest.mark.parametrize("kind", [Kind.HEARTBEAT, Kind.PROBE_REPLY, Kind.GOODBYE])
def test_any_record_with_the_sessions_number_proves_its_life(kind):
    hand = ByHand()
    hand.step(1, said(kind=kind, sequence=3))
    assert lives(hand) == [("web-1", LIFE)]
    assert hand.snapshot().state.registry.proven[0]


def test_a_proof_is_asked_of_the_new_life_while_the_old_one_goes_on():
    hand = ByHand()
    hand.beat(*range(3))
    (probe,) = heard(hand.step(hand.now, said(incarnation=LIFE + 1, echo=0)))
    assert probe.incarnation == LIFE + 1
    assert hand.snapshot().state.registry.incarnation[0] == LIFE
    hand.step(3 * SECOND, said(sequence=3))
    assert hand.rejected() == {"unproven": 1}


def test_over_http_nobody_is_asked_the_answer_carries_the_number():
    hand = ByHand()
    output = hand.step(1, said(echo=0), via=Via.HTTP)
    assert len(output.replies.rows) == 0
    assert hand.rejected() == {"unproven": 1}
    assert changes(hand.step(2, said(), via=Via.HTTP)) == [("web-1", "alive", "heard")]


def test_a_proof_in_a_batch_proves_no_other_row_of_it():
    hand = ByHand()
    hand.step(1, said(sequence=500, echo=WRONG), said(sequence=7), said(sequence=400, echo=WRONG))
    assert hand.snapshot().state.registry.sequence[0] == 7
    assert hand.rejected() == {"unproven": 2}


# --- higher and lower incarnations ---


def test_a_higher_life_takes_the_place_of_the_one_before_and_learns_anew():
    hand = ByHand()
    hand.beat(*range(20))
    output = hand.step(20 * SECOND, said(incarnation=LIFE + 5, sequence=0))
    assert lives(hand) == [("web-1", LIFE), ("web-1", LIFE + 5)]
    assert changes(output) == []
    assert hand.deadline() == 22 * SECOND
    hand.step(20 * SECOND + 1, said(sequence=20))
    assert hand.rejected() == {"old_life": 1}


def test_two_lives_of_one_node_in_one_batch_leave_the_newer_one():
    hand = ByHand()
    hand.beat(0)
    hand.step(SECOND, said(sequence=1), said(incarnation=LIFE + 1), said(sequence=2))
    assert hand.rejected() == {"old_life": 2}
    assert hand.snapshot().state.registry.incarnation[0] == LIFE + 1
    assert hand.snapshot().state.registry.sequence[0] == 0


@pytest.mark.parametrize("sequence", [0, 10**6])
def test_a_lower_life_is_refused_and_told_the_current_one_if_it_asks(sequence):
    hand = ByHand()
    hand.beat(0)
    asking = said(incarnation=5, sequence=sequence, flags=Flag.ACKNOWLEDGE)
    (told,) = heard(hand.step(1, asking))
    assert (told.kind, told.incarnation, told.sequence, told.echo) == (
        Kind.ACKNOWLEDGEMENT,
        LIFE,
        0,
        SESSION,
    )
    assert hand.rejected() == {"old_life": 1}


@pytest.mark.parametrize(
    ("flags", "via"), [(0, Via.UDP), (Flag.ACKNOWLEDGE, Via.HTTP)], ids=["silent", "http"]
)
def test_a_lower_life_that_does_not_ask_or_cannot_be_told_gets_no_answer(flags, via):
    hand = ByHand()
    hand.beat(0)
    output = hand.step(1, said(incarnation=5, flags=flags), via=via)
    assert len(output.replies.rows) == 0
    assert hand.rejected() == {"old_life": 1}


@pytest.mark.parametrize("incarnation", [0, 1, INCARNATION_MAX])
def test_any_number_below_the_limit_can_be_a_life(incarnation):
    hand = ByHand()
    assert changes(hand.step(1, said(incarnation=incarnation))) == [("web-1", "alive", "heard")]


def test_a_new_life_of_a_dead_node_comes_back():
    hand = ByHand()
    hand.beat(*range(10))
    hand.walk(13 * SECOND)
    output = hand.come_back(13 * SECOND, incarnation=LIFE + 1)
    assert changes(output) == [("web-1", "recovering", "heard")]
    assert [str(entry.event) for entry in output.entries] == ["life", "transition"]
    assert output.entries[1].explanation == (
        "web-1 is back: it answered when it was asked; waiting for it to be steady"
    )


def test_the_entry_of_a_life_tells_the_status_before_the_change_it_leads_to():
    # Its row comes with the transition: a crash between the two must not lose the transition.
    hand = ByHand()
    hand.beat(*range(10))
    hand.walk(13 * SECOND)
    life, transition = hand.come_back(13 * SECOND, incarnation=LIFE + 1).entries
    assert (life.status, life.node_record) == ("dead", None)
    assert transition.node_record.incarnation == LIFE + 1


def test_the_entry_of_a_life_that_changes_nothing_carries_the_row_itself():
    hand = ByHand()
    hand.beat(*range(3))
    (life,) = hand.step(hand.now, said(incarnation=LIFE + 1)).entries
    assert (life.status, life.node_record.incarnation) == ("alive", LIFE + 1)


def test_the_same_life_comes_back_by_an_answer_and_is_no_new_life():
    hand = ByHand()
    hand.beat(*range(10))
    hand.walk(13 * SECOND)
    (probe,) = heard(hand.step(13 * SECOND, said(sequence=13)))
    answer = said(kind=Kind.PROBE_REPLY, sequence=13, echo=probe.echo)
    output = hand.step(13 * SECOND + MILLISECOND, answer)
    assert changes(output) == [("web-1", "recovering", "heard")]
    assert lives(hand) == [("web-1", LIFE)]


def test_a_new_life_that_goes_on_in_step_with_the_old_one_learns_anew_all_the_same():
    hand = ByHand()
    hand.beat(*range(20))
    hand.beat(20, incarnation=LIFE + 1)
    assert hand.deadline() == 22 * SECOND


# --- replays ---


def recorded_life():
    """Let a node live through beats, a suspicion, an answer and a goodbye; record all it said."""
    hand = ByHand()
    rows = [said(sequence=0, echo=0), said(kind=Kind.PROBE_REPLY, sequence=0)]
    hand.step(0, rows[0])
    hand.step(1, rows[1])
    for second in range(1, 10):
        rows.append(said(sequence=second, cpu=second))
        hand.walk(second * SECOND)
        hand.step(second * SECOND, rows[-1])
    hand.walk(10 * SECOND + 100 * MILLISECOND)
    challenge = int(hand.snapshot().state.membership.challenge[0])
    rows.append(said(kind=Kind.PROBE_REPLY, sequence=10, echo=challenge))
    hand.step(hand.now, rows[-1])
    assert hand.status() == "alive"
    return hand, rows


def test_everything_recorded_and_played_again_changes_nothing():
    hand, rows = recorded_life()
    before = state(hand)
    for row in rows:
        output = hand.step(hand.now, row)
        assert output.entries == ()
    assert state(hand) == before
    assert sum(hand.rejected().values()) == len(rows) + 1  # and the first word, before its proof


def test_played_again_in_one_batch_it_changes_nothing_either():
    hand, rows = recorded_life()
    before = state(hand)
    assert hand.step(hand.now, *rows, *reversed(rows)).entries == ()
    assert state(hand) == before


@pytest.mark.parametrize("end", ["goodbye", "silence", "exit"])
def test_played_again_after_its_end_it_wakes_nobody(end):
    hand, rows = recorded_life()
    if end == "silence":
        hand.walk(hand.now + 5 * SECOND)
    else:
        status = 1 if end == "exit" else 0
        rows.append(said(kind=Kind.GOODBYE, sequence=11, status=status, cpu=0))
        hand.step(hand.now, rows[-1])
    status = hand.status()
    assert status in ("dead", "left")
    for row in rows:
        hand.step(hand.now + MILLISECOND, row)
    assert hand.status() == status


@pytest.mark.parametrize("status", ["new", "alive", "suspect", "dead", "left", "recovering"])
def test_played_again_after_the_monitor_has_restarted_it_changes_nothing(status):
    _, rows = recorded_life()
    row = NodeRecord("web-1", node_id("web-1"), status, "heard", 0, incarnation=LIFE)
    hand = ByHand(recovered=Recovered(9, (row,)), nodes=(), session=SESSION + 1)
    before = state(hand)
    for again in rows:
        output = hand.step(0, again)
        assert output.entries == ()
        # Who is gone is asked for a number of its own, and not for the session's.
        (asked,) = heard(output)
        assert (asked.echo == SESSION + 1) is (status not in ("dead", "left"))
    assert state(hand) == before
    assert hand.rejected() == {"unproven": len(rows)}


def test_played_again_under_a_new_life_it_is_an_old_one():
    hand, rows = recorded_life()
    hand.step(hand.now, said(incarnation=LIFE + 1))
    before = state(hand)
    hand.step(hand.now, *rows)
    assert state(hand) == before
    assert hand.rejected()["old_life"] == len(rows)


def test_the_same_packet_1024_times_is_taken_once():
    hand = ByHand()
    hand.step(0, *[said(sequence=5)] * 1024)
    assert hand.snapshot().counters["accepted"] == 1
    assert hand.rejected() == {"replay": 1023}
    hand.step(1, *[said(sequence=5)] * 1024)
    assert hand.rejected() == {"replay": 1024}


ECHOES = st.sampled_from([0, SESSION, SESSION + 1, WRONG])
RECORDS = st.builds(
    said,
    kind=st.sampled_from([Kind.HEARTBEAT, Kind.PROBE_REPLY, Kind.GOODBYE]),
    sequence=st.integers(0, 30),
    incarnation=st.integers(LIFE, LIFE + 3),
    echo=ECHOES,
    status=st.sampled_from(Health),
    flags=st.sampled_from([0, Flag.ACKNOWLEDGE]),
)


@hypothesis_settings(max_examples=60)
@given(st.lists(st.lists(RECORDS, max_size=6), max_size=8))
def test_what_is_said_again_and_again_changes_nothing_more(batches):
    hand = ByHand()
    for number, rows in enumerate(batches):
        hand.step(number * 200 * MILLISECOND, *rows)
        hand.step(hand.now, *rows)  # A row may stand before the proof of its life, so twice.
        before = state(hand)
        assert hand.step(hand.now, *rows).entries == ()
        assert state(hand) == before


@hypothesis_settings(max_examples=60)
@given(st.lists(st.lists(RECORDS, max_size=6), max_size=8))
def test_every_record_is_either_accepted_or_refused_for_one_reason(batches):
    hand = ByHand()
    for number, rows in enumerate(batches):
        hand.step(number * 200 * MILLISECOND, *rows)
    snapshot = hand.snapshot()
    accounted = snapshot.counters["accepted"] + sum(snapshot.rejects.values())
    assert accounted == snapshot.counters["records"]


@hypothesis_settings(max_examples=40)
@given(st.lists(RECORDS, min_size=1, max_size=12))
def test_a_lower_incarnation_never_takes_the_place_of_a_higher_one(rows):
    hand = ByHand()
    highest = 0
    for row in rows:
        hand.step(hand.now + MILLISECOND, row)
        current = int(hand.snapshot().state.registry.incarnation[0])
        assert current >= highest
        highest = current


def test_peers_of_unproven_lives_are_not_remembered():
    hand = ByHand()
    stranger = bytes([9] * 28)
    batch = datagrams([said(echo=0)], START, peer=stranger)
    output = hand.step(1, batches=(batch,))
    assert output.replies.peers[0].tobytes() == stranger
    assert not any(hand.peer())
