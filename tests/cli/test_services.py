"""services, switchover, failover, pause and resume --service: a real monitor, hand-made members."""

import pytest

from beatward.cli.failover import risks

COMMANDS = [
    ("services",),
    ("services", "db"),
    ("switchover", "db"),
    ("failover", "db"),
    ("failover", "db", "--force", "--yes-i-accept-two-holders", "db"),
    ("pause", "--service", "db"),
    ("resume", "--service", "db"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nobody_there_is_exit_code_3(beatward, command):
    done = beatward(*command, "--monitor", "http://127.0.0.1:9")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("beatward: no monitor answers at http://127.0.0.1:9")


@pytest.mark.parametrize("command", COMMANDS[1:], ids=" ".join)
def test_an_unknown_service_is_exit_code_1(beatward, monitor, command):
    done = beatward(*command, "--data", monitor.data)
    assert (done.code, done.out) == (1, "")
    assert "no service is called 'db'; no node offers any" in done.err
    done = beatward(*command, "--data", monitor.data, "--json")
    assert (done.code, done.json["type"]) == (1, "urn:beatward:problem:unknown-service")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("switchover",), "SERVICE"),
        (("switchover", "db", "--wait", "soon"), "'soon' is not a duration"),
        (("failover", "db", "--yes-i-accept-two-holders", "db"), "goes with --force"),
        (("pause", "web-1", "--service", "db"), "either --service or nodes"),
        (("resume", "--label", "a=b", "--service", "db"), "either --service or nodes"),
        (("pause",), "or --service"),
    ],
)
def test_wrong_usage_is_exit_code_2(run, command, words):
    done = run(*command)
    assert (done.code, done.out) == (2, "")
    assert words in done.err


def test_where_nobody_offers_anything_it_says_so(beatward, monitor):
    done = beatward("services", "--data", monitor.data)
    assert (done.code, done.out) == (0, "No node offers a service.\n")


def test_services_are_listed_with_holder_and_members(run, members, held):
    members("shown", "shown-1", "shown-2")
    held("shown", "shown-1")
    done = run("services")
    assert done.code == 0
    head, *rows = done.out.splitlines()
    # Beside it there may be remarks about services of other tests.
    headings = ["service", "mode", "phase", "holder", "token", "since", "members"]
    assert head.split()[:7] == headings
    (row,) = [row.split() for row in rows if row.startswith("shown ")]
    assert row[:5] == ["shown", "failover", "held", "shown-1", "1"]
    assert row[-4:] == ["1", "active,", "1", "standby"]
    done = run("services", "shown")
    assert "shown-1 holds the role of shown under token 1" in done.out
    assert "lent for 1 s at a time; its holder stops within 500 ms after" in done.out
    one, two = [line.split() for line in done.out.splitlines() if line.startswith("shown-")]
    assert (one[0], one[1], one[2], one[3]) == ("shown-1", "alive", "active", "1")
    assert "10.0.0.1:5432" in two


def service(**more):
    member = {"node": "db-1", "status": "dead", "state": "active", "token": 3}
    member["heard_ago_ns"] = 4 * 10**9
    said = {
        "token": 3,
        "lease_ns": 2 * 10**9,
        "name": "db",
        "phase": "waiting",
        "holder": "db-1",
        "until_in_ns": 3 * 10**9,
        "reason": "",
        "paused": None,
        "automatic": True,
        "members": [member, {**member, "node": "db-2", "status": "alive", "state": "standby"}],
    }
    return {**said, **more}


def test_what_is_risked_is_who_may_hold_it_until_when_and_what_must_be_true():
    assert "\n".join(risks(service())) == (
        "db: the role is taken away without knowing that no node holds it.\n"
        "  db-1 may still hold it: its node is dead, and it last said `active` 4.0 s ago.\n"
        "  Its lease and the time to stop run for another 3.0 s; then the role moves by itself, "
        "and safely.\n"
        "  To be safe, one of these must be true of db-1: it is switched off; or its db is stopped "
        "and does not start by itself; or it cannot be reached, and what it writes is thrown "
        "away.\n"
        "  If none is, two nodes act as the primary at once, and what both have written cannot be "
        "brought together again."
    )


def test_a_doubt_of_the_monitor_is_quoted_and_no_safe_end_is_promised():
    lines = risks(service(phase="refused", until_in_ns=None, reason="the journal is older"))
    assert "  No lease of it runs any more, as far as this monitor knows." in lines
    assert lines[-1] == "  What the monitor is unsure of: the journal is older."
    assert "  Its lease and the time to stop run for another 3.0 s at least." in risks(
        service(phase="held")
    )
    stuck = {"node": "db-1", "status": "alive", "state": "stuck", "token": 3, "heard_ago_ns": 0}
    lines = risks(service(phase="refused", members=[stuck]))
    assert "  It could not be made to stop, so no waiting makes this safe." in lines


def test_where_nothing_moves_by_itself_it_says_what_would_be_safe():
    words = "; then `beatward failover db` moves the role safely."
    for one in (service(paused={"until": None}), service(automatic=False)):
        assert any(line.endswith(words) for line in risks(one))


def test_who_holds_it_and_answers_can_be_asked():
    member = {"node": "db-1", "status": "alive", "state": "active", "token": 3}
    member["heard_ago_ns"] = 10**8
    assert any("`beatward switchover db`" in one for one in risks(service(members=[member])))


def test_who_claims_the_role_may_hold_it_too():
    member = {"node": "db-3", "status": "alive", "state": "stuck", "token": 2}
    near = {**member, "heard_ago_ns": 10**8}
    words = "  db-3 may still hold it: its node is alive, and it last said `stuck` 0.1 s ago."
    assert words in risks(service(holder=None, members=[near]))
    # Whoever has been silent since the role moved on was waited for when it moved.
    silent = {**member, "heard_ago_ns": 10**10}
    lines = risks(service(holder=None, members=[silent]))
    assert "  No node is known to hold it now." in lines
    newer = {**silent, "token": 4}
    assert any("db-3 may still hold it" in one for one in risks(service(members=[newer])))
