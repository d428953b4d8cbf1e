"""Attempts: calls in the background, pauses that double, and warnings that are logged once."""

import logging
import threading

import pytest

from beatward.agent.attempts import Backoff, LogOnce, in_background
from beatward.errors import MonitorUnreachable

PATIENCE_S = 20.0


def test_a_call_in_the_background_wakes_when_its_result_can_be_taken():
    may_end, woken = threading.Event(), threading.Event()

    def call():
        assert may_end.wait(PATIENCE_S)
        return "found"

    future = in_background(call, woken.set)
    assert not future.done()
    assert not woken.is_set()
    may_end.set()
    assert woken.wait(PATIENCE_S)
    assert future.done()
    assert future.result(0) == "found"


def test_a_call_that_fails_wakes_too_and_its_error_is_raised_by_the_result():
    woken = threading.Event()

    def call():
        raise MonitorUnreachable("away")

    future = in_background(call, woken.set)
    assert woken.wait(PATIENCE_S)
    with pytest.raises(MonitorUnreachable, match="away"):
        future.result(0)


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success():
    backoff = Backoff(1, 5)
    assert [backoff.next_ns() for _ in range(4)] == [1, 2, 4, 5]
    assert backoff.next_ns() == 5
    backoff.reset()
    assert [backoff.next_ns() for _ in range(2)] == [1, 2]


def test_a_trouble_is_logged_once_until_another_comes_or_it_is_over(caplog):
    caplog.set_level(logging.WARNING, "beatward.agent")
    once = LogOnce("db")
    assert [once.warn(trouble) for trouble in ("a", "a", "b", "a")] == [True, False, True, True]
    once.clear()
    assert once.warn("a")
    assert caplog.messages == ["db: a", "db: b", "db: a", "db: a"]


def test_troubles_of_one_kind_are_one(caplog):
    caplog.set_level(logging.WARNING, "beatward.agent")
    once = LogOnce("db")
    assert once.warn("exit code 1 after 2s", kind="exit code 1")
    assert not once.warn("exit code 1 after 3s", kind="exit code 1")
    assert caplog.messages == ["db: exit code 1 after 2s"]
