"""Another interval by announcement: the rules of docs/pace.md, as numbers and as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.test_heartbeat_protocol import LIFE, START, answer, heard

from beatward.agent.heartbeat_protocol import HeartbeatProtocol, Report
from beatward.agent.send_schedule import HOLD_INTERVALS, STEP_MAX, Bounds, SendSchedule
from beatward.agent.validation import check_bounds
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.record import NO_WISH, Flag, Kind

KEY = bytes(range(32))
BOUNDS = Bounds(100 * MILLISECOND, 10 * SECOND)


def new_protocol(interval_ns=SECOND, bounds=BOUNDS):
    return HeartbeatProtocol(
        "web-1", KEY, incarnation=LIFE, interval_ns=interval_ns, start_ns=START, bounds=bounds
    )


def acknowledge(protocol, said, at_ns, wish_ms=NO_WISH, **fields):
    wish = {"memory": wish_ms & 0xFFFF, "load": wish_ms >> 16}
    promised = {"sequence": said.sequence, "interval_ms": said.interval_ms}
    protocol.receive(answer(**{**promised, **wish, **fields}), at_ns)


def beat(protocol):
    """Beat when it is due; return the record and the instant."""
    at_ns = protocol.next_due_ns
    return heard(protocol.beat(at_ns, Report())), at_ns


def lengthened(protocol, wish_ms):
    """Beat and acknowledge at once until the wish is in force; return all that was said."""
    said = []
    for _ in range(20):
        record, at_ns = beat(protocol)
        said.append((record, at_ns))
        acknowledge(protocol, record, at_ns, wish_ms)
    return said


def test_a_longer_interval_is_announced_three_times_at_the_old_rate():
    said = lengthened(new_protocol(), 2000)[:7]
    assert [(at_ns - START) // SECOND for _, at_ns in said] == [0, 1, 2, 3, 5, 7, 9]
    assert [one.interval_ms for one, _ in said] == [1000, *[2000] * 6]
    assert [bool(one.flags & Flag.SLOWING) for one, _ in said] == [False, *[True] * 3, *[False] * 3]
    assert [one.sequence for one, _ in said] == list(range(7))
    # Each announcement asks, because only the newest one counts.
    assert all(one.flags & Flag.ACKNOWLEDGE for one, _ in said[1:4])


def test_a_longer_interval_that_nobody_acknowledges_never_comes_into_force():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns, 2000)
    sent = [beat(protocol) for _ in range(20)]
    assert {one.interval_ms for one, _ in sent} == {2000}
    assert [(at_ns - START) // SECOND for _, at_ns in sent] == list(range(1, 21))


def test_the_newest_announcement_has_to_be_acknowledged_and_not_an_older_one():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns, 2000)
    before, _ = beat(protocol)
    for _ in range(9):
        record, at_ns = beat(protocol)
        acknowledge(protocol, before, at_ns, 2000)  # Its answer takes longer than an interval.
        before = record
    assert protocol.interval_ns == SECOND


def test_an_answer_that_speaks_of_another_promise_is_no_echo():
    protocol = new_protocol()
    for _ in range(10):
        record, at_ns = beat(protocol)
        acknowledge(protocol, record, at_ns, 2000, interval_ms=1000)
    assert protocol.interval_ns == SECOND


def test_a_shorter_interval_holds_at_once():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns + 20 * MILLISECOND, 500)
    said = [beat(protocol) for _ in range(3)]
    assert [at_ns - START for _, at_ns in said] == [SECOND // 2, SECOND, 3 * SECOND // 2]
    assert [one.interval_ms for one, _ in said] == [500] * 3
    assert [one.flags & Flag.SLOWING for one, _ in said] == [0] * 3
    assert [one.sequence for one, _ in said] == [1, 2, 3]


@pytest.mark.parametrize(("after_ms", "due_ms"), [(20, 500), (499, 500), (501, 1000), (990, 1000)])
def test_a_wish_that_comes_late_neither_skips_a_slot_nor_breaks_the_old_promise(after_ms, due_ms):
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns + after_ms * MILLISECOND, 500)
    assert protocol.next_due_ns == START + due_ms * MILLISECOND
    assert beat(protocol)[0].sequence == 1


@pytest.mark.parametrize(("wish_ms", "becomes_ms"), [(60_000, 2000), (10, 500), (1500, 1500)])
def test_one_change_is_by_a_factor_of_two_at_most(wish_ms, becomes_ms):
    protocol = new_protocol()
    said = lengthened(protocol, wish_ms)
    assert said[5][0].interval_ms == becomes_ms


@pytest.mark.parametrize(("wish_ms", "ends_ms"), [(60_000, 3000), (10, 400), (0, 1000)])
def test_no_wish_leads_beyond_the_bounds_of_the_node(wish_ms, ends_ms):
    protocol = new_protocol(bounds=Bounds(400 * MILLISECOND, 3 * SECOND))
    for _ in range(10):
        lengthened(protocol, wish_ms)
    assert protocol.interval_ns == ends_ms * MILLISECOND


def test_without_bounds_no_wish_is_obeyed():
    protocol = new_protocol(bounds=None)
    lengthened(protocol, 2000)
    lengthened(protocol, 500)
    assert protocol.promise_ns == SECOND


def test_when_the_wish_ends_the_node_goes_back_to_its_own_interval():
    protocol = new_protocol()
    for _ in range(3):
        lengthened(protocol, 4000)
    assert protocol.interval_ns == 4 * SECOND
    for _ in range(3):
        lengthened(protocol, NO_WISH)
    assert protocol.interval_ns == SECOND


def test_an_announcement_is_taken_back_when_the_wish_is():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns, 2000)
    record, at_ns = beat(protocol)
    assert record.flags & Flag.SLOWING
    acknowledge(protocol, record, at_ns, 1000)
    record, at_ns = beat(protocol)
    assert (record.interval_ms, record.flags & Flag.SLOWING, at_ns) == (1000, 0, START + 2 * SECOND)


def test_a_monitor_that_does_not_answer_any_more_is_not_obeyed_any_more():
    protocol = new_protocol()
    for _ in range(4):
        lengthened(protocol, 8000)
    assert protocol.interval_ns == 8 * SECOND
    while not protocol.wants_reconnect:
        _, at_ns = beat(protocol)
    protocol.reconnected(at_ns)
    assert (protocol.interval_ns, protocol.next_due_ns) == (SECOND, at_ns + SECOND)


def test_who_was_probed_asks_with_the_next_heartbeat_what_is_wished_of_it():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns)
    record, at_ns = beat(protocol)
    assert not record.flags & Flag.ACKNOWLEDGE
    protocol.receive(answer(Kind.PROBE), at_ns)
    assert beat(protocol)[0].flags & Flag.ACKNOWLEDGE


def test_a_probe_wishes_nothing_because_an_old_one_may_be_played_again():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns)
    protocol.receive(answer(Kind.PROBE, memory=500, load=0), at_ns)
    assert protocol.promise_ns == SECOND


def test_a_goodbye_and_an_answer_carry_the_promise():
    protocol = new_protocol()
    record, at_ns = beat(protocol)
    acknowledge(protocol, record, at_ns, 2000)
    (reply,) = protocol.receive(answer(Kind.PROBE), at_ns)
    assert (heard(reply).interval_ms, heard(reply).flags) == (2000, Flag.SLOWING)
    assert heard(protocol.goodbye(at_ns, 0)).interval_ms == 2000


# --- whatever happens ---


@given(
    turns=st.lists(
        st.tuples(
            st.sampled_from([NO_WISH, 1, 300, 700, 1500, 3000, 60_000]),
            st.booleans(),  # the heartbeat arrives
            st.booleans(),  # its acknowledgement arrives
            st.integers(0, 1500),  # after so many thousandths of the interval
        ),
        max_size=120,
    )
)
def test_no_loss_no_delay_and_no_wish_ever_leads_to_a_broken_promise(turns):
    """A longer gap follows only on a heartbeat that was heard and promised it.

    So whichever announcements are lost, the change makes no loss more.
    """
    protocol = new_protocol()
    changed_ns, interval_ns = None, protocol.interval_ns
    promised_until_ns, sequence = protocol.next_due_ns, -1
    answers = []
    for wish_ms, arrives, is_answered, after in turns:
        due_ns = protocol.next_due_ns
        for at_ns, record, wish in sorted(answers, key=lambda one: one[0]):
            if at_ns <= due_ns:
                acknowledge(protocol, record, at_ns, wish)
        answers = [one for one in answers if one[0] > due_ns]
        due_ns = protocol.next_due_ns
        if protocol.interval_ns != interval_ns:
            assert interval_ns / STEP_MAX <= protocol.interval_ns <= STEP_MAX * interval_ns
            assert changed_ns is None or due_ns - changed_ns >= HOLD_INTERVALS * interval_ns
            changed_ns, interval_ns = due_ns - protocol.interval_ns, protocol.interval_ns
        assert due_ns <= promised_until_ns
        record, at_ns = beat(protocol)
        assert record.sequence == sequence + 1
        sequence = record.sequence
        # What was lost has promised nothing, and leaves the rate as it was.
        promised_until_ns = at_ns + protocol.interval_ns
        if arrives:
            promised_until_ns = at_ns + record.interval_ms * MILLISECOND
            if is_answered and record.flags & Flag.ACKNOWLEDGE:
                late_ns = after * interval_ns // 1000
                answers.append((at_ns + late_ns, record, wish_ms))


@given(
    wishes=st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 3000)), max_size=30),
    interval_ms=st.integers(100, 10_000),
)
def test_slots_and_due_times_belong_together_on_every_grid(wishes, interval_ms):
    schedule = SendSchedule(interval_ms * MILLISECOND, START, BOUNDS)
    slot, now_ns = -1, START
    for wish_ms, passed_ms in wishes:
        now_ns = max(schedule.due_ns(slot + 1), now_ns)
        assert schedule.slot(now_ns) > slot
        slot = schedule.slot(now_ns)
        schedule.sent(slot)
        now_ns += passed_ms * MILLISECOND
        schedule.wish(wish_ms * MILLISECOND, now_ns)
        schedule.heard(slot, schedule.promise_ns, now_ns)
        assert (
            schedule.due_ns(schedule.slot(now_ns))
            <= now_ns
            < schedule.due_ns(schedule.slot(now_ns) + 1)
        )


# --- settings ---


@pytest.mark.parametrize(
    ("interval_ms", "low", "high", "bounds_ms"),
    [
        (1000, None, None, (100, 10_000)),
        (50, None, None, (10, 500)),
        (1000, "1s", "1s", (1000, 1000)),
        (1234, None, "1h", (123, 3_600_000)),
    ],
)
def test_bounds_are_a_decade_around_the_own_interval_unless_they_are_said(
    interval_ms, low, high, bounds_ms
):
    found = check_bounds(interval_ms * MILLISECOND, low, high)
    assert (found.min_ns, found.max_ns) == tuple(one * MILLISECOND for one in bounds_ms)


@pytest.mark.parametrize(("low", "high"), [("2s", None), (None, "500ms"), ("5s", "2s")])
def test_bounds_that_leave_out_the_own_interval_are_refused(low, high):
    with pytest.raises(ValueError, match="interval_min <= interval <= interval_max"):
        check_bounds(SECOND, low, high)
