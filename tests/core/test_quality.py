"""Live quality, worked out by hand: detection times, mistakes, outages; sessions and fleets."""

import numpy as np
import pytest
from tests.core.by_hand import LIFE, ByHand, said
from tests.core.measured import FIXED, answer, by_hand, figures, fleet, of
from tests.core.nights import DUE, JOB, Nights

from beatward.core.entry import Recovered
from beatward.core.figures import BOUNDS_NS
from beatward.core.instants import DAY, HOUR, MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.order_kinds import Forget, Join, Pause, Resume
from beatward.core.protocol.record import Farewell, Kind
from beatward.core.quality import Quality


def outages(**counts):
    """Write a histogram: `s2=1` is one of more than 1 s and at most 2 s."""
    found = [0] * (len(BOUNDS_NS) + 1)
    for bound, count in counts.items():
        found[BOUNDS_NS.index(int(float(bound[1:]) * SECOND))] = count
    return found


# --- detection ---


def test_detection_time_is_the_silence_at_the_verdict():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(30 * SECOND)
    found = of(monitor)
    assert found["detection_time"] == {
        "count": 1,
        "mean_ns": 2_100_000_000,
        "max_ns": 2_100_000_000,
        "overdue_mean_ns": 1_100_000_000,
    }
    # Heard at 0 s, suspected at 20.1 s; what a dead node is not, is alive.
    assert found["alive_ns"] == 20_100_000_000
    assert found["query_accuracy"] == 1.0
    assert found["mistake_recurrence_time_ns"] is None
    assert found["outages"]["open"] == 1
    assert found["outages"]["count"] == 0


def test_a_new_life_confirms_the_verdict_and_ends_the_outage():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(24 * SECOND)
    before = of(monitor)["detection_time"]
    monitor.come_back(25 * SECOND, incarnation=LIFE + 1)
    found = of(monitor)
    assert found["detection_time"] == before
    assert (found["suspicions_refuted"], found["verdicts_refuted"]) == (0, 0)
    # The last word was heard at 19 s.
    assert found["outages"]["counts"] == outages(s8=1)
    assert found["outages"]["max_ns"] == 6 * SECOND
    assert found["outages"]["open"] == 0


def test_a_verdict_that_the_same_life_refutes_was_a_mistake_and_no_detection():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(24 * SECOND)
    monitor.come_back(24_100_000_000, sequence=24)
    monitor.beat(25, 26, 27, 28, 29)
    found = of(monitor)
    assert found["detection_time"]["count"] == 0
    assert (found["suspicions_refuted"], found["verdicts_refuted"]) == (0, 1)
    assert found["mistake_duration_ns"] == 4 * SECOND  # from the suspicion at 20.1 s
    assert found["alive_ns"] == 29 * SECOND
    assert found["query_accuracy"] == pytest.approx(1 - 4 / 29)
    assert found["mistake_recurrence_time_ns"] == 29 * SECOND
    assert found["mistake_rate_per_hour"] == pytest.approx(3600 / 29)


def test_an_exit_is_told_and_counts_from_the_word():
    monitor = by_hand()
    monitor.beat(*range(20))
    bye = said(kind=Kind.GOODBYE, sequence=20, status=Farewell.EXITED, cpu=1)
    monitor.step(19_507_000_000, bye, arrived_ns=19_500_000_000)
    found = of(monitor)
    assert found["exits"] == {"count": 1, "mean_ns": 7_000_000, "max_ns": 7_000_000}
    assert found["detection_time"]["count"] == 0
    assert (found["slots"], found["missing"]) == (20, 0)
    monitor.come_back(22_500_000_000, incarnation=LIFE + 1)
    assert of(monitor)["outages"]["max_ns"] == 3 * SECOND


def test_who_leaves_has_no_outage():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.step(20 * SECOND, said(kind=Kind.GOODBYE, sequence=20))
    monitor.walk(40 * SECOND)
    found = of(monitor)
    assert found["alive_ns"] == 20 * SECOND
    assert found["outages"]["count"] == found["outages"]["open"] == 0
    assert (found["slots"], found["missing"]) == (20, 0)


def test_nobody_knows_how_long_it_took_to_find_who_was_never_heard():
    monitor = by_hand()
    monitor.walk(20 * SECOND)
    assert monitor.status() == "dead"
    found = of(monitor)
    assert found["detection_time"]["count"] == 0
    assert found["alive_ns"] == 0
    assert found["query_accuracy"] is None
    assert found["loss"] is None


# --- mistakes ---


def test_a_suspicion_that_is_answered_was_a_mistake():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(20_100_000_000)
    answer(monitor, 20_130_000_000, sequence=20)
    monitor.beat(*range(21, 31))
    found = of(monitor)
    assert (found["suspicions_refuted"], found["verdicts_refuted"]) == (1, 0)
    assert found["mistake_duration_ns"] == 30_000_000
    assert found["alive_ns"] == 30 * SECOND
    assert found["round_trip_ns"] == 30_000_000
    assert found["outages"]["counts"] == outages(s2=1)
    assert found["outages"]["max_ns"] == 1_130_000_000  # since second 19
    assert found["query_accuracy"] == pytest.approx(1 - 0.03 / 30)


def test_no_round_trip_is_measured_where_several_probes_were_sent():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(20_400_000_000)
    answer(monitor, 20_430_000_000, sequence=20)
    found = of(monitor)
    assert found["suspicions_refuted"] == 1
    assert found["round_trip_ns"] is None


def test_a_new_life_refutes_a_suspicion_that_was_right():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(20_500_000_000)
    monitor.step(20_600_000_000, said(incarnation=LIFE + 1))
    assert monitor.status() == "alive"
    found = of(monitor)
    assert found["suspicions_refuted"] == 0
    assert found["alive_ns"] == 20_100_000_000
    assert found["outages"]["count"] == 1


def test_a_goodbye_of_the_same_life_says_that_the_suspicion_was_wrong():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(20_500_000_000)
    monitor.step(20_600_000_000, said(kind=Kind.GOODBYE, sequence=21))
    found = of(monitor)
    assert found["suspicions_refuted"] == 1
    assert found["mistake_duration_ns"] == 500_000_000


def test_of_a_verdict_on_a_bare_url_nobody_can_tell_whether_it_was_wrong():
    monitor = by_hand()
    for second in range(10):
        monitor.walk(second * SECOND)
        monitor.step(second * SECOND, said(incarnation=0, echo=0), via=Via.PING)
    monitor.walk(10_300_000_000)
    assert monitor.status() == "suspect"
    monitor.step(10_300_000_000, said(incarnation=0, echo=0), via=Via.PING)
    assert of(monitor)["suspicions_refuted"] == 1
    monitor.walk(20 * SECOND)
    assert monitor.status() == "dead"
    monitor.step(20 * SECOND, said(incarnation=0, echo=0), via=Via.PING)
    found = of(monitor)
    assert (found["suspicions_refuted"], found["verdicts_refuted"]) == (1, 0)
    assert found["detection_time"]["count"] == 1
    assert found["slots"] == 0
    assert found["loss"] is None


def test_maintenance_is_neither_alive_nor_out():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(20_100_000_000)
    monitor.step(20_200_000_000, orders=(Pause(("web-1",)),))
    monitor.walk(40 * SECOND)
    monitor.step(40 * SECOND, orders=(Resume(("web-1",)),))
    monitor.beat(41)
    monitor.walk(41_500_000_000)
    found = of(monitor)
    assert found["suspicions_refuted"] == 0
    assert found["outages"]["count"] == 0
    assert found["alive_ns"] == 20_600_000_000


def test_two_mistakes_are_far_apart_on_average():
    monitor = by_hand()
    for begin in (0, 20):
        monitor.beat(*range(begin, begin + 19))
        monitor.walk((begin + 19) * SECOND + 100 * MILLISECOND)
        answer(monitor, (begin + 19) * SECOND + (200 + begin) * MILLISECOND, sequence=begin + 19)
    monitor.beat(*range(40, 61))
    found = of(monitor)
    assert found["suspicions_refuted"] == 2
    assert found["mistake_duration_ns"] == 110_000_000
    assert found["mistake_recurrence_time_ns"] == 30 * SECOND
    assert found["mistake_rate_per_hour"] == pytest.approx(120.0)


# --- sessions and fleets ---


def test_counting_begins_with_the_session():
    past = by_hand()
    past.beat(*range(20))
    past.walk(20_500_000_000)
    assert past.status() == "suspect"
    rows = {entry.node: entry.node_record for entry in past.entries if entry.node_record}
    monitor = ByHand(FIXED, nodes=(), recovered=Recovered(9, tuple(rows.values())))
    # What was suspected before is not counted: neither the mistake nor the outage.
    for second in range(1, 11):
        monitor.walk(second * SECOND)
        monitor.step(second * SECOND, said(sequence=30 + second))
        assert monitor.status() == "alive"
    found = of(monitor)
    assert found["suspicions_refuted"] == found["outages"]["count"] == 0
    assert found["alive_ns"] == 9 * SECOND
    assert (found["slots"], found["missing"]) == (10, 0)


def test_a_forgotten_node_leaves_its_mistakes_to_the_fleet():
    monitor = ByHand(FIXED, nodes=("web-1", "web-2"))
    monitor.beat(*range(20))
    monitor.walk(20_100_000_000)
    answer(monitor, 20_200_000_000, sequence=20)
    monitor.beat(21)
    before = fleet(monitor)
    assert before["suspicions_refuted"] == 1
    monitor.step(21 * SECOND, orders=(Forget("web-1"),))
    assert fleet(monitor) == {**before, "nodes": 1, "jitter_ns": None}
    monitor.step(21 * SECOND, orders=(Join("web-1"),))
    blank = of(monitor)
    assert (blank["suspicions_refuted"], blank["alive_ns"], blank["slots"]) == (0, 0, 0)
    monitor.step(22 * SECOND, said(sequence=22))
    assert (of(monitor)["slots"], of(monitor)["missing"]) == (1, 0)


def test_a_forgotten_node_that_was_alive_leaves_its_time():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.step(19_500_000_000, orders=(Forget("web-1"),))
    assert fleet(monitor)["alive_ns"] == 19_500_000_000


def test_groups_are_added_up():
    monitor = ByHand(FIXED, nodes=("web-1", "web-2", "web-3"))
    for second in range(20):
        rows = [said(name, sequence=second) for name in ("web-1", "web-2", "web-3")]
        monitor.walk(second * SECOND)
        monitor.step(second * SECOND, *rows)
    monitor.walk(20_600_000_000)
    monitor.step(20_600_000_000, said("web-3", sequence=20, kind=Kind.GOODBYE))
    monitor.walk(22 * SECOND)
    snapshot = monitor.snapshot()
    found = snapshot.state.quality.figures(
        np.arange(3), snapshot.taken_ns, groups=np.array([1, 0, 1]), count=3
    )
    assert found.nodes.tolist() == [1, 2, 0]
    assert found.detections.tolist() == [1, 1, 0]
    assert found.detection_max_ns.tolist() == [2_100_000_000, 2_100_000_000, 0]
    assert found.suspicions_refuted.tolist() == [0, 1, 0]
    # The third was suspected for half a second and lived.
    assert found.alive_ns.tolist() == [20_100_000_000, 40_700_000_000, 0]
    assert found.slots.tolist() == [20, 40, 0]
    assert found.public(2)["query_accuracy"] is None


def test_a_snapshot_does_not_change_any_more():
    monitor = by_hand()
    monitor.beat(*range(20))
    monitor.walk(20_100_000_000)
    snapshot = monitor.snapshot()
    before = snapshot.state.quality.fleet(snapshot.taken_ns).public(0)
    answer(monitor, 20_200_000_000, sequence=20)
    monitor.beat(25)
    monitor.step(26 * SECOND, orders=(Forget("web-1"),))
    assert snapshot.state.quality.fleet(snapshot.taken_ns).public(0) == before


def test_a_slot_costs_20_bytes():
    quality = by_hand().snapshot().state.quality
    assert sum(getattr(quality, name).itemsize for name in Quality.ROWS) == 20


def test_many_nodes_have_room():
    names = [f"n-{number}" for number in range(1500)]
    monitor = ByHand(FIXED, nodes=names)
    monitor.step(SECOND, *(said(name, sequence=5) for name in names))
    bye = {"kind": Kind.GOODBYE, "sequence": 6, "status": Farewell.EXITED}
    monitor.step(1_200_000_000, *(said(name, **bye) for name in names))
    found = fleet(monitor)
    assert (found["exits"]["count"], found["slots"]) == (1500, 1500)
    assert figures(monitor, "n-0", "n-1499").alive_ns.tolist() == [200_000_000] * 2


def test_a_job_is_neither_alive_nor_found_dead_by_its_silence():
    nights = Nights()
    nights.succeed(DUE)
    nights.walk(DUE + DAY + HOUR)
    assert nights.hand.status(JOB) == "dead"
    assert fleet(nights.hand)["detection_time"]["count"] == 0
    nights.succeed(DUE + DAY + 2 * HOUR)
    found = fleet(nights.hand)
    assert found["alive_ns"] == found["outages"]["count"] == found["outages"]["open"] == 0
    assert found["query_accuracy"] is None
    nights.step(nights.hand.now + SECOND, orders=(Forget(JOB),))
    assert fleet(nights.hand)["alive_ns"] == 0
