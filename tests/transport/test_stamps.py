"""Arrivals as the kernel saw them: true to the sender, never against the order of time, and not
believed when a clock was set or a measurement was torn."""

import sys
import time

import numpy as np
import pytest

from beatward.core.instants import MICROSECOND, MILLISECOND, SECOND
from beatward.transport.stamps import DISORDER_NS, Timeline
from beatward.transport.wire import BATCH_SIZE

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own")
# Between the two clocks' readings the thread may be interrupted; it measures thrice.
PRECISION_NS = 200 * MICROSECOND
STAMPED = {"wall_ns": time.time_ns, "wire": "recvmmsg"}


@pytest.fixture(scope="module", autouse=True)
def stamping(open_line):
    """Wait until the kernel stamps on arrival, and keep a socket open so that it goes on.

    It begins a moment after it was first asked; on a machine where nobody else asks, that is now.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    with open_line("127.0.0.1:0", **STAMPED) as line:
        until = time.monotonic() + 10
        line.door.drain()
        while time.monotonic() < until:
            line.say(b"x")
            waited_ns = time.monotonic_ns() + 2 * MILLISECOND
            while time.monotonic_ns() < waited_ns:
                pass
            drain = line.door.drain()
            if arrivals(drain)[0] < drain.watermark_ns - MILLISECOND:
                break
        yield


def sent_at(line, count):
    """Send datagrams; return when each was sent, as (before, after)."""
    times = []
    for index in range(count):
        before_ns = time.monotonic_ns()
        line.say(index.to_bytes(8, "little"))
        times.append((before_ns, time.monotonic_ns()))
    return times


def arrivals(drain):
    return [int(stamp) for batch in drain.batches for stamp in batch.arrived_ns]


@on_linux
def test_what_waited_bears_the_instant_when_it_came_and_not_when_it_was_read(open_line, address):
    with open_line(address, **STAMPED) as line:
        assert line.door.is_stamped
        line.door.drain()
        times = sent_at(line, 100)
        until_ns = time.monotonic_ns() + 50 * MILLISECOND
        while time.monotonic_ns() < until_ns:
            pass
        drain = line.door.drain()
    stamps = arrivals(drain)
    assert len(stamps) == 100
    for (before_ns, after_ns), stamp in zip(times, stamps, strict=True):
        assert before_ns - PRECISION_NS <= stamp <= after_ns + PRECISION_NS
    assert drain.watermark_ns - stamps[-1] > 49 * MILLISECOND


@on_linux
def test_addresses_of_a_door_to_all_are_still_right_with_stamps_beside_them(open_line):
    with open_line("0.0.0.0:0", **STAMPED) as line:
        line.door.drain()
        line.say(b"a" * 64)
        drain = line.door.drain()
        assert line.door.is_stamped
        (batch,) = drain.batches
        # `homes` has noted which of our addresses was asked, behind the stamp.
        assert batch.peers[0, 16:20].view(np.uint32)[0] == 1
        assert time.monotonic_ns() - SECOND < batch.arrived_ns[0] <= drain.watermark_ns


@on_linux
def test_a_drain_that_stops_at_its_limit_moves_the_watermark_to_what_it_has_read(open_line):
    with open_line("127.0.0.1:0", **STAMPED) as line:
        first_ns = line.door.drain().watermark_ns
        times = sent_at(line, 3 * BATCH_SIZE)
        received, watermarks = 0, []
        while True:
            drain = line.door.drain(batches_max=1)
            received += len(arrivals(drain))
            # Everything that was sent before the watermark has been handed over.
            assert sum(after < drain.watermark_ns for _, after in times) <= received
            if drain.emptied:
                break
            watermarks.append(drain.watermark_ns)
            before_ns, after_ns = times[received - 1]
            assert before_ns - PRECISION_NS <= drain.watermark_ns + DISORDER_NS
            latest_ns = max(after_ns - DISORDER_NS, first_ns) + PRECISION_NS
            assert drain.watermark_ns <= latest_ns
        assert received == 3 * BATCH_SIZE
        assert watermarks == sorted(watermarks)
        assert drain.watermark_ns > times[-1][1]


@on_linux
def test_under_a_flood_that_never_ends_the_watermark_goes_on(open_line):
    with open_line("127.0.0.1:0", **STAMPED) as line:
        first = line.door.drain().watermark_ns
        for _ in range(30):
            # One more than is taken: the socket is never found empty.
            line.say(*[b"x" * 64] * (BATCH_SIZE + 1))
            drain = line.door.drain(batches_max=1)
            assert not drain.emptied
        passed_ns = time.monotonic_ns() - first
        assert drain.watermark_ns - first > passed_ns // 2 - DISORDER_NS


@on_linux
def test_a_batch_from_before_the_first_drain_is_stamped_by_its_reading(open_line):
    with open_line("127.0.0.1:0", **STAMPED) as line:
        line.say(b"a" * 64)
        drain = line.door.drain()
        assert arrivals(drain) == [drain.watermark_ns]


class Clocks:
    """Two clocks by hand: the monitor's, and the wall's, which may be set."""

    def __init__(self):
        self.now = 1_000 * SECOND
        self.offset = 1_700_000_000 * SECOND
        self.torn_ns = 0

    def now_ns(self):
        return self.now

    def wall_ns(self):
        self.now += self.torn_ns
        return self.now + self.offset

    def stamps(self, *ago_ns):
        """Return wall stamps of so long ago, by the wall clock of now."""
        return np.array([self.now + self.offset - ago for ago in ago_ns], np.int64)


def emptied(clocks):
    """Make a timeline that found its socket empty just now."""
    timeline = Timeline(clocks.now_ns, clocks.wall_ns)
    timeline.measure()
    timeline.note_empty(clocks.now)
    return timeline


def placed(clocks, timeline, stamps):
    """Measure and place; return how long ago each arrived, or None."""
    timeline.measure()
    found = timeline.place(stamps, clocks.now)
    return None if found is None else (clocks.now - found).tolist()


@pytest.fixture
def clocks():
    return Clocks()


def test_stamps_become_instants_of_the_monitor(clocks):
    timeline = emptied(clocks)
    clocks.now += 15 * SECOND
    assert placed(clocks, timeline, clocks.stamps(15 * SECOND, 7 * SECOND, 3)) == [
        15 * SECOND,
        7 * SECOND,
        3,
    ]


def test_they_never_lie_before_what_arrived_earlier_nor_after_the_reading(clocks):
    timeline = emptied(clocks)
    clocks.now += MILLISECOND
    assert placed(clocks, timeline, clocks.stamps(3 * MILLISECOND, 500, -700)) == [
        MILLISECOND,
        500,
        0,
    ]


def test_stamps_that_changed_places_between_two_processors_are_put_in_order(clocks):
    timeline = emptied(clocks)
    clocks.now += SECOND
    assert placed(clocks, timeline, clocks.stamps(900, 500, 700, 100)) == [900, 500, 500, 100]


@pytest.mark.parametrize("step_ns", [-3600 * SECOND, -20 * MILLISECOND, 20 * MILLISECOND, SECOND])
def test_a_wall_clock_that_was_set_while_they_waited_makes_them_not_believed(clocks, step_ns):
    timeline = emptied(clocks)
    clocks.now += 5 * MILLISECOND
    waiting = clocks.stamps(MILLISECOND)
    clocks.offset += step_ns
    clocks.now += 15 * SECOND if step_ns == SECOND else MILLISECOND
    assert placed(clocks, timeline, waiting) is None


def test_they_are_believed_again_once_the_socket_was_empty_and_not_before(clocks):
    timeline = emptied(clocks)
    clocks.offset += SECOND
    clocks.now += MILLISECOND
    assert placed(clocks, timeline, clocks.stamps(10)) is None
    clocks.now += MILLISECOND
    assert placed(clocks, timeline, clocks.stamps(10)) is None
    timeline.note_empty(clocks.now)
    clocks.now += MILLISECOND
    assert placed(clocks, timeline, clocks.stamps(10)) == [10]


def test_a_clock_that_is_slewed_during_a_long_pause_was_not_set(clocks):
    timeline = emptied(clocks)
    clocks.now += 60 * SECOND
    clocks.offset += 30 * MILLISECOND  # 500 ppm
    assert placed(clocks, timeline, clocks.stamps(SECOND)) == [SECOND]


@pytest.mark.parametrize("ago_ns", [SECOND, -SECOND])
def test_a_stamp_that_cannot_be_is_not_believed_nor_is_its_batch(clocks, ago_ns):
    timeline = emptied(clocks)
    clocks.now += MILLISECOND
    assert placed(clocks, timeline, clocks.stamps(10, ago_ns, 5)) is None


def test_a_measurement_that_a_pause_tore_apart_is_not_believed(clocks):
    timeline = emptied(clocks)
    clocks.torn_ns = 500 * MICROSECOND
    assert placed(clocks, timeline, clocks.stamps(10)) is None


def test_a_batch_without_stamps_is_not_placed(clocks):
    assert placed(clocks, emptied(clocks), None) is None


def test_before_anything_was_measured_nothing_is_placed(clocks):
    timeline = Timeline(clocks.now_ns, clocks.wall_ns)
    timeline.note_empty(clocks.now)
    assert timeline.place(clocks.stamps(10), clocks.now) is None
