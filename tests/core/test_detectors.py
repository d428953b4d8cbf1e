"""What every detector promises, whatever its arithmetic: the conformance suite."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.detect.base import INTERVAL_MAX_NS
from beatward.core.instants import DAY, HOUR, MILLISECOND, NEVER, SECOND

SLOTS_COUNT = 5
# How many promised intervals a first heartbeat is trusted for: 3 where it is not said here. Phi is
# 1 + 3 for the pause + 5.6 quarters for a deviation that nobody knows yet; Cassandra's 8 ln 10.
INTERVALS_MAX = {"phi": 6, "phi_exponential": 19}
BEATS = st.lists(
    st.tuples(
        st.integers(0, SLOTS_COUNT - 1),
        st.integers(1, 3),  # steps of the sequence
        st.sampled_from([100, 1_000, 1_000, 1_000, 60_000]),  # interval in ms
        st.integers(0, 3 * SECOND),  # steps of time
        st.booleans(),
    ),
    max_size=40,
)


@pytest.fixture(params=sorted(DETECTORS))
def kind(request):
    return request.param


def new_detector(kind, capacity=SLOTS_COUNT, **settings):
    detector = DETECTORS[kind](DetectorSettings(kind=kind, **settings), capacity)
    detector.forget(np.arange(capacity))
    return detector


def column(*values):
    return np.array(values, np.int64)


def hear(detector, slot, steps, *, at_ns, interval_ns=SECOND, learn=True):
    detector.observe(column(slot), column(steps), column(interval_ns), column(at_ns), learn=learn)


def hear_seconds(detector, slot, seconds):
    """Take a heartbeat of each second, the others are lost."""
    before = -1
    for second in seconds:
        hear(detector, slot, second - before, at_ns=second * SECOND)
        before = second


def arrays(detector, rows=slice(None)):
    return {
        name: value[rows].tolist()
        for name, value in vars(detector).items()
        if isinstance(value, np.ndarray)
    }


def rounds(beats):
    """Divide beats into batches in which each slot is at most once, as the hearing does."""
    now = 0
    batches = []
    for slot, step, interval_ms, passed, learn in beats:
        now += passed
        row = (slot, step, interval_ms * MILLISECOND, now)
        if not batches or learn != batches[-1][0] or slot in [it[0] for it in batches[-1][1]]:
            batches.append((learn, []))
        batches[-1][1].append(row)
    return batches


def test_before_anything_is_heard_there_is_no_deadline(kind):
    detector = new_detector(kind)
    assert detector.deadline_ns.tolist() == [NEVER] * SLOTS_COUNT
    assert detector.due_ns(np.arange(SLOTS_COUNT)).tolist() == [NEVER] * SLOTS_COUNT
    assert isinstance(detector.why(0), str)


@pytest.mark.parametrize("margin_ns", [None, SECOND])
def test_the_deadline_lies_a_margin_behind_the_due_time(kind, margin_ns):
    detector = new_detector(kind, margin_ns=margin_ns)
    hear_seconds(detector, 0, range(20))
    slot = column(0)
    assert detector.deadline_ns[0] == detector.due_ns(slot)[0] + detector.margin_ns(slot)[0]
    assert detector.timeout_ns(slot)[0] == detector.interval_ns[0] + detector.margin_ns(slot)[0]
    assert 20 * SECOND <= detector.due_ns(slot)[0] < detector.deadline_ns[0]


@given(beats=BEATS)
@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_a_batch_is_the_same_as_its_heartbeats_one_by_one(kind, beats):
    batched, single = new_detector(kind), new_detector(kind)
    for learn, rows in rounds(beats):
        batched.observe(*np.array(rows, np.int64).T, learn=learn)
        for slot, steps, interval_ns, at_ns in rows:
            hear(single, slot, steps, at_ns=at_ns, interval_ns=interval_ns, learn=learn)
    assert arrays(batched) == arrays(single)


@given(beats=BEATS)
@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_what_one_node_says_is_nothing_to_another(kind, beats):
    everybody, alone = new_detector(kind), new_detector(kind)
    for learn, rows in rounds(beats):
        for slot, steps, interval_ns, at_ns in rows:
            beat = {"at_ns": at_ns, "interval_ns": interval_ns, "learn": learn}
            hear(everybody, slot, steps, **beat)
            if slot == 0:
                hear(alone, slot, steps, **beat)
    assert arrays(everybody, 0) == arrays(alone, 0)


def test_growing_keeps_every_value_and_leaves_the_old_arrays_to_their_readers(kind):
    detector = new_detector(kind)
    hear_seconds(detector, 3, range(10))
    before, held = arrays(detector), detector.deadline_ns
    detector.grow(2 * SLOTS_COUNT)
    detector.forget(np.arange(SLOTS_COUNT, 2 * SLOTS_COUNT))
    assert arrays(detector, slice(SLOTS_COUNT)) == before
    assert arrays(detector, slice(SLOTS_COUNT, None)) == arrays(new_detector(kind))
    hear(detector, 3, 10, at_ns=10 * SECOND)
    assert held.tolist() == before["deadline_ns"]


def test_a_new_life_begins_with_nothing_learnt(kind):
    used, fresh = new_detector(kind), new_detector(kind)
    hear_seconds(used, 0, [*range(1, 30), 60])
    used.forget(column(0))
    assert used.deadline_ns[0] == used.due_ns(column(0))[0] == NEVER
    for detector in (used, fresh):
        hear(detector, 0, 1, at_ns=100 * SECOND, interval_ns=2 * SECOND)
    assert arrays(used) == arrays(fresh)


def test_forgetting_one_leaves_the_others(kind):
    detector = new_detector(kind)
    for slot in (0, 1):
        hear_seconds(detector, slot, range(10))
    before = arrays(detector, 1)
    detector.forget(column(0))
    assert arrays(detector, 1) == before


@given(until=st.lists(st.integers(0, NEVER), min_size=2, max_size=2))
@pytest.mark.parametrize("kind", sorted(DETECTORS))
def test_extending_never_moves_a_deadline_closer(kind, until):
    detector = new_detector(kind)
    hear_seconds(detector, 0, range(10))
    before = detector.deadline_ns[:2].copy()
    detector.extend(column(0, 1), column(*until))
    assert detector.deadline_ns[:2].tolist() == np.maximum(before, until).tolist()


def test_what_we_stamped_late_earns_a_whole_timeout_from_its_stamp(kind):
    detector = new_detector(kind)
    hear_seconds(detector, 0, range(20))
    hear(detector, 0, 1, at_ns=35 * SECOND, learn=False)
    assert detector.deadline_ns[0] >= 35 * SECOND + detector.timeout_ns(column(0))[0]


def test_an_empty_batch_changes_nothing(kind):
    detector = new_detector(kind)
    hear_seconds(detector, 0, range(3))
    before = arrays(detector)
    empty = np.zeros(0, np.int64)
    detector.observe(empty, empty, empty, empty)
    detector.forget(empty)
    detector.reanchor(empty)
    detector.extend(empty, empty)
    assert arrays(detector) == before
    assert detector.margin_ns(empty).tolist() == detector.timeout_ns(empty).tolist() == []


@pytest.mark.parametrize("interval_ns", [MILLISECOND, (2**32 - 1) * MILLISECOND, NEVER // 2])
def test_the_promise_bounds_the_deadline_whatever_the_interval(kind, interval_ns):
    detector = new_detector(kind)
    hear(detector, 0, 2**62 - 1, at_ns=10**18, interval_ns=interval_ns)
    promise = min(interval_ns, INTERVAL_MAX_NS)
    assert 10**18 + promise <= detector.due_ns(column(0))[0] <= detector.deadline_ns[0]
    assert detector.deadline_ns[0] <= 10**18 + INTERVALS_MAX.get(kind, 3) * promise + SECOND


def test_a_longer_interval_is_believed_from_the_heartbeat_that_announces_it(kind):
    # The next heartbeat is promised within the new interval.
    detector = new_detector(kind)
    hear_seconds(detector, 0, range(50))
    for at_s in (50, 55, 60, 65):
        assert detector.deadline_ns[0] > at_s * SECOND
        hear(detector, 0, 1, at_ns=at_s * SECOND, interval_ns=5 * SECOND)


# --- suspicion ---

LIVES = st.lists(
    st.tuples(
        st.integers(1, 3),  # steps of the sequence
        st.one_of(st.integers(0, 200 * MILLISECOND), st.integers(0, 20 * SECOND)),  # late
    ),
    min_size=1,
    max_size=60,
)
SETTINGS = [
    *({"kind": kind} for kind in sorted(DETECTORS)),
    {"kind": "chen", "margin_ns": 80 * MILLISECOND},
    {"kind": "chen", "margin_from": "cantelli", "late_probability": 0.01},
    {"kind": "phi", "tail": "akka", "pause_ns": 0, "deviation_min_ns": 1},
    {"kind": "phi", "threshold": 0.5, "pause_ns": 0},
    {"kind": "phi_exponential", "threshold": 100.0},
    {"kind": "histogram", "late_probability": 0.4, "factor": 1.0},
    {"kind": "fixed", "timeout_ns": 1},
    {"kind": "calendar", "grace_ns": 300 * MILLISECOND},
]
each_detector = pytest.mark.parametrize(
    "settings", SETTINGS, ids=lambda it: "-".join(map(str, it.values()))
)


def lived(settings, life, *, interval_ns=SECOND):
    """Return a detector of one slot that has heard a life, and the last arrival."""
    detector = new_detector(capacity=1, **settings)
    sequence, arrived = 0, 0
    for step, late in life:
        sequence += step
        arrived = max(arrived, sequence * interval_ns + late)
        hear(detector, 0, step, at_ns=arrived, interval_ns=interval_ns)
    return detector, arrived


def suspicions(detector, instants):
    instants = np.array(instants, np.int64)
    return detector.suspicion(np.zeros(len(instants), np.int64), instants)


@each_detector
@given(life=LIVES, steps=st.lists(st.integers(0, 60), max_size=20))
def test_suspicion_reaches_its_threshold_at_the_deadline_and_not_before(settings, life, steps):
    detector, _ = lived(settings, life)
    deadline = int(detector.deadline_ns[0])
    away = [round(10 ** (step / 4)) for step in steps]
    instants = [deadline + side * far for far in away for side in (-1, 1)]
    instants += [deadline - 1, deadline, deadline + 1]
    suspect = suspicions(detector, instants) >= detector.threshold
    assert suspect.tolist() == [instant >= deadline for instant in instants]


@each_detector
@given(life=LIVES)
def test_suspicion_only_grows_while_nothing_is_heard_and_is_always_a_number(settings, life):
    detector, arrived = lived(settings, life)
    silence = np.concatenate(([0], np.geomspace(1, 10 * 366 * DAY, 500)))
    levels = suspicions(detector, arrived + silence.astype(np.int64))
    assert np.isfinite(levels).all()
    assert (np.diff(levels) >= 0).all()
    assert levels[0] >= 0
    assert levels[-1] == 300
    # A heartbeat that came in time leaves no suspicion.
    assert levels[0] == 0 or detector.deadline_ns[0] - arrived < detector.timeout_ns(column(0))[0]


@each_detector
def test_at_the_arrival_of_a_heartbeat_in_time_there_is_no_suspicion(settings):
    detector, arrived = lived(settings, [(1, 0)] * 40)
    assert suspicions(detector, [arrived]).tolist() == [0]


@each_detector
def test_whoever_was_not_heard_is_under_no_suspicion(settings):
    detector = new_detector(capacity=1, **settings)
    assert suspicions(detector, [0, 10**18]).tolist() == [0, 0]


@each_detector
def test_time_that_was_given_moves_suspicion_with_the_deadline(settings):
    detector, _ = lived(settings, [(1, 0)] * 40)
    before = suspicions(detector, detector.deadline_ns[0] + column(-MILLISECOND, 0, SECOND))
    detector.extend(column(0), detector.deadline_ns + 7 * SECOND)
    after = suspicions(detector, detector.deadline_ns[0] + column(-MILLISECOND, 0, SECOND))
    assert after.tolist() == before.tolist()


@each_detector
@pytest.mark.parametrize("interval_ns", [MILLISECOND, HOUR, NEVER // 2])
def test_no_interval_breaks_suspicion(settings, interval_ns):
    detector, arrived = lived(settings, [(1, 0)] * 3, interval_ns=min(interval_ns, 10**16))
    hear(detector, 0, 1, at_ns=arrived, interval_ns=interval_ns)
    levels = suspicions(detector, [arrived, 2 * arrived, 10**18, NEVER - 1])
    assert np.isfinite(levels).all()
    assert (np.diff(levels) >= 0).all()


def test_suspicions_of_many_are_those_of_each(kind):
    detector = new_detector(kind)
    for slot in range(SLOTS_COUNT - 1):
        hear_seconds(detector, slot, range(0, 30, slot + 1))
    together = detector.suspicion(np.arange(SLOTS_COUNT), 31 * SECOND)
    alone = [detector.suspicion(column(slot), 31 * SECOND)[0] for slot in range(SLOTS_COUNT)]
    assert together.tolist() == alone
    assert detector.suspicion(np.zeros(0, np.int64), 0).tolist() == []


# --- numbers that grow without end ---


@each_detector
@pytest.mark.parametrize("late", [[0, 0], [0, 500 * MILLISECOND], [10**17, 10**17]], ids=str)
@pytest.mark.parametrize("offset", [0, 10**18])
def test_constant_alternating_and_far_input_leave_sane_numbers(settings, late, offset):
    detector = new_detector(capacity=1, **settings)
    for place in range(300):
        hear(detector, 0, 1, at_ns=offset + place * SECOND + late[place % 2])
    for value in vars(detector).values():
        if isinstance(value, np.ndarray):
            assert np.isfinite(value).all()
    margin = int(detector.margin_ns(column(0))[0])
    assert -SECOND <= margin <= INTERVALS_MAX.get(detector.settings.kind, 100) * 300 * SECOND
    assert getattr(detector, "variance", np.zeros(1))[0] >= 0


@each_detector
@given(shift=st.integers(0, 10**18), life=LIVES)
def test_shifting_all_instants_shifts_the_deadline_as_much(settings, shift, life):
    here, there = new_detector(capacity=1, **settings), new_detector(capacity=1, **settings)
    arrived = sequence = 0
    for step, late in life:
        sequence += step
        arrived = max(arrived, sequence * SECOND + late)
        hear(here, 0, step, at_ns=arrived)
        hear(there, 0, step, at_ns=arrived + shift)
    assert there.deadline_ns[0] - here.deadline_ns[0] == shift


@each_detector
@given(life=LIVES)
def test_a_heartbeat_before_its_deadline_never_leads_to_a_deadline_in_the_past(settings, life):
    # No node is suspected because an estimate has moved.
    detector = new_detector(capacity=1, **settings)
    arrived = sequence = 0
    for step, late in life:
        sequence += step
        arrived = max(arrived, sequence * SECOND + late)
        in_time = arrived < detector.deadline_ns[0]
        hear(detector, 0, step, at_ns=arrived)
        assert not in_time or detector.deadline_ns[0] > arrived


def test_a_node_that_dies_is_suspected_after_every_loss_at_every_phase(kind):
    # For good, and no later than the bound of a first heartbeat.
    for lost in (0, 1, 5):
        for last in range(20, 30):
            detector = new_detector(kind, capacity=1)
            heard = [it for it in range(last + 1) if it not in range(9, 9 + lost)]
            hear_seconds(detector, 0, heard)
            by_ns = (last + INTERVALS_MAX.get(kind, 3)) * SECOND
            assert last * SECOND < detector.deadline_ns[0] <= by_ns
            assert suspicions(detector, [by_ns])[0] >= detector.threshold


def test_a_flush_of_a_hundred_never_shrinks_the_deadline_below_the_newest_schedule(kind):
    # A node that stands 100th in the queue is expected an interval later.
    detector = new_detector(kind, capacity=1)
    hear_seconds(detector, 0, range(100))
    for _ in range(100):
        hear(detector, 0, 1, at_ns=199 * SECOND)
    assert detector.deadline_ns[0] >= 200 * SECOND


def test_an_outage_is_forgotten_in_sixteen_heartbeats(kind):
    # What is lost is no lateness, to none of them.
    detector = new_detector(kind, capacity=1)
    hear_seconds(detector, 0, range(400))
    before = int(detector.timeout_ns(column(0))[0])
    hear(detector, 0, 101, at_ns=500 * SECOND)
    for second in range(501, 517):
        hear(detector, 0, 1, at_ns=second * SECOND)
    assert detector.deadline_ns[0] - 516 * SECOND <= 1.1 * before


@pytest.mark.parametrize("announced", [50, 51, 52])
def test_one_of_three_heartbeats_that_announce_a_longer_interval_is_enough(kind, announced):
    # They come at the old rate, and the other two are lost.
    detector = new_detector(kind, capacity=1)
    hear_seconds(detector, 0, range(50))
    steps = announced - 49
    hear(detector, 0, steps, at_ns=announced * SECOND, interval_ns=5 * SECOND)
    assert detector.deadline_ns[0] > 57 * SECOND


SCALED = {"margin_min_ns": 50, "margin_ns": 80, "timeout_ns": 1_700, "grace_ns": 300}


@each_detector
@given(lateness=st.lists(st.integers(0, 700), min_size=1, max_size=60))
def test_another_unit_of_time_is_another_unit_of_the_deadline(settings, lateness):
    # With a second of a thousand and of a million units of 1024 ns.
    found = []
    for unit in (1024, 1024 * 1000):
        own = {
            name: SCALED[name] * unit
            for name in SCALED.keys() & (settings.keys() | {"margin_min_ns"})
        }
        detector = new_detector(capacity=1, **settings | own)
        for place, late in enumerate(lateness):
            at_ns = (1_000 * place + late) * unit
            hear(detector, 0, 1, at_ns=at_ns, interval_ns=1_000 * unit)
        found.append((detector.deadline_ns[0] - at_ns) / unit)
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=0.1)
