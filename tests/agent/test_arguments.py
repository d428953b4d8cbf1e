"""What a program may not tell its heart: each is refused at the call, in a sentence."""

import inspect

import pytest

from beatward import AsyncHeart, Heart, Service
from beatward.agent.abstract_heart import AbstractHeart
from beatward.agent.roles.role import Role

# By parameter: values that cannot be meant, and a part of the sentence.
OF_A_HEART = {
    "name": [(5, "node's name"), (b"web-1", "node's name"), ("not a name", "node's name")],
    "interval": [(1, "250ms or 2s"), (None, "250ms or 2s"), (["1s"], "250ms or 2s")],
    "interval_min": [(1, "250ms or 2s")],
    "interval_max": [(1, "250ms or 2s")],
    "monitor": [(7227, "http://host:port"), ("127.0.0.1", "http://host:port")],
    "token": [(5, "bwj1"), (b"bwj1.a.b", "bwj1")],
    "labels": [(["a"], "labels as"), ("zone=a", "labels as"), ({"a": 1}, "labels of"), ([], "as")],
    "transport": [(None, "udp or http"), (["udp"], "udp or http")],
    "data": [(5, "folder"), ("", "folder")],
    "measure": [({"cpu": 1.0}, "a function")],
    "on_mail": [("fetch", "a function")],
    "job": [
        ({"shedule": "0 3 * * *"}, "'shedule', expected one of schedule, timezone, every"),
        ({"schedule": "0 3 * * *", "every": "1h"}, "either schedule"),
        ({"grace": "1m"}, "either schedule"),
        ({"every": "soon"}, "every: found 'soon'"),
        ({"every": 3600}, "every: found 3600"),
        ({"every": "0s"}, "a time as 10m"),
        ({"every": "1h", "grace": "10"}, "grace: found '10'"),
        ({"every": "1h", "max_run": "x"}, "max_run: found 'x'"),
        ({"schedule": "0 3 * *"}, "five fields"),
        ({"schedule": "0 3 * * *", "timezone": None}, "timezone: found None"),
        ("0 3 * * *", "job: expected words"),
        ([("every", "1h")], "job: expected words"),
    ],
    "services": [
        (Service("web"), "a list of Service"),
        (5, "a list of Service"),
        (["web"], "expected a Service"),
        ({"web": 80}, "expected a Service"),
    ],
    "handle_sigterm": [("yes", "True or False"), (None, "True or False")],
}
OF_A_SERVICE = {
    "name": [(5, "service's name"), (None, "service's name"), ("a b", "service's name")],
    "mode": [(None, "balance"), (["balance"], "balance")],
    "address": [(5, "a text"), ("a" * 257, "a host name or an IP address")],
    "port": [("80", "whole number"), (65536, "whole number"), (True, "whole number")],
    "weight": [(1.5, "whole number"), (-1, "whole number")],
    "priority": [("1", "whole number")],
    "zone": [(1, "a text")],
    "version": [(1.2, "a text")],
    "labels": [(["a"], "a table"), ({"a": 1}, "labels")],
}
OF_A_REPORT = {
    "status": [("fine", "ok or failing"), (["ok"], "ok or failing"), (None, "ok or failing")],
    "reason": [
        (5, "expected one line"),
        ("a\nb", "expected one line"),
        ("\x1b[2J", "expected one line"),
        ("x" * 201, "at most 200"),
        ("ill", "expected status failing"),
    ],
    "metrics": [(["cpu"], "metrics"), (5, "metrics"), ({"cpu": "1"}, "cpu")],
}
OF_A_ROLE = {
    **{word: OF_A_SERVICE[word] for word in OF_A_SERVICE if word not in ("mode", "weight")},
    "exit_when_stuck": [(None, "True or False"), (1, "True or False")],
}


def rows(table):
    return [(word, value, text) for word, found in table.items() for value, text in found]


@pytest.mark.parametrize(("word", "value", "message"), rows(OF_A_HEART))
@pytest.mark.parametrize("kind", [Heart, AsyncHeart])
def test_a_heart_refuses_what_cannot_be_meant(kind, word, value, message):
    with pytest.raises(ValueError, match=message) as found:
        kind(**{"name": "web-1", word: value})
    assert len(str(found.value)) < 300


@pytest.mark.parametrize(("word", "value", "message"), rows(OF_A_SERVICE))
def test_a_service_refuses_what_cannot_be_meant(word, value, message):
    with pytest.raises(ValueError, match=message):
        Service(**{"name": "web", word: value})


@pytest.mark.parametrize(("word", "value", "message"), rows(OF_A_REPORT))
@pytest.mark.parametrize("kind", [Heart, AsyncHeart])
def test_a_report_refuses_what_cannot_be_meant(kind, word, value, message):
    with pytest.raises(ValueError, match=message):
        kind("web-1").report(**{word: value})


@pytest.mark.parametrize(("word", "value", "message"), rows(OF_A_ROLE))
@pytest.mark.parametrize("kind", [Heart, AsyncHeart])
def test_a_role_refuses_what_cannot_be_meant(kind, word, value, message):
    heart = kind("web-1")
    heart._desks = {}
    with pytest.raises(ValueError, match=message):
        heart.role(**{"name": "db", word: value})


@pytest.mark.parametrize("word", ["promote", "demote"])
def test_a_callback_of_a_role_is_a_function(word):
    with pytest.raises(ValueError, match=f"{word}: expected a function"):
        Heart("web-1").role("db", **{word: "promote.sh"})


@pytest.mark.parametrize("exit_code", ["1", 1.5, True])
async def test_an_exit_code_is_a_whole_number(exit_code):
    for kind in (Heart, AsyncHeart):
        with pytest.raises(ValueError, match="exit_code: expected a whole number"):
            await kind("web-1").stop(exit_code)


@pytest.mark.parametrize("timeout", [5, None, "soon"])
def test_a_timeout_is_a_duration(timeout):
    with pytest.raises(ValueError, match="timeout: expected a time as 500ms or 5s"):
        Heart("web-1").wait_acknowledged(timeout)
    with pytest.raises(ValueError, match="timeout: expected a time as 500ms or 5s"):
        Role.wait(object.__new__(Role), timeout)


def test_every_parameter_of_every_public_call_has_a_row():
    def words(function):
        return set(inspect.signature(function).parameters) - {"self"}

    assert words(AbstractHeart.__init__) == set(OF_A_HEART)
    assert words(Service.__init__) == set(OF_A_SERVICE)
    assert words(AbstractHeart.report) == set(OF_A_REPORT)
    assert words(AsyncHeart.role) == set(OF_A_ROLE)
    assert words(Heart.role) == {*OF_A_ROLE, "promote", "demote"}


def test_a_job_as_it_is_meant_is_taken():
    job = {"schedule": "0 3 * * *", "timezone": "Europe/Berlin", "grace": "10m", "max_run": "2h"}
    assert Heart("web-1", job=job).identity.job == job


def test_services_that_are_equal_are_one_in_a_set():
    one, same = (
        Service("web", port=80, labels={"a": "b"}),
        Service("web", port=80, labels={"a": "b"}),
    )
    assert hash(one) == hash(same)
    assert {one, same, Service("db")} == {one, Service("db")}
