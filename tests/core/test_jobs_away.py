"""Jobs while the monitor was away, stood still, or had its clock set: nobody is accused of that."""

from tests.core.by_hand import START, changes, said
from tests.core.nights import DUE, HOURLY, JOB, NIGHTLY, OFFSET_NS, Nights

from beatward.core.entry import JobRecord, NodeRecord, Recovered
from beatward.core.guard import GuardSettings
from beatward.core.instants import DAY, HOUR, MINUTE, SECOND
from beatward.core.intake import Via
from beatward.core.monitor import CoreSettings
from beatward.core.protocol.keys import node_id


def test_due_instants_that_are_handed_again_keep_what_is_awaited():
    nights = Nights()
    nights.walk(DUE + MINUTE)
    nights.step(DUE + MINUTE, dues=(nights.dues(DUE + DAY),))
    assert nights.walk(DUE + 10 * MINUTE)[-1] == (JOB, "dead", "silent")


def test_what_the_clock_leaps_over_is_not_judged_and_this_is_said():
    nights = Nights()
    nights.walk(DUE - MINUTE)
    nights.step(DUE - MINUTE, dues=(nights.dues(DUE + DAY - HOUR, anew=True),))
    assert nights.walk(DUE + HOUR) == []
    assert nights.explained[0] == (
        "web-1 is expected: no run has succeeded yet; next due tomorrow 02:00:00 CET; whether it "
        "ran at 03:00:00 is not known: the monitor was away then, or its clock was set"
    )
    assert nights.walk(DUE + DAY)[-1] == (JOB, "dead", "silent")


def test_a_clock_that_is_set_does_not_touch_a_run_under_way():
    nights = Nights()
    nights.start(DUE)
    nights.step(DUE + MINUTE, dues=(nights.dues(DUE + DAY + HOUR, anew=True),))
    assert nights.walk(DUE + 2 * HOUR)[-1] == (JOB, "dead", "silent")


def test_a_freeze_of_ours_gives_a_job_the_start_grace_too():
    nights = Nights(settings=CoreSettings(guard=GuardSettings(pause_limit_ns=MINUTE)))
    nights.walk(DUE + 9 * MINUTE)
    # The end of the grace lies in the freeze; the ping waits in the socket's queue.
    late = DUE + 11 * MINUTE
    assert changes(nights.step(late)) == []
    assert changes(nights.step(late + SECOND, said(incarnation=1), via=Via.PING)) == [
        (JOB, "alive", "heard")
    ]


def restored(record, *, plan=NIGHTLY, status="alive", cause="heard", **fields):
    node = NodeRecord(
        JOB, node_id(JOB), status, cause, since_ns=0, via="ping", job=record, **fields
    )
    return Nights(plan, recovered=Recovered(7, (node,)))


def test_after_a_restart_the_run_under_way_is_still_known_and_may_end():
    nights = restored(JobRecord(NIGHTLY, started_ns=START - HOUR, zone_ns=HOUR, zone="CET"))
    assert nights.plans == {JOB: NIGHTLY}
    assert nights.walk(59 * MINUTE) == []
    assert nights.succeed(59 * MINUTE) == []
    assert nights.words[-1] == "web-1 ended a run after 119 min: success"


def test_after_a_restart_the_run_under_way_may_still_take_too_long():
    nights = restored(JobRecord(NIGHTLY, started_ns=START - HOUR))
    assert nights.walk(HOUR)[-1] == (JOB, "dead", "silent")


def test_after_a_restart_a_run_that_is_too_long_already_has_the_start_grace():
    nights = restored(JobRecord(NIGHTLY, started_ns=START - 3 * HOUR))
    assert changes(nights.step(9 * SECOND)) == []
    assert changes(nights.step(10 * SECOND))[-1] == (JOB, "dead", "silent")


def test_what_was_due_while_we_were_away_is_not_judged_and_this_is_said():
    nights = restored(
        JobRecord(NIGHTLY, due_ns=START - MINUTE, succeeded_ns=START - DAY, zone_ns=HOUR)
    )
    assert nights.walk(DUE) == []
    assert "whether it ran at 01:59:00 is not known" in nights.explained[0]
    assert nights.walk(DUE + 10 * MINUTE)[-1] == (JOB, "dead", "silent")


def test_after_a_restart_a_period_begins_anew():
    record = JobRecord(HOURLY, due_ns=START - MINUTE, ended_ns=START - HOUR - MINUTE)
    nights = restored(record, plan=HOURLY)
    assert nights.walk(64 * MINUTE) == []
    assert nights.walk(65 * MINUTE)[-1] == (JOB, "dead", "silent")


def test_after_a_restart_a_run_under_heartbeats_is_a_node_with_its_grace():
    record = JobRecord(NIGHTLY, started_ns=START - MINUTE)
    node = NodeRecord(
        JOB, node_id(JOB), "alive", "heard", 0, incarnation=5, interval_ns=SECOND, job=record
    )
    nights = Nights(recovered=Recovered(7, (node,)))
    found = nights.hand.walk(12 * SECOND, wall_offset_ns=OFFSET_NS)
    assert found == [(JOB, "suspect", "overdue"), (JOB, "dead", "silent")]


def test_a_dead_job_stays_dead_over_a_restart():
    nights = restored(JobRecord(NIGHTLY, due_ns=START - HOUR), status="dead", cause="silent")
    assert nights.walk(DUE + HOUR) == []
    assert nights.succeed(DUE + DAY)[-1] == (JOB, "alive", "steady")


def test_the_row_of_a_job_holds_all_that_a_restart_needs():
    nights = Nights()
    nights.start(DUE + SECOND)
    nights.fail(DUE + MINUTE, 3)
    assert nights.record.status == "failing"
    assert nights.record.job == JobRecord(
        NIGHTLY,
        due_ns=START + DUE + DAY,
        ended_ns=START + DUE + MINUTE,
        ran_ns=59 * SECOND,
        has_failed=True,
        exit_code=3,
        zone_ns=HOUR,
        zone="CET",
    )
