"""When the wheel turns next: at once while few come, together while many do, never late."""

from collections import deque
from itertools import pairwise

import pytest

from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.server.schedule import BURST, GATHER_NS, QUIET_NS, TurnSchedule

TICK = 5 * MILLISECOND
BUFFER = 4 * 1024 * 1024


class Fleet:
    """Datagrams that arrive at given instants, and turns taken as the schedule says."""

    def __init__(self, arrivals_ns, *, buffer=BUFFER, is_stamped=True, wake_ns=NEVER):
        self.schedule = TurnSchedule(TICK, buffer=buffer, is_stamped=is_stamped)
        self.waiting = deque(arrivals_ns)
        self.wake_ns = wake_ns
        self.turns = []  # (instant, datagrams taken)
        self.waits_ns = []

    def run(self, until_ns):
        now_ns = 0
        while True:
            due_ns = self.schedule.due_ns
            if self.waiting:
                due_ns = min(due_ns, max(self.waiting[0], self.schedule.listen_ns))
            now_ns = max(now_ns, due_ns, self.schedule.soonest_ns)
            if now_ns >= until_ns:
                return self
            count = 0
            while self.waiting and self.waiting[0] <= now_ns:
                self.waits_ns.append(now_ns - self.waiting.popleft())
                count += 1
            self.turns.append((now_ns, count))
            wake_ns = self.wake_ns if self.wake_ns > now_ns else NEVER
            self.schedule.note_turn(now_ns, now_ns, wake_ns=wake_ns, count=count)


def every(rate, until_ns=10 * SECOND):
    count = rate * (until_ns - SECOND) // SECOND
    return [SECOND + number * SECOND // rate for number in range(count)]


def test_where_nothing_comes_it_turns_five_times_a_second():
    fleet = Fleet([]).run(10 * SECOND)
    assert len(fleet.turns) == 10 * SECOND // QUIET_NS


@pytest.mark.parametrize("rate", [1, 5, 20])
def test_what_few_say_is_taken_at_once(rate):
    fleet = Fleet(every(rate)).run(10 * SECOND)
    assert max(fleet.waits_ns) <= TICK
    assert len(fleet.turns) < 10 * (rate + SECOND // QUIET_NS)


@pytest.mark.parametrize("rate", [100, 1000, 10_000])
def test_what_many_say_is_taken_together(rate):
    fleet = Fleet(every(rate, 3 * SECOND)).run(3 * SECOND)
    assert max(fleet.waits_ns) <= GATHER_NS
    assert len(fleet.turns) <= 3 * SECOND // GATHER_NS + 2 * BURST


@pytest.mark.parametrize(("rate", "ticks"), [(50_000, 3), (100_000, 1), (1_000_000, 1)])
def test_under_load_turns_follow_each_other_by_the_tick(rate, ticks):
    fleet = Fleet(every(rate, SECOND + SECOND // 10)).run(2 * SECOND)
    begun = [at_ns for at_ns, count in fleet.turns if count]
    assert max(after - before for before, after in pairwise(begun)) <= ticks * TICK + TICK // 10


def test_a_burst_after_silence_is_taken_by_the_tick_and_not_left_to_fill_the_buffer():
    burst = [SECOND + number * 10_000 for number in range(4000)]  # 100,000 a second, 40 ms long
    fleet = Fleet(burst).run(2 * SECOND)
    assert max(fleet.waits_ns) <= TICK


def test_a_small_buffer_is_never_left_to_fill():
    fleet = Fleet(every(2000), buffer=200_000).run(10 * SECOND)
    assert max(count for _, count in fleet.turns) <= 200_000 // 768 // 4


def test_without_the_kernel_s_stamps_nothing_waits_for_longer_than_a_tick():
    fleet = Fleet(every(1000), is_stamped=False).run(10 * SECOND)
    assert max(fleet.waits_ns) <= TICK


def test_what_is_due_brings_a_turn_at_its_instant():
    fleet = Fleet([], wake_ns=SECOND + 57_000_123).run(2 * SECOND)
    assert SECOND + 57_000_123 in [at_ns for at_ns, _ in fleet.turns]


def test_what_is_due_at_once_waits_for_the_tick():
    schedule = TurnSchedule(TICK, buffer=BUFFER, is_stamped=True)
    schedule.note_turn(SECOND, SECOND + MILLISECOND, wake_ns=0, count=1)
    assert schedule.due_ns == schedule.soonest_ns == SECOND + TICK


def test_a_turn_that_took_longer_than_a_tick_is_not_caught_up():
    schedule = TurnSchedule(TICK, buffer=BUFFER, is_stamped=True)
    schedule.note_turn(SECOND, SECOND + 4 * TICK, wake_ns=0, count=1)
    assert schedule.due_ns == SECOND + 4 * TICK


def test_who_expects_something_urgent_gathers_nothing():
    fleet = Fleet(every(1000)).run(3 * SECOND)
    assert fleet.schedule.is_gathering
    fleet.schedule.hurry()
    assert not fleet.schedule.is_gathering
    assert fleet.schedule.listen_ns == fleet.schedule.soonest_ns


def test_a_tick_longer_than_the_gathering_is_kept():
    schedule = TurnSchedule(100 * MILLISECOND, buffer=BUFFER, is_stamped=True)
    schedule.note_turn(SECOND, SECOND, wake_ns=NEVER, count=1)
    assert schedule.soonest_ns == schedule.listen_ns == SECOND + 100 * MILLISECOND
