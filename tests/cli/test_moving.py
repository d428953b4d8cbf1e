"""switchover, failover, pause and resume --service: a real monitor, hand-made members."""

import os
import pty
import subprocess
import sys

import pytest
from tests.cli.conftest import LENDING

from beatward.core.protocol.roles import State


def test_a_switchover_tells_how_it_goes_and_returns_when_it_is_done(run, members, held):
    members("move", "move-1", "move-2")
    held("move", "move-1")
    done = run("switchover", "move", "--by", "ann", "--reason", "a drill")
    assert done.code == 0
    assert done.out.startswith("move-2 holds move under token 2 after ")
    lines = done.err.splitlines()
    assert len(lines) >= 3
    assert all(line.split()[1] == "s" for line in lines)
    done = run("switchover", "move", "--to", "move-1", "--json")
    assert (done.code, done.err) == (0, "")
    assert (done.json["result"], done.json["now"]["holder"]) == ("moved", "move-1")
    assert done.json["now"]["token"] == 3
    assert 0 < done.json["took_ns"] < 20e9


def test_a_switchover_that_is_refused_is_exit_code_1(run, members, held):
    (only,) = members("alone", "alone-1")
    held("alone", "alone-1")
    done = run("switchover", "alone")
    assert (done.code, done.out) == (1, "")
    assert done.err == ("beatward: no node could take the role of alone: alone-1 holds the role\n")
    done = run("switchover", "alone", "--to", "alone-2")
    assert done.code == 1
    assert "'alone-2' does not offer alone; alike: alone-1" in done.err
    only.state = State.UNABLE
    held("alone", phase="vacant")
    done = run("switchover", "alone")
    assert done.code == 1
    assert "a switchover needs a holder that answers" in done.err


def test_a_switchover_whose_target_fails_says_who_holds_it_now(run, members, held):
    _, second = members("back", "back-1", "back-2")
    held("back", "back-1")
    second.promotes = False
    done = run("switchover", "back", "--to", "back-2")
    assert (done.code, done.out) == (1, "")
    assert "beatward: back-1 holds back now, under token 3" in done.err


def test_one_that_takes_longer_than_we_wait_goes_on(run, members, held):
    first, _ = members("slow", "slow-1", "slow-2")
    held("slow", "slow-1")
    first.heard = False
    held("slow", phase="waiting")
    done = run("failover", "slow", "--wait", "1ms")
    assert (done.code, done.out) == (1, "")
    assert "slow is still waiting after" in done.err
    assert "`beatward services slow` tells how" in done.err
    held("slow", "slow-2")


def test_a_failover_by_force_wants_the_name_typed(run, members, held):
    first, _ = members("risk", "risk-1", "risk-2")
    before = held("risk", "risk-1")
    # Nobody is at a terminal in a test.
    done = run("failover", "risk", "--force")
    assert (done.code, done.out) == (2, "")
    for words in (
        "risk: the role is taken away without knowing that no node holds it.",
        "risk-1 may still hold it: its node is alive, and it last said `active` 0.",
        "Its lease and the time to stop run for another ",
        "risk-1 answers: `beatward switchover risk` moves the role in good order",
        "To be safe, one of these must be true of risk-1: it is switched off; or its risk is ",
        "--yes-i-accept-two-holders risk when it has made sure",
    ):
        assert words in done.err
    done = run("failover", "risk", "--force", "--yes-i-accept-two-holders", "risk-1")
    assert done.code == 2
    assert "says 'risk-1', and the service is 'risk'" in done.err
    assert held("risk")["token"] == before["token"]
    done = run("failover", "risk", "--force", "--yes-i-accept-two-holders", "risk")
    assert done.code == 0
    assert done.out.startswith("risk-2 holds risk under token 2 after ")
    assert first.heard


@pytest.mark.parametrize(("typed", "code"), [("term", 0), ("terms", 1), ("", 1)])
def test_at_a_terminal_the_name_is_asked_for(run, members, held, monkeypatch, request, typed, code):
    name = f"term{request.node.callspec.indices['typed']}"
    members(name, f"{name}-1", f"{name}-2")
    held(name, f"{name}-1")
    parent, child = pty.openpty()
    try:
        with os.fdopen(child, "r", closefd=False) as terminal, monkeypatch.context() as patch:
            patch.setattr("sys.stdin", terminal)
            os.write(parent, typed.replace("term", name).encode() + b"\n")
            done = run("failover", name, "--force")
    finally:
        os.close(child)
        os.close(parent)
    assert done.code == code
    assert f"Type {name} to go on" in done.err
    if code:
        assert "nothing was done" in done.err
        assert held(name)["token"] == 1


def test_a_monitor_that_goes_away_on_the_way_has_the_order(
    make_monitor, members, beatward, environment, wait_until
):
    # So long the role waits for its silent holder, and the command for it.
    monitor = make_monitor(settings='[failover]\nlease = "1s"\ndemote_within = "6s"\n')
    made = members("gone", "gone-1", "gone-2", at=monitor)

    def shows(key, wanted):
        done = beatward("services", "gone", "--data", monitor.data, "--json")
        return done.code == 0 and done.json[key] == wanted

    wait_until(lambda: shows("holder", "gone-1") and shows("phase", "held"), "it is held")
    made[0].heard = False
    wait_until(lambda: shows("phase", "waiting"), "its holder is waited for")
    arguments = ["failover", "gone", "--to", "gone-2", "--data", str(monitor.data)]
    process = subprocess.Popen(
        [sys.executable, "-m", "beatward", *arguments],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: shows("target", "gone-2"), "it was ordered")
    for member in made:
        member.end()
    monitor.end()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 3
    words = "the failover of gone was ordered, and what became of it is not known: no monitor"
    assert words in err


def test_whoever_asks_for_a_service_as_for_a_node_is_led_to_it(run, members, held):
    members("ask", "ask-1", "ask-2")
    held("ask", "ask-1")
    words = "ask is a service, see `beatward services ask`"
    for command in ("explain", "pause"):
        done = run(command, "ask")
        assert (done.code, done.out) == (1, "")
        assert "no node is called 'ask'; " in done.err
        assert "alike: ask-" in done.err
        assert words in done.err
    assert "see `" not in run("explain", "nobody").err


def test_a_service_is_paused_and_resumed(run, members, held):
    members("rest", "rest-1", "rest-2")
    held("rest", "rest-1")
    done = run("pause", "--service", "rest", "--for", "1h", "--by", "ann", "--reason", "a drill")
    assert done.code == 0
    assert done.out.startswith("automatic failover of rest is paused until 20")
    assert "automatic failover is paused for another 60 min by ann (a drill)" in (
        run("services", "rest").out
    )
    assert "failover paused until 20" in run("services").out
    done = run("resume", "--service", "rest", "--json")
    assert done.code == 0
    assert {"ordered": "resume_service", "service": "rest", "in_effect": True}.items() <= (
        done.json.items()
    )
    done = run("resume", "--service", "rest")
    assert (done.code, done.out) == (1, "")
    assert "automatic failover of rest is not paused" in done.err


def test_status_and_doctor_tell_of_roles_that_nobody_holds(
    beatward, make_monitor, members, wait_until
):
    monitor = make_monitor(settings=LENDING)

    def told(command, words, *more):
        done = beatward(command, *more, "--data", monitor.data)
        return done if words in done.out else None

    names = ["lost-a", "lost-b", "lost-c", "lost-d"]
    only = [members(name, f"{name}-1", at=monitor)[0] for name in names]
    wait_until(lambda: told("status", "4 held"), "all are held")
    assert told("doctor", "4, and each is served")
    assert beatward("pause", "--service", "lost-a", "--data", monitor.data).code == 0
    assert told("status", "automatic failover of lost-a is paused")
    for one in only:
        one.state = State.UNABLE
    done = wait_until(lambda: told("status", "4 vacant"), "all are vacant")
    assert "no node has the role of lost-a" in done.out
    assert "and 1 service more" in done.out
    assert told("doctor", "no node has the role of lost-d")
