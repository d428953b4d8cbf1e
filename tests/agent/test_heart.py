"""Hearts against a real socket: enrolment, the monitor going and coming, goodbye, fork."""

import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest

from beatward import AsyncHeart, Heart
from beatward.agent.waker import Waker
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.record import NO_GAUGE, Farewell, Flag, Health, Kind

pytestmark = pytest.mark.real

FAST = "20ms"
PATIENCE_SECONDS = 20.0


def messages(caplog, level=logging.WARNING):
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


# --- the two kinds of heart, and the two transports ---


@pytest.mark.parametrize("transport", ["udp", "http"])
def test_a_heart_enrols_beats_on_its_grid_and_says_goodbye(monitor, told, transport):
    with Heart("web-1", interval=FAST, transport=transport, labels={"zone": "a"}, **told) as heart:
        if transport == "udp":
            monitor.wait_beats("web-1", 5)
        assert heart.wait_acknowledged()
        assert monitor.joins[0]["labels"] == {"zone": "a"}
        assert heart.monitor == monitor.url
        assert heart.credential.key == monitor.key("web-1")
        assert heart.round_trip_ns > 0
        incarnation = heart.incarnation
    if transport == "http":
        posted = [body for path, body in monitor.requests if path.endswith("/heartbeat")]
        assert posted[-1]["kind"] == "goodbye"
        assert posted[0]["echo"] == 0
        # Posted again at once, with the number the monitor wants to hear.
        assert posted[1] == {**posted[0], "echo": monitor.session}
        assert {body["interval_ms"] for body in posted} == {20}
        return
    beats = monitor.said("web-1")
    assert {beat.incarnation for beat in beats} == {incarnation}
    assert {beat.interval_ms for beat in beats} == {20}
    sequences = [beat.sequence for beat in beats]
    assert sequences == sorted(set(sequences))
    goodbye = monitor.wait_goodbye("web-1")
    assert (goodbye.status, goodbye.sequence > sequences[-1]) == (Farewell.LEFT, True)


# --- what it says ---


def test_a_report_rides_on_the_next_heartbeat(monitor, told):
    with Heart("web-1", interval=FAST, **told) as heart:
        monitor.wait_beats("web-1", 1)
        heart.report("failing", {"cpu": 12.5, "memory": 40, "load": 0.25})
        said = monitor.wait(lambda: [b for b in monitor.said("web-1") if b.status == Health.ILL])
        assert (said[0].cpu, said[0].memory, said[0].load) == (1250, 4000, 25)
        heart.report()
        monitor.wait(lambda: monitor.said("web-1")[-1].status == Health.WELL)
        assert monitor.said("web-1")[-1].cpu == NO_GAUGE


def test_what_is_reported_goes_before_what_is_measured(monitor, told):
    heart = Heart("web-1", interval=FAST, measure=lambda: {"cpu": 1.0, "load": 2.0}, **told)
    heart.report(metrics={"cpu": 50.0})
    with heart:
        said = monitor.wait_beats("web-1", 1)[0]
    assert (said.cpu, said.memory, said.load) == (5000, NO_GAUGE, 200)


def test_a_measure_that_fails_is_told_once_and_the_heart_goes_on(monitor, told, caplog):
    with Heart("web-1", interval=FAST, measure=lambda: {"cpu": 1 / 0}, **told):
        monitor.wait_beats("web-1", 3)
    assert len([text for text in messages(caplog) if "measuring failed" in text]) == 1


def reports(monitor):
    return [body for path, body in monitor.requests if path == "/v1/agent/report"]


def test_a_failing_comes_behind_its_reason_which_each_session_hears(monitor, told):
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
        heart.report("failing", {"queue": 3, "cpu": 50}, reason="the queue is full")
        monitor.wait(lambda: monitor.said("web-1")[-1].status == Health.ILL)
        (said,) = reports(monitor)
        assert said["incarnation"] == heart.incarnation
        assert (said["reason"], said["metrics"]) == ("the queue is full", {"queue": 3.0})
        monitor.session += 1
        monitor.wait(lambda: len(reports(monitor)) == 2)
        heart.report()
        monitor.wait(lambda: len(reports(monitor)) == 3)
        assert (reports(monitor)[2]["reason"], reports(monitor)[2]["metrics"]) == ("", {})


def test_a_reason_that_no_monitor_takes_holds_a_failing_up_for_a_moment_only(monitor, told, caplog):
    monitor.refuses_reports = True
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
        heart.report("failing", reason="the queue is full")
        monitor.wait(lambda: monitor.said("web-1")[-1].status == Health.ILL)
        assert len([text for text in messages(caplog) if "were not taken" in text]) == 1
        assert len(reports(monitor)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "not a name"}, "node's name"),
        ({"name": "web-1", "interval": "1"}, "as 250ms or 2s"),
        ({"name": "web-1", "interval": 1}, "as 250ms or 2s"),
        ({"name": "web-1", "interval": "9ms"}, "10ms to 49d"),
        ({"name": "web-1", "interval": "50d"}, "10ms to 49d"),
        ({"name": "web-1", "interval": "10500us"}, "whole milliseconds"),
        ({"name": "web-1", "transport": "tcp"}, "udp or http"),
        ({"name": "web-1", "monitor": "10.0.0.1:7227"}, "http://host:port"),
        ({"name": "web-1", "monitor": "http://host:port"}, "http://host:port"),
        ({"name": "web-1", "monitor": "ftp://host"}, "http://host:port"),
        ({"name": "web-1", "token": "secret"}, "bwj1"),
        ({"name": "web-1", "labels": {"zone": 1}}, "labels"),
        ({"name": "web-1", "labels": {"": "a"}}, "labels"),
        ({"name": "web-1", "labels": {"a": "b" * 257}}, "labels"),
    ],
)
@pytest.mark.parametrize("kind", [Heart, AsyncHeart])
def test_wrong_arguments_are_refused_at_once_and_in_clear_words(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


@pytest.mark.parametrize(
    ("status", "metrics", "message"),
    [
        ("fine", None, "ok or failing"),
        ("ok", {"queue size": 3}, "found the name 'queue size', expected letters"),
        ("ok", {f"queue-{number}": 3 for number in range(17)}, "expected at most 16"),
        ("ok", {"queue": float("inf")}, "queue: found inf, expected a number"),
        ("ok", {"cpu": 101}, "0 to 100"),
        ("ok", {"cpu": -1}, "0 to 100"),
        ("ok", {"load": float("nan")}, "0 to 655"),
        ("ok", {"load": "1"}, "found '1'"),
        ("ok", {"memory": True}, "found True"),
    ],
)
def test_a_wrong_report_is_refused_and_changes_nothing(status, metrics, message):
    heart = Heart("web-1")
    heart.report("failing")
    with pytest.raises(ValueError, match=message):
        heart.report(status, metrics)
    assert heart._current().health == Health.ILL


def test_a_heart_has_one_life_at_a_time(told):
    heart = Heart("web-1", **told)
    with pytest.raises(RuntimeError, match="does not beat"):
        heart.wait_acknowledged()
    heart.stop()
    with heart, pytest.raises(RuntimeError, match="beats already"):
        heart.start()


def test_each_life_has_a_higher_number_even_when_the_clock_goes_back(monitor, told):
    heart = Heart("web-1", interval=FAST, **told)
    with heart:
        monitor.wait_beats("web-1", 1)
    ahead = heart.state_file.state.incarnation + 3_600_000_000
    heart.state_file.note_incarnation(ahead)
    with heart:
        assert heart.incarnation == ahead + 1
        monitor.wait(lambda: monitor.said("web-1")[-1].incarnation == ahead + 1)


# --- the monitor, away and back ---


def heart_has_asked_in_vain(heart, seconds=20):
    """Wait until the heart has given its socket up at least once."""
    connection = heart._connection
    deadline = threading.Event()
    for _ in range(seconds * 20):
        if connection._is_silent:
            return
        deadline.wait(0.05)
    pytest.fail("the heart never noticed that nobody answers")


def test_a_heart_finds_a_monitor_that_starts_later(monitor, told, caplog):
    caplog.set_level(logging.INFO)
    monitor.close()
    with Heart("web-1", interval=FAST, **told) as heart:
        assert not heart.wait_acknowledged("50ms")
        monitor.open()
        assert heart.wait_acknowledged("20s")
    assert any("Connection refused" in text for text in messages(caplog))
    assert any("the monitor answers" in text for text in messages(caplog, logging.INFO))


def test_a_heart_that_enrolled_before_needs_no_http_and_no_token(monitor, told):
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
    requests = len(monitor.requests)
    with Heart("web-1", interval=FAST, **{**told, "token": None}) as heart:
        assert heart.wait_acknowledged()
        assert heart.round_trip_ns is not None
    assert len(monitor.requests) == requests


def test_changed_labels_are_told_although_the_credential_is_known(monitor, told):
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
    with Heart("web-1", interval=FAST, labels={"zone": "b"}, **told):
        monitor.wait(lambda: len(monitor.joins) == 2)
    assert monitor.joins[1]["labels"] == {"zone": "b"}


def test_a_credential_of_another_monitor_is_not_used(monitor, told, tmp_path):
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
    elsewhere = {**told, "monitor": "http://127.0.0.1:9", "token": None}
    with Heart("web-1", interval=FAST, **elsewhere) as heart:
        assert heart.credential is None


def test_heartbeats_go_on_while_the_monitor_is_away_and_it_is_met_again(monitor, told, caplog):
    caplog.set_level(logging.INFO)
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
        monitor.wait_beats("web-1", 3)
        incarnation = heart.incarnation
        monitor.close()
        heart_has_asked_in_vain(heart)
        before = len(monitor.said("web-1"))
        monitor.session += 1
        monitor.open()
        back = monitor.wait_beats("web-1", before + 5)[before:]
        monitor.wait(lambda: not heart._connection._is_silent)
    assert {beat.incarnation for beat in back} == {incarnation}
    assert any(beat.echo == monitor.session for beat in back)
    texts = messages(caplog, logging.INFO)
    assert len([text for text in texts if "does not answer" in text]) == 1
    assert len([text for text in texts if "the monitor answers" in text]) == 2


def test_a_monitor_with_a_new_master_key_is_joined_again(monitor, told, tmp_path):
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
    other = bytes(32)
    monitor.master = other
    monitor.joins.clear()
    with Heart("web-1", interval=FAST, **{**told, "token": monitor.token()}) as heart:
        monitor.wait(lambda: monitor.joins)
        monitor.wait(lambda: heart.is_acknowledged)
        assert heart.credential.key == monitor.key("web-1")


def test_a_refused_enrolment_is_told_with_the_monitors_reason(monitor, told, caplog):
    told["token"] = monitor.token(names="db-*")
    with Heart("web-1", interval=FAST, **told) as heart:
        monitor.wait(lambda: heart.refusal)
        assert "this join token is for 'db-*'" in heart.refusal
    assert any("this join token is for 'db-*'" in text for text in messages(caplog))


def test_a_monitor_that_takes_datagrams_on_its_own_machine_only_is_told(monitor, caplog, tmp_path):
    from beatward.agent.enrol import resolve

    addresses, hint = resolve("127.0.0.1:7227", "http://monitor.example:7227")
    assert addresses[0][1] == ("127.0.0.1", 7227)
    assert "set `udp`" in hint
    assert resolve("127.0.0.1:7227", "http://localhost:7227")[1] == ""
    assert resolve("0.0.0.0:7227", "http://127.0.0.1:80")[0][0][1] == ("127.0.0.1", 7227)
    assert resolve("[::1]:7227", "http://[::1]:80")[0][0][0] == socket.AF_INET6


def test_http_answers_and_no_datagrams_hints_at_a_firewall(monitor, told, caplog):
    monitor.is_mute = True
    with Heart("web-1", interval=FAST, **told):
        monitor.wait(
            lambda: any("if UDP is blocked" in text for text in messages(caplog)), patience_s=30
        )


def test_one_machine_needs_no_configuration(monitor, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    text = f'{{"monitor": "{monitor.url}", "token": "{monitor.token()}", "api_token": "x"}}'
    (folder / "local.json").write_text(text)
    with Heart("web-1", interval=FAST) as heart:
        assert heart.wait_acknowledged()
    state = folder / "agent" / "web-1.json"
    assert state.stat().st_mode & 0o777 == 0o600


def test_no_token_anywhere_says_what_to_do(caplog, tmp_path):
    with Heart("web-1", monitor="http://127.0.0.1:9") as heart:
        for _ in range(200):
            if messages(caplog):
                break
            heart._acknowledged.wait(0.05)
    assert "set BEATWARD_TOKEN" in messages(caplog)[0]


# --- lives ---


def test_a_rival_under_the_same_name_is_named_once(monitor, told, caplog):
    with Heart("web-1", interval=FAST, **told) as heart:
        assert heart.wait_acknowledged()
        monitor.wait_beats("web-1", 3)
        newer = {"incarnation": heart.incarnation + 1, "sequence": 9, "interval_ms": 20}
        for _ in range(2):
            monitor.send("web-1", Kind.ACKNOWLEDGEMENT, **newer)
        count = len(monitor.said("web-1"))
        monitor.wait_beats("web-1", count + 5)
        assert heart.incarnation == newer["incarnation"] - 1
    assert len([text for text in messages(caplog) if "another process" in text]) == 1


def test_a_clock_that_was_behind_is_overcome_and_remembered(monitor, told):
    monitor.is_mute = True
    with Heart("web-1", interval="10s", **told) as heart:
        first = monitor.wait_beats("web-1", 1)[0]
        newer = {"incarnation": first.incarnation + 700, "sequence": 9, "interval_ms": 20}
        monitor.send("web-1", Kind.ACKNOWLEDGEMENT, **newer, echo=monitor.session)
        second = monitor.wait_beats("web-1", 2)[1]
        assert (second.incarnation, second.echo) == (first.incarnation + 701, monitor.session)
        assert heart.incarnation == first.incarnation + 701
        monitor.wait(lambda: heart.state_file.state.incarnation == first.incarnation + 701)


def test_mail_calls_whoever_asked_to_be_called(monitor, told):
    called = threading.Event()
    monitor.actions["web-1"] = [{"key": "k"}]
    with Heart("web-1", interval=FAST, on_mail=called.set, **told):
        assert called.wait(20)


# --- endings ---


@pytest.mark.parametrize(
    ("exit_code", "status", "field"),
    [(None, Farewell.LEFT, NO_GAUGE), (0, Farewell.LEFT, 0), (3, Farewell.EXITED, 3)],
)
def test_the_goodbye_tells_how_it_ended(monitor, told, exit_code, status, field):
    heart = Heart("web-1", interval=FAST, **told).start()
    monitor.wait_beats("web-1", 2)
    heart.stop(exit_code)
    said = monitor.wait_goodbye("web-1")
    assert (said.status, said.cpu) == (status, field)


def test_a_heart_that_ends_at_once_is_heard_all_the_same(monitor, told):
    heart = Heart("web-1", **told).start()
    heart.stop(7)
    said = monitor.wait_goodbye("web-1")
    assert (said.status, said.cpu) == (Farewell.EXITED, 7)


def test_a_program_is_neither_held_up_nor_taken_down_by_an_absent_monitor(environment, tmp_path):
    code = """
from beatward import Heart
with Heart("web-1", interval="20ms") as heart:
    print("works")
"""
    nobody = {**environment, "BEATWARD_MONITOR": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", code]
    text = subprocess.check_output(command, env=nobody, text=True, timeout=30)
    assert text == "works\n"


FORKING = """
import os, sys, time
from beatward import Heart
heart = Heart("web-1", interval="20ms").start()
assert heart.wait_acknowledged("20s")
if os.fork() == 0:
    heart.report("failing")
    heart.stop()
    own = Heart("web-2", interval="20ms").start()
    assert own.wait_acknowledged("20s")
    sys.exit(0)
pid, status = os.wait()
print(heart.incarnation, status, flush=True)
sys.stdin.read()
"""


def test_a_forked_child_does_not_beat_as_its_parent(monitor, start):
    process = start("-W", "ignore", "-c", FORKING, stdin=subprocess.PIPE)
    incarnation, status = process.stdout.readline().split()
    assert status == "0"
    # The child has lived, beaten under its own name and ended; the parent beats on.
    assert monitor.wait_goodbye("web-2").status == Farewell.LEFT
    count = len(monitor.said("web-1"))
    monitor.wait_beats("web-1", count + 5)
    assert monitor.said("web-1", Kind.GOODBYE) == []
    assert {beat.incarnation for beat in monitor.said("web-1")} == {int(incarnation)}
    assert {beat.status for beat in monitor.said("web-1")} == {Health.WELL}
    process.communicate("", timeout=30)


# --- lightness and waiting ---


def test_a_heart_loads_nothing_heavy(environment):
    code = """
import sys
import beatward.agent.heart
heavy = {"numpy", "pydantic", "asyncio", "http.client", "ssl", "click", "subprocess", "psutil"}
print(sorted(heavy & set(sys.modules)))
"""
    # -S and -I: whatever the site adds to every process is not the agent's.
    found = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert found.stdout == "[]\n"


def test_the_waker_ends_a_wait_from_another_thread():
    waker = Waker()
    waits = threading.Thread(target=waker.wait, args=(-1, 3600 * SECOND), daemon=True)
    waits.start()
    waker.wake()
    waits.join(PATIENCE_SECONDS)
    assert not waits.is_alive()
    # What was rung before ends the next wait, and once.
    waker.wake()
    waker.wake()
    again = threading.Thread(target=waker.wait, args=(-1, 3600 * SECOND), daemon=True)
    again.start()
    again.join(PATIENCE_SECONDS)
    assert not again.is_alive()
    begun = time.monotonic()
    waker.wait(-1, 50 * MILLISECOND)
    assert time.monotonic() - begun >= 0.04
    waker.close()
    waker.wake()


def test_a_heart_beats_in_a_program_with_a_thousand_files_open(monitor, told):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this user may not have so many files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2048, hard))
    files = []
    try:
        # `select` knows no descriptor above 1,023.
        while not files or files[-1] < 1100:
            files.append(os.open(os.devnull, os.O_RDONLY))
        with Heart("web-1", interval=FAST, **told) as heart:
            assert heart.wait_acknowledged()
    finally:
        for number in files:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_acknowledgements_are_asked_for_again_only_now_and_then(monitor, told):
    with Heart("web-1", interval=FAST, **told):
        beats = monitor.wait_beats("web-1", 12)
    flags = [bool(beat.flags & Flag.ACKNOWLEDGE) for beat in beats]
    assert flags[0]
    assert not any(flags[-5:])
