"""Whether anybody was heard, as the checker of verdicts sees it."""

import pytest

from beatward.core.instants import SECOND
from beatward.simulate import draw
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
    world.agenda.now_ns = 9 * SECOND
    if is_played:
        # Among others, as in a relay's datagram.
        world.network.inject(Datagram(bytes(64) + SAID, bytes(28), b"", "", 0))
    assert world.checkers.holds._has_arrived(SECOND) == is_heard


def test_what_had_arrived_before_is_no_voice_when_it_is_played_again():
    world = World(draw(1, minutes=3))
    world.monitor.start()
    world.network.to_monitor["node-0"].fates.append(Fate(SAID, 2 * SECOND, End.ARRIVED, 2 * SECOND))
    world.agenda.now_ns = 9 * SECOND
    world.network.inject(Datagram(SAID, bytes(28), b"", "", 0))
    assert not world.checkers.holds._has_arrived(5 * SECOND)
