"""What every detector promises, whatever its arithmetic: the conformance suite."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beatward.core.detect import DETECTORS, DetectorSettings
from beatward.core.detect.base import INTERVAL_MAX_NS
from beatward.core.instants import MILLISECOND, NEVER, SECOND

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
    # DETECTION.md property 15: the next heartbeat is promised within the new interval.
    detector = new_detector(kind)
    hear_seconds(detector, 0, range(50))
    for at_s in (50, 55, 60, 65):
        assert detector.deadline_ns[0] > at_s * SECOND
        hear(detector, 0, 1, at_ns=at_s * SECOND, interval_ns=5 * SECOND)
