"""Rules about roles: whom they tell, once for each thing that happens, and in which words."""

import pytest
from tests.core.roles_by_hand import TERM, Roles, with_holder

from beatward.core.entry import Event
from beatward.core.instants import SECOND
from beatward.core.policy import ActionRules, Rule

TELL = {
    "rules": (Rule((), ("alarm",), roles=("held", "vacant", "refused"), services="d*"),),
    "actions": {"alarm": ActionRules("alarm", "webhook")},
}


def told(hand):
    entries = [entry for entry in hand.entries if entry.event == Event.ACTION]
    return [entry.explanation for entry in entries]


def test_a_failover_is_told_once_with_the_new_holder():
    hand = with_holder(**TELL)
    assert told(hand) == ["alarm, because the role of db is held"]
    hand.hush("db-1")
    hand.run(TERM + 2 * SECOND)
    assert hand.role == "promoting db-2 2"
    assert len(told(hand)) == 1
    hand.say("db-2", "active", 2)
    hand.run(SECOND)
    assert told(hand) == 2 * ["alarm, because the role of db is held"]
    (entry,) = [one for one in hand.entries if one.event == Event.ACTION][-1:]
    assert (entry.node, entry.action_record.event["detail"]["token"]) == ("db-2", 2)
    assert entry.action_record.event["explanation"] == "db: db-2 holds the role under token 2"


def test_a_role_that_nobody_can_take_is_told_once_whatever_the_reason():
    hand = with_holder(**TELL)
    hand.say("db-2", "unable", 1)
    hand.say("db-1", "unable", 1)
    hand.run(2 * SECOND)
    hand.hush("db-2")
    hand.run(5 * SECOND)
    assert told(hand)[1:] == ["alarm, because the role of db is vacant"]


def test_a_role_that_is_refused_is_told():
    hand = with_holder(**TELL)
    hand.say("db-2", "standby", 7)
    hand.run(SECOND)
    assert told(hand)[1:] == ["alarm, because the role of db is refused"]


@pytest.mark.parametrize(
    "rule",
    [Rule((), ("alarm",), roles=("vacant",)), Rule((), ("alarm",), roles=("held",), services="x")],
)
def test_who_did_not_ask_is_not_told(rule):
    assert told(with_holder(rules=(rule,), actions=TELL["actions"])) == []


def test_a_rule_about_nodes_is_not_asked_about_roles():
    hand = Roles(rules=(Rule(("held",), ("alarm",)),), actions=TELL["actions"])
    hand.say("db-1", "standby")
    hand.run(TERM + SECOND)
    assert told(hand) == []
