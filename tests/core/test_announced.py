"""Intervals that change by announcement: no detector suspects anybody for it."""

import numpy as np
import pytest
from tests.core.by_hand import ByHand, changes, key_of, said
from tests.core.test_detectors import column, hear, new_detector

from beatward.agent.heartbeat_protocol import HeartbeatProtocol, Report
from beatward.agent.send_schedule import Bounds
from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.instants import MILLISECOND, MINUTE, SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.protocol.record import BODY_SIZE, Flag, Kind, tag

KINDS = sorted(DETECTORS)
SLOWING = Flag.SLOWING


def monitor_with(kind):
    return ByHand(CoreSettings(detector=DetectorSettings(kind=kind)))


def speak(hand, at_ms, sequence, interval_ms, flags=0):
    row = said(sequence=sequence, interval_ms=interval_ms, flags=flags)
    found = hand.walk(at_ms * MILLISECOND)
    return found + changes(hand.step(at_ms * MILLISECOND, row))


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_of_1_s_and_5_s_in_turns_of_ten_minutes_suspects_nobody(kind):
    # Phi, when a longer interval is not announced, makes 12 false suspicions an hour of this.
    detector = new_detector(kind, capacity=1)
    jitter = np.random.default_rng(1).integers(0, 20 * MILLISECOND, 20_000)
    at_ns, interval_ns, beats = 0, SECOND, 0
    for _ in range(12):
        end_ns = at_ns + 10 * MINUTE
        while at_ns < end_ns:
            arrived_ns = at_ns + jitter[beats]
            assert beats == 0 or arrived_ns < detector.deadline_ns[0]
            hear(detector, 0, 1, at_ns=arrived_ns, interval_ns=interval_ns)
            at_ns, beats = at_ns + interval_ns, beats + 1
        interval_ns = 6 * SECOND - interval_ns
        # The last on the old grid was heard; its promise is the old one. The announcement:
        hear(detector, 0, 1, at_ns=at_ns + jitter[beats], interval_ns=interval_ns)
        at_ns, beats = at_ns + interval_ns, beats + 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_heartbeat_announces_is_waited_for_and_its_own_grid_goes_on(kind):
    hand, twin = monitor_with(kind), monitor_with(kind)
    for one in (hand, twin):
        one.beat(*range(30))
    announced = speak(hand, 30_000, 30, 2000, SLOWING)
    assert announced + speak(twin, 30_000, 30, 1000) == []
    assert hand.deadline() == twin.deadline() + SECOND
    # The next one on the old grid is no earlier than it was expected: nothing of it is unlearnt.
    speak(hand, 31_000, 31, 1000)
    speak(twin, 31_000, 31, 1000)
    assert hand.deadline() == twin.deadline()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lost", [{30, 31}, {30, 32}, {31, 32}], ids=str)
def test_any_two_of_three_announcements_may_be_lost(kind, lost):
    # The third was heard, or else the fourth would be one as well.
    hand = monitor_with(kind)
    found = hand.beat(*range(30))
    heard = [place for place in (30, 31, 32) if place not in lost]
    for place in heard:
        found += speak(hand, place * 1000, place, 2000, SLOWING)
    deadline = hand.deadline()
    # From the one that was heard on, there is trust for as long as it promised.
    assert deadline > (heard[-1] + 2) * SECOND


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_met_in_the_middle_of_an_announcement_is_expected_as_it_promises(kind):
    hand = monitor_with(kind)
    found = []
    for place in range(4):
        found += speak(hand, place * 1000, place, 2000, SLOWING)
        assert hand.deadline() >= (place + 2) * SECOND
    for place in range(4, 20):
        found += speak(hand, (2 * place - 3) * 1000, place, 2000)
    assert [status for _, status, _ in found] == ["alive"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_shorter_interval_tightens_the_deadline_only_when_it_is_seen(kind):
    hand = monitor_with(kind)
    hand.beat(*range(30))
    before = hand.deadline()
    hand.walk(29_700 * MILLISECOND)
    assert hand.deadline() == before
    speak(hand, 29_500 + 400, 30, 500)
    first = hand.deadline()
    for place in range(31, 60):
        speak(hand, 29_900 + 500 * (place - 30), place, 500)
    assert hand.deadline() - hand.now < min(first - 29_900 * MILLISECOND, before - 29 * SECOND) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_pause_of_our_own_in_the_middle_of_an_announcement_counts_the_longer_promise(kind):
    hand = monitor_with(kind)
    hand.beat(*range(30))
    for place in (30, 31, 32):
        speak(hand, place * 1000, place, 2000, SLOWING)
    # The node went over to 2 s after 32; we sleep from there to 33.95, and its next comes at 34.
    hand.step(33_950 * MILLISECOND)
    assert hand.deadline() >= 35_950 * MILLISECOND
    assert speak(hand, 34_000, 33, 2000) == []


def test_an_answer_to_a_probe_announces_as_a_heartbeat_does():
    hand = monitor_with("chen")
    hand.beat(*range(30))
    assert hand.walk(31 * SECOND)[0][1] == "suspect"
    asked = hand.monitor._membership.challenge[0]
    row = said(kind=Kind.PROBE_REPLY, sequence=30, interval_ms=4000, flags=SLOWING, echo=int(asked))
    assert changes(hand.step(31 * SECOND, row)) == [("web-1", "alive", "refuted")]
    assert hand.deadline() >= 34 * SECOND


def test_a_detector_is_told_of_the_old_grid_only():
    hand = monitor_with("chen")
    hand.beat(*range(30))
    variance = hand.monitor._detector.variance.copy()
    for place in range(30, 34):
        speak(hand, place * 1000, place, 2000, SLOWING)
    detector = hand.monitor._detector
    assert detector.interval_ns[0] == SECOND
    assert detector.learnt_count[0] == 34
    assert detector.variance[0] <= variance[0]
    assert hand.monitor._registry.interval_ms[0] == 2000
    assert detector.margin_ns(column(0))[0] == 50 * MILLISECOND


@pytest.mark.parametrize("kind", KINDS)
def test_the_agent_and_the_monitor_agree_over_hours_of_changes(kind):
    """A node that is asked for another interval every now and then, heard through the monitor."""
    hand = monitor_with(kind)
    rng = np.random.default_rng(2)
    key = key_of("web-1")
    bounds = Bounds(500 * MILLISECOND, 8 * SECOND)
    protocol = HeartbeatProtocol(
        "web-1", key, incarnation=1, interval_ns=SECOND, start_ns=0, bounds=bounds
    )
    seen = set()
    found = []
    for place in range(600):
        due_ns = protocol.next_due_ns
        found += hand.walk(due_ns + 20 * MILLISECOND, tick_ns=200 * MILLISECOND)
        output = hand.step(hand.now, protocol.beat(due_ns, Report()))
        found += changes(output)
        if place % 30 == 0:
            wish_ms = int(rng.choice([500, 1000, 3000, 8000]))
        rows = [row.tobytes() for row in output.replies.rows]
        for row in rows:
            for reply in protocol.receive(wishing(row, key, wish_ms), due_ns + 40 * MILLISECOND):
                found += changes(hand.step(hand.now, reply))
        seen.add(protocol.interval_ns)
    assert [status for _, status, _ in found] == ["alive"]
    assert len(seen) >= 4


def wishing(row, key, wish_ms):
    """Put a wish into an acknowledgement and seal it again."""
    if row[3] != Kind.ACKNOWLEDGEMENT:
        return row
    body = row[:40] + wish_ms.to_bytes(4, "little") + row[44:BODY_SIZE]
    return body + tag(key, body)
