"""The clocks of a simulated machine: literal numbers, and properties over any drift."""

from hypothesis import given
from hypothesis import strategies as st

from beatward.core.instants import HOUR, SECOND
from beatward.simulate.clock import HostClock

DRIFTS = st.integers(-200_000, 200_000)
INSTANTS = st.integers(0, 10**16)


def test_a_clock_begins_at_its_boot_and_drifts():
    clock = HostClock(boot_ns=5, wall_ns=10 * SECOND, drift_ppb=100_000)
    assert clock.now_ns(0) == 5
    assert clock.now_ns(10 * SECOND) == 5 + 10 * SECOND + 1_000_000
    assert clock.wall_ns(10 * SECOND) == 20 * SECOND + 1_000_000


def test_setting_the_wall_clock_leaves_the_monotonic_clock_alone():
    clock = HostClock(boot_ns=5, wall_ns=0)
    clock.step_wall(-HOUR)
    assert (clock.now_ns(SECOND), clock.wall_ns(SECOND)) == (5 + SECOND, SECOND - HOUR)


def test_sleep_counts_on_one_kind_of_clock_only():
    counting = HostClock(boot_ns=0, wall_ns=0)
    stopping = HostClock(boot_ns=100 * SECOND, wall_ns=0, counts_suspend=False)
    for clock in (counting, stopping):
        clock.lose(30 * SECOND)
    assert counting.now_ns(40 * SECOND) == 40 * SECOND
    assert stopping.now_ns(40 * SECOND) == 110 * SECOND


def test_a_reboot_begins_the_monotonic_clock_anew():
    clock = HostClock(boot_ns=500 * SECOND, wall_ns=7)
    clock.reboot(3, 60 * SECOND)
    assert (clock.now_ns(60 * SECOND), clock.wall_ns(60 * SECOND)) == (3, 60 * SECOND + 7)


@given(boot=INSTANTS, drift=DRIFTS, instant=INSTANTS)
def test_property_true_time_is_found_again(boot, drift, instant):
    clock = HostClock(boot_ns=boot, wall_ns=0, drift_ppb=drift)
    local = clock.now_ns(instant)
    found = clock.true_ns(local)
    assert clock.now_ns(found) >= local
    assert found == 0 or clock.now_ns(found - 1) < local


@given(drift=DRIFTS, first=INSTANTS, second=INSTANTS)
def test_property_a_clock_never_runs_backwards(drift, first, second):
    clock = HostClock(boot_ns=9, wall_ns=0, drift_ppb=drift)
    early, late = sorted((first, second))
    assert clock.now_ns(early) <= clock.now_ns(late)
