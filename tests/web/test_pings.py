"""The bare URL, asked with the curl that scripts and cron use."""

import subprocess

import pytest

pytestmark = pytest.mark.needs("curl")


def curl(*arguments):
    """Run curl; returns (status, body)."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_a_ping_is_all_a_script_needs(monitor):
    assert curl(monitor.url + monitor.ping_path("cron-1")) == (200, "ok\n")
    node = monitor.wait_status("cron-1", "alive")
    assert node["via"] == "ping"
    assert node["interval_ns"] == 60_000_000_000
    assert node["deadline_in_ns"] > 0


def test_a_ping_promises_the_next(monitor):
    assert curl(f"{monitor.url}{monitor.ping_path('cron-2')}?interval=1d")[0] == 200
    assert monitor.wait_status("cron-2", "alive")["interval_ns"] == 86_400_000_000_000


@pytest.mark.parametrize("method", [["-X", "POST"], ["-d", "x=1"], ["-I"]])
def test_a_ping_may_have_any_usual_method(monitor, method):
    status, _ = curl(*method, monitor.url + monitor.ping_path("cron-3"))
    assert status == 200


@pytest.mark.parametrize("bad", ["/fail", "/exit/1", "/exit/-15", "/exit/137"])
def test_a_job_that_failed_is_failing_and_well_with_the_next_good_ping(monitor, bad):
    name = "job" + bad.replace("/", "-")
    url = monitor.url + monitor.ping_path(name)
    assert curl(url) == (200, "ok\n")
    monitor.wait_status(name, "alive")
    assert curl(url + bad) == (200, "ok\n")
    assert monitor.wait_status(name, "failing")["cause"] == "ill"
    assert curl(f"{url}/exit/0") == (200, "ok\n")
    assert monitor.wait_status(name, "alive")["cause"] == "well"


def test_anything_wrong_is_one_and_the_same_answer(monitor):
    right = monitor.ping_path("cron-4")
    monitor.ping("cron-4")
    monitor.wait_status("cron-4", "alive")
    wrong = [
        right + "x",
        right[:-1],
        right.replace("cron-4", "cron-5"),
        monitor.ping_path("nobody-at-all") + "x",
        right + "/faill",
        right + "/exit",
        right + "/exit/x",
        right + "/exit/1_0",
        right + "/exit/1/2",
        right + "/",
        "/ping/cron-4",
        "/ping/cron-4/",
        "/ping/",
        "/ping/a%20b/x",
    ]
    assert {curl(monitor.url + path) for path in wrong} == {(404, "not found\n")}


@pytest.mark.parametrize("interval", ["5", "0s", "50d", "x", "1s2"])
def test_a_wrong_interval_is_told_to_who_has_the_key(monitor, interval):
    path = monitor.ping_path("cron-6")
    status, body = curl(f"{monitor.url}{path}?interval={interval}")
    assert status == 422
    assert interval in body
    assert curl(f"{monitor.url}{path}x?interval={interval}") == (404, "not found\n")
    assert monitor.node("cron-6") is None


def test_other_methods_are_refused(monitor):
    status, _ = curl("-X", "DELETE", monitor.url + monitor.ping_path("cron-7"))
    assert status == 405
