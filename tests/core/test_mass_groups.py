"""Which nodes are in a mass failure, and that people are told of every one of them."""

import pytest
from tests.core.by_hand import said
from tests.core.fleet import fleet

from beatward.core.entry import Event
from beatward.core.instants import SECOND
from beatward.core.order_kinds import AddSilence, Forget, Join, Lift
from beatward.core.protocol.record import Farewell, Kind


def told(some, name="page"):
    """Return whom the messages of an action speak of, in order."""
    return [
        (entry.node, tuple(entry.action_record.event["detail"]["nodes"]))
        if entry.node is None
        else entry.node
        for entry in some.hand.entries
        if entry.action == name and entry.event == Event.ACTION
    ]


def test_a_node_that_dies_alone_after_a_mass_is_told_of_and_repaired_at_once():
    some = fleet({"": 8})
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(45)
    some.silent.add("no-6")
    some.run(4)
    assert told(some) == [(None, ("no-1", "no-2", "no-3")), "no-6"]
    assert some.deeds() == ["no-6"]
    words, numbers = some.hand.snapshot().explain(6)
    assert "held back" not in words
    assert numbers["held_back"] is None
    assert some.guards() == [("mass_failure", None, 3, 8)]


def test_nodes_that_are_added_to_a_mass_are_told_of_by_name_and_not_repaired():
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(8)
    some.silent |= {"no-7", "no-8"}
    some.run(8)
    assert told(some) == [(None, ("no-1", "no-2", "no-3")), (None, ("no-7", "no-8"))]
    assert some.deeds() == []
    grown = next(one for one in some.hand.entries if one.cause == "mass_failure_grown")
    assert grown.explanation == (
        "2 more nodes are dead: no-7, no-8; 5 of 20 nodes of the fleet went dark at once"
    )


def test_a_node_that_is_overdue_in_the_turn_in_which_a_mass_begins_is_named_in_its_message():
    """Its suspicion is recorded after the message, and no second message tells of it."""
    some = fleet({"": 30})
    some.silent = {"no-4", "no-5", "no-6", "no-7", "no-8"}
    some.run(1)
    some.silent.add("no-3")
    some.run(40)
    (begun,) = [one for one in some.hand.entries if one.event == Event.GUARD]
    (doubt,) = [e for e in some.hand.entries if (e.node, e.status) == ("no-3", "suspect")]
    assert (doubt.at_ns, doubt.sequence > begun.sequence) == (begun.at_ns, True)
    assert told(some) == [(None, ("no-3", "no-4", "no-5", "no-6", "no-7", "no-8"))]


def test_a_mass_that_grows_node_by_node_is_told_of_ever_less_often_and_of_every_node():
    some = fleet({"": 60})
    some.silent = {f"no-{number}" for number in range(9)}
    some.run(4)
    for number in range(9, 50):
        some.silent.add(f"no-{number}")
        some.run(1)
    some.run(40)
    messages = told(some)
    assert all(isinstance(one, tuple) for one in messages)
    assert len(messages) <= 7
    counts = [one.detail["count"] for one in some.hand.entries if one.event == Event.GUARD]
    assert sum(counts) == 50


def test_a_second_mass_is_held_back_though_the_first_is_not_over():
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(60)
    some.silent |= {"no-11", "no-12", "no-13", "no-14"}
    some.run(8)
    assert some.deeds() == []
    assert told(some)[1:] == [(None, ("no-11", "no-12", "no-13", "no-14"))]


def test_a_node_that_came_back_and_dies_alone_is_told_of_and_repaired():
    some = fleet({"": 8})
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(20)
    some.silent.discard("no-1")
    some.run(40)
    some.silent.add("no-1")
    some.run(6)
    assert told(some)[1:] == ["no-1"]
    assert told(some, "greet") == [(None, ("no-1",))]
    assert some.deeds() == ["no-1"]


def test_a_process_that_exits_in_a_mass_is_none_of_it():
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(6)
    some.silent.add("no-5")
    goodbye = said("no-5", Kind.GOODBYE, sequence=100, status=Farewell.EXITED)
    some.hand.step(some.now, goodbye)
    some.run(4)
    assert some.deeds() == ["no-5"]
    assert told(some)[1:] == ["no-5"]


def test_what_a_silence_holds_of_a_mass_is_told_when_it_ends():
    some = fleet({"": 8})
    until = AddSilence("s1", 60 * SECOND, "no-2")
    some.turn(orders=(until,))
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(8)
    assert some.deeds("page") == [""]
    some.run(60)
    assert some.deeds("page") == ["", "no-2"]


def test_those_that_nobody_was_told_of_are_told_of_before_it_is_over():
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    while some.guards() == []:
        some.turn()
    some.silent.add("no-7")
    while some.hand.status("no-7") != "dead":
        some.turn()
    some.turn(orders=(Lift(""),))
    causes = [cause for cause, *_ in some.guards()]
    assert causes == ["mass_failure", "mass_failure_grown", "mass_failure_over"]
    assert told(some)[1] == (None, ("no-7",))


@pytest.mark.parametrize("heir", [(), (Join("no-99"),)])
def test_a_node_that_is_removed_before_it_was_told_of_is_told_of_by_its_own_name(heir):
    """Seed 101575: the message named nobody; or the node that has its slot by then."""
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    while some.guards() == []:
        some.turn()
    some.silent |= {"no-7", "no-8"}
    while not some.hand.status("no-7") == some.hand.status("no-8") == "dead":
        some.turn()
    some.turn(orders=(Forget("no-7"), *heir))
    some.run(8)
    assert told(some)[1:] == [(None, ("no-7", "no-8"))]


@pytest.mark.parametrize("heir", [(), (Join("no-99"),)])
def test_a_node_that_is_removed_in_the_turn_that_lifts_its_mass_is_told_of_by_its_own_name(heir):
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    while some.guards() == []:
        some.turn()
    some.silent |= {"no-7", "no-8"}
    while not some.hand.status("no-7") == some.hand.status("no-8") == "dead":
        some.turn()
    some.turn(orders=(Lift(""), Forget("no-7"), *heir))
    assert told(some)[1:] == [(None, ("no-7", "no-8"))]
    assert [cause for cause, *_ in some.guards()][-1] == "mass_failure_over"


def test_a_node_that_is_removed_after_it_came_back_is_told_of_by_its_own_name():
    some = fleet({"": 20})
    some.silent = {"no-1", "no-2", "no-3"}
    some.run(8)
    some.silent.discard("no-1")
    while some.hand.status("no-1") == "dead":
        some.turn()
    some.silent.add("no-1")
    some.turn(orders=(Forget("no-1"), Join("no-99")))
    some.run(40)
    assert told(some, "greet") == [(None, ("no-1",))]
