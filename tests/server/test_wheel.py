"""The wheel: few turns where nothing comes, and snapshots for as long as readers ask."""

import threading
import time

import pytest
from tests.core.by_hand import MASTER, SESSION

from beatward.core.entry import Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.cycle import Cycle
from beatward.errors import Busy
from beatward.server import wheel
from beatward.server.bell import Bell
from beatward.server.schedule import TurnSchedule


class UdpSockets:
    """Clock, inbox, journal, sender and hands of a house that nothing comes into."""

    def __init__(self):
        self.leap_ns = 0
        self.received = 0
        self.gate = threading.Event()
        self.gate.set()

    def now_ns(self):
        return time.monotonic_ns() + self.leap_ns

    def wall_ns(self):
        return time.time_ns()

    def drain(self):
        self.gate.wait(30)
        # The leaps of this clock look like pauses to the machine, which writes them down.
        return Inputs(watermark_ns=self.now_ns(), drained_ns=self.now_ns())

    def submit(self, given, *, wall_offset_ns=0):
        pass

    def send(self, replies):
        pass


@pytest.fixture
def doors():
    return UdpSockets()


@pytest.fixture
def bell(doors):
    made = Bell((), doors.now_ns, pause_limit_ns=250 * MILLISECOND)
    yield made
    made.close()


@pytest.fixture
def wheel_of(doors, bell):
    machine = Monitor(CoreSettings(), master=MASTER, session=SESSION)
    machine.restore(Recovered(), doors.now_ns())
    cycle = Cycle(
        machine,
        clock=doors,
        inbox=doors,
        journal=doors,
        sender=doors,
        drivers=doors,
        timetable=doors,
    )
    failures = []
    made = wheel.Wheel(
        cycle,
        doors.now_ns,
        bell=bell,
        schedule=TurnSchedule(MILLISECOND, buffer=4 << 20, is_stamped=True),
        received=lambda: doors.received,
        decorate=lambda snapshot: snapshot,
        on_failure=failures.append,
    )
    yield made
    doors.gate.set()
    if made.turns_count:
        made.stop()
    assert failures == []


def turns(made, bell, count=3):
    """Wait until so many more turns have ended."""
    until = made.turns_count + count
    deadline = time.monotonic() + 20
    while made.turns_count < until:
        assert time.monotonic() < deadline
        bell.ring()  # nothing else comes in here
        time.sleep(0.001)  # the wheel is a real thread


def test_who_asks_gets_a_snapshot_that_stays_fresh(wheel_of, doors, bell):
    wheel_of.start()
    first = wheel_of.latest()
    doors.leap_ns += wheel.SNAPSHOT_SPACING_NS * 5
    turns(wheel_of, bell)
    assert wheel_of.latest().taken_ns - first.taken_ns >= wheel.SNAPSHOT_SPACING_NS


def test_nobody_asks_and_nothing_is_kept(wheel_of, doors, bell):
    wheel_of.start()
    before = wheel_of.latest()
    doors.leap_ns += wheel.IDLE_NS + SECOND
    turns(wheel_of, bell)
    after = wheel_of.latest()
    assert after.taken_ns - before.taken_ns >= wheel.IDLE_NS
    doors.leap_ns += wheel.IDLE_NS + SECOND
    turns(wheel_of, bell)
    idle_from_ns = doors.now_ns()
    assert wheel_of.latest().taken_ns >= idle_from_ns, "an old snapshot was kept"


def test_a_reader_is_told_when_a_turn_takes_too_long(wheel_of, doors, bell):
    wheel_of.start()
    turns(wheel_of, bell)
    doors.leap_ns += wheel.IDLE_NS + SECOND
    turns(wheel_of, bell)
    doors.gate.clear()
    time.sleep(0.02)  # long enough for a turn to have reached the gate
    with pytest.raises(Busy, match="longer than a second"):
        wheel_of.latest()
    doors.gate.set()
    turns(wheel_of, bell)
    assert wheel_of.latest() is not None


def test_before_the_first_turn_and_after_the_last_the_machine_is_read_itself(wheel_of, bell):
    assert len(wheel_of.latest().names) == 0
    wheel_of.start()
    turns(wheel_of, bell)
    wheel_of.stop()
    assert wheel_of.latest() is not None
