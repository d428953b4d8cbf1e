"""Verdicts on nodes that were well: when chance may be believed, over words said by hand."""

from dataclasses import replace

import pytest

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.order_kinds import Join
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Kind, Record, seal
from beatward.simulate import draw
from beatward.simulate.check_mass import MassChecker
from beatward.simulate.check_verdicts import VerdictChecker
from beatward.simulate.network import End, Fate, Weather
from beatward.simulate.world import World

NAME = "node-0"


def said(kind, at_ns, end):
    record = Record(kind, node_id(NAME), incarnation=1, sequence=0, interval_ms=1000)
    return Fate(seal(record, bytes(32)), at_ns, end, at_ns if end == End.ARRIVED else 0)


def judged(*, asked_count, loss_probability):
    """Convict a node that was heard five times and proved nothing; return the broken promises."""
    scenario = draw(1, minutes=3)
    weather = Weather(loss_probability=loss_probability)
    links = (None,) * len(scenario.links)
    world = World(replace(scenario, weather=weather, links=links))
    world.monitor.start()
    world.monitor.order(Join(NAME))
    world.event_queue.run_until(SECOND)
    for second in range(2, 7):
        world.network.to_monitor[NAME].fates.append(
            said(Kind.HEARTBEAT, second * SECOND, End.ARRIVED)
        )
        if second < 2 + asked_count:
            asked_ns = second * SECOND + 20 * MILLISECOND
            world.network.to_node[NAME].fates.append(said(Kind.PROBE, asked_ns, End.LOST))
    truth = world.truths[NAME]
    mass = MassChecker(world.facts, world.findings)
    verdicts = VerdictChecker(world.facts, world.findings, mass)
    verdicts._check_luck(truth, 7 * SECOND, 9 * SECOND)
    return [violation.message for violation in world.findings.violations]


@pytest.mark.parametrize(
    ("asked_count", "loss_probability", "words"),
    [
        # Seed 100888: once a word, and not six times in a window.
        (5, 0.3, None),
        (4, 0.3, "a word of it had not been asked about"),
        (5, 0.001, "by chance this has probability"),
    ],
)
def test_who_was_heard_and_never_proved_itself_was_asked_each_time(
    asked_count, loss_probability, words
):
    found = judged(asked_count=asked_count, loss_probability=loss_probability)
    assert len(found) == (words is not None)
    assert all(words in message for message in found)
