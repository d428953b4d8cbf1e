"""Who speaks and is not enrolled: bounded lists, those with a key of ours apart from the others."""

import numpy as np
from tests.core.by_hand import LIFE, PEER, START, ByHand, datagrams, said

from beatward.core.instants import MINUTE, SECOND
from beatward.core.order_kinds import Forget, Join, Readmit
from beatward.core.peers import shown_address
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Kind, Record, seal
from beatward.core.speakers import FOREIGN_MAX, LOOKS_MAX, OURS_MAX

OTHER_KEY = bytes(range(50, 82))


def foreign(name, **fields):
    """Seal a heartbeat with a key of another master key."""
    usual = {"incarnation": LIFE, "sequence": 0, "interval_ms": 1000}
    return seal(Record(Kind.HEARTBEAT, node_id(name), **{**usual, **fields}), OTHER_KEY)


def speakers(hand):
    return [(one.node, one.is_ours, one.count) for one in hand.snapshot().speakers]


def test_a_forgotten_node_that_speaks_is_listed_with_its_address_and_changes_nothing():
    hand = ByHand()
    hand.beat(0, 1)
    hand.step(2 * SECOND, orders=(Forget("web-1"),))
    hand.walk(3 * SECOND)
    output = hand.step(3 * SECOND, said(sequence=3))
    assert output.entries == ()
    assert len(output.replies.rows) == 0
    assert speakers(hand) == [(node_id("web-1"), True, 1)]
    assert shown_address(hand.snapshot().speakers[0].address) == "127.0.0.1:7227"


def test_a_node_that_is_enrolled_again_is_not_listed_any_more():
    hand = ByHand(nodes=())
    hand.step(1 * SECOND, said("web-1"))
    assert len(speakers(hand)) == 1
    hand.step(2 * SECOND, orders=(Join("web-1"),))
    assert speakers(hand) == []


def test_its_own_key_does_not_bring_back_what_was_forgotten_but_a_token_does():
    hand = ByHand()
    hand.step(1 * SECOND, orders=(Forget("web-1"), Readmit("web-1")))
    assert hand.snapshot().find("web-1") < 0
    hand.step(2 * SECOND, orders=(Readmit("web-1"), Readmit("web-2")))
    assert hand.snapshot().find("web-1") < 0
    assert hand.snapshot().find("web-2") >= 0
    assert hand.snapshot().counters["joins_refused"] == 2
    hand.step(3 * SECOND, orders=(Join("web-1"), Readmit("web-1")))
    assert hand.snapshot().find("web-1") >= 0


def test_another_key_is_told_from_ours_also_in_the_name_of_a_node_that_is_enrolled():
    hand = ByHand()
    hand.step(1 * SECOND, foreign("web-1"), foreign("web-9"), said("web-8"))
    ours = (node_id("web-8"), True, 1)
    others = sorted((node_id(name), False, 1) for name in ("web-1", "web-9"))
    assert speakers(hand) == [ours, *others]


def test_a_speaker_is_listed_for_a_minute_or_for_three_of_its_intervals():
    hand = ByHand(nodes=())
    hand.step(0, said("web-1"), said("web-2", interval_ms=100_000))
    hand.step(MINUTE - 1)
    assert len(speakers(hand)) == 2
    hand.step(MINUTE)
    assert [node for node, _, _ in speakers(hand)] == [node_id("web-2")]
    hand.step(300 * SECOND)
    assert speakers(hand) == []


def test_the_lists_are_bounded_and_what_finds_no_place_is_counted():
    hand = ByHand(nodes=())
    for number in range(FOREIGN_MAX + 10):
        hand.step(number, foreign(f"stranger-{number}"))
    for number in range(OURS_MAX + 5):
        hand.step(1000 + number, said(f"node-{number}"))
    listed = speakers(hand)
    assert sum(is_ours for _, is_ours, _ in listed) == OURS_MAX
    assert len(listed) == OURS_MAX + FOREIGN_MAX
    assert hand.snapshot().counters["speakers_overflow"] == 15


def test_a_flood_of_junk_costs_a_few_looks_a_drain_and_does_not_hide_a_node_for_ever():
    hand = ByHand(nodes=())
    flood = [foreign(f"junk-{number}") for number in range(999)]
    looked = 0
    for turn in range(1, 2000):
        # Somewhere in the flood, at another place each time.
        rows = [*flood[: turn % 999], said("web-1"), *flood[turn % 999 :]]
        hand.step(turn, batches=(datagrams(rows, START + turn, peer=PEER),))
        counts = sum(count for _, _, count in speakers(hand))
        now = counts + hand.snapshot().counters["speakers_overflow"]
        assert now - looked <= LOOKS_MAX
        looked = now
        if any(is_ours for _, is_ours, _ in speakers(hand)):
            return
    raise AssertionError("the node was never looked at")


def test_an_address_is_printed_as_people_know_it():
    v6 = bytes([10, 0, 0, 80, 0, 0, 0, 0]) + bytes(15) + b"\x01" + bytes(4)
    mapped = bytes([10, 0, 0, 80, 0, 0, 0, 0]) + bytes(10) + b"\xff\xff\x0a\0\0\x09" + bytes(4)
    assert shown_address(v6) == "[::1]:80"
    assert shown_address(mapped) == "10.0.0.9:80"
    assert shown_address(np.zeros(28, np.uint8).tobytes()) == ""
    assert shown_address(b"") == ""
