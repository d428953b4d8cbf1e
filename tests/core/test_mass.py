"""Many dark at once: deeds wait, one alarm for all, and nobody is judged by who hears nobody."""

from dataclasses import replace

import numpy as np
import pytest
from tests.core.by_hand import START, said
from tests.core.fleet import TICK, Fleet, fleet

from beatward.core.entry import Recovered
from beatward.core.instants import NEVER, SECOND
from beatward.core.mass import CALM_NS, MassGuard, MassSettings
from beatward.core.membership import Cause, Membership, MembershipSettings, Status
from beatward.core.order_kinds import Lift
from beatward.core.protocol.record import Farewell, Kind
from beatward.core.registry import Registry

# --- a part of the fleet ---


def test_one_death_is_answered_at_once():
    some = fleet({"a": 10, "b": 10})
    some.silent = {"a-3"}
    some.run(5)
    assert some.deeds() == ["a-3"]
    assert some.deeds("page") == ["a-3"]
    assert some.guards() == []


@pytest.mark.parametrize(
    ("nodes", "dead", "is_mass"),
    [(20, 2, False), (20, 3, True), (40, 5, False), (40, 6, True), (3, 1, False), (3, 2, False)],
)
def test_fifteen_percent_of_a_fleet_but_never_one_or_two_nodes_are_a_mass(nodes, dead, is_mass):
    some = fleet({"": nodes})
    some.silent = {f"no-{number}" for number in range(dead)}
    some.run(6)
    assert some.count("dead") == dead
    assert len(some.deeds()) == (0 if is_mass else dead)
    assert some.guards() == ([("mass_failure", None, dead, nodes)] if is_mass else [])
    # One alarm about all, or one about each.
    assert sorted(some.deeds("page")) == ([""] if is_mass else [f"no-{n}" for n in range(dead)])


@pytest.mark.parametrize(("dead", "is_mass"), [(10, False), (11, True), (12, True)])
def test_fifty_five_percent_of_a_zone_are_a_mass_in_that_zone_only(dead, is_mass):
    some = fleet({"a": 20, "b": 180})
    some.cut("a", share=dead / 20)
    some.run(6)
    some.silent |= {"b-7"}
    some.run(4)
    assert some.guards() == ([("mass_failure", "a", dead, 20)] if is_mass else [])
    assert ("b-7" in some.deeds()) is True
    assert len(some.deeds()) == (1 if is_mass else dead + 1)


def test_the_reason_is_in_the_decision_in_the_verdict_and_in_the_explanation():
    some = fleet({"a": 10, "b": 90})
    some.cut("a", share=0.6)
    some.run(6)
    why = "6 of 10 nodes of zone a went dark at once"
    decided = [one for one in some.hand.entries if one.action == "restart"]
    assert len(decided) == 6
    assert all(one.explanation.endswith(f": held back: {why}") for one in decided)
    words, numbers = some.hand.snapshot().explain(0)
    assert f"; destructive actions are held back: {why}; waiting: restart" in words
    assert numbers["held_back"] == why
    assert numbers["actions_guarded"] == ["restart"]
    _, numbers = some.hand.snapshot().explain(50)
    assert numbers["held_back"] is None
    assert numbers["actions_guarded"] == []
    assert some.hand.snapshot().outbox["guarded"] == 6
    (hold,) = some.hand.snapshot().state.holds
    assert (hold.zone, hold.dark, hold.total) == ("a", 6, 10)


def test_one_alarm_names_the_mass_and_goes_to_whom_its_nodes_would_go():
    some = fleet({"a": 10, "db": 90})
    some.cut("a")
    some.run(6)
    (alarm,) = [one for one in some.hand.entries if one.action == "page"]
    assert alarm.node is None
    assert alarm.explanation == "page for the fleet, because of mass_failure"
    assert alarm.action_record.event["cause"] == "mass_failure"
    assert alarm.action_record.event["detail"]["nodes"][:2] == ["a-0", "a-1"]
    assert some.deeds("other") == []  # its nodes are others
    assert len([one for one in some.hand.entries if one.status == "dead"]) > 10


def test_an_end_that_was_seen_is_no_darkness_and_its_alarm_is_its_own():
    some = fleet({"a": 10})
    for number in range(5):
        some.silent.add(f"a-{number}")
        goodbye = said(f"a-{number}", Kind.GOODBYE, sequence=100, status=Farewell.EXITED)
        some.hand.step(some.now + number, goodbye)
    some.run(4)
    assert some.guards() == []
    assert sorted(some.deeds("page")) == [f"a-{number}" for number in range(5)]
    assert sorted(some.deeds()) == [f"a-{number}" for number in range(5)]


def test_who_comes_back_is_not_restarted_and_the_rest_is_when_few_enough_are_left():
    some = fleet({"a": 10, "b": 90})
    some.cut("a", share=0.8)
    some.run(20)
    assert some.guards() == [("mass_failure", "a", 8, 10)]
    back = {f"a-{number}" for number in range(6)}
    some.silent -= back
    some.run(4)
    # 2 of 10 are dark: fewer than half of 55 %.
    assert some.guards()[1:] == [("mass_failure_over", "a", 2, 10)]
    assert some.deeds() == ["a-6", "a-7"]
    assert some.deeds("greet") == [""]  # one word for all who are back
    withdrawn = [one.node for one in some.hand.entries if one.outcome == "withdrawn"]
    assert sorted(withdrawn) == sorted(back)


# --- the first of many ---


def test_in_a_slow_zone_a_deed_waits_until_it_is_known_not_to_be_the_first_of_many():
    some = Fleet({"a": 20}, interval=10).run(112)
    some.cut("a")
    some.run(30)
    assert some.deeds() == []


def test_in_a_slow_zone_a_single_death_is_answered_when_enough_others_were_heard():
    some = Fleet({"a": 20}, interval=10).run(112)
    some.silent = {"a-3"}
    some.run(25)
    (decided_ns,) = [one.at_ns - START for one in some.hand.entries if one.action == "restart"]
    ((done_ns, _, _),) = [one for one in some.released if one[1] == "restart"]
    # 15 % of 20 are 3: it waits until 18 others have been heard since, nine tenths of an interval
    # from the suspicion on, of which the probing window is one.
    assert 7 * SECOND <= done_ns - decided_ns <= 9 * SECOND


def test_in_a_large_slow_fleet_a_sample_is_enough():
    some = Fleet({"": 200}, interval=10).run(112)
    some.silent = {"no-3"}
    some.run(25)
    (decided_ns,) = [one.at_ns - START for one in some.hand.entries if one.action == "restart"]
    ((done_ns, _, _),) = [one for one in some.released if one[1] == "restart"]
    # 5 of 34 are fewer than 15 %: 33 others were heard within 1.7 s, of which one is the window.
    assert done_ns - decided_ns <= 1 * SECOND


def test_a_deed_waits_no_longer_than_the_window():
    settings = MassSettings(window_ns=5 * SECOND)
    some = Fleet({"a": 4}, interval=5, mass=settings).run(60)
    some.silent = {"a-0", "a-1"}
    some.run(25)
    decided = [one.at_ns - START for one in some.hand.entries if one.action == "restart"]
    waited = [
        done_ns - decided_ns
        for decided_ns, (done_ns, name, _) in zip(decided, some.released, strict=False)
        if name == "restart"
    ]
    assert len(some.deeds()) == 2
    assert all(wait <= 5 * SECOND + 2 * TICK for wait in waited)


# --- the end of it ---


def test_it_ends_only_when_few_enough_were_dark_for_a_while():
    some = fleet({"a": 20, "b": 180})
    some.cut("a", share=0.6)
    some.run(6)
    for number in range(6):  # to half of what began it, and no further
        some.silent.discard(f"a-{number}")
    some.run(5)
    assert len(some.guards()) == 1
    some.silent.discard("a-6")
    begun = some.now
    while len(some.guards()) == 1:
        some.turn()
    assert CALM_NS <= some.now - begun <= CALM_NS + SECOND + 3 * TICK  # its heartbeat first
    assert some.guards()[1] == ("mass_failure_over", "a", 5, 20)
    assert len(some.run(2).deeds()) == 5


def test_the_dead_do_not_become_fewer_by_waiting():
    some = fleet({"a": 10, "b": 90})
    some.cut("a")
    some.run(90)
    assert [cause for cause, *_ in some.guards()] == ["mass_failure"]
    assert some.deeds() == []


def test_what_was_long_ago_is_no_part_of_it():
    some = fleet({"": 20})
    for number in range(6):
        some.silent.add(f"no-{number}")
        some.run(16)
    assert some.guards() == []
    assert len(some.deeds()) == 6


def test_the_rate_holds_when_it_is_over():
    some = fleet({"a": 40, "b": 360}, actions_per_minute=6)
    some.cut("a")
    some.run(6)
    assert some.hand.monitor.snapshot(0).outbox["guarded"] == 40
    some.turn(orders=(Lift("a"),))
    some.run(60)
    assert 12 <= len(some.deeds()) <= 13
    assert [cause for cause, *_ in some.guards()] == ["mass_failure", "mass_failure_over"]


def test_an_operator_has_the_last_word_until_the_next_time():
    some = fleet({"a": 10, "b": 90})
    some.cut("a")
    some.run(6)
    some.turn(orders=(Lift("b"),))
    assert len(some.guards()) == 1
    some.turn(orders=(Lift("a"),))
    some.run(20)
    assert [cause for cause, *_ in some.guards()] == ["mass_failure", "mass_failure_over"]
    assert len(some.deeds()) == 10
    some.silent.clear()
    some.run(10)
    some.cut("a")
    some.run(6)
    assert [cause for cause, *_ in some.guards()][2:] == ["mass_failure"]


def written(some, *, ago_ns=0):
    """Return what a restart finds of a fleet, when all of it was so long ago."""
    rows, actions = {}, {}
    for one in some.hand.entries:
        if one.node_record:
            rows[one.node] = replace(one.node_record, since_ns=one.node_record.since_ns - ago_ns)
        if one.action_record:
            actions[one.action_record.key] = one.action_record
    waiting = tuple(one for one in actions.values() if one.state == "decided")
    nodes = tuple(rows[name] for name in sorted(rows))
    return Recovered(some.hand.entries[-1].sequence, nodes, waiting)


def test_a_restart_of_the_monitor_does_not_forget_that_many_are_dead():
    some = fleet({"a": 10, "b": 90})
    some.cut("a", share=0.7)
    some.run(60)
    assert len(some.guards()) == 1
    some.begin(written(some, ago_ns=300 * SECOND))
    some.run(30)
    assert some.guards() == [("mass_failure", "a", 7, 10)]
    assert some.deeds() == []


# --- everybody ---


@pytest.mark.parametrize("interval", [1, 5])
def test_a_monitor_that_hears_nobody_judges_nobody(interval):
    some = Fleet({"a": 10, "b": 10}, interval=interval).run(12 * interval)
    some.silent = set(some.names)
    some.run(60)
    assert some.count("suspect") == 20
    assert some.guards() == [("cut_off", None, 20, 20)]
    assert some.deeds() == []
    assert some.deeds("page") == [""]
    words, numbers = some.hand.snapshot().explain(3)
    assert (
        "; no node is declared dead: the monitor itself seems cut off: no node was heard" in words
    )
    assert numbers["held_back"].endswith("and all 20 nodes that should have spoken are silent")


def test_when_somebody_is_heard_again_everybody_else_has_a_new_window():
    some = fleet({"a": 10})
    some.silent = set(some.names)
    some.run(30)
    some.silent.clear()
    some.run(10)
    assert [cause for cause, *_ in some.guards()] == ["cut_off", "cut_off_over"]
    assert some.count("alive") == 10
    assert not [one for one in some.hand.entries if one.status == "dead"]


def test_who_stays_silent_when_the_others_are_back_is_dead_then():
    some = fleet({"a": 40})
    some.silent = set(some.names)
    some.run(30)
    some.silent = {"a-7"}
    some.run(6)
    assert [name for name in some.names if some.hand.status(name) != "alive"] == ["a-7"]
    assert some.deeds() == ["a-7"]


def test_one_that_is_left_is_enough_to_judge_by_and_not_to_act_upon():
    some = fleet({"a": 10})
    some.silent = set(some.names) - {"a-4"}
    some.run(10)
    assert some.count("dead") == 9
    assert some.deeds() == []
    assert some.guards() == [("mass_failure", None, 9, 10)]


def test_two_nodes_are_nobody():
    some = fleet({"": 2})
    some.silent = set(some.names)
    some.run(6)
    assert some.count("dead") == 2
    assert some.guards() == []


def test_an_operator_may_have_the_silent_judged():
    some = fleet({"a": 10})
    some.silent = set(some.names)
    some.run(20)
    some.turn(orders=(Lift(""),))
    some.run(5)
    assert some.count("dead") == 10
    causes = [cause for cause, *_ in some.guards()]
    # Whether to act on all these verdicts is another question, with an answer of its own.
    assert causes == ["cut_off", "cut_off_over", "mass_failure"]
    assert some.deeds() == []
    some.turn(orders=(Lift(""),))
    some.run(5)
    assert len(some.deeds()) == 10


def test_a_monitor_that_is_cut_off_from_its_start_judges_nobody():
    some = fleet({"a": 10})
    some.silent = set(some.names)
    some.begin(written(some))
    some.run(30)
    assert some.count("suspect") == 10
    assert some.guards() == [("cut_off", None, 10, 10)]


def test_few_that_beat_slowly_are_waited_for_as_well():
    some = Fleet({"": 4}, interval=10).run(112)
    some.silent = set(some.names)
    some.run(60)
    assert some.count("suspect") == 4
    assert some.guards() == [("cut_off", None, 4, 4)]


def test_nobody_is_waited_for_who_beats_more_slowly_than_the_window():
    some = Fleet({"": 4}, interval=10, mass=MassSettings(window_ns=5 * SECOND)).run(112)
    some.silent = {"no-1"}
    some.run(14)
    assert some.count("dead") == 1


def test_one_voice_is_proof_enough_for_a_verdict():
    some = Fleet({"": 4}, interval=10).run(112)
    some.silent = {"no-0", "no-1", "no-2"}
    some.run(40)
    assert some.count("dead") == 3


@pytest.mark.parametrize(("jobs", "is_mass"), [((), True), ((0, 1, 2), False), ((7, 8), True)])
def test_jobs_that_were_missed_are_no_mass(jobs, is_mass):
    registry = Registry(bytes(32))
    slots = np.array([registry.enrol(f"no-{number}", {})[0] for number in range(10)])
    membership = Membership(MembershipSettings(), registry.capacity)
    membership.place(slots, Status.ALIVE, Cause.HEARD, since_ns=0, due_ns=NEVER)
    membership.apply(slots[:3], Cause.OVERDUE, SECOND)
    membership.apply(slots[:3], Cause.SILENT, SECOND)
    guard = MassGuard(MassSettings(), registry, membership, jobs=dict.fromkeys(jobs))
    guard.look(2 * SECOND, since_ns=SECOND)
    assert [hold.dark for hold in guard.holds] == ([3] if is_mass else [])
