"""The monitor's simulated process: what a kill loses, and how a freeze lies across a turn."""

from itertools import pairwise

import pytest

from beatward.core.entry import Event
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings, Monitor
from beatward.core.order_kinds import Join
from beatward.simulate.chance import split
from beatward.simulate.clock import HostClock
from beatward.simulate.event_queue import EventQueue
from beatward.simulate.monitor import MonitorHost, MonitorProcess, Observer
from beatward.simulate.network import Datagram, Network, Weather

HOUR_NS = 3600 * SECOND


class Remembering(Observer):
    """Remembers what it is told."""

    def __init__(self):
        self.entries, self.on_disk, self.sessions = [], [], []

    def started(self, monitor, recovered):
        self.sessions.append(recovered)

    def submitted(self, entry):
        self.entries.append(entry)

    def written(self, entry):
        self.on_disk.append(entry)

    def begun(self, action):
        raise AssertionError("there are no rules")

    done = begun


class Watched(Monitor):
    """Keeps the inputs of every turn."""

    def step(self, inputs, **rest):
        turns.append(inputs)
        return super().step(inputs, **rest)


turns = []


@pytest.fixture
def stage():
    """A monitor that has just started, its clock showing one hour; its events and an observer."""
    turns.clear()
    event_queue, observer = EventQueue(), Remembering()
    network = Network(event_queue, split(1, "net"), Weather())
    process = MonitorProcess(
        MonitorHost(CoreSettings(), build=Watched, latency_ns=20 * MILLISECOND),
        event_queue,
        network,
        clock=HostClock(boot_ns=HOUR_NS, wall_ns=0),
        rng=split(1, "monitor"),
        observers=[observer],
    )
    process.start()
    event_queue.run_until(SECOND)
    return process, event_queue, observer


def knock(process, data=b"x"):
    assert process._deliver(Datagram(data, b"p" * 28, b"", "", 0))


def watermark_ms():
    return (turns[-1].watermark_ns - HOUR_NS) // MILLISECOND


def test_an_idle_wheel_turns_often_enough_to_be_no_pause(stage):
    _, event_queue, observer = stage
    event_queue.run_until(60 * SECOND)
    assert [entry.event for entry in observer.entries] == [Event.STARTED]
    gaps = [b.watermark_ns - a.watermark_ns for a, b in pairwise(turns)]
    assert max(gaps) < CoreSettings().guard.pause_limit_ns
    assert len(turns) < 400


def test_what_comes_in_is_taken_at_the_next_tick(stage):
    process, event_queue, _ = stage
    event_queue.run_until(SECOND + 12 * MILLISECOND)
    knock(process)
    event_queue.run_until(SECOND + 14 * MILLISECOND)
    before = len(turns)
    event_queue.run_until(SECOND + 15 * MILLISECOND)
    assert len(turns) == before + 1
    assert watermark_ms() == 1015
    assert len(turns[-1].datagrams[0].sizes) == 1


def test_a_kill_loses_what_was_not_yet_written(stage):
    process, event_queue, observer = stage
    process.order(Join("a"))
    event_queue.run_until(SECOND + 5 * MILLISECOND)
    assert [entry.event for entry in observer.entries] == [Event.STARTED, Event.JOINED]
    process.crash()
    event_queue.run_until(2 * SECOND)
    process.start()
    held = [entry.event for entry in observer.on_disk]
    assert held == [entry.event for entry in process.store.memory.entries]
    assert len(observer.sessions[-1].nodes) == (Event.JOINED in held)


def test_a_monitor_that_is_down_takes_nothing(stage):
    process, _, _ = stage
    process.crash()
    assert not process._deliver(Datagram(b"x", b"p" * 28, b"", "", 0))
    assert not process.order(Join("a"))


@pytest.mark.parametrize(
    ("place", "watermark", "drained", "rest"),
    [
        # A turn has just ended; thawed, it reads the clock and then takes what came in since.
        ("between", 4000, 4000, (1, 0)),
        # It had read the clock, and its read returns what has come in meanwhile as well.
        ("reading", 1011, 4000, (2, 0)),
        # It had read and was about to judge: the second waits for the next turn.
        ("judging", 1011, 1011, (1, 1)),
    ],
)
def test_a_freeze_may_lie_before_the_drain_within_it_or_behind_it(
    stage, place, watermark, drained, rest
):
    process, event_queue, _ = stage
    event_queue.run_until(SECOND + 11 * MILLISECOND)
    knock(process)
    assert process.freeze(place)
    assert not process.freeze(place)
    event_queue.run_until(2 * SECOND)
    knock(process)
    event_queue.run_until(4 * SECOND)
    before = len(turns)
    process.thaw()
    event_queue.run_until(4 * SECOND)
    first = turns[before]
    assert (first.watermark_ns - HOUR_NS) // MILLISECOND == watermark
    assert (first.drained_ns - HOUR_NS) // MILLISECOND == drained
    assert (len(first.datagrams[0].sizes), len(process._kernel)) == rest


def test_nothing_of_a_frozen_process_is_left_when_it_is_killed(stage):
    process, event_queue, _ = stage
    process.freeze("judging")
    process.crash()
    event_queue.run_until(9 * SECOND)
    turns.clear()
    process.start()
    event_queue.run_until(9 * SECOND)
    assert watermark_ms() == 9000


def test_a_drain_that_stops_at_its_limit_keeps_the_watermark_back(stage):
    process, event_queue, _ = stage
    process.host = MonitorHost(CoreSettings(), build=Watched, drain_max=2)
    event_queue.run_until(SECOND + MILLISECOND)
    last_ms = watermark_ms()
    for _ in range(3):
        knock(process)
    event_queue.run_until(SECOND + 5 * MILLISECOND)
    assert (len(turns[-1].datagrams[0].sizes), watermark_ms()) == (2, last_ms)
    event_queue.run_until(SECOND + 10 * MILLISECOND)
    assert (len(turns[-1].datagrams[0].sizes), watermark_ms()) == (1, 1010)


def test_a_lost_disk_is_empty(stage):
    process, event_queue, observer = stage
    event_queue.run_until(2 * SECOND)
    process.crash()
    process.replace_store(0)
    process.start()
    assert observer.sessions[-1].sequence == 0
