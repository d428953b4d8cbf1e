"""Traces: the moments of each model, order, weather and clocks, and the twin of a measured week."""

import numpy as np
import pytest

from beatward.core.instants import HOUR, MILLISECOND, MINUTE, SECOND
from beatward.simulate.traces import (
    TRACES,
    Bernoulli,
    Exponential,
    GilbertElliott,
    Lognormal,
    Regime,
    Regimes,
    Spells,
    TraceClock,
    TracePath,
    TraceWeather,
    Weibull,
    beat,
    draw,
    generator,
    spells,
    wan,
)

COUNT = 200_000


def rng(concern="test"):
    return generator(4711, concern)


def spans(*pairs):
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    return Spells(ends[:, 0], ends[:, 1])


# --- models -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "mean", "deviation"),
    [
        (Exponential(20.0), 20.0, 20.0),
        (Exponential(20.0, least_ns=100.0), 120.0, 20.0),
        (Lognormal(30.0, 15.0), 30.0, 15.0),
        (Lognormal(30.0, 15.0, 5.0, correlation=0.7), 35.0, 15.0),
        # Weibull of shape 1 is exponential; of shape 1/2 the deviation is sqrt(5) times the mean.
        (Weibull(20.0, 1.0), 20.0, 20.0),
        (Weibull(20.0, 0.5), 20.0, 20.0 * 5**0.5),
    ],
)
def test_delays_have_the_moments_they_are_given(delay, mean, deviation):
    drawn = delay.draw(rng(), COUNT)
    assert drawn.mean() == pytest.approx(mean, rel=0.02)
    assert drawn.std() == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize("correlation", [0.3, 0.7, 0.98])
def test_neighbouring_delays_are_correlated_as_asked(correlation):
    normal = np.log(Lognormal(1.0, 1.0, correlation=correlation).draw(rng(), COUNT))
    assert np.corrcoef(normal[:-1], normal[1:])[0, 1] == pytest.approx(correlation, abs=0.01)
    # Also from one block of the computation to the next.
    edge = np.arange(511, COUNT - 1, 512)
    assert np.corrcoef(normal[edge], normal[edge + 1])[0, 1] == pytest.approx(correlation, abs=0.12)


def test_correlation_lasts_as_long_as_asked():
    normal = np.log(Lognormal(1.0, 1.0, correlation=0.7, memory=100.0).draw(rng(), 10 * COUNT))
    for distance, wanted in ((1, 0.7), (100, 0.7 * np.exp(-0.99)), (1000, 0.0)):
        found = np.corrcoef(normal[:-distance], normal[distance:])[0, 1]
        assert found == pytest.approx(wanted, abs=0.03)


@pytest.mark.parametrize("correlation", [-0.5, 0.1, 1.0])
def test_a_correlation_that_cannot_be_computed_is_refused(correlation):
    with pytest.raises(ValueError, match="correlation"):
        Lognormal(1.0, 1.0, correlation=correlation).draw(rng(), 10)


def bursts(lost):
    """Return the lengths of runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], lost, [False])).astype(int)))
    return edges[1::2] - edges[::2]


def test_independent_losses_have_short_bursts():
    lost = Bernoulli(0.1).draw(rng(), COUNT)
    assert lost.mean() == pytest.approx(0.1, rel=0.03)
    assert bursts(lost).mean() == pytest.approx(1 / 0.9, rel=0.02)
    assert not Bernoulli(0.0).draw(rng(), COUNT).any()


def test_gilbert_losses_come_in_bursts():
    lost = GilbertElliott(0.007, 0.205).draw(rng(), 10 * COUNT)
    assert lost.mean() == pytest.approx(0.007 / 0.212, rel=0.03)
    lengths = bursts(lost)
    assert lengths.mean() == pytest.approx(1 / 0.205, rel=0.03)
    assert (lengths >= 14).mean() == pytest.approx((1 - 0.205) ** 13, rel=0.15)


def test_the_good_state_may_lose_and_the_bad_one_may_not():
    lost = GilbertElliott(0.02, 0.1, good=0.01, bad=0.5).draw(rng(), 5 * COUNT)
    assert lost.mean() == pytest.approx((0.01 * 0.1 + 0.5 * 0.02) / 0.12, rel=0.03)


# --- weather ----------------------------------------------------------------------------------


def test_spells_come_as_often_and_last_as_long_as_asked():
    found = spells(
        rng(), 20_000 * HOUR, every_ns=HOUR, median_ns=SECOND, sigma=1.0, longest_ns=MINUTE
    )
    length = found.end_ns - found.start_ns
    assert len(length) == pytest.approx(20_000, rel=0.03)
    assert np.median(length) == pytest.approx(SECOND, rel=0.03)
    assert (length > 5 * SECOND).mean() == pytest.approx(0.0538, rel=0.1)  # P(N > ln 5)
    assert length.max() <= MINUTE


def test_spells_that_meet_are_one():
    found = spells(rng(), MINUTE, every_ns=SECOND, median_ns=SECOND, sigma=1.0, longest_ns=MINUTE)
    assert len(found.start_ns) < 30
    assert (found.start_ns[1:] > found.end_ns[:-1]).all()


def test_a_spell_covers_its_beginning_and_not_its_end():
    found = spans((10, 20), (30, 40))
    at = np.array([9, 10, 19, 20, 35, 40, 99])
    assert found.cover(at).tolist() == [False, True, True, False, True, False, False]
    assert found.after(at).tolist() == [9, 20, 20, 20, 40, 40, 99]
    assert spans().after(at).tolist() == at.tolist()
    assert not spans().cover(at).any()


# --- a path -----------------------------------------------------------------------------------

STEADY = Exponential(0.0, least_ns=10 * MILLISECOND)


def test_without_weather_every_heartbeat_arrives_on_its_grid():
    trace = beat(rng(), TracePath(STEADY), SECOND, 100)
    assert trace.sequence.tolist() == list(range(100))
    assert (trace.sent_ns == trace.sequence * SECOND).all()
    assert (trace.arrived_ns - trace.sent_ns == 10 * MILLISECOND).all()
    assert trace.sent_count == 100


def test_what_leaves_in_an_outage_is_lost():
    weather = TraceWeather(outages=spans((3 * SECOND, 6 * SECOND)))
    trace = beat(rng(), TracePath(STEADY, weather=weather), SECOND, 10)
    assert trace.sequence.tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert trace.sent_count == 10


def test_a_paused_sender_sends_one_heartbeat_of_the_current_slot_afterwards():
    weather = TraceWeather(sender_pauses=spans((int(2.5 * SECOND), int(5.2 * SECOND))))
    trace = beat(rng(), TracePath(STEADY, weather=weather), SECOND, 8)
    assert trace.sequence.tolist() == [0, 1, 2, 5, 6, 7]
    assert trace.sent_ns[3] == 5.2 * SECOND
    assert trace.sent_count == 6


def test_a_paused_monitor_takes_everything_when_it_wakes():
    weather = TraceWeather(monitor_pauses=spans((int(2.5 * SECOND), int(5.2 * SECOND))))
    trace = beat(rng(), TracePath(STEADY, weather=weather), SECOND, 8)
    assert trace.sequence.tolist() == list(range(8))
    assert (trace.arrived_ns[3:6] == 5.2 * SECOND).all()
    assert trace.sent_ns[3] == 3 * SECOND


def test_regimes_change_delay_and_loss():
    states = (Regime(0.0, 1.0, 0.0), Regime(5.0, 2.0, 0.5))
    turn = 1000 * SECOND
    found = Regimes(states, np.array([0, turn]), np.array([0, 1]))
    path = TracePath(Exponential(0.0, 100.0), weather=TraceWeather(regimes=found))
    trace = beat(rng(), path, SECOND, 2000)
    before = trace.sent_ns < turn
    assert before.sum() == 1000
    assert 430 < (~before).sum() < 570
    delay = trace.arrived_ns - trace.sent_ns
    assert set(delay[before]) == {100}
    assert set(delay[~before]) == {205}


def test_a_clock_drifts_and_is_set():
    clock = TraceClock(200.0, np.array([500 * SECOND]), np.array([3 * SECOND]))
    trace = beat(rng(), TracePath(STEADY, clock=clock), SECOND, 1000)
    assert trace.sent_ns[400] == pytest.approx(400 * 1.0002 * SECOND)
    assert trace.sent_ns[600] == pytest.approx(600 * 1.0002 * SECOND + 3 * SECOND)


def test_a_clock_set_back_sends_nothing_before_what_it_has_sent():
    clock = TraceClock(0.0, np.array([50 * SECOND]), np.array([-3 * SECOND]))
    trace = beat(rng(), TracePath(STEADY, clock=clock), SECOND, 100)
    assert (np.diff(trace.sent_ns) >= 0).all()
    assert trace.sent_ns[-1] == 96 * SECOND


@pytest.mark.parametrize("keeps_order", [True, False])
def test_news_arrives_in_order(keeps_order):
    # Delays of many intervals, so that nearly everything is overtaken.
    path = TracePath(Exponential(5.0 * SECOND), Bernoulli(0.1), keeps_order=keeps_order)
    trace = beat(rng(), path, SECOND, COUNT)
    assert (np.diff(trace.sequence) > 0).all()
    assert (np.diff(trace.arrived_ns) >= 0).all()
    assert (trace.arrived_ns >= trace.sent_ns).all()
    kept = len(trace.sequence) / COUNT
    assert kept == pytest.approx(0.9, rel=0.02) if keeps_order else kept < 0.5


# --- the catalogue ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRACES)
def test_every_trace_is_one_of_its_seed(name):
    first, again, other = (draw(name, seed, count=20_000) for seed in (1, 1, 2))
    for field in ("sequence", "sent_ns", "arrived_ns"):
        assert np.array_equal(getattr(first, field), getattr(again, field))
    assert not np.array_equal(first.arrived_ns, other.arrived_ns)
    assert (np.diff(first.sequence) > 0).all()
    assert (np.diff(first.arrived_ns) >= 0).all()
    assert (first.arrived_ns >= first.sent_ns).all()
    assert len(first.sequence) <= first.sent_count <= 20_000
    assert TRACES[name].shows


@pytest.mark.parametrize(("name", "seed"), [("wan", 1), ("wan", 2), ("wan_brief", 1)])
def test_the_twin_has_the_moments_of_the_week(name, seed):
    trace = draw(name, seed)
    between = np.diff(trace.arrived_ns) / SECOND
    gaps = np.diff(trace.sequence) - 1
    assert trace.sent_count == 5_845_713
    assert gaps.sum() == pytest.approx(23_192, rel=0.01)
    assert (gaps > 0).sum() == 814
    assert gaps.max() == 1093
    assert between.mean() == pytest.approx(0.1039, rel=0.001)
    assert between.std() == pytest.approx(0.1041, rel=0.02)
    assert between.max() == pytest.approx(113.2, abs=0.5)
    jitter = trace.arrived_ns - trace.sent_ns
    assert jitter.min() >= 135_100_500
    assert jitter.max() <= 717_832_000 - 135_100_500 + 1  # the longest round trip, one way
    # Order is kept, so what follows a late one waits: the mean is a little above the one drawn.
    assert jitter.mean() == pytest.approx(142e6, rel=0.01)


def test_a_shorter_twin_loses_as_large_a_share():
    trace = wan(rng(), 584_571)
    gaps = np.diff(trace.sequence) - 1
    assert (gaps > 0).sum() == 81
    assert gaps.max() == 1093
    assert trace.hours == pytest.approx(16.8, rel=0.01)
