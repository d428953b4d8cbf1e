"""Several sockets at one address, and the sink that keeps junk away from them."""

import socket
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Datagrams, Replies
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import RECORD_SIZE, Kind, Record, open_record, seal
from beatward.errors import ConfigError
from beatward.server.bell import Bell
from beatward.server.inbox import ServerInbox
from beatward.transport import open_door, open_doors
from beatward.transport.steering import Flood, is_junk

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="elsewhere there is one door and no filter"
)
BUFFER_SIZE = 4 * 1024 * 1024
PATIENCE_S = 10.0
JUNK = {
    "empty": b"",
    "short": b"BW\x01\x01",
    "no multiple": b"BW\x01".ljust(RECORD_SIZE + 1, b"x"),
    "almost a record": b"BW\x01".ljust(RECORD_SIZE - 1, b"x"),
    "another's": b"\x17\xfe\xfd".ljust(RECORD_SIZE, b"\0"),
    "another version": b"BW\x02".ljust(RECORD_SIZE, b"\0"),
    "half the magic": b"BX\x01".ljust(RECORD_SIZE, b"\0"),
    "zeros": bytes(RECORD_SIZE),
}
GOOD = {
    "one record": b"BW\x01".ljust(RECORD_SIZE, b"x"),
    "two records": b"BW\x01".ljust(2 * RECORD_SIZE, b"x"),
    "the largest": b"BW\x01".ljust(22 * RECORD_SIZE, b"x"),
    "too large, for the intake to count": b"BW\x01".ljust(23 * RECORD_SIZE, b"x"),
}


def beat(node, sequence=0):
    return seal(Record(Kind.HEARTBEAT, node, 1, sequence, interval_ms=1000), bytes(32))


class Group:
    """UdpSockets and a socket that sends to them."""

    def __init__(self, doors, sender, to):
        self.doors = doors
        self.sender = sender
        self.to = to

    def say(self, *datagrams):
        for datagram in datagrams:
            self.sender.sendto(datagram, self.to)

    def collect(self, count):
        """Drain until so many have come; return them as they came, batch by batch."""
        found, until = [], time.monotonic() + PATIENCE_S
        while sum(map(len, found)) < count and time.monotonic() < until:
            for batch in self.doors.drain().batches:
                pairs = zip(batch.rows, batch.sizes, strict=True)
                found.append([row[:size].tobytes() for row, size in pairs])
        assert sum(map(len, found)) == count
        return found


@contextmanager
def opened(address="127.0.0.1:0", **options):
    settings = {"receive_buffer": BUFFER_SIZE, "now_ns": time.monotonic_ns} | options
    with open_doors(address, **settings) as doors:
        port = int(doors.address.rpartition(":")[2])
        is_v6 = address.startswith("[::1")
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            yield Group(doors, sender, ("::1" if is_v6 else "127.0.0.1", port))


def test_by_default_there_is_one_door_that_takes_everything(address):
    with opened(address) as group:
        assert len(group.doors) == 1
        assert group.doors.shortcomings == ()
        group.say(*JUNK.values(), *GOOD.values())
        got = [one for batch in group.collect(len(JUNK) + len(GOOD)) for one in batch]
        assert got[: len(JUNK)] == list(JUNK.values())
        assert (group.doors.filtered(), group.doors.drops()) == (0, 0)


@pytest.mark.parametrize("count", [1, 3])
def test_junk_never_comes_in_and_is_no_drop_of_ours(address, count):
    with opened(address, prefilter="on", count=count) as group:
        assert group.doors.is_filtering
        for _ in range(10):
            group.say(*JUNK.values(), GOOD["one record"])
        assert sum(map(len, group.collect(10))) == 10
        assert group.doors.filtered() == 10 * len(JUNK)
        assert group.doors.drops() == 0
        assert group.doors.drain().dropped == 0


@pytest.mark.parametrize("datagram", GOOD.values(), ids=GOOD)
def test_what_may_be_a_heartbeat_comes_in(datagram):
    with opened(prefilter="on") as group:
        group.say(datagram)
        (batch,) = group.collect(1)
        assert batch[0][:1472] == datagram[:1472]
        assert group.doors.filtered() == 0


def test_datagrams_that_travel_in_one_piece_are_judged_by_the_first_and_all_come_in():
    with opened(prefilter="on") as group:
        group.sender.setsockopt(socket.IPPROTO_UDP, 103, RECORD_SIZE)  # UDP_SEGMENT
        group.say(GOOD["one record"] * 60)
        assert [len(one) for batch in group.collect(60) for one in batch] == [RECORD_SIZE] * 60


HONEST, TWICE = 400, 800


@pytest.mark.parametrize("prefilter", ["on", "off"])
def test_twice_as_much_junk_takes_no_room_from_honest_heartbeats(prefilter):
    # A buffer for about 500 datagrams of 64 bytes (768 of kernel memory each): the honest ones
    # fit. With junk in it they do not, which is shown beside.
    with opened(prefilter=prefilter, receive_buffer=500 * 384) as group:
        for sequence in range(HONEST):
            group.say(JUNK["zeros"], beat(sequence, sequence), JUNK["another's"])
        batches = group.doors.drain().batches
        honest = sum(int((~is_junk(batch)).sum()) for batch in batches)
        if prefilter == "on":
            assert (honest, group.doors.drops(), group.doors.filtered()) == (HONEST, 0, TWICE)
        else:
            assert honest < HONEST
            assert group.doors.drops() > 0


def test_honest_losses_are_counted_as_such_while_junk_is_filtered():
    with opened(prefilter="on", receive_buffer=100 * 384) as group:
        for sequence in range(HONEST):
            group.say(beat(sequence), JUNK["zeros"])
        drain = group.doors.drain()
        got = sum(len(batch.sizes) for batch in drain.batches)
        assert drain.dropped == HONEST - got > 0
        assert group.doors.filtered() == HONEST
        assert group.doors.drain().dropped == 0


def test_the_wheel_s_inbox_hands_on_what_was_dropped():
    with opened(receive_buffer=100 * 384) as group:
        bell = Bell(group.doors.filenos(), time.monotonic_ns, pause_limit_ns=SECOND)
        inbox = ServerInbox(group.doors, time.monotonic_ns, bell)
        group.say(*[beat(1)] * HONEST)
        inputs = inbox.drain()
        assert inputs.dropped == HONEST - sum(len(one.sizes) for one in inputs.datagrams) > 0
        assert inbox.drain().dropped == 0
        bell.close()


class Hand:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


def test_junk_is_filtered_while_it_comes_in_floods_and_counted_by_reason_otherwise():
    clock = Hand()
    with opened(now_ns=clock) as group:
        flood = [JUNK["zeros"]] * 1100  # in 100 ms: 11,000/s
        group.say(*flood[:900])
        clock.now += 100 * MILLISECOND
        group.collect(900)
        assert not group.doors.is_filtering
        group.say(*flood)
        clock.now += 100 * MILLISECOND
        group.collect(1100)
        assert group.doors.is_filtering
        for _ in range(150):
            group.say(*flood[:110])
            clock.now += 100 * MILLISECOND
            assert group.doors.drain().batches == ()
        assert group.doors.filtered() == 150 * 110
        assert group.doors.is_filtering
        for _ in range(101):
            clock.now += 100 * MILLISECOND
            group.doors.drain()
        assert not group.doors.is_filtering
        group.say(*flood[:5])
        group.collect(5)
        assert group.doors.drops() == 0


def test_a_node_always_reaches_the_same_of_several_doors_in_order():
    with opened(count=4) as group:
        assert len(group.doors) == 4
        nodes = [node_id(f"n{number}") for number in range(64)]
        for sequence in range(20):
            group.say(*[beat(node, sequence) for node in nodes])
        batches = group.collect(20 * 64)
        seen = [{int.from_bytes(one[16:24], "little") for one in batch} for batch in batches]
        assert len(batches) == 4
        assert sum(map(len, seen)) == 64
        for batch in batches:
            sequences = [open_record(one, bytes(32)).sequence for one in batch]
            assert sequences == sorted(sequences)
        assert group.doors.datagrams_count == 20 * 64
        assert group.doors.bytes_count == 20 * 64 * RECORD_SIZE


def test_several_doors_say_the_earliest_of_their_watermarks():
    with opened(count=3) as group:
        before_ns = time.monotonic_ns()
        drain = group.doors.drain()
        assert drain.emptied
        watermarks = [door.watermark_ns for door in group.doors._doors]
        assert before_ns <= drain.watermark_ns == min(watermarks) < max(watermarks)


def test_replies_of_several_doors_come_from_their_address():
    with opened(count=3) as group:
        group.sender.settimeout(PATIENCE_S)
        group.say(beat(1))
        until = time.monotonic() + PATIENCE_S
        while not (batches := group.doors.drain().batches) and time.monotonic() < until:
            pass
        rows, peers = batches[0].rows[:, :64].copy(), batches[0].peers.copy()
        group.doors.send(Replies(rows, peers, np.ones(len(rows), np.bool_)))
        assert group.sender.recvfrom(100) == (beat(1), group.to)
        assert (group.doors.sent_count, group.doors.refused_count) == (1, 0)
        assert group.doors.errors_count == 0


@pytest.mark.parametrize("prefilter", ["on", "off"])
def test_a_second_monitor_cannot_join_the_doors_of_the_first(prefilter):
    with opened(count=2, prefilter=prefilter) as group:
        with pytest.raises(ConfigError, match="a free port"):
            open_doors(group.doors.address, BUFFER_SIZE, time.monotonic_ns, prefilter=prefilter)
        with pytest.raises(ConfigError, match="a free port"):
            open_door(group.doors.address, BUFFER_SIZE, time.monotonic_ns)
        group.say(GOOD["one record"])
        group.collect(1)


def test_when_they_are_closed_the_address_is_free():
    with opened(count=2, prefilter="on") as group:
        address = group.doors.address
    group.doors.close()
    with opened(address) as again:
        assert again.doors.address == address


@pytest.mark.parametrize("datagram", [*JUNK.values(), *GOOD.values()], ids=[*JUNK, *GOOD])
def test_we_and_the_kernel_agree_about_what_is_junk(datagram):
    with opened(prefilter="off") as group:
        group.say(datagram)
        (batch,) = group.doors.drain().batches
        assert is_junk(batch).tolist() == [datagram in JUNK.values()]


def test_what_an_earlier_datagram_left_in_a_row_makes_a_short_one_no_heartbeat():
    rows = np.frombuffer(GOOD["one record"], np.uint8).reshape(1, -1)
    one = np.array([63])
    assert is_junk(Datagrams(rows, one, rows, one)).tolist() == [True]


@pytest.mark.parametrize(
    ("counts", "is_on"),
    [
        ([999], False),
        ([1000], True),
        ([1000, 100], True),
        ([1000] + [99] * 99, True),
        ([1000] + [99] * 100, False),
        ([1000] + [99] * 50 + [100] + [99] * 99, True),
        ([1000] + [0] * 100 + [999], False),
    ],
)
def test_a_flood_begins_at_a_rate_and_ends_after_a_calm(counts, is_on):
    flood = Flood(0)
    for index, count in enumerate(counts):
        flood.note(count, (index + 1) * SECOND // 10)
    assert flood.is_on is is_on


def test_a_flood_is_not_judged_by_a_single_drain():
    flood = Flood(0)
    assert not flood.note(5000, 5 * MILLISECOND)
    assert flood.note(0, 100 * MILLISECOND)
