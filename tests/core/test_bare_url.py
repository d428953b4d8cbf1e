"""The bare URL: each request is a heartbeat at its arrival, and nothing more."""

import pytest
from tests.core.by_hand import LIFE, ByHand, changes, heard, said

from beatward.core.entry import NodeRecord, Recovered
from beatward.core.instants import SECOND
from beatward.core.intake import Via
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Health


def ping(health=Health.WELL, interval_s=60):
    """What the door makes of a request: no sequence, no life, the session's number."""
    return said(incarnation=1, status=health, interval_ms=interval_s * 1000)


def pinged(hand, at_s, row=None):
    quiet = hand.walk(at_s * SECOND)
    return quiet + changes(hand.step(at_s * SECOND, row or ping(), via=Via.PING))


def test_each_request_is_a_heartbeat_and_silence_counts_from_the_last():
    hand = ByHand()
    assert pinged(hand, 1) == [("web-1", "alive", "heard")]
    assert hand.deadline() == 121 * SECOND
    assert hand.walk(100 * SECOND) == []
    assert pinged(hand, 100) == []
    assert hand.deadline() == 220 * SECOND
    assert hand.walk(230 * SECOND) == [
        ("web-1", "suspect", "overdue"),
        ("web-1", "dead", "silent"),
    ]
    assert hand.entries[-1].explanation == (
        "web-1 dead: silent 2.02 min; heartbeat 2 was due 61 s ago with margin 60 s (one whole "
        "interval, because its schedule is not known); it reports over HTTP and cannot be probed, "
        "so 1 s were waited; the monitor itself never paused"
    )


def test_a_request_brings_a_dead_node_back():
    hand = ByHand()
    pinged(hand, 1)
    hand.walk(130 * SECOND)
    assert pinged(hand, 130) == [("web-1", "recovering", "heard")]
    assert [pinged(hand, 131 + i) for i in range(3)] == [[], [], [("web-1", "alive", "steady")]]


@pytest.mark.parametrize("status", ["alive", "new"])
def test_its_very_first_word_may_be_that_it_is_ill(status):
    hand = ByHand()
    if status == "alive":
        pinged(hand, 1)
        assert pinged(hand, 2, ping(Health.ILL)) == [("web-1", "failing", "ill")]
    else:
        assert pinged(hand, 1, ping(Health.ILL)) == [
            ("web-1", "alive", "heard"),
            ("web-1", "failing", "ill"),
        ]
    assert pinged(hand, 3) == [("web-1", "alive", "well")]


def test_many_requests_in_one_turn_are_as_many_heartbeats():
    hand = ByHand()
    hand.step(SECOND, ping(), ping(), ping(Health.ILL), via=Via.PING)
    assert hand.status() == "failing"
    assert hand.snapshot().counters["accepted"] == 3


def test_a_request_proves_no_life_to_the_datagrams_of_the_same_name():
    # Seconds after a restart somebody fetches the URL; heartbeats recorded before the restart
    # would then have been taken for this session's.
    before = NodeRecord("web-1", node_id("web-1"), "dead", "silent", 0, incarnation=LIFE)
    hand = ByHand(recovered=Recovered(7, (before,)), nodes=())
    pinged(hand, 1)
    output = hand.step(2 * SECOND, said(sequence=500, echo=0))
    assert hand.rejected() == {"unproven": 1}
    assert [(reply.kind.name, reply.echo) for reply in heard(output)] == [("PROBE", 77)]


def test_a_life_proves_itself_also_after_requests_of_the_bare_url():
    hand = ByHand()
    for second in range(1, 5):
        pinged(hand, second)
    hand.step(5 * SECOND, said(sequence=0))
    assert hand.rejected() == {}
    assert hand.snapshot().state.registry.incarnation[0] == LIFE
