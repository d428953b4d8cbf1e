"""Whether anybody was heard, and whether the dead were told of, as the checkers see it."""

import pytest

from beatward.core.entry import Entry, Event
from beatward.core.instants import MINUTE, SECOND
from beatward.simulate import draw
from beatward.simulate.check_mass import MassChecker
from beatward.simulate.network import Datagram, End, Fate
from beatward.simulate.world import World

SAID = bytes(range(64))


@pytest.mark.parametrize(
    ("end", "is_played", "is_heard"),
    [
        (End.ARRIVED, False, True),
        (End.CUT, False, False),
        # Seed 100241: lost with a partition, and brought by who had heard it before.
        (End.CUT, True, True),
        (End.WITHHELD, True, True),
    ],
)
def test_who_was_heard_at_last_by_the_adversarys_hand_was_heard(end, is_played, is_heard):
    world = World(draw(1, minutes=3))
    world.monitor.start()
    arrived_ns = 2 * SECOND if end == End.ARRIVED else 0
    world.network.to_monitor["node-0"].fates.append(Fate(SAID, 2 * SECOND, end, arrived_ns))
    world.event_queue.now_ns = 9 * SECOND
    if is_played:
        # Among others, as in a relay's datagram.
        world.network.inject(Datagram(bytes(64) + SAID, bytes(28), b"", "", 0))
    assert MassChecker(world.facts, world.findings)._has_arrived(SECOND) == is_heard


def test_what_had_arrived_before_is_no_voice_when_it_is_played_again():
    world = World(draw(1, minutes=3))
    world.monitor.start()
    world.network.to_monitor["node-0"].fates.append(Fate(SAID, 2 * SECOND, End.ARRIVED, 2 * SECOND))
    world.event_queue.now_ns = 9 * SECOND
    world.network.inject(Datagram(SAID, bytes(28), b"", "", 0))
    assert not MassChecker(world.facts, world.findings)._has_arrived(5 * SECOND)


class _Told:
    """A checker that is handed what a monitor says, by hand."""

    def __init__(self):
        self.world = World(draw(1, minutes=3))
        self.world.monitor.start()
        self.checker = MassChecker(self.world.facts, self.world.findings)

    def says(self, event, at_ns, **members):
        self.world.event_queue.now_ns = at_ns
        entry = Entry(0, event, at_ns, **members)
        self.world.facts.reported.submitted(entry)
        self.checker.submitted(entry)

    def begins(self, at_ns, *nodes):
        detail = {"zone": None, "nodes": list(nodes), "count": len(nodes)}
        self.says(Event.GUARD, at_ns, cause="mass_failure", detail=detail)

    def untold(self, dies_ns):
        """Let node-5 die at an instant, and return who is missed when all time to tell is over."""
        self.says(Event.TRANSITION, dies_ns, node="node-5", status="dead", cause="silent")
        self.world.event_queue.now_ns = dies_ns + 10 * MINUTE
        self.checker.audit()
        return [one.node for one in self.world.findings.violations if one.rule == "alarm"]


def test_a_node_that_is_overdue_in_the_turn_in_which_a_mass_begins_is_told_of_in_its_message():
    """`held_back`, world 1: the message comes before the suspicions of its turn."""
    told = _Told()
    told.begins(9 * SECOND, "node-1", "node-5")
    told.says(Event.TRANSITION, 9 * SECOND, node="node-5", status="suspect", cause="overdue")
    assert told.untold(10 * SECOND) == []


def test_a_node_that_is_suspected_after_the_message_of_a_mass_has_to_be_told_of():
    told = _Told()
    told.begins(9 * SECOND, "node-1")
    told.says(Event.TRANSITION, 9 * SECOND + 1, node="node-5", status="suspect", cause="overdue")
    assert told.untold(10 * SECOND) == ["node-5"]
