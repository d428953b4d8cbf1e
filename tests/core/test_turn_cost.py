"""What a turn asks of the interpreter, counted in calls: an idle monitor's price is little else.

A call costs a microsecond where turns follow each other, and several after a sleep, when every
cache is cold. The limits are what is needed today and a little more.
"""

import sys

from tests.core.by_hand import START, ByHand, datagrams, said

from beatward.core.instants import MICROSECOND, SECOND
from beatward.core.monitor import Inputs

NAMES = tuple(f"web-{number}" for number in range(20))
BEGIN = 10 * SECOND


def beating():
    """Return a monitor whose nodes have beaten once a second until BEGIN, each with its slot."""
    hand = ByHand(nodes=NAMES)
    for second in range(10):
        rows = [said(name, sequence=second, slot=slot) for slot, name in enumerate(NAMES)]
        hand.step(second * SECOND, *rows)
        hand.walk((second + 1) * SECOND)
    return hand


def calls_of(hand, *rows):
    """Return how many functions a turn calls, in Python and in C."""
    inputs = Inputs(
        watermark_ns=START + BEGIN + MICROSECOND,
        drained_ns=START + BEGIN + 2 * MICROSECOND,
        datagrams=(datagrams(rows, START + BEGIN),) if rows else (),
        journaled=hand.entries[-1].sequence,
    )
    counts = {"call": 0, "c_call": 0}

    def count(_frame, event, _argument):
        if event in counts:
            counts[event] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        hand.monitor.step(inputs)
    finally:
        sys.setprofile(before)
    return counts["call"], counts["c_call"]


def test_a_turn_in_which_nothing_comes_calls_few_functions():
    called, of_c = calls_of(beating())
    assert called <= 50
    assert of_c <= 20


def test_a_turn_with_one_heartbeat_calls_few_functions():
    hand = beating()
    accepted_count = hand.snapshot().counters["accepted"]
    called, of_c = calls_of(hand, said(NAMES[5], sequence=10, slot=5))
    assert hand.snapshot().counters["accepted"] == accepted_count + 1
    assert called <= 125
    assert of_c <= 115
