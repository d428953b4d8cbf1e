"""The network does what its weather says: loss, delay and its tail, doubles, damage, cuts."""

import pytest

from beatward.core.instants import MILLISECOND, SECOND
from beatward.simulate.chance import split
from beatward.simulate.event_queue import EventQueue
from beatward.simulate.network import End, Network, Weather

SOURCE = b"s" * 28
TARGET = b"t" * 28
COUNT = 20_000


class Wire:
    """One node, one monitor, and what arrived at either: (instant, first byte)."""

    def __init__(self, seed=1, **weather):
        self.event_queue = EventQueue()
        self.network = Network(self.event_queue, split(seed, "test"), Weather(**weather))
        self.network.add_node("a")
        self.at_monitor, self.at_node = [], []
        self.is_listening = True
        self.network.deliver_to_monitor = self._hear
        self.network.open_socket(TARGET, "a", self._take)

    def _hear(self, datagram):
        if self.is_listening:
            self.at_monitor.append((self.event_queue.now_ns, datagram))
        return self.is_listening

    def _take(self, datagram):
        self.at_node.append((self.event_queue.now_ns, datagram))
        return True

    def send(self, count=COUNT, spacing_ns=MILLISECOND):
        for i in range(count):
            self.event_queue.run_until(i * spacing_ns)
            self.network.send_to_monitor("a", SOURCE, i.to_bytes(4, "big"))
        self.event_queue.run_until((count + 100_000) * spacing_ns)

    @property
    def fates(self):
        return self.network.to_monitor["a"].fates


def test_loss_has_the_share_that_was_asked_for():
    wire = Wire(loss_probability=0.1)
    wire.send()
    # Five standard deviations of a binomial count: once in 3.5 million seeds.
    assert abs(COUNT - len(wire.at_monitor) - COUNT // 10) < 5 * (COUNT * 0.09) ** 0.5
    assert wire.network.counts["lost"] == COUNT - len(wire.at_monitor)


@pytest.mark.parametrize("heavy_tail", [False, True])
@pytest.mark.parametrize("limit_ms", [1, 3, 10, 30])
def test_delays_are_as_late_as_the_formula_says(heavy_tail, limit_ms):
    weather = Weather(delay_ns=MILLISECOND // 2, jitter_ns=4 * MILLISECOND, heavy_tail=heavy_tail)
    rng = split(2, "delays")
    late = sum(weather.draw_delay_ns(rng) > limit_ms * MILLISECOND for _ in range(COUNT))
    expected = weather.late_probability(limit_ms * MILLISECOND)
    assert abs(late - COUNT * expected) < 5 * (COUNT * expected * (1 - expected)) ** 0.5 + 1


def test_nothing_is_earlier_than_the_fixed_part_of_the_delay():
    weather = Weather(delay_ns=10, jitter_ns=0)
    assert weather.draw_delay_ns(split(3, "delays")) == 10
    assert (weather.late_probability(10), weather.late_probability(11)) == (1.0, 0.0)


def test_independent_delays_overtake_each_other_and_a_fifo_path_does_not():
    orders = []
    for is_fifo in (False, True):
        wire = Wire(jitter_ns=5 * MILLISECOND, is_fifo=is_fifo)
        wire.send(1000)
        orders.append([int.from_bytes(datagram.data, "big") for _, datagram in wire.at_monitor])
    assert orders[0] != sorted(orders[0])
    assert orders[1] == sorted(orders[0]) == list(range(1000))


def test_doubles_arrive_twice_and_are_one_fate():
    wire = Wire(duplicate_probability=1.0)
    wire.send(100)
    assert len(wire.at_monitor) == 200
    assert [fate.end for fate in wire.fates] == [End.ARRIVED] * 100
    first = min(at for at, datagram in wire.at_monitor if datagram.data == b"\0\0\0\7")
    assert wire.fates[7].arrived_ns == first


def test_a_damaged_datagram_differs_in_one_bit_and_counts_as_lost():
    wire = Wire(damage_probability=1.0)
    wire.send(50)
    for i, (_, datagram) in enumerate(sorted(wire.at_monitor, key=lambda one: one[0])):
        difference = int.from_bytes(datagram.data, "big") ^ i
        assert difference.bit_count() == 1
        assert datagram.author == ""
    assert {fate.end for fate in wire.fates} == {End.LOST}


def test_a_cut_takes_also_what_is_under_way_and_outages_overlap():
    wire = Wire(delay_ns=10 * MILLISECOND, jitter_ns=0)
    path = wire.network.to_monitor["a"]
    wire.network.send_to_monitor("a", SOURCE, b"under way")
    wire.event_queue.run_until(5 * MILLISECOND)
    wire.network.cut(path)
    wire.network.cut(path)
    wire.event_queue.run_until(SECOND)
    wire.network.mend(path)
    wire.network.send_to_monitor("a", SOURCE, b"still cut")
    wire.network.mend(path)
    wire.network.send_to_monitor("a", SOURCE, b"through")
    wire.event_queue.run_until(2 * SECOND)
    assert [datagram.data for _, datagram in wire.at_monitor] == [b"through"]
    assert [fate.end for fate in path.fates] == [End.CUT, End.CUT, End.ARRIVED]


def test_the_two_ways_are_cut_apart():
    wire = Wire()
    wire.network.cut(wire.network.to_monitor["a"])
    wire.network.send_to_node(TARGET, b"down")
    wire.network.send_to_monitor("a", SOURCE, b"up")
    wire.event_queue.run_until(SECOND)
    assert (len(wire.at_node), len(wire.at_monitor)) == (1, 0)


def test_nobody_hears_at_a_closed_socket_or_a_monitor_that_is_down():
    wire = Wire()
    wire.is_listening = False
    wire.network.close_socket(TARGET)
    wire.network.send_to_monitor("a", SOURCE, b"up")
    wire.network.send_to_node(TARGET, b"down")
    wire.network.send_to_node(b"?" * 28, b"an address nobody ever had")
    wire.event_queue.run_until(SECOND)
    assert wire.fates[0].end == wire.network.to_node["a"].fates[0].end == End.UNHEARD
    assert wire.network.counts["unheard"] == 2


def test_the_adversary_hears_of_all_but_what_is_cut():
    wire, told = Wire(withhold_probability=1.0), []
    wire.network.watch = lambda datagram, name, took: told.append((datagram.data, name, took))
    wire.network.send_to_monitor("a", SOURCE, b"1")
    wire.network.cut(wire.network.to_monitor["a"])
    wire.network.send_to_monitor("a", SOURCE, b"2")
    assert told == [(b"1", "a", True)]


def test_the_chance_to_miss_puts_all_causes_together():
    wire = Wire(
        loss_probability=0.1,
        damage_probability=0.2,
        delay_ns=0,
        jitter_ns=0,
    )
    path = wire.network.to_monitor["a"]
    assert wire.network.missed_probability(path, 1) == pytest.approx(1 - 0.9 * 0.8)
    assert wire.network.missed_probability(path, 0) == 1.0
