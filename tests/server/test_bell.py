"""What wakes the wheel, and what it can say of its own being awake."""

import socket
import threading

import pytest

from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.server.bell import LOOKS_A_PAUSE, Bell
from beatward.transport import open_doors

LIMIT = 250 * MILLISECOND


class Leaps:
    """A clock that leaps by so much each time it is asked."""

    def __init__(self):
        self.now_ns, self.leap_ns = 0, 0

    def __call__(self):
        self.now_ns += self.leap_ns
        return self.now_ns


@pytest.fixture
def clock():
    return Leaps()


@pytest.fixture
def doors(clock):
    with open_doors("127.0.0.1:0", 4096, clock) as made:
        yield made


@pytest.fixture
def bell(doors, clock):
    made = Bell(doors.filenos(), clock, pause_limit_ns=LIMIT)
    yield made
    made.close()


def say(doors):
    """Send one datagram; it has arrived when this returns."""
    host, port = doors.address.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"hello", (host, int(port)))


def test_a_datagram_wakes_who_listens_and_not_who_gathers(bell, doors):
    assert not bell.wait(0, listen=True)
    say(doors)
    assert bell.wait(NEVER, listen=True)
    assert not bell.wait(0, listen=False)
    doors.drain()
    assert not bell.wait(0, listen=True)


def test_who_rings_twice_before_the_turn_is_answered_once(bell):
    bell.ring()
    bell.ring()
    assert bell.wait(NEVER, listen=False)
    bell.answer()
    assert not bell.wait(0, listen=False)


def test_no_ring_is_lost_however_the_threads_meet(bell):
    items, taken, rounds = [], 0, 20_000

    def put():
        for number in range(rounds):
            items.append(number)
            bell.ring()

    putting = threading.Thread(target=put)
    putting.start()
    while taken < rounds:
        # Once everything was put only a ring that is still there brings this to an end.
        while not bell.wait(NEVER, listen=False):
            assert putting.is_alive() or len(items) == taken, "an item lies there and nobody rang"
        bell.answer()
        taken = len(items)
    putting.join()


def test_it_waits_a_part_of_the_pause_limit_at_most_and_notes_that_it_was_awake(bell, clock):
    clock.leap_ns = LIMIT // LOOKS_A_PAUSE
    for _ in range(20):
        assert not bell.wait(0, listen=True)
        assert bell.listened_ns == clock.now_ns


def test_who_gathers_notes_nothing_because_something_may_lie_unread(bell, clock):
    clock.leap_ns = MILLISECOND
    assert not bell.wait(0, listen=False)
    assert bell.listened_ns == 0


def test_a_pause_while_it_waits_brings_a_turn_that_is_told_of_the_gap(bell, clock):
    assert not bell.wait(0, listen=True)
    before_ns = bell.listened_ns
    clock.now_ns += 15 * SECOND
    assert bell.wait(0, listen=True)
    assert bell.listened_ns == before_ns


def test_a_pause_between_two_waits_is_seen_too(bell, clock):
    bell.answer()
    clock.now_ns += LIMIT + 1
    assert bell.wait(0, listen=True)
    bell.answer()  # the turn has come
    assert not bell.wait(0, listen=True)


def test_to_ring_a_bell_that_is_closed_does_nothing(clock):
    made = Bell((), clock, pause_limit_ns=LIMIT)
    made.close()
    made.ring()
    made.ring_later()
