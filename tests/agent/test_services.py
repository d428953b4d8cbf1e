"""What a node offers, said in the agent's settings or by a program, and what is refused how."""

import re
import tomllib

import pytest

from beatward import AsyncHeart, Heart, Service
from beatward.agent import services, settings
from beatward.agent.daemon import Daemon
from beatward.core.instants import MINUTE, SECOND
from beatward.errors import ConfigError

FAILOVER = """
[service.db]
mode = "failover"
promote = ["up"]
demote = ["down"]
"""


def parse(text):
    return settings.parse(tomllib.loads(text), "here")


def test_a_service_is_read_with_its_hooks_and_times():
    text = FAILOVER + 'state = ["state"]\nstate_every = "3s"\npriority = -5\nport = 5432\n'
    db = parse(text).services["db"]
    assert db.has_role
    assert db.hooks == {"promote": ("up",), "demote": ("down",), "state": ("state",)}
    assert (db.state_every_ns, db.state_timeout_ns) == (3 * SECOND, SECOND)
    assert db.start_timeout_ns == 5 * MINUTE
    said = db.declaration()
    assert (said["name"], said["priority"], said["port"], said["weight"]) == ("db", -5, 5432, 100)


def test_a_balanced_service_needs_nothing_but_its_name():
    web = parse("[service.web]").services["web"]
    assert web == services.Service("web")
    assert not web.has_role


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("service = 3", "service", "a table"),
        ("[service]\ndb = 3", "service.db", "a table"),
        ('[service."a b"]', "service.a b", "letters, digits"),
        ("[service.db]\nmodus = 1", "service.db.modus", "one of address"),
        ('[service.db]\nmode = "both"', "service.db.mode", '"balance" or "failover"'),
        ("[service.db]\nport = 65536", "service.db.port", "0 to 65535"),
        ("[service.db]\nport = true", "service.db.port", "a whole number"),
        ("[service.db]\nweight = -1", "service.db.weight", "0 to 1000000"),
        ('[service.db]\naddress = ""', "service.db.address", "a text"),
        ('[service.db]\naddress = "$(reboot)"', "service.db.address", "a host name or an IP"),
        ('[service.db]\naddress = "db-1:5432"', "service.db.address", "a host name or an IP"),
        ('[service.db]\nzone = "a\\u001bb"', "service.db.zone", "one line of text"),
        ('[service.db]\nlabels = { a = "\\u0007" }', "service.db.labels", "one line of text"),
        ("[service.db]\nlabels = { a = 1 }", "service.db.labels", "labels"),
        (f'[service.db]\nversion = "{"x" * 257}"', "service.db.version", "256 characters"),
        ('[service.db]\npromote = ["up"]', "service.db.promote", 'mode = "failover"'),
        ('[service.db]\nmode = "failover"', "service.db.promote", "needs a promote hook"),
        (FAILOVER.replace('["down"]', '"down"'), "service.db.demote", "a program and its"),
        (FAILOVER.replace('demote = ["down"]', ""), "service.db.demote", "needs a demote"),
        (FAILOVER + 'stop = [""]', "service.db.stop", "a program and its"),
        (FAILOVER + 'state_every = "1s"', "service.db.state_every", "a state hook"),
        (FAILOVER + 'start_timeout = "1s"', "service.db.start_timeout", "a start hook"),
        (
            FAILOVER + 'state = ["x"]\nstate_timeout = "2s"',
            "service.db.state_timeout",
            "at most state_every",
        ),
        (FAILOVER + 'start = ["x"]\nstart_timeout = "0s"', "service.db.start_timeout", "longer"),
        ("watchdog = 3", "watchdog", "a text"),
    ],
)
def test_what_cannot_be_used_is_named_with_what_was_expected(text, key, expected):
    with pytest.raises(ConfigError, match=expected) as told:
        parse(text)
    assert told.value.key == key


def test_more_services_than_the_monitor_takes_are_refused():
    text = "".join(f"[service.s{index}]\n" for index in range(33))
    with pytest.raises(ConfigError, match="found 33, expected at most 32 services"):
        parse(text)


def test_two_names_that_are_one_on_the_wire_are_refused():
    # The first pair of db-0, db-1, ... that has one identity of 32 bits.
    with pytest.raises(ConfigError, match="the same as 'db-82295'"):
        parse("[service.db-82295]\n[service.db-129310]")


def test_one_service_twice_is_not_even_toml(tmp_path):
    (tmp_path / "agent.toml").write_text("[service.db]\n[service.db]")
    with pytest.raises(ConfigError, match="twice"):
        settings.load(tmp_path / "agent.toml")


def test_there_are_no_roles_over_http():
    with pytest.raises(ConfigError, match=r"service\.db has mode") as told:
        Daemon(parse('transport = "http"\n' + FAILOVER))
    assert told.value.key == "transport"


# --- said by a program ---


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"name": "a b"},
            "a service's name: expected a name of letters, digits and ._:@-, at most",
        ),
        ({"name": 80}, "a service's name: expected a name of letters"),
        ({"mode": "both"}, 'mode of the service web: expected "balance" or "failover", found'),
        ({"address": 7}, "address of the service web: expected a text in quotes, found 7"),
        (
            {"port": 65536},
            "port of the service web: expected a whole number from 0 to 65535, found",
        ),
        ({"address": "db 1"}, "address of the service web: expected a host name or an IP"),
        ({"version": "1\n2"}, "version of the service web: expected one line of text"),
        ({"port": ""}, "port of the service web: expected a whole number"),
        ({"port": False}, "port of the service web: expected a whole number"),
        ({"weight": -1}, "weight of the service web: expected a whole number from 0 to 1000000"),
        ({"priority": None}, "priority of the service web: expected a whole number"),
        ({"zone": "x" * 257}, "zone of the service web: expected at most 256 characters"),
        ({"version": 1.4}, "version of the service web: expected a text"),
        ({"labels": ["a"]}, "labels of the service web: expected a table, found"),
        ({"labels": {"a": 1}}, "labels of the service web: expected labels of at most 64"),
    ],
)
def test_what_a_program_cannot_offer_is_named_with_what_was_expected(said, told):
    with pytest.raises(ValueError, match="^" + re.escape(told)):
        Service(**{"name": "web", **said})


@pytest.mark.parametrize("heart", [Heart, AsyncHeart])
@pytest.mark.parametrize(
    ("offered", "told"),
    [
        (["web"], "services: expected a Service, found 'web'"),
        ([Service("web"), Service("web")], "does not offer yet, found 'web'"),
        ([Service("db-82295"), Service("db-129310")], "does not offer yet, found 'db-129310'"),
        ([Service(f"s{index}") for index in range(33)], "at most 32 services, found 's32' too"),
        ([Service("db", mode="failover")], "`role('db')` takes the role of a service, found"),
    ],
)
def test_what_cannot_stand_beside_each_other_is_refused_at_once(heart, offered, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        heart("web-1", services=offered)
