"""What a request says is done or refused: nothing is ignored in silence."""

import re
from pathlib import Path

import pytest

from beatward.web.app import create_router

OPENAPI = create_router().openapi()
API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"

ROUTES = [
    (method, path)
    for path, item in OPENAPI["paths"].items()
    for method in item
    if method != "parameters"
]
READS = [path for method, path in ROUTES if method == "get"]


def concrete(monitor, path):
    """Return a path with names that exist."""
    if path.startswith("/ping/"):
        key = monitor.ping_path("strict-1").rpartition("/")[2]
        return path.format(name="strict-1", key=key, code="0")
    return path.format(name="strict-1", id="none")


@pytest.fixture(scope="module", autouse=True)
def known(monitor):
    monitor.ping("strict-1")
    monitor.wait_status("strict-1", "alive")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_parameter_that_a_route_does_not_have_is_refused(monitor, method, path):
    by_a_node = path.endswith("/heartbeat") or path.startswith("/v1/agent/")
    token = monitor.bearer("strict-1") if by_a_node else monitor.api
    answer = monitor.http.request(
        method, concrete(monitor, path), params={"stauts": "dead"}, headers=token
    )
    assert answer.status_code == 422, answer.text
    assert "stauts" in answer.text
    assert monitor.node("strict-1")["status"] != "paused"


def test_a_mistyped_parameter_is_told_the_right_one(monitor, problem):
    answer = monitor.http.get("/v1/nodes", params={"stauts": "dead"}, headers=monitor.api)
    body = problem(answer, 422, "not-as-expected")
    assert "did you mean 'status'" in body["detail"]
    assert body["errors"][0]["where"] == "query.stauts"
    ping = monitor.http.get(monitor.ping_path("strict-1") + "?intervall=1d")
    assert ping.status_code == 422
    assert "did you mean 'interval'" in ping.text


def test_a_mistyped_member_is_told_the_right_one(monitor, problem):
    answer = monitor.http.put("/v1/jobs/strict-2", json={"evry": "1h"}, headers=monitor.api)
    assert "did you mean 'every'" in problem(answer, 422, "not-as-expected")["detail"]
    answer = monitor.http.post("/v1/nodes/strict-1/pause", json={"fro": "1h"}, headers=monitor.api)
    assert "did you mean 'for'" in problem(answer, 422, "not-as-expected")["detail"]


@pytest.mark.parametrize("path", READS)
def test_whatever_can_be_got_has_a_head(monitor, path):
    got = concrete(monitor, path)
    answer = monitor.http.head(got, headers=monitor.api)
    assert answer.content == b""
    if path == "/v1/events/stream":  # which has no end to compare with
        assert answer.headers["content-type"].startswith("text/event-stream")
        return
    there = monitor.http.get(got, headers=monitor.api)
    assert answer.status_code == there.status_code
    assert answer.headers["content-type"] == there.headers["content-type"]
    assert "content-length" in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/nodes/strict-1", {"GET", "HEAD", "DELETE"}),
        ("POST", "/v1/nodes/strict-1", {"GET", "HEAD", "DELETE"}),
        ("GET", "/v1/nodes/strict-1/acknowledgement", {"POST", "DELETE"}),
        ("DELETE", "/v1/silences", {"GET", "HEAD", "POST"}),
        ("GET", "/v1/jobs/strict-1", {"PUT"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
        ("GET", "/v1/nodes/strict-1/heartbeat", {"POST"}),
        ("GET", "/v1/records", {"POST"}),
        ("PUT", "/v1/services/strict-1/pause", {"POST"}),
    ],
)
def test_a_method_that_is_not_possible_is_told_all_that_are(
    monitor, problem, method, path, allowed
):
    answer = monitor.http.request(method, path, headers=monitor.api)
    problem(answer, 405, "method-not-allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_the_pause_of_one_node_takes_what_the_pause_of_many_does(monitor, wait_until):
    said = {"for": "1h", "by": "ann", "reason": "kernel update"}
    monitor.ping("strict-3")
    monitor.wait_status("strict-3", "alive")
    answer = monitor.http.post("/v1/nodes/strict-3/pause", json=said, headers=monitor.api)
    assert answer.status_code == 202
    assert answer.json()["until"]
    pause = monitor.wait_status("strict-3", "paused")["maintenance"]
    assert (pause["by"], pause["reason"]) == ("ann", "kernel update")
    assert 0 < pause["left_ns"] <= 3600 * 10**9
    answer = monitor.http.post("/v1/nodes/strict-3/resume", json={"by": "bob"}, headers=monitor.api)
    assert answer.status_code == 202
    monitor.wait_status("strict-3", "new")
    # Without a body: as ever, until `resume`.
    monitor.order("strict-3", "pause")
    assert monitor.wait_status("strict-3", "paused")["maintenance"]["until"] is None


def test_a_body_where_none_is_taken_is_refused(monitor, problem):
    answer = monitor.http.request(
        "DELETE", "/v1/nodes/strict-1", json={"by": "ann"}, headers=monitor.api
    )
    problem(answer, 422, "not-as-expected")
    assert monitor.node("strict-1")


def test_every_route_is_documented():
    page = API_PAGE.read_text()
    documented = set(re.findall(r"`(GET|POST|PUT|DELETE) (/[^\s`?]*)", page))
    missing = []
    for method, path in ROUTES:
        if path.startswith("/ping/"):
            continue  # in words and with curl, at "A bare URL"
        if (method.upper(), path) not in documented:
            missing.append(f"{method.upper()} {path}")
    assert not missing
