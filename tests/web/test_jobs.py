"""Jobs over HTTP: declared, run by the bare URL, listed, removed."""

import httpx2
import pytest
from tests.waiting import wait_for


def declare(monitor, name, **plan):
    path = f"/v1/jobs/{name}"
    return monitor.http.put(path, json={"every": "1h", **plan}, headers=monitor.api)


def job(monitor, name):
    node = monitor.node(name)
    return node and node["job"]


def wait_job(monitor, name, condition):
    return wait_for(lambda: (it := job(monitor, name)) and condition(it) and it, f"{name} is so")


def runs(monitor, name):
    events = monitor.get("/v1/events", node=name)["events"]
    return [event["detail"]["run"] for event in events if event["event"] == "run"]


def test_a_declared_job_waits_and_shows_when_it_is_due(monitor):
    plan = {"every": None, "schedule": "0 3 * * *", "timezone": "Europe/Berlin", "max_run": "2h"}
    answer = declare(monitor, "job-1", **plan)
    assert (answer.status_code, answer.json()) == (202, {"ordered": "job", "node": "job-1"})
    found = wait_job(monitor, "job-1", lambda it: it["due"])
    assert found["due"][13:] in (":00:00.000Z", ":00:00.001Z")
    assert 0 < found["due_in_ns"] <= 25 * 3600 * 10**9
    assert (found["grace_ns"], found["max_run_ns"]) == (600 * 10**9, 7200 * 10**9)
    assert monitor.node("job-1")["status"] == "new"
    assert "job-1" in [node["name"] for node in monitor.get("/v1/jobs")["jobs"]]


@pytest.mark.parametrize("code", [256, -1, 3_221_225_786, -1_073_741_510])
def test_the_exit_code_of_a_bare_url_is_shown_as_it_was(monitor, code):
    name = f"wide-job{code}"
    declare(monitor, name)
    wait_job(monitor, name, bool)
    monitor.ping(name, f"/exit/{code}")
    assert wait_job(monitor, name, lambda it: it["ended"])["exit_code"] == code
    assert f"exit code {code}" in monitor.get(f"/v1/nodes/{name}/explain")["sentence"]


def test_a_run_begins_and_ends_by_the_bare_url(monitor):
    declare(monitor, "job-2")
    wait_job(monitor, "job-2", bool)
    monitor.ping("job-2", "/start")
    wait_job(monitor, "job-2", lambda it: it["started"])
    assert monitor.wait_status("job-2", "alive")["interval_ns"] is None
    monitor.ping("job-2", "/exit/3")
    found = wait_job(monitor, "job-2", lambda it: it["ended"])
    assert (found["failed"], found["exit_code"], found["started"]) == (True, 3, None)
    node = monitor.wait_status("job-2", "failing")
    assert node["cpu"] is None
    monitor.ping("job-2")
    monitor.wait_status("job-2", "alive")
    monitor.ping("job-2", "/fail")
    monitor.wait_status("job-2", "failing")
    assert runs(monitor, "job-2") == ["started", "failed", "succeeded", "failed"]
    said = monitor.get("/v1/nodes/job-2/explain")
    assert "its run failed at" in said["sentence"]
    assert said["detail"]["run_exit_code"] is None


def test_a_start_of_a_node_that_is_no_job_is_a_heartbeat(monitor):
    monitor.ping("no-job", "/start")
    assert monitor.wait_status("no-job", "alive")["job"] is None


def test_a_run_that_is_missed_is_dead_within_its_grace(monitor):
    declare(monitor, "job-3", every="200ms", grace="300ms")
    node = monitor.wait_status("job-3", "dead")
    assert node["cause"] == "silent"
    monitor.ping("job-3")
    monitor.wait_status("job-3", "alive")


def test_a_removed_job_is_gone(monitor):
    declare(monitor, "job-4")
    wait_job(monitor, "job-4", bool)
    answer = monitor.http.delete("/v1/nodes/job-4", headers=monitor.api)
    assert answer.status_code == 202
    wait_for(lambda: monitor.node("job-4") is None, "job-4 is gone")


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ({"schedule": "0 3 * * *"}, "either schedule"),
        ({"every": None}, "either schedule"),
        ({"every": None, "schedule": "0 3 * *"}, "has 4 fields"),
        ({"every": None, "schedule": "0 3 * * *", "timezone": "Mars"}, "no time zone"),
        ({"every": "soon"}, "every: a duration"),
        ({"grace": "0s"}, "grace: "),
        ({"nonsense": "1"}, "no such member"),
    ],
)
def test_what_is_no_plan_is_refused_by_name(monitor, plan, complaint):
    answer: httpx2.Response = declare(monitor, "job-5", **plan)
    assert answer.status_code == 422
    assert complaint in answer.json()["detail"]
    assert monitor.node("job-5") is None


def test_a_restart_in_the_middle_of_a_run_changes_nothing(own_monitor):
    declare(own_monitor, "backup", max_run="1h")
    wait_job(own_monitor, "backup", bool)
    own_monitor.ping("backup", "/start")
    started = wait_job(own_monitor, "backup", lambda it: it["started"])["started"]
    own_monitor.end()
    own_monitor.start()
    found = wait_job(own_monitor, "backup", bool)
    assert found["started"][:22] == started[:22]
    own_monitor.ping("backup", "/exit/0")
    ended = wait_job(own_monitor, "backup", lambda it: it["ended"])
    assert ended["ran_ns"] > 0
    assert own_monitor.wait_status("backup", "alive")["job"]["succeeded"]
    assert runs(own_monitor, "backup") == ["started", "succeeded"]
