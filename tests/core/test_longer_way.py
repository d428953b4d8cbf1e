"""The way from a node becomes longer than the probing window, there and back (seed 101575)."""

import pytest
from tests.core.by_hand import ByHand, said

from beatward.core.instants import MILLISECOND
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import CoreSettings

EVERY = 300 * MILLISECOND
LONGER = 500 * MILLISECOND
TICK = 10 * MILLISECOND
SETTINGS = CoreSettings(membership=MembershipSettings(window_ns=800 * MILLISECOND))


def played(*, longer_from, last, until):
    """Return the changes of a node that beats every 300 ms; nothing that it is asked comes back.

    longer_from   its first heartbeat that is 500 ms longer under way
    last          its last heartbeat
    until         the number of the heartbeat that would be due at the end
    """
    world, found = ByHand(SETTINGS), []
    arrivals = {
        number * EVERY + (LONGER if number >= longer_from else 0): number
        for number in range(last + 1)
    }
    for now in range(0, until * EVERY, TICK):
        rows = [said(sequence=arrivals[now], interval_ms=300)] if now in arrivals else []
        before = len(world.entries)
        world.step(now, *rows)
        found += [
            (now, one.status, one.cause)
            for one in world.entries[before:]
            if one.event == "transition"
        ]
    return found


def test_heartbeats_sent_since_the_suspicion_began_refute_it_however_late_they_come():
    found = played(longer_from=40, last=80, until=80)
    after = [(status, cause) for now, status, cause in found if now > 39 * EVERY]
    assert after == [("suspect", "overdue"), ("alive", "refuted")]


@pytest.mark.parametrize("last", [40, 41, 45])
def test_a_node_that_dies_then_is_found_dead_a_window_and_a_timeout_after_its_last_word(last):
    found = played(longer_from=40, last=last, until=80)
    now, status, cause = found[-1]
    assert (status, cause) == ("dead", "silent")
    # The way, an interval, at most two margins of half an interval, and the window.
    assert now - last * EVERY <= LONGER + 2 * EVERY + 800 * MILLISECOND + 2 * TICK


def test_a_late_heartbeat_that_was_sent_before_the_suspicion_began_refutes_nothing():
    found = played(longer_from=40, last=40, until=60)
    after = [(status, cause) for now, status, cause in found if now > 39 * EVERY]
    assert after == [("suspect", "overdue"), ("dead", "silent")]
