"""The monitor doubts itself first: its own pause condemns nobody, and hides nobody for long."""

import numpy as np
import pytest
from tests.core.by_hand import ByHand, changes, heard, said

from beatward.core.detect import DetectorSettings
from beatward.core.entry import Event
from beatward.core.guard import GuardSettings
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.membership import Status
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Forget, Pause, Resume
from beatward.core.protocol.record import Kind

NAMES = tuple(f"n{number}" for number in range(50))


def fleet(kind="chen"):
    """Fifty nodes that have beaten for ten seconds, `n0` with the others."""
    hand = ByHand(CoreSettings(DetectorSettings(kind=kind)), nodes=NAMES)
    for second in range(10):
        hand.walk(second * SECOND)
        hand.step(second * SECOND, *(said(name, sequence=second) for name in NAMES))
    return hand


def queued(seconds, names=NAMES):
    return [said(name, sequence=second) for second in seconds for name in names]


def answer_to(probe, sequence):
    return said(kind=Kind.PROBE_REPLY, sequence=sequence, echo=probe.echo)


def guard_entries(hand):
    return [entry for entry in hand.entries if entry.event == Event.GUARD]


@pytest.mark.parametrize("kind", ["chen", "fixed"])
def test_frozen_for_15_s_under_50_nodes_it_condemns_none_but_the_one_that_died(kind):
    hand = fleet(kind)
    hand.step(24 * SECOND, *queued(range(10, 25), NAMES[1:]))
    found = []
    for second in range(25, 40):
        found += hand.walk(second * SECOND)
        found += changes(hand.step(second * SECOND, *queued([second], NAMES[1:])))
    assert found == [("n0", "suspect", "overdue"), ("n0", "dead", "silent")]
    (entry,) = guard_entries(hand)
    assert entry.explanation == (
        "the monitor itself paused for 15 s; the deadlines of 50 nodes begin anew"
    )
    assert entry.cause == "own_pause"
    assert entry.detail == {"pause_ns": 15 * SECOND, "nodes": 50}
    words = hand.entries[-1].explanation
    assert words.endswith("for 15 s, and began its deadlines anew")


def test_who_died_during_the_pause_is_found_one_timeout_after_it():
    hand = fleet()
    hand.step(24 * SECOND)
    assert hand.walk(24 * SECOND + 1050 * MILLISECOND - 1, tick_ns=50 * MILLISECOND) == []
    assert len(hand.walk(24 * SECOND + 1050 * MILLISECOND)) == 50


def test_a_freeze_within_the_drain_teaches_nothing_and_condemns_nobody():
    # The watermark was taken, then the monitor stood still for 15 s, then it read its socket: all
    # that came meanwhile is stamped after the freeze.
    hand = fleet()
    calm = hand.deadline("n1")
    frozen_ns = 9 * SECOND + 5 * MILLISECOND
    output = hand.step(
        frozen_ns,
        *queued(range(10, 25)),
        arrived_ns=frozen_ns + 15 * SECOND,
        drained_ns=frozen_ns + 15 * SECOND,
    )
    assert changes(output) == []
    learnt = hand.snapshot().state.detector.learnt_count[:50]
    assert learnt.tolist() == [10] * 50
    assert hand.deadline("n1") >= frozen_ns + 15 * SECOND
    found = changes(hand.step(frozen_ns + 15 * SECOND))
    for second in range(25, 30):
        found += hand.walk(second * SECOND)
        found += changes(hand.step(second * SECOND, *queued([second])))
    assert found == []
    assert hand.deadline("n1") == calm + 20 * SECOND
    assert len(guard_entries(hand)) == 1


def test_what_was_queued_is_heard_before_anybody_is_judged():
    hand = fleet()
    output = hand.step(60 * SECOND, *queued([60]))
    assert changes(output) == []


@pytest.mark.parametrize(("gap_ms", "pauses"), [(250, 0), (251, 1)])
def test_a_hiccup_up_to_the_limit_is_no_pause(gap_ms, pauses):
    hand = fleet()
    hand.step(hand.now + gap_ms * MILLISECOND)
    assert len(guard_entries(hand)) == pauses
    assert hand.snapshot().state.pauses.count == pauses


def test_the_limit_is_a_setting():
    hand = ByHand(CoreSettings(guard=GuardSettings(2 * SECOND)))
    hand.step(2 * SECOND)
    assert guard_entries(hand) == []


def test_a_pause_opens_the_window_of_a_suspect_anew():
    hand = fleet()
    hand.walk(10 * SECOND + 500 * MILLISECOND)
    before = hand.snapshot().state.membership
    assert Status(before.status[0]) == Status.SUSPECT
    output = hand.step(20 * SECOND)
    after = hand.snapshot().state.membership
    assert after.window_ends_ns[0] - before.window_ends_ns[0] > 9 * SECOND
    assert after.challenge[0] != before.challenge[0]
    assert len(output.replies.rows) == 50
    assert changes(output) == []


def test_a_suspect_whose_answer_waited_during_the_pause_is_asked_again():
    hand = ByHand()
    hand.beat(*range(10))
    hand.walk(10 * SECOND + 100 * MILLISECOND)
    (probe,) = heard(hand.step(10 * SECOND + 300 * MILLISECOND))
    output = hand.step(25 * SECOND, answer_to(probe, 10))
    assert changes(output) == []
    (again,) = heard(output)
    assert again.echo != probe.echo
    output = hand.step(25 * SECOND + MILLISECOND, answer_to(again, 25))
    assert changes(output) == [("web-1", "alive", "refuted")]


def test_a_node_never_heard_keeps_at_least_a_whole_grace():
    hand = ByHand()
    hand.walk(9 * SECOND)
    hand.step(12 * SECOND)
    assert hand.walk(22 * SECOND - 1) == []
    assert hand.walk(22 * SECOND) == [("web-1", "suspect", "overdue")]


def test_a_pause_does_not_shorten_the_grace_of_a_node_just_resumed():
    hand = ByHand()
    hand.beat(*range(10))
    hand.step(9 * SECOND, orders=(Pause(("web-1",)),))
    hand.walk(60 * SECOND)
    hand.step(60 * SECOND, orders=(Resume(("web-1",)),))
    hand.step(61 * SECOND)
    assert hand.walk(70 * SECOND - 1) == []
    assert hand.walk(70 * SECOND) == [("web-1", "suspect", "overdue")]


@pytest.mark.parametrize("order", [Pause(("web-1",)), Forget("web-1")])
def test_whose_silence_does_not_count_is_not_begun_anew(order):
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.beat(*range(10))
    hand.step(9 * SECOND, orders=(order,))
    hand.step(20 * SECOND)
    assert guard_entries(hand)[0].detail["nodes"] == 1
    assert hand.walk(29 * SECOND) == []


def test_pauses_are_summed_up():
    hand = ByHand()
    for at_ns in (SECOND, 3 * SECOND, 3 * SECOND + 100 * MILLISECOND):
        hand.step(at_ns)
    pauses = hand.snapshot().state.pauses
    assert (pauses.count, pauses.last_length_ns, pauses.longest_ns, pauses.total_ns) == (
        2,
        2 * SECOND,
        2 * SECOND,
        3 * SECOND,
    )


def test_time_that_does_not_pass_is_no_pause():
    hand = ByHand()
    for _ in range(3):
        hand.step(0)
    assert guard_entries(hand) == []
    assert not np.any(hand.snapshot().status)


# --- a drain that never comes to its end ---


def test_a_monitor_that_reads_less_than_comes_in_says_so_once_and_when_it_has_caught_up():
    hand = fleet()
    for tick in range(1, 1200):
        hand.step(9 * SECOND, drained_ns=9 * SECOND + tick * 5 * MILLISECOND)
    (entry,) = guard_entries(hand)
    assert (entry.cause, entry.detail) == ("behind", {"length_ns": 3_004_999_000})
    assert entry.explanation == (
        "for 3 s the monitor has not come to the end of what waits to be read; it judges "
        "nobody on what it has not read"
    )
    hand.step(15 * SECOND)
    behind, caught_up, pause = guard_entries(hand)
    assert [behind.cause, caught_up.cause, pause.cause] == ["behind", "caught_up", "own_pause"]
    assert caught_up.explanation == "the monitor has caught up; it judged nobody for 6 s"


def test_a_drain_that_was_full_for_a_moment_or_after_a_pause_is_no_news():
    hand = fleet()
    for tick in range(1, 100):
        hand.step(9 * SECOND, drained_ns=9 * SECOND + tick * 5 * MILLISECOND)
    hand.step(9 * SECOND, drained_ns=11 * SECOND)
    hand.step(12 * SECOND)
    hand.step(12 * SECOND, drained_ns=40 * SECOND)
    hand.step(12 * SECOND, drained_ns=41 * SECOND)
    assert {entry.cause for entry in guard_entries(hand)} == {"own_pause"}
