"""Quality from the journal: the same as was counted live, and over restarts as well."""

from dataclasses import replace

import numpy as np
import pytest

from beatward.backtest import Past, instant_ns
from beatward.core.entry import public
from beatward.core.figures import BOUNDS_NS, Figures, Goal
from beatward.core.instants import MILLISECOND, MINUTE, SECOND
from beatward.core.membership import Status
from beatward.simulate import draw
from beatward.simulate.faults import FaultKind
from beatward.simulate.world import World
from beatward.store.rows import timestamp

GOAL = Goal(detect_within_ns=2 * SECOND, mistakes_every_ns=3600 * SECOND)
# What makes a session forget; the journal remembers it.
SESSIONS = {FaultKind.MONITOR_CRASH, FaultKind.STORE}
# The journal has milliseconds.
GRAIN_NS = 2 * MILLISECOND


def read(world, begin_ns=0):
    """Feed a world's journal to a `Past` as the API shows it; return it with the snapshot."""
    process = world.monitor
    snapshot = process.monitor.snapshot(process.now_ns())
    offset_ns = process.wall_ns() - process.now_ns()
    past = Past(begin_ns, GOAL)
    for entry in world.journal:
        past.take(public(entry, timestamp(entry.at_ns + offset_ns)))
    for row in snapshot.rows().tolist():
        status = Status(snapshot.status[row]).word
        past.stand(snapshot.names[row], status, int(snapshot.since_ns[row]) + offset_ns)
    return past, snapshot, offset_ns


@pytest.mark.parametrize("seed", range(41, 47))
def test_the_journal_says_what_was_counted_live(seed):
    without = frozenset(SESSIONS | {FaultKind.MONITOR_CLOCK, FaultKind.MONITOR_FREEZE})
    scenario = draw(seed, minutes=3, without=without)
    world = World(replace(scenario, settings=replace(scenario.settings, goal=GOAL)))
    world.play()
    past, snapshot, offset_ns = read(world)
    end_ns = snapshot.taken_ns + offset_ns
    live = snapshot.state.quality.fleet(snapshot.taken_ns)
    told = past.figures(end_ns, dict.fromkeys(past.names, 0), 1)
    counts = ("nodes", "suspicions_refuted", "verdicts_refuted", "detections", "exits", "open")
    for name in counts:
        assert getattr(told, name) == getattr(live, name), name
    assert told.outages.tolist() == live.outages.tolist()
    events = len(world.journal)
    for name in ("trusted_ns", "mistaken_ns", "outage_ns"):
        near = pytest.approx(getattr(live, name), abs=events * GRAIN_NS)
        assert getattr(told, name) == near, name
    for name in ("detection_ns", "detection_max_ns", "overdue_ns", "beyond"):
        assert getattr(told, name) == getattr(live, name), name
    assert told.suspicions_refuted[0] > 0
    assert np.isnan(told.loss[0])


def transition(at_s, status, cause, before, **detail):
    usual = {"before": before, "silent_ns": None, "overdue_ns": None, "via": "udp"}
    return {
        "event": "transition",
        "at": timestamp(at_s * SECOND),
        "node": "web-1",
        "status": status,
        "cause": cause,
        "detail": {**usual, **detail},
    }


def silent(at_s, status, cause, before, *, since_s, **detail):
    silence_ns = (at_s - since_s) * SECOND
    said = {"silent_ns": silence_ns, "overdue_ns": silence_ns - SECOND, **detail}
    return transition(at_s, status, cause, before, **said)


def figures(*events, begin_s=0, end_s=100, status="alive", goal=GOAL):
    past = Past(begin_s * SECOND, goal)
    for event in events:
        past.take(event)
    past.stand("web-1", status, 0)
    return past.figures(end_s * SECOND, {"web-1": 0}, 1).public(0)


LIFE = {"event": "life", "at": timestamp(30 * SECOND), "node": "web-1"}
STARTED = {"event": "started", "at": timestamp(25 * SECOND), "node": None}
FOUND = (
    silent(20, "suspect", "overdue", "alive", since_s=18),
    silent(22, "dead", "silent", "suspect", since_s=18),
)
BACK = transition(30, "recovering", "heard", "dead")


def test_a_mistake_over_a_restart_of_the_monitor_is_one():
    found = figures(*FOUND, STARTED, BACK)
    assert found["verdicts_refuted"] == 1
    assert found["mistake_duration_ns"] == 10 * SECOND
    assert found["alive_ns"] == 100 * SECOND
    assert found["query_accuracy"] == pytest.approx(0.9)
    assert found["detection_time"]["count"] == 0
    assert found["outages"]["max_ns"] == 12 * SECOND
    assert found["goal"]["mistakes_every"]["state"] == "missed"


def test_a_new_life_confirms_a_verdict():
    found = figures(*FOUND, LIFE, BACK)
    assert found["verdicts_refuted"] == 0
    assert found["detection_time"] == {
        "count": 1,
        "mean_ns": 4 * SECOND,
        "max_ns": 4 * SECOND,
        "overdue_mean_ns": 3 * SECOND,
    }
    assert found["alive_ns"] == 90 * SECOND
    assert found["goal"]["detect_within"]["state"] == "missed"
    assert found["loss"] is found["jitter_ns"] is found["round_trip_ns"] is None


def test_what_is_still_dead_was_found():
    found = figures(*FOUND, status="dead")
    assert found["detection_time"]["count"] == 1
    assert found["outages"]["open"] == 1
    assert found["alive_ns"] == 20 * SECOND


def test_what_was_open_before_the_stretch_is_not_counted():
    found = figures(BACK, begin_s=25)
    assert found["verdicts_refuted"] == found["outages"]["count"] == 0
    assert found["alive_ns"] == 70 * SECOND


def test_a_node_without_an_event_stood_as_it_stands():
    assert figures()["alive_ns"] == 100 * SECOND
    assert figures(status="dead")["alive_ns"] == 0


def test_a_forgotten_node_keeps_its_past_and_may_come_back():
    forgotten = {"event": "forgotten", "at": timestamp(40 * SECOND), "node": "web-1", "detail": {}}
    joined = {"event": "joined", "at": timestamp(50 * SECOND), "node": "web-1"}
    past = Past(0, Goal())
    for event in (*FOUND, BACK, forgotten):
        past.take(event)
    alone = past.figures(100 * SECOND, {"web-1": 0}, 1)
    assert (alone.nodes[0], alone.alive_ns[0]) == (0, 40 * SECOND)
    past.take(joined)
    past.take(transition(60, "alive", "heard", "new"))
    again = past.figures(100 * SECOND, {"web-1": 0}, 1)
    assert (again.nodes[0], again.alive_ns[0]) == (1, 80 * SECOND)


def test_of_a_ping_nobody_can_tell():
    found = figures(
        silent(20, "suspect", "overdue", "alive", since_s=18, via="ping"),
        silent(22, "dead", "silent", "suspect", since_s=18, via="ping"),
        BACK,
    )
    assert found["verdicts_refuted"] == 0
    assert found["detection_time"]["count"] == 1


def test_of_an_exit_the_journal_knows_no_more_than_that_it_was_told():
    found = figures(transition(20, "dead", "exited", "alive"), LIFE, BACK)
    assert found["exits"] == {"count": 1, "mean_ns": None, "max_ns": None}
    assert found["outages"]["counts"][BOUNDS_NS.index(16 * SECOND)] == 1


def test_a_job_is_left_to_its_calendar():
    night = {"schedule": "0 3 * * *"}
    found = figures(
        silent(20, "suspect", "overdue", "alive", since_s=18, **night),
        silent(22, "dead", "silent", "suspect", since_s=18, **night),
        transition(30, "recovering", "heard", "dead", **night),
    )
    assert found["alive_ns"] == found["outages"]["count"] == 0
    assert found["detection_time"]["count"] == found["verdicts_refuted"] == 0


def test_maintenance_ends_what_is_open():
    found = figures(
        FOUND[0],
        transition(21, "paused", "pause", "suspect"),
        transition(40, "new", "resume", "paused"),
        transition(50, "alive", "heard", "new"),
    )
    assert found["suspicions_refuted"] == found["outages"]["count"] == 0
    assert found["alive_ns"] == 70 * SECOND


def test_instants_are_read_as_they_are_written():
    at_ns = 1_795_418_102_123 * MILLISECOND
    assert instant_ns(timestamp(at_ns)) == at_ns
    assert instant_ns("1970-01-01T00:01:00Z") == MINUTE


def test_all_figures_can_be_made_from_the_journal():
    past = Past(0, Goal())
    assert isinstance(past.figures(0, {}, 0), Figures)
