"""Who is asked to beat how often: square-root allocation, its bounds, and its patience."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.by_hand import ByHand, changes, heard, key_of, said
from tests.core.test_restart import row, started

from beatward.agent.heartbeat_protocol import HeartbeatProtocol, Report
from beatward.agent.send_schedule import Bounds
from beatward.core.instants import MILLISECOND, MINUTE, SECOND
from beatward.core.intake import Via
from beatward.core.membership import Cause, Membership, MembershipSettings, Status
from beatward.core.monitor import CoreSettings
from beatward.core.pace import SLICE, Pace, PaceSettings, Weight, read_weights
from beatward.core.registry import Registry

START = 1_000 * SECOND


class Fleet:
    """A table of nodes without a network: what is wished is obeyed at once, if at all."""

    def __init__(self, count, interval_ms=1000, **settings):
        self.registry = Registry(bytes(32))
        self.slots, _ = self.registry.enrol_all([f"web-{i}" for i in range(count)])
        self.membership = Membership(MembershipSettings(), self.registry.capacity)
        self.pace = Pace(PaceSettings(**settings), self.registry, self.membership)
        self.registry.interval_ms[self.slots] = interval_ms
        self.registry.via[self.slots] = Via.UDP
        self.become(self.slots, Status.ALIVE, Cause.HEARD, since_ns=0)
        self.now_ns = START

    def become(self, slots, status, cause, *, since_ns):
        self.membership.place(slots, status, cause, since_ns=since_ns, due_ns=0)

    def live(self, seconds, *, obeys=True, turns=1):
        for _ in range(seconds):
            self.now_ns += SECOND
            for turn in range(turns):
                self.pace.turn(self.now_ns + turn)
            if obeys:
                wish = self.registry.wish_ms[self.slots]
                promised = self.registry.interval_ms[self.slots]
                self.registry.interval_ms[self.slots] = np.where(wish > 0, wish, promised)

    @property
    def interval_ms(self):
        return self.registry.interval_ms[self.slots].astype(float)

    @property
    def rate(self):
        return float((1000 / self.interval_ms).sum())


def test_equal_nodes_divide_the_budget_equally():
    fleet = Fleet(100, budget=25.0)
    fleet.live(400)
    assert set(fleet.interval_ms) == {4000}
    assert fleet.pace.report.planned == pytest.approx(25, rel=0.01)
    assert fleet.pace.report.promised == pytest.approx(25, rel=0.01)


def test_intervals_are_as_the_square_roots_of_weight_and_trouble():
    # So and Sirer: T = S / (B * sqrt(w * f)), with w = 1, 4 and 16 here.
    weights = (Weight("web-?", 16.0), Weight("web-1?", 4.0))
    fleet = Fleet(100, budget=30.0, min_ns=100 * MILLISECOND, max_ns=60 * SECOND, weights=weights)
    fleet.live(1000)
    root = np.array([4.0] * 10 + [2.0] * 10 + [1.0] * 80)
    ideal_ms = 1000 * root.sum() / (30.0 * root)
    ratio = fleet.interval_ms / ideal_ms
    assert ratio.max() <= 1.2
    assert ratio.min() >= 1 / 1.2
    assert fleet.pace.report.planned == pytest.approx(30, rel=0.01)


@given(
    weights=st.lists(st.sampled_from([0.01, 0.5, 1.0, 3.0, 100.0]), min_size=1, max_size=12),
    budget=st.floats(0.1, 1000),
)
def test_what_is_planned_is_the_budget_or_every_node_is_at_its_bound(weights, budget):
    chosen = tuple(Weight(f"web-{i}", weight) for i, weight in enumerate(weights))
    fleet = Fleet(len(weights), budget=budget, weights=chosen)
    fleet.live(3)
    planned, count = fleet.pace.report.planned, len(weights)
    clipped = min(max(budget, count / 10), count / 1)
    assert planned == pytest.approx(clipped, rel=0.03)


def test_nobody_is_asked_beyond_min_and_max():
    for budget, ends_ms in ((0.001, 10_000), (1e6, 500)):
        fleet = Fleet(10, budget=budget, min_ns=500 * MILLISECOND)
        fleet.live(500)
        assert set(fleet.interval_ms) == {ends_ms}


def test_one_step_is_a_factor_of_two_and_ten_intervals_pass_before_the_next():
    fleet = Fleet(10, budget=1.0)
    seen = []
    for second in range(300):
        fleet.live(1)
        seen.append((second, fleet.interval_ms[0]))
    changed = [
        (at, before, after) for (_, before), (at, after) in pairwise(seen) if before != after
    ]
    assert [after for _, _, after in changed] == [2000, 4000, 8000, 10_000]
    for (at, _, interval_ms), (then, _, _) in pairwise(changed):
        assert then - at >= 10 * interval_ms / 1000


def test_less_than_a_fifth_is_no_reason_to_change():
    fleet = Fleet(10, budget=10 / 1.15)
    fleet.live(100)
    assert set(fleet.interval_ms) == {1000}
    assert not fleet.registry.wish_ms.any()
    fleet = Fleet(10, budget=10 / 1.25)
    fleet.live(100)
    assert set(fleet.interval_ms) == {1250}


def test_a_suspicion_halves_the_interval_and_is_forgotten():
    fleet = Fleet(100, budget=25.0)
    fleet.live(200)
    one = fleet.slots[:1]
    fleet.become(one, Status.SUSPECT, Cause.OVERDUE, since_ns=fleet.now_ns + 1)
    fleet.live(2)
    assert fleet.interval_ms[0] == pytest.approx(2000, rel=0.05)
    fleet.become(one, Status.ALIVE, Cause.REFUTED, since_ns=fleet.now_ns + 1)
    fleet.live(300)
    assert fleet.interval_ms[0] == pytest.approx(2000, rel=0.05)
    fleet.live(1500)
    assert fleet.interval_ms[0] == pytest.approx(4000, rel=0.2)


def test_who_flaps_is_watched_more_closely_with_every_time():
    fleet = Fleet(100, budget=10.0, max_ns=20 * SECOND)
    fleet.live(400)
    before = fleet.interval_ms[0]
    for _ in range(8):
        fleet.become(fleet.slots[:1], Status.ALIVE, Cause.REFUTED, since_ns=fleet.now_ns + 1)
        fleet.live(60)
    # sqrt(1 + 3 * 8) = 5, less what the first ten minutes have forgotten.
    assert before / fleet.interval_ms[0] > 3.5


def test_who_does_not_follow_is_counted_as_it_is_and_the_others_pay_for_it():
    fleet = Fleet(100, budget=50.0)
    stubborn = fleet.slots[:20]
    for _ in range(600):
        fleet.live(1)
        fleet.registry.interval_ms[stubborn] = 1000
    assert fleet.rate == pytest.approx(50, rel=0.2)
    assert fleet.pace.report.deaf_count == 20
    # 20 of the 50 go to those who stay at one a second.
    assert fleet.interval_ms[50] == pytest.approx(80 / 30 * 1000, rel=0.2)


@pytest.mark.parametrize("via", [Via.HTTP, Via.PING])
def test_who_cannot_be_asked_is_counted_and_not_asked(via):
    fleet = Fleet(100, budget=50.0)
    fleet.registry.via[fleet.slots[:20]] = via
    fleet.live(400)
    assert not fleet.registry.wish_ms[fleet.slots[:20]].any()
    assert fleet.rate == pytest.approx(50, rel=0.2)


@pytest.mark.parametrize("status", [Status.DEAD, Status.LEFT, Status.PAUSED])
def test_who_is_not_expected_to_speak_costs_nothing(status):
    fleet = Fleet(100, budget=25.0)
    fleet.become(fleet.slots[:50], status, Cause.SILENT, since_ns=0)
    fleet.live(400)
    assert set(fleet.interval_ms[50:]) == {2000}


def test_a_large_table_is_walked_in_slices_and_comes_to_the_same():
    count = 2 * SLICE + 100
    fleet = Fleet(count, budget=count / 4)
    fleet.live(1)
    assert fleet.pace.report.promised == 0  # one slice of three
    fleet.live(400, turns=3)
    assert set(fleet.interval_ms) == {4000}
    # Nothing more than the slices: all of this in one turn each.
    assert fleet.pace.report.planned == pytest.approx(count / 4, rel=0.01)


def test_weights_go_by_names_and_labels_and_the_first_that_fits_counts():
    weights = read_weights([("zone=a", 4.0), ("web-*", 9.0), ("rack=7?", 16.0)])
    assert weights[0] == Weight("a", 4.0, "zone")
    fleet = Fleet(3, budget=1.0, weights=weights, max_ns=MINUTE)
    names = ["db-1", "db-2", "db-3"]
    fleet.slots, _ = fleet.registry.enrol_all(names)
    for slot, labels in zip(fleet.slots, ({"zone": "a"}, {"rack": "71"}, {}), strict=True):
        fleet.registry.label(int(slot), labels)
    classes = [fleet.pace._class_of(slot) for slot in [0, *fleet.slots]]
    assert fleet.pace._weights[classes].tolist() == [9.0, 4.0, 16.0, 1.0]


def test_new_labels_are_looked_at():
    fleet = Fleet(10, budget=5.0, weights=read_weights([("role=primary", 100.0)]))
    fleet.live(100)
    fleet.registry.label(3, {"role": "primary"})
    fleet.live(100)
    assert fleet.interval_ms[3] == 1000
    assert fleet.interval_ms[4] == 2000


def test_a_slot_that_is_used_again_begins_without_wish_and_past():
    fleet = Fleet(10, budget=1.0)
    fleet.become(fleet.slots[:1], Status.ALIVE, Cause.REFUTED, since_ns=START + 1)
    fleet.live(30)
    assert fleet.registry.wish_ms[0] > 0
    assert fleet.pace.trouble[0] == 0  # nothing is reckoned on the first look
    fleet.become(fleet.slots[:1], Status.ALIVE, Cause.REFUTED, since_ns=fleet.now_ns + 1)
    fleet.live(2)
    assert fleet.pace.trouble[0] == 1
    fleet.registry.forget(0)
    fleet.registry.enrol_all(["other"])
    assert fleet.registry.wish_ms[0] == 0
    fleet.registry.interval_ms[0] = 10_000
    fleet.live(1)
    assert fleet.registry.name(0) == "other"
    assert fleet.pace.trouble[0] == 0


def test_arrays_grow_with_the_registry():
    fleet = Fleet(10, budget=10.0)
    fleet.live(1)
    more, _ = fleet.registry.enrol_all([f"more-{i}" for i in range(3000)])
    fleet.membership.grow(fleet.registry.capacity)
    fleet.live(2)
    assert len(fleet.pace.hold_s) == fleet.registry.capacity > more.max()


def test_a_node_has_eight_bytes():
    fleet = Fleet(1, budget=1.0)
    arrays = [fleet.registry.wish_ms, fleet.registry.pace_class, fleet.pace.hold_s]
    assert sum(array.itemsize for array in [*arrays, fleet.pace.trouble]) == 8


# --- with the rest of the machine ---


def paced(**settings):
    return CoreSettings(pace=PaceSettings(**settings))


def test_without_a_budget_nothing_is_wished():
    hand = ByHand()
    hand.beat(*range(5))
    (answer,) = heard(hand.step(5 * SECOND, said(sequence=5, flags=1)))
    assert answer.wish_ms is None
    assert hand.monitor._pace is None
    assert hand.snapshot().pace is None


def test_who_was_not_thought_about_yet_is_asked_to_stay_as_it_is():
    # After a restart of the monitor: no wish would send it back to its own interval.
    hand = ByHand(paced(budget=100.0))
    output = hand.step(10 * MILLISECOND, said(sequence=5, flags=1, interval_ms=7000))
    assert heard(output)[0].wish_ms == 7000


def test_acknowledgements_carry_the_wish():
    hand = ByHand(paced(budget=0.1))
    hand.beat(*range(5))
    (answer,) = heard(hand.step(5 * SECOND, said(sequence=5, flags=1)))
    assert (answer.wish_ms, answer.interval_ms) == (2000, 1000)


def test_after_a_restart_whoever_was_slowed_down_has_time_to_speak():
    # The journal's row is of its last change of status, when its interval was a second.
    hand = started(row(), settings=paced(budget=0.1, max_ns=20 * SECOND))
    assert hand.walk(39 * SECOND) == []
    assert hand.walk(42 * SECOND)[0][1] == "suspect"


def test_agents_and_monitor_come_to_the_budget_and_nobody_is_suspected():
    names = ("web-1", "web-2", "web-3")
    hand = ByHand(paced(budget=0.75), nodes=names)
    bounds = Bounds(100 * MILLISECOND, 10 * SECOND)
    senders = [
        HeartbeatProtocol(
            name,
            key_of(name),
            incarnation=9,
            interval_ns=SECOND,
            start_ns=i * SECOND // 3,
            bounds=bounds,
        )
        for i, name in enumerate(names)
    ]
    found = []
    while hand.now < 300 * SECOND:
        due_ns = min(protocol.next_due_ns for protocol in senders)
        found += hand.walk(due_ns, tick_ns=500 * MILLISECOND)
        rows = [one.beat(due_ns, Report()) for one in senders if one.next_due_ns <= due_ns]
        while rows:
            output = hand.step(hand.now + 5 * MILLISECOND, *rows)
            found += changes(output)
            answers = [row.tobytes() for row in output.replies.rows]
            rows = [
                reply
                for protocol in senders
                for row in answers
                for reply in protocol.receive(row, hand.now)
            ]
    assert [status for _, status, _ in found] == ["alive"] * 3
    assert {protocol.interval_ns for protocol in senders} == {4 * SECOND}
    assert hand.snapshot().pace.promised == pytest.approx(0.75, rel=0.2)
    assert math.isclose(hand.snapshot().pace.budget, 0.75)
