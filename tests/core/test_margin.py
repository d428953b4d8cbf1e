"""The margin as a quantile of lateness: that it keeps to the share asked for, and what it forgets.

Calibration is tried out of sample: each heartbeat against the deadline that those before it set.
"""

import numpy as np
import pytest
from tests.core.one_slot import SLOT, OneSlot

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.instants import HOUR, MILLISECOND, SECOND

NODES = 32
HEARTBEATS = 6_000


def exponential(rng, shape):
    return rng.exponential(20 * MILLISECOND, shape)


def lognormal(rng, shape):
    return rng.lognormal(np.log(6 * MILLISECOND), 1.0, shape)


def pauses(rng, shape):
    """Jitter of 5 ms, and one heartbeat in a hundred after a pause of its node."""
    paused = rng.random(shape) < 0.01
    pause = rng.lognormal(np.log(100 * MILLISECOND), 0.5, shape)
    return rng.exponential(5 * MILLISECOND, shape) + paused * pause


def regimes(rng, shape):
    """Every thousand heartbeats the route changes: jitter four times as large, and 30 ms more."""
    rough = np.arange(shape[0]) // 1000 % 2
    scale = (1 + 3 * rough) * 8 * MILLISECOND
    return rng.exponential(scale[:, None], shape) + rough[:, None] * 30 * MILLISECOND


def late_share(kind, lateness, *, loss=0.0, **settings):
    """Return which share came after its own deadline, in the second half of the heartbeats."""
    count, nodes = lateness.shape
    detector = DETECTORS[kind](DetectorSettings(kind=kind, margin_min_ns=1, **settings), nodes)
    detector.forget(np.arange(nodes))
    is_lost = np.random.default_rng(9).random(lateness.shape) < loss
    before = np.full(nodes, -1)
    late = heard = 0
    for place in range(count):
        slots = np.flatnonzero(~is_lost[place])
        arrived = (place * SECOND + lateness[place, slots]).astype(np.int64)
        steps = place - before[slots]
        if place >= count // 2:
            # Whoever's last heartbeat was lost was suspected for that one.
            own = steps == 1
            late += int((own & (arrived >= detector.deadline_ns[slots])).sum())
            heard += int(own.sum())
        detector.observe(slots, steps, np.full(len(slots), SECOND), arrived)
        before[slots] = place
    return late / heard


# --- calibration: the share of late heartbeats is the one that was asked for ---


@pytest.mark.slow
@pytest.mark.parametrize("late", [1e-2, 1e-3])
@pytest.mark.parametrize("trace", [exponential, lognormal, pauses, regimes])
def test_the_share_of_late_heartbeats_is_the_one_asked_for_within_a_factor_of_two(trace, late):
    lateness = trace(np.random.default_rng(11), (HEARTBEATS, NODES))
    assert 0.5 <= late_share("chen", lateness, late_probability=late) / late <= 2


@pytest.mark.slow
@pytest.mark.parametrize("late", [1e-2, 1e-3])
def test_where_lateness_ends_between_two_edges_the_margin_is_too_careful_by_a_step_at_most(late):
    # A distribution with a hard end is no straight line there: fewer are late than were allowed.
    lateness = np.random.default_rng(15).uniform(0, 300 * MILLISECOND, (HEARTBEATS, NODES))
    found = late_share("chen", lateness, late_probability=late)
    assert found <= 2 * late
    one = OneSlot("chen", margin_min_ns=1, late_probability=late)
    one.hear_all(lateness[:, 0])
    assert one.margin_ns <= 1.5 * np.quantile(lateness[:, 0] - 150 * MILLISECOND, 1 - late)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["two_window", "adaptive"])
def test_those_who_expect_otherwise_keep_to_the_share_as_well(kind):
    lateness = regimes(np.random.default_rng(12), (HEARTBEATS, NODES))
    assert 0.5 <= late_share(kind, lateness, late_probability=1e-3) / 1e-3 <= 2


@pytest.mark.slow
def test_a_lost_heartbeat_is_not_a_late_one():
    lateness = exponential(np.random.default_rng(13), (HEARTBEATS, NODES))
    assert 0.5 <= late_share("chen", lateness, loss=0.05, late_probability=1e-2) / 1e-2 <= 2


@pytest.mark.slow
@pytest.mark.parametrize("trace", [exponential, lognormal, pauses, regimes])
def test_cantellis_bound_is_kept_to_on_every_trace(trace):
    lateness = trace(np.random.default_rng(14), (HEARTBEATS, NODES))
    found = late_share("chen", lateness, late_probability=1e-2, margin_from="cantelli")
    assert found <= 1e-2


# --- few heartbeats ---


def test_until_enough_were_counted_the_margin_lies_beyond_all_of_them_and_cantellis_bound():
    # 1/(m+1) <= p from the 999th counted on; the first heartbeat is counted by nobody.
    one = OneSlot("chen")
    one.hear_all([0] * 400 + [260 * MILLISECOND] + [0] * 598)
    assert one.detector.counted[0] == 998
    assert one.margin_ns == 375 * MILLISECOND  # the edge above 260 ms; Cantelli's is 50 ms again
    assert one.why.startswith("at most 1 in 1,000 comes later: the last 128 spread by ")
    one.hear(999)
    assert one.why == "99.9 % of 999 came earlier"
    assert one.margin_ns == 375 * MILLISECOND
    one.hear_all([0] * 2_000)
    assert one.margin_ns == 50 * MILLISECOND


def test_a_share_that_could_never_be_counted_stays_with_the_bound():
    one = OneSlot("chen", late_probability=1e-9)
    one.hear_all([0, MILLISECOND] * 1000)
    assert one.margin_ns == 500 * MILLISECOND
    assert one.why == "the most there is: the last 128 spread by 500 us"


# --- what it remembers ---


def test_where_a_network_gets_worse_the_quantile_grows_with_the_late_heartbeats():
    rng = np.random.default_rng(5)
    one = OneSlot("chen", late_probability=1e-2, margin_min_ns=1)
    one.hear_all(rng.exponential(5 * MILLISECOND, 3000))
    calm = one.margin_ns
    one.hear_all(rng.exponential(20 * MILLISECOND, 50))
    assert one.margin_ns > 1.1 * calm
    one.hear_all(rng.exponential(20 * MILLISECOND, 250))
    assert one.margin_ns > 2 * calm


def test_where_it_gets_better_the_quantile_follows_when_the_old_ones_are_halved_away():
    rng = np.random.default_rng(6)
    one = OneSlot("chen", late_probability=1e-2, margin_min_ns=1)
    one.hear_all(rng.exponential(40 * MILLISECOND, 1000))
    rough = one.margin_ns
    one.hear_all(rng.exponential(4 * MILLISECOND, 6000))
    assert one.margin_ns < rough / 4
    assert 800 <= one.detector.counted[0] <= 1600
    assert one.detector.counts[0].sum() == one.detector.counted[0]


def test_what_was_counted_outlives_a_schedule_that_moves_but_no_other_interval_and_no_new_life():
    one = OneSlot("chen", late_probability=1e-2)
    one.hear_all([0] * 300)
    one.detector.reanchor(SLOT)
    assert one.detector.counted[0] == 299
    one.hear_all([7 * SECOND] * 8)
    assert one.why == "99 % of 306 came earlier"
    one.hear(400, interval_ns=2 * SECOND)
    assert one.detector.counted[0] == 0
    one.hear_all([0] * 20, interval_ns=2 * SECOND)
    one.detector.forget(SLOT)
    assert (one.detector.counted[0], one.detector.counts.sum()) == (0, 0)


def test_what_our_own_pause_stamped_late_is_not_counted():
    one = OneSlot("chen")
    one.hear_all([0] * 300)
    one.hear(300, 20 * SECOND, learn=False)
    assert one.detector.counted[0] == 299


# --- limits and words ---


@pytest.mark.parametrize(
    ("late_ms", "interval_ns", "margin_ms", "words"),
    [
        (1, SECOND, 50, "99 % of 1,199 came earlier"),
        (700, SECOND, 500, "the most there is: more than 1 in 100 of 1,199 came later"),
        (1000, HOUR, 14_062.5, "99 % of 1,199 came earlier"),  # the first edge: 1/256 of an hour
    ],
)
def test_the_margin_is_held_between_its_least_and_half_an_interval(
    late_ms, interval_ns, margin_ms, words
):
    one = OneSlot("chen", late_probability=1e-2)
    # One in twenty is late; three in a row would be a schedule that moves.
    one.hear_all(([0] * 19 + [late_ms * MILLISECOND]) * 60, interval_ns=interval_ns)
    assert one.margin_ns / MILLISECOND == pytest.approx(margin_ms, rel=1e-6)
    assert one.why == words


def test_a_margin_of_ones_own_and_cantellis_need_no_histogram():
    assert OneSlot("chen", margin_ns=SECOND).detector.counts.nbytes == 0
    assert OneSlot("chen", margin_from="cantelli").detector.counts.nbytes == 0


def test_the_default_costs_69_bytes_a_slot():
    detector = OneSlot("chen").detector
    assert sum(it.nbytes for it in vars(detector).values() if isinstance(it, np.ndarray)) == 69


# --- suspicion ---


def test_suspicion_is_the_share_of_heartbeats_that_were_overdue_by_as_much():
    rng = np.random.default_rng(8)
    lateness = rng.exponential(30 * MILLISECOND, 14_000)
    one = OneSlot("chen", margin_min_ns=1)
    one.hear_all(lateness)
    lateness -= np.mean(lateness[-128:])
    for chance in (0.3, 0.1, 0.01, 0.002):
        now = one.due_ns + round(np.quantile(lateness, 1 - chance))
        assert one.suspicion_at(now) == pytest.approx(-np.log10(chance), abs=0.15)
    assert one.suspicion_at(one.deadline_ns) == pytest.approx(3, abs=1e-3)


def test_a_least_margin_holds_suspicion_below_its_threshold():
    one = OneSlot("chen")
    one.hear_all([0] * 5000)
    assert one.suspicion_at(one.deadline_ns - 1) < 3 <= one.suspicion_at(one.deadline_ns)
    # Whoever is silent for five intervals more has lost five in a row.
    assert 5 <= one.suspicion_at(one.deadline_ns + 5 * SECOND) <= 9


def test_who_began_together_does_not_look_together():
    """A monitor that has restarted hears everybody for the first time in the same second."""
    count, beats = 4000, 64
    detector = DETECTORS["chen"](DetectorSettings(late_probability=0.1), count)
    slots, ones = np.arange(count), np.ones(count, np.int64)
    chance = np.random.default_rng(5)
    looked = []
    for beat in range(1, beats):
        late_ns = detector.late_ns.copy()
        arrived_ns = beat * SECOND + chance.exponential(5 * MILLISECOND, count).astype(np.int64)
        detector.observe(slots, ones, ones * SECOND, arrived_ns)
        looked.append(int(np.count_nonzero(detector.late_ns != late_ns)))
    # At rest one in sixteen looks at each beat, and never most of them at once.
    assert 0.03 * count < min(looked[16:]) <= max(looked[16:]) < 0.3 * count
