"""Datagrams that our own kernel dropped: a reason to wait, and no place to hide for the dead."""

import numpy as np
import pytest
from tests.core.by_hand import START, ByHand, changes, heard, said

from beatward.core.detect import DetectorSettings
from beatward.core.entry import Event
from beatward.core.guard import DOUBTS_MAX, Drops, Guard, GuardSettings
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Pause, Resume
from beatward.core.protocol.record import Kind

TICK = 5 * MILLISECOND
# Heard every second up to second 9; the next is due at 10, and 50 ms are its margin.
DEADLINE = 10 * SECOND + 50 * MILLISECOND
TIMEOUT = 1050 * MILLISECOND


def beaten(**options):
    hand = ByHand(**options)
    hand.beat(*range(10))
    return hand


def told(hand):
    return [entry for entry in hand.entries if entry.cause == "own_drops"]


def first_change(hand, until_ns, **inputs):
    """Walk until a status changes; return when and what."""
    while hand.now < until_ns:
        found = changes(hand.step(hand.now + TICK, **inputs))
        if found:
            return hand.now, found
    return None


def test_a_node_whose_heartbeat_may_have_been_dropped_gets_one_more_timeout():
    hand = beaten()
    hand.walk(10 * SECOND)
    hand.step(10 * SECOND + TICK, dropped=3)
    assert hand.walk(DEADLINE + TIMEOUT - 1, tick_ns=TICK) == []
    assert hand.walk(DEADLINE + TIMEOUT + TICK) == [("web-1", "suspect", "overdue")]
    (entry,) = told(hand)
    assert entry.event == Event.GUARD
    assert entry.detail == {"dropped": 3, "spared": 1, "judged": 0}
    assert entry.explanation.startswith("3 datagrams were dropped before the monitor could read")
    assert "its own machine dropped 3 datagrams unread" in hand.entries[-1].explanation


def test_a_heartbeat_within_that_time_is_as_good_as_ever_and_teaches():
    hand = beaten()
    hand.walk(DEADLINE + TICK, dropped=1)
    assert hand.beat(11, 12) == []
    assert hand.snapshot().state.detector.learnt_count[0] == 12
    assert hand.deadline() == 13 * SECOND + 50 * MILLISECOND


@pytest.mark.parametrize("at_ns", [9 * SECOND + TICK, DEADLINE - 101 * MILLISECOND])
def test_what_was_dropped_before_its_heartbeat_could_have_come_excuses_nobody(at_ns):
    hand = beaten()
    hand.walk(at_ns - TICK)
    hand.step(at_ns, dropped=1000)
    assert hand.walk(DEADLINE) == [("web-1", "suspect", "overdue")]
    assert told(hand) == []


def test_one_drop_excuses_one_missing_heartbeat_and_not_the_next():
    hand = beaten(settings=CoreSettings(DetectorSettings(kind="fixed", timeout_ns=2 * SECOND)))
    hand.walk(10 * SECOND)
    hand.step(10 * SECOND + TICK, dropped=1)
    at_ns, found = first_change(hand, 20 * SECOND)
    assert found == [("web-1", "suspect", "overdue")]
    assert 13 * SECOND <= at_ns <= 13 * SECOND + 2 * TICK
    assert told(hand)[0].detail == {"dropped": 1, "spared": 1, "judged": 0}


def test_who_fills_our_buffer_for_ever_hides_the_dead_for_three_timeouts_and_windows_only():
    hand = beaten()
    at_ns, found = first_change(hand, 60 * SECOND, dropped=7)
    assert found == [("web-1", "suspect", "overdue")]
    assert DEADLINE + DOUBTS_MAX * TIMEOUT <= at_ns <= DEADLINE + DOUBTS_MAX * (TIMEOUT + TICK)
    suspected_ns = at_ns
    at_ns, found = first_change(hand, 60 * SECOND, dropped=7)
    assert found == [("web-1", "dead", "silent")]
    windows_ns = (DOUBTS_MAX + 1) * SECOND
    assert windows_ns <= at_ns - suspected_ns <= windows_ns + (DOUBTS_MAX + 1) * TICK
    entries = told(hand)
    # One is told later than it happened where another had been told less than a second before.
    assert sum(entry.detail["spared"] for entry in entries) == 2 * DOUBTS_MAX
    assert sum(entry.detail["judged"] for entry in entries) == 2
    assert "judged all the same, after 3 timeouts" in entries[-1].explanation


def test_a_suspect_is_asked_for_one_more_window_with_the_same_number():
    hand = beaten()
    hand.walk(DEADLINE, tick_ns=TICK)
    (probe,) = heard(hand.step(DEADLINE + 200 * MILLISECOND, dropped=1))
    assert hand.walk(DEADLINE + 2 * SECOND - TICK, tick_ns=TICK) == []
    answer = said(kind=Kind.PROBE_REPLY, sequence=11, echo=probe.echo)
    assert changes(hand.step(hand.now + 1, answer)) == [("web-1", "alive", "refuted")]
    assert hand.snapshot().state.drops == Drops(1, START + DEADLINE + 200 * MILLISECOND)


def test_a_suspect_goes_on_being_probed_in_the_window_that_was_added():
    hand = beaten()
    hand.walk(DEADLINE, tick_ns=TICK)
    hand.step(DEADLINE + 200 * MILLISECOND, dropped=1)
    hand.walk(DEADLINE + SECOND - TICK, tick_ns=TICK)
    probes = heard(hand.step(DEADLINE + SECOND))
    assert len(probes) == 1
    while hand.now < DEADLINE + 2 * SECOND - TICK:
        probes += heard(hand.step(hand.now + TICK))
    assert len(probes) == 5
    assert len({probe.echo for probe in probes}) == 1


def test_an_answer_counts_until_the_last_window_has_ended():
    hand = beaten()
    hand.walk(DEADLINE, tick_ns=TICK)
    (probe,) = heard(hand.step(DEADLINE + 200 * MILLISECOND, dropped=1))
    assert hand.walk(DEADLINE + 2500 * MILLISECOND, tick_ns=TICK, dropped=1) == []
    answer = said(kind=Kind.PROBE_REPLY, sequence=12, echo=probe.echo)
    assert changes(hand.step(hand.now + 1, answer)) == [("web-1", "alive", "refuted")]


def test_the_socket_s_drops_excuse_nobody_who_reports_over_http():
    hand = ByHand()
    hand.beat(*range(10), via=Via.HTTP)
    assert hand.walk(DEADLINE, tick_ns=TICK, dropped=1) == [("web-1", "suspect", "overdue")]
    at_ns, found = first_change(hand, 20 * SECOND, dropped=1)
    assert (at_ns - DEADLINE, found) == (SECOND, [("web-1", "dead", "silent")])
    assert told(hand) == []
    assert "dropped" not in hand.entries[-1].explanation


def test_a_grace_is_not_prolonged():
    hand = ByHand()
    assert hand.walk(10 * SECOND - 1, dropped=1) == []
    assert hand.walk(10 * SECOND, dropped=1) == [("web-1", "suspect", "overdue")]


def test_nor_is_the_grace_of_a_node_that_was_resumed():
    hand = beaten()
    hand.step(9 * SECOND, orders=(Pause(("web-1",)),))
    hand.walk(60 * SECOND, dropped=1)
    hand.step(60 * SECOND, orders=(Resume(("web-1",)),), dropped=1)
    assert hand.walk(70 * SECOND - 1, dropped=1) == []
    assert hand.walk(70 * SECOND, dropped=1) == [("web-1", "suspect", "overdue")]
    assert told(hand) == []


def test_only_who_is_overdue_gets_more_time():
    hand = ByHand(nodes=("web-1", "web-2"))
    for second in range(10):
        hand.walk(second * SECOND)
        hand.step(second * SECOND, said("web-1", sequence=second), said("web-2", sequence=second))
    hand.walk(10 * SECOND)
    hand.step(10 * SECOND, said("web-2", sequence=10))
    before = hand.deadline("web-2")
    hand.walk(DEADLINE, tick_ns=TICK, dropped=1)
    assert hand.deadline("web-1") == DEADLINE + TIMEOUT
    assert hand.deadline("web-2") == before


def doubting(*late_ns, last_ns=0, since_ns=0):
    guard = Guard(GuardSettings())
    guard.note_drops(5, last_ns)
    count = len(late_ns)
    spared = guard.doubts(
        np.full(count, since_ns), np.array(late_ns), np.full(count, SECOND, np.int64)
    )
    return guard, spared.tolist()


def test_silence_is_doubted_for_three_timeouts():
    guard, spared = doubting(0, 3 * SECOND - 1, 3 * SECOND, 60 * SECOND)
    assert spared == [True, True, False, False]
    doubt = guard.take_doubt(SECOND)
    assert (doubt.dropped, doubt.spared, doubt.judged) == (5, 2, 2)


@pytest.mark.parametrize(("since_ns", "is_spared"), [(7, True), (8, False)])
def test_only_a_drop_since_then_is_a_reason(since_ns, is_spared):
    _, spared = doubting(0, last_ns=7, since_ns=since_ns)
    assert spared == [is_spared]


def test_without_drops_nobody_is_doubted():
    guard = Guard(GuardSettings())
    guard.note_drops(0, 5)
    assert guard.drops == Drops()
    one = np.zeros(1, np.int64)
    assert not guard.doubts(one, one, one + SECOND).any()
    assert guard.take_doubt(SECOND) is None


def test_the_journal_is_told_once_a_second_and_then_of_all_that_was():
    guard, _ = doubting(0)
    assert guard.take_doubt(0).spared == 1
    one = np.zeros(1, np.int64)
    for _ in range(4):
        guard.note_drops(2, 1)
        guard.doubts(one, one, one + SECOND)
        assert guard.take_doubt(SECOND - 1) is None
    doubt = guard.take_doubt(SECOND)
    assert (doubt.dropped, doubt.spared) == (8, 4)
    assert guard.take_doubt(3 * SECOND) is None


def test_who_was_silent_while_nobody_was_heard_has_all_its_doubts_after_that():
    """Seed 101308: it was judged after one window, for the others had passed while it was dark."""
    names = ("web-1", "web-2", "web-3", "web-4")
    hand = ByHand(nodes=names)
    for second in range(10):
        hand.walk(second * SECOND)
        hand.step(second * SECOND, *(said(name, sequence=second) for name in names))
    assert hand.walk(40 * SECOND, dropped=1)
    assert [entry.cause for entry in hand.entries if entry.cause == "cut_off"] == ["cut_off"]
    window = hand.monitor.settings.membership.window_ns
    back = hand.now + TICK
    hand.step(back, said("web-2", sequence=40))
    dead = []
    while not dead:
        dead = [one for one in changes(hand.step(hand.now + TICK, dropped=1)) if one[1] == "dead"]
        if hand.now % SECOND < TICK:
            hand.step(hand.now, said("web-2", sequence=hand.now // SECOND))
    assert hand.now - back > (1 + DOUBTS_MAX) * window
