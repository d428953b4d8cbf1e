"""What was promised of a heartbeat and when it is broken: the checker, over a few said by hand."""

import pytest

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Kind, Record, seal
from beatward.simulate import draw
from beatward.simulate.check_intervals import IntervalChecker
from beatward.simulate.network import End, Fate
from beatward.simulate.truth import Trouble
from beatward.simulate.world import World

NAME = "node-0"


def broken(*said):
    """Return what the checker finds, where (at_ms, sequence, interval_ms) were said and heard."""
    world = World(draw(1, minutes=3))
    world.truths[NAME].history.end(Trouble.DOWN, 0)
    fates = world.network.to_monitor[NAME].fates
    for at_ms, sequence, interval_ms in said:
        record = Record(
            Kind.HEARTBEAT,
            node_id(NAME),
            incarnation=1,
            sequence=sequence,
            interval_ms=interval_ms,
        )
        at_ns = 100 * SECOND + at_ms * MILLISECOND
        fates.append(Fate(seal(record, bytes(32)), at_ns, End.ARRIVED, at_ns + MILLISECOND))
    IntervalChecker(world.facts, world.findings).audit()
    return [violation.message for violation in world.findings.violations]


@pytest.mark.parametrize(
    "said",
    [
        [(0, 7, 1000), (1000, 8, 1000)],
        # Seed 100034: half of it was promised when 7 was said again, and kept from there on.
        [(0, 7, 1000), (960, 7, 500), (998, 8, 500)],
        [(0, 7, 1000), (100, 7, 500), (600, 8, 500)],
    ],
)
def test_a_promise_that_was_kept_is_not_called_broken(said):
    assert broken(*said) == []


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([(0, 7, 500), (1000, 8, 500)], "1 s between two heartbeats, but no more than 500 ms"),
        ([(0, 7, 1000), (100, 7, 500), (1000, 8, 500)], "but no more than 600 ms"),
        ([(0, 7, 1000), (960, 7, 500), (1100, 8, 500)], "but no more than 1 s"),
    ],
)
def test_a_promise_that_was_broken_is_called_so_also_where_it_was_said_again(said, words):
    (message,) = broken(*said)
    assert words in message
