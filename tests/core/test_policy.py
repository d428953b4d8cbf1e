"""Which rule answers which change of status: a table."""

import pytest

from beatward.core.policy import Rule, decide

DEAD = Rule(("dead",), ("page", "restart"))
WEB = Rule(("dead", "failing"), ("page", "drain"), nodes="web-*")
BACK = Rule(("alive",), ("page",))


@pytest.mark.parametrize(
    ("rules", "node", "status", "names"),
    [
        ((), "web-1", "dead", ()),
        ((DEAD,), "web-1", "dead", ("page", "restart")),
        ((DEAD,), "web-1", "suspect", ()),
        ((DEAD, BACK), "db-1", "alive", ("page",)),
        ((WEB,), "db-1", "dead", ()),
        ((WEB,), "web-1", "failing", ("page", "drain")),
        # In the order of the rules, each action once.
        ((DEAD, WEB), "web-1", "dead", ("page", "restart", "drain")),
        ((WEB, DEAD), "web-1", "dead", ("page", "drain", "restart")),
        # Names are compared letter by letter; a pattern is no regular expression.
        ((WEB,), "Web-1", "dead", ()),
        ((Rule(("dead",), ("page",), nodes="web-[12]"),), "web-2", "dead", ("page",)),
        ((Rule(("dead",), ("page",), nodes="web.1"),), "web-1", "dead", ()),
    ],
)
def test_a_change_calls_for_the_actions_of_every_rule_that_matches(rules, node, status, names):
    assert decide(rules, node, status) == names
