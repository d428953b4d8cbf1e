"""The inbox between the web and the wheel: what fits, in which order, and what does not."""

import threading
import time

import pytest

from beatward.core.instants import SECOND
from beatward.core.intake import Via
from beatward.core.jobs import Dues
from beatward.core.order_kinds import Join
from beatward.core.outbox import Outcome
from beatward.core.protocol.record import RECORD_SIZE, Kind, Record, seal
from beatward.server.bell import Bell
from beatward.server.inbox import ORDERS_TURN, RECORDS_MAX, ServerInbox
from beatward.transport import open_doors

FULL = bytes(1024 * RECORD_SIZE)


class Ticks:
    """A clock that stands where it is put."""

    def __init__(self):
        self.now_ns = 0

    def __call__(self):
        return self.now_ns


@pytest.fixture
def clock():
    return Ticks()


@pytest.fixture
def bell(clock):
    made = Bell((), clock, pause_limit_ns=SECOND)
    yield made
    made.close()


@pytest.fixture
def inbox(clock, bell):
    with open_doors("127.0.0.1:0", 4096, time.monotonic_ns) as doors:
        yield ServerInbox(doors, clock, bell)


def of(node, count=1):
    """Return so many records of a node, one after the other."""
    beats = (Record(Kind.HEARTBEAT, node, 1, i, interval_ms=1000) for i in range(count))
    return b"".join(seal(beat, bytes(32)) for beat in beats)


def fill(inbox):
    for _ in range(RECORDS_MAX // 1024):
        assert inbox.put_records(FULL, Via.HTTP)


def test_records_that_came_together_stay_in_order_and_have_one_arrival(inbox, clock):
    clock.now_ns = 10
    assert inbox.put_records(of(7, 3), Via.HTTP)
    clock.now_ns = 20
    assert inbox.put_records(of(8), Via.PING)
    clock.now_ns = 30
    assert inbox.put_records(of(9, 2), Via.HTTP)
    http, ping = inbox.drain().datagrams
    assert (http.via, ping.via) == (Via.HTTP, Via.PING)
    assert http.rows.tobytes() == of(7, 3) + of(9, 2)
    assert http.arrived_ns.tolist() == [10, 10, 10, 30, 30]
    assert http.sizes.tolist() == [RECORD_SIZE] * 5
    assert http.peers.shape[0] == 5
    assert not http.peers.any()
    assert (ping.rows.tobytes(), ping.arrived_ns.tolist()) == (of(8), [20])
    assert inbox.drain().datagrams == ()


def test_room_is_counted_in_records(inbox):
    fill(inbox)
    assert not inbox.put_records(of(1), Via.HTTP)
    assert not inbox.put_records(of(1), Via.PING)
    assert inbox.refused_count == 2
    (batch,) = inbox.drain().datagrams
    assert len(batch.rows) == RECORDS_MAX


def test_what_does_not_fit_whole_is_not_taken_at_all(inbox):
    fill(inbox)
    (batch,) = inbox.drain().datagrams
    for _ in range(RECORDS_MAX // 1024 - 1):
        assert inbox.put_records(FULL, Via.HTTP)
    assert inbox.put_records(of(1, 2), Via.HTTP)
    assert not inbox.put_records(FULL, Via.HTTP)
    assert inbox.refused_count == 1024
    assert inbox.put_records(FULL[: -2 * RECORD_SIZE], Via.HTTP), "exactly what is left"
    (batch,) = inbox.drain().datagrams
    assert len(batch.rows) == RECORDS_MAX


def test_half_a_record_is_a_mistake_of_ours(inbox):
    with pytest.raises(AssertionError):
        inbox.put_records(of(1)[:-1], Via.HTTP)


def test_many_threads_may_put_while_one_drains(inbox):
    threads, rounds = 4, 2000

    def put(node):
        for _ in range(rounds):
            while not inbox.put_records(of(node, 3), Via.HTTP):
                time.sleep(0)  # the other thread drains

    putting = [threading.Thread(target=put, args=[node]) for node in range(1, threads + 1)]
    for thread in putting:
        thread.start()
    found = 0
    end = time.monotonic() + 30
    while found < threads * rounds * 3 and time.monotonic() < end:
        found += sum(len(batch.rows) for batch in inbox.drain().datagrams)
    for thread in putting:
        thread.join()
    assert found == threads * rounds * 3
    fill(inbox)  # and so the count of what waits is exactly 0 again
    assert not inbox.put_records(of(1), Via.HTTP)


def test_a_join_storm_is_taken_in_order_and_some_a_turn(inbox):
    names = [f"web-{number}" for number in range(2 * ORDERS_TURN + 1)]
    for name in names:
        assert inbox.put_order(Join(name))
    turns = [[order.name for order in inbox.drain().orders] for _ in range(4)]
    assert [len(turn) for turn in turns] == [ORDERS_TURN, ORDERS_TURN, 1, 0]
    assert [name for turn in turns for name in turn] == names


@pytest.mark.parametrize(
    "put",
    [
        lambda inbox: inbox.put_order(Join("web-1")),
        lambda inbox: inbox.put_outcome(Outcome("key", 1, "success", "")),
        lambda inbox: inbox.put_dues([Dues("backup", (1,), anew=False)]),
        lambda inbox: inbox.put_receipt(7),
    ],
    ids=["an order", "an outcome", "due instants", "a receipt"],
)
def test_what_others_put_wakes_the_wheel_also_while_it_gathers(inbox, bell, put):
    assert not bell.wait(0, listen=False)
    put(inbox)
    assert bell.wait(60 * SECOND, listen=False)
    inbox.drain()
    assert not bell.wait(0, listen=True)


def test_records_wake_a_wheel_that_listens_and_may_wait_for_one_that_gathers(inbox, bell):
    inbox.put_records(of(7), Via.HTTP)
    assert not bell.wait(0, listen=False)
    assert bell.wait(60 * SECOND, listen=True)
    inbox.drain()
    assert not bell.wait(0, listen=True)


def test_what_is_refused_wakes_nobody(inbox, bell):
    fill(inbox)
    bell.answer()
    assert not inbox.put_records(of(1), Via.HTTP)
    assert not bell.wait(0, listen=True)


def test_the_drain_says_when_the_monitor_was_awake(inbox, bell, clock):
    clock.now_ns = 5
    bell.wait(0, listen=True)
    assert inbox.drain().listened_ns == 5
