"""Jobs in the machine: runs that are due, begin, end, fail, are missed, take too long."""

import pytest
from tests.core.by_hand import START, ByHand, changes, datagrams, heard, said
from tests.core.nights import DUE, HOURLY, JOB, NIGHTLY, OFFSET_NS, UNHURRIED, Nights, Under

from beatward.core.entry import Event, JobPlan
from beatward.core.instants import DAY, HOUR, MINUTE, SECOND
from beatward.core.intake import Via
from beatward.core.monitor import Inputs
from beatward.core.order_kinds import Forget, Join, Pause, Resume
from beatward.core.protocol.record import NO_GAUGE, Kind

# --- runs by the bare URL ---


def test_a_declared_job_waits_for_its_first_run_however_long():
    nights = Nights()
    assert nights.plans == {JOB: NIGHTLY}
    assert nights.walk(DUE + 9 * MINUTE) == []
    assert nights.hand.status() == "new"
    assert nights.words[1:] == [
        "web-1 was enrolled",
        "web-1 is a job: 0 3 * * * in Europe/Berlin, a grace of 10 min, at most 2 h a run",
    ]
    sentence, detail = nights.explained
    assert sentence == "web-1 is expected: no run has succeeded yet; next due 03:00:00 CET"
    assert detail["would_change"] == "no word of a run by 03:10:00 CET would make it dead"


def test_a_job_whose_run_does_not_come_is_dead_at_the_end_of_its_grace():
    nights = Nights()
    assert nights.walk(DUE + 10 * MINUTE - 1) == []
    assert changes(nights.step(DUE + 10 * MINUTE)) == [
        (JOB, "suspect", "overdue"),
        (JOB, "dead", "silent"),
    ]
    assert nights.words[-1] == (
        "web-1 dead: it should have reported a run by 03:10:00 CET, due 03:00:00 with a grace of "
        "10 min; no run has succeeded yet; a job that waits cannot be probed"
    )
    assert nights.hand.entries[-1].detail["would_change"] == "a run that begins or succeeds"


def test_nobody_is_probed_for_a_missed_run():
    nights = Nights()
    nights.walk(DUE)
    output = nights.step(DUE + 10 * MINUTE)
    assert heard(output) == []


def test_a_run_that_begins_ends_and_succeeds_is_written_down():
    nights = Nights()
    assert nights.start(DUE + SECOND) == [(JOB, "alive", "heard")]
    assert nights.succeed(DUE + 4 * MINUTE + 12 * SECOND) == []
    assert [entry.explanation for entry in nights.hand.entries if entry.event == Event.RUN] == [
        "web-1 began a run, 1 s after it was due",
        "web-1 ended a run after 4.18 min: success",
    ]
    sentence, _ = nights.explained
    assert sentence == ("web-1 is alive: last success 03:04:12; next due tomorrow 03:00:00 CET")
    assert nights.walk(DUE + DAY + 9 * MINUTE) == []


def test_a_missed_run_tells_of_the_last_success():
    nights = Nights()
    nights.start(DUE + SECOND)
    nights.succeed(DUE + 4 * MINUTE + 12 * SECOND)
    assert nights.walk(DUE + DAY + 10 * MINUTE)[-1] == (JOB, "dead", "silent")
    assert nights.words[-1] == (
        "web-1 dead: it should have reported a run by 03:10:00 CET, due 03:00:00 with a grace of "
        "10 min; last success yesterday 03:04:12; a job that waits cannot be probed"
    )


def test_a_run_without_an_end_is_dead_when_its_longest_time_is_over():
    nights = Nights()
    nights.succeed(DUE + 4 * MINUTE + 12 * SECOND)
    nights.start(DUE + DAY + SECOND)
    assert nights.walk(DUE + DAY + 2 * HOUR) == []
    sentence, detail = nights.explained
    assert sentence == (
        "web-1 is alive: a run began at 03:00:01 CET, 120 min ago, and should finish by 05:00:01"
    )
    assert detail["running_ns"] == 2 * HOUR - SECOND
    assert changes(nights.step(DUE + DAY + 2 * HOUR + 5 * MINUTE))[-1] == (JOB, "dead", "silent")
    assert nights.words[-1] == (
        "web-1 dead: it should have finished by 05:00:01 CET; started 03:00:01 and has been "
        "running for 2.08 h; last success yesterday 03:04:12; a job that waits cannot be probed"
    )
    # It ends after all.
    assert nights.succeed(DUE + DAY + 3 * HOUR) == [
        (JOB, "recovering", "heard"),
        (JOB, "alive", "steady"),
    ]


def test_a_late_start_within_the_grace_is_no_trouble_and_is_told():
    nights = Nights()
    assert nights.start(DUE + 9 * MINUTE) == [(JOB, "alive", "heard")]
    assert nights.words[-2] == "web-1 began a run, 9 min after it was due"
    assert nights.walk(DUE + 2 * HOUR) == []


@pytest.mark.parametrize(
    ("code", "how"),
    [(3, " with exit code 3"), (-9, " with exit code -9 (signal 9)"), (None, " by its own report")],
)
def test_a_reported_failure_is_failing_until_a_run_succeeds(code, how):
    nights = Nights()
    nights.succeed(DUE)
    nights.start(DUE + DAY)
    assert nights.fail(DUE + DAY + 2 * MINUTE, code) == [(JOB, "failing", "ill")]
    assert nights.words[-1] == (
        f"web-1 is failing: its run failed at 03:02:00 CET after 2 min{how}; last success "
        "yesterday 03:00:00"
    )
    assert nights.hand.snapshot().state.registry.cpu[0] == NO_GAUGE
    assert nights.start(DUE + 2 * DAY) == []
    assert nights.succeed(DUE + 2 * DAY + MINUTE) == [(JOB, "alive", "well")]


def test_a_failing_job_that_is_then_missed_is_dead_too():
    nights = Nights()
    nights.fail(DUE)
    assert nights.walk(DUE + DAY + 10 * MINUTE) == [
        (JOB, "suspect", "overdue"),
        (JOB, "dead", "silent"),
    ]


def test_one_good_run_brings_a_dead_job_back_and_a_bad_one_does_not_make_it_alive():
    nights = Nights()
    nights.walk(DUE + HOUR)
    assert nights.start(DUE + DAY) == [(JOB, "recovering", "heard")]
    assert nights.fail(DUE + DAY + MINUTE, 1) == [(JOB, "failing", "ill")]
    assert nights.walk(DUE + 2 * DAY + HOUR)[-1] == (JOB, "dead", "silent")
    assert nights.succeed(DUE + 3 * DAY) == [
        (JOB, "recovering", "heard"),
        (JOB, "alive", "steady"),
    ]


def test_the_end_of_a_run_counts_for_its_own_due_instant_though_a_clock_is_fast():
    nights = Nights()
    nights.start(DUE - 2 * SECOND)
    nights.succeed(DUE - SECOND)
    assert "not due" not in nights.words[-2]
    assert nights.walk(DUE + 11 * MINUTE) == []


def test_a_run_by_hand_does_not_stand_for_the_one_that_is_due():
    nights = Nights()
    nights.start(DUE - 30 * MINUTE)
    assert nights.words[-2] == "web-1 began a run that was not due"
    nights.succeed(DUE - 29 * MINUTE)
    assert nights.walk(DUE + 10 * MINUTE)[-1] == (JOB, "dead", "silent")


def test_a_second_start_takes_the_place_of_the_first():
    nights = Nights()
    nights.start(DUE)
    nights.start(DUE + HOUR)
    assert nights.walk(DUE + 2 * HOUR + 59 * MINUTE) == []
    assert nights.walk(DUE + 3 * HOUR)[-1] == (JOB, "dead", "silent")


def test_a_period_begins_again_with_the_end_of_each_run():
    nights = Nights(HOURLY)
    assert nights.plans == {}
    assert nights.explained[1]["due_in_ns"] == HOUR
    assert nights.walk(65 * MINUTE - 1) == []
    assert nights.succeed(65 * MINUTE - 1) == [(JOB, "alive", "heard")]
    assert nights.walk(130 * MINUTE - 2) == []
    assert nights.walk(131 * MINUTE)[-1] == (JOB, "dead", "silent")


# --- runs under heartbeats ---


def test_a_life_is_a_run_and_its_goodbye_the_end():
    under = Under()
    under.walk(DUE)
    assert under.begin(DUE + SECOND) == [(JOB, "alive", "heard")]
    assert under.end(DUE + 2 * SECOND) == []
    assert under.hand.status() == "alive"
    assert under.words[-3:] == [
        "web-1 began a run, 1 s after it was due",
        "web-1 is alive: a run began at 03:00:01 CET, 0 s ago, and should finish by 05:00:01",
        "web-1 ended a run after 1 s: success",
    ]
    assert under.walk(DUE + DAY + 9 * MINUTE) == []


def test_a_run_that_exits_with_a_code_is_failing_and_the_next_does_not_hide_it():
    under = Under()
    under.walk(DUE)
    under.begin(DUE)
    assert under.end(DUE + SECOND, 2) == [(JOB, "failing", "ill")]
    under.walk(DUE + DAY)
    assert under.begin(DUE + DAY) == []
    assert under.beat(DUE + DAY + SECOND) == []
    assert under.end(DUE + DAY + 2 * SECOND) == [(JOB, "alive", "well")]


def test_a_goodbye_that_is_repeated_ends_its_run_once():
    under = Under()
    under.walk(DUE)
    under.begin(DUE)
    under.end(DUE + SECOND, 2)
    count = len(under.hand.entries)
    under.sequence -= 1
    under.end(DUE + SECOND, 2)
    assert len(under.hand.entries) == count
    assert "after 1 s: exit code 2" in under.words[-2]


def test_a_host_that_dies_in_the_middle_of_a_run_is_found_by_its_silence():
    under = Under()
    under.walk(DUE)
    under.begin(DUE)
    for second in range(1, 20):
        under.beat(DUE + second * SECOND)
    found = under.hand.walk(DUE + 23 * SECOND, tick_ns=SECOND // 10, wall_offset_ns=OFFSET_NS)
    assert found == [(JOB, "suspect", "overdue"), (JOB, "dead", "silent")]
    assert "heartbeat 20 was due" in under.words[-1]
    # Its longest run is over later, and that is no news.
    count = len(under.hand.entries)
    under.walk(DUE + 3 * HOUR)
    assert len(under.hand.entries) == count


def test_a_run_that_beats_and_takes_too_long_is_failing_and_not_dead():
    under = Under(JobPlan("0 3 * * *", "UTC", grace_ns=10 * SECOND, run_ns=10 * SECOND))
    under.walk(DUE)
    under.begin(DUE)
    found = [under.beat(DUE + second * SECOND) for second in range(1, 14)]
    assert [change for turn in found for change in turn] == [(JOB, "failing", "ill")]
    late = "it should have finished by 03:00:10 CET; started 03:00:00 and has been running for 10 s"
    assert under.words[-2:] == [
        f"web-1 runs too long: {late}",
        f"web-1 is failing: {late}; no run has succeeded yet",
    ]
    assert under.end(DUE + 14 * SECOND) == [(JOB, "alive", "well")]


def test_a_node_that_beats_and_is_declared_has_begun_a_run():
    under = Under(HOURLY)
    under.hand.step(0, orders=(Join("web-2"),))
    under.step(SECOND, said("web-2", sequence=1))
    output = under.step(2 * SECOND, orders=(Join("web-2", job=NIGHTLY),))
    assert output.plans == {"web-2": NIGHTLY}
    snapshot = under.hand.snapshot()
    assert snapshot.state.jobs.records[snapshot.find("web-2")].started_ns == START + 2 * SECOND


def test_a_node_that_had_left_and_is_declared_is_expected_again():
    hand = ByHand(UNHURRIED)
    hand.step(SECOND, said(sequence=1))
    assert changes(hand.step(2 * SECOND, said(kind=Kind.GOODBYE, sequence=2))) == [
        ("web-1", "left", "goodbye")
    ]
    hand.step(3 * SECOND, orders=(Join(JOB, job=HOURLY),))
    assert hand.status() == "new"
    assert hand.walk(70 * MINUTE, tick_ns=MINUTE)[-1] == (JOB, "dead", "silent")


# --- orders ---


def test_declaring_the_same_again_changes_nothing_and_another_plan_does():
    nights = Nights()
    nights.succeed(DUE)
    count = len(nights.hand.entries)
    output = nights.step(DUE + SECOND, orders=(Join(JOB, job=NIGHTLY),))
    assert (len(nights.hand.entries), output.plans) == (count, {})
    noon = JobPlan("0 12 * * *", "UTC")
    output = nights.step(DUE + SECOND, orders=(Join(JOB, job=noon),))
    assert output.plans == {JOB: noon}
    assert nights.hand.entries[-1].event == Event.JOB
    # What it was due at before does not count, and what it is due at now is not known yet.
    assert nights.walk(DUE + 3 * DAY) == []
    nights.step(DUE + 3 * DAY, dues=(nights.dues(DUE + 3 * DAY + MINUTE),))
    assert nights.walk(DUE + 3 * DAY + HOUR)[-1] == (JOB, "dead", "silent")


def test_a_paused_job_is_not_missed_and_is_awaited_again_when_it_is_resumed():
    nights = Nights()
    nights.step(MINUTE, orders=(Pause((JOB,)),))
    nights.walk(DUE + HOUR)
    nights.succeed(DUE + 2 * HOUR)
    nights.step(DUE + 3 * HOUR, orders=(Resume((JOB,)),))
    assert nights.hand.status() == "new"
    assert nights.walk(DUE + DAY + 10 * MINUTE)[-1] == (JOB, "dead", "silent")


def test_a_forgotten_job_is_no_job_any_more():
    nights = Nights()
    output = nights.step(MINUTE, orders=(Forget(JOB),))
    assert output.plans == {JOB: None}
    nights.step(MINUTE, dues=(nights.dues(),), orders=(Join(JOB),))
    nights.step(MINUTE, said(interval_ms=60_000), via=Via.PING)
    assert nights.hand.snapshot().state.jobs.records == {}
    assert nights.hand.status() == "alive"


# --- many ---


def test_jobs_among_nodes_are_judged_alone_and_many_of_them_grow_the_table():
    hand = ByHand(UNHURRIED, nodes=())
    names = [f"job-{number}" for number in range(200)]
    hand.step(0, orders=tuple(Join(name, job=HOURLY) for name in names))
    hand.step(0, orders=(Join("web-1"),))
    hand.step(1, said(sequence=0, interval_ms=4_000_000))
    hand.step(2, orders=tuple(Forget(name) for name in names[::2]))
    found = hand.walk(66 * MINUTE, tick_ns=MINUTE)
    assert [name for name, status, _ in found if status == "dead"] == names[1::2]
    assert hand.status("web-1") == "alive"


def test_inputs_without_jobs_need_no_dues():
    hand = ByHand()
    batch = datagrams([said()], START + 1)
    output = hand.monitor.step(Inputs(START + 1, START + 2, (batch,)))
    assert output.plans == {}
