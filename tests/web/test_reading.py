"""Asking about nodes and commanding them; who may ask and who may command."""

import pytest

from beatward.core.tags import FASTEST
from beatward.web import shapes

READS = ["/v1/status", "/v1/nodes", "/v1/nodes/seen-1", "/v1/nodes/seen-1/explain", "/v1/events"]
READS += ["/v1/events/stream?after=0", "/metrics"]
COMMANDS = [
    ("POST", "/v1/nodes/seen-1/pause"),
    ("POST", "/v1/nodes/seen-1/resume"),
    ("DELETE", "/v1/nodes/seen-1"),
]
OPEN = ["/healthz", "/docs", "/openapi.json"]


def status_of(monitor, method, path, **headers):
    with monitor.http.stream(method, path, headers=headers) as answer:
        return answer.status_code


@pytest.fixture(scope="module")
def seen(monitor):
    monitor.ping("seen-1")
    return monitor.wait_status("seen-1", "alive")


@pytest.mark.parametrize("path", READS + OPEN)
def test_reads_are_open_on_a_local_listener(monitor, seen, path):
    assert status_of(monitor, "GET", path) == 200


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"X-Forwarded-For": "192.0.2.1"},
    {"Forwarded": "for=192.0.2.1"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=range(len(FOREIGN)))
@pytest.mark.parametrize("path", READS)
def test_a_foreign_page_or_proxy_does_not_read_along(monitor, seen, path, headers):
    assert status_of(monitor, "GET", path, **headers) == 401
    assert status_of(monitor, "GET", path, **headers, **monitor.api) == 200


@pytest.mark.parametrize("path", READS)
def test_reads_need_the_token_on_any_other_listener(open_monitor, path):
    open_monitor.ping("seen-1")
    open_monitor.wait_status("seen-1", "alive")
    wrong = [{}, open_monitor.bearer("seen-1"), {"Authorization": "Bearer bwa1_wrong"}]
    for headers in wrong:
        assert status_of(open_monitor, "GET", path, **headers) == 401
    assert status_of(open_monitor, "GET", path, **open_monitor.api) == 200


@pytest.mark.parametrize("path", OPEN)
def test_health_and_description_are_open_everywhere(open_monitor, path):
    assert status_of(open_monitor, "GET", path) == 200


@pytest.mark.parametrize(("method", "path"), COMMANDS)
def test_commands_always_need_the_token(monitor, seen, problem, method, path):
    for headers in ({}, monitor.bearer("seen-1"), {"Authorization": "Bearer bwa1_wrong"}):
        answer = monitor.http.request(method, path, headers=headers)
        assert "beatward token api" in problem(answer, 401, "unauthorized")["detail"]
    assert monitor.node("seen-1")["status"] == "alive"


def test_maintenance_is_announced_and_ended(monitor):
    monitor.ping("paused-1")
    monitor.wait_status("paused-1", "alive")
    answer = monitor.http.post("/v1/nodes/paused-1/pause", headers=monitor.api)
    assert (answer.status_code, answer.json()) == (202, {"ordered": "pause", "node": "paused-1"})
    assert monitor.wait_status("paused-1", "paused")["deadline"] is None
    monitor.order("paused-1", "resume")
    assert monitor.wait_status("paused-1", "new")["cause"] == "resume"


def test_a_forgotten_node_is_gone_and_may_come_back(monitor, problem, wait_until):
    monitor.ping("erased-1")
    monitor.wait_status("erased-1", "alive")
    answer = monitor.http.delete("/v1/nodes/erased-1", headers=monitor.api)
    assert answer.status_code == 202
    wait_until(lambda: monitor.node("erased-1") is None, "erased-1 is forgotten")
    assert "erased-1" not in [node["name"] for node in monitor.get("/v1/nodes")["nodes"]]
    events = monitor.get("/v1/events", node="erased-1")["events"]
    assert [event["event"] for event in events] == ["joined", "transition", "forgotten"]
    monitor.ping("erased-1")
    monitor.wait_status("erased-1", "alive")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nodes/nobody"),
        ("GET", "/v1/nodes/nobody/explain"),
        ("POST", "/v1/nodes/nobody/pause"),
        ("POST", "/v1/nodes/nobody/resume"),
        ("DELETE", "/v1/nodes/nobody"),
        ("GET", "/v1/nodes/%00"),
    ],
)
def test_an_unknown_node_is_said_to_be_unknown(monitor, problem, method, path):
    problem(monitor.http.request(method, path, headers=monitor.api), 404, "unknown-node")


def test_a_node_looks_as_it_is_described(monitor, seen):
    for node in (monitor.node("seen-1"), monitor.get("/v1/nodes", match="seen-1")["nodes"][0]):
        assert shapes.Node.model_validate(node, strict=True)
        assert node.keys() == shapes.Node.model_fields.keys()
        assert node["since"].endswith("Z")
        assert len(node["since"]) == len("2026-11-23T07:15:02.123Z")
        # Two intervals after its ping; later if this machine made the monitor pause meanwhile.
        assert node["deadline_in_ns"] + node["silent_ns"] >= 120_000_000_000
    shapes.StatusShape.model_validate(monitor.get("/v1/status"), strict=True)
    shapes.Explanation.model_validate(monitor.get("/v1/nodes/seen-1/explain"), strict=True)


def test_an_explanation_has_a_sentence_numbers_and_the_last_verdict(monitor):
    echo = monitor.live("told-1")
    monitor.wait_status("told-1", "alive")
    answer = monitor.get("/v1/nodes/told-1/explain")
    assert answer["sentence"].startswith("told-1 is alive")
    assert answer["detail"]["interval_ns"] == 60_000_000_000
    assert answer["last_verdict"] is None
    said = {"incarnation": 1, "sequence": 1, "interval": "60s", "echo": echo}
    monitor.beat("told-1", **said, kind="goodbye")
    monitor.wait_status("told-1", "left")
    verdict = monitor.get("/v1/nodes/told-1/explain")["last_verdict"]
    assert (verdict["status"], verdict["node"]) == ("left", "told-1")


@pytest.fixture(scope="module")
def flock(monitor):
    names = [f"flock-{index:02}" for index in range(12)]
    for name in names:
        monitor.ping(name, "/fail" if name == "flock-07" else "")
    for name in names:
        monitor.wait_status(name, "failing" if name == "flock-07" else "alive")
    monitor.order("flock-03", "pause")
    monitor.wait_status("flock-03", "paused")
    return names


@pytest.mark.parametrize("limit", [1, 5, 12, 100])
def test_pages_hold_every_node_once_and_in_order(monitor, flock, limit):
    found, after = [], None
    while True:
        asked = {"match": "flock-*", "limit": limit}
        page = monitor.get("/v1/nodes", **asked, **({"after": after} if after else {}))
        assert len(page["nodes"]) <= limit
        assert page["matching"] == len(flock)
        found += [node["name"] for node in page["nodes"]]
        after = page["next"]
        if after is None:
            break
    assert found == flock


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"match": "flock-0[12]"}, ["flock-01", "flock-02"]),
        ({"match": "flock-03", "status": "paused"}, ["flock-03"]),
        ({"match": "flock-03", "status": "alive"}, []),
        ({"match": "flock-*", "status": ["paused", "failing"]}, ["flock-03", "flock-07"]),
        ({"match": "nothing-*"}, []),
        ({"match": "flock"}, []),
    ],
)
def test_nodes_are_chosen_by_status_and_pattern(monitor, flock, asked, expected):
    page = monitor.get("/v1/nodes", **asked)
    assert [node["name"] for node in page["nodes"]] == expected
    assert page["matching"] == len(expected)
    assert page["total"] >= len(flock)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/nodes?status=asleep", "status"),
        ("/v1/nodes?limit=0", "limit"),
        ("/v1/nodes?limit=10001", "limit"),
        ("/v1/nodes?limit=x", "limit"),
        ("/v1/nodes?match=" + "x" * 129, "match"),
        ("/v1/events?after=-1", "after"),
        ("/v1/events?limit=1001", "limit"),
        ("/v1/events?after=" + "9" * 30, "after"),
        ("/v1/events/stream?after=x", "after"),
    ],
)
def test_a_wrong_question_says_where_and_what(monitor, problem, path, where):
    body = problem(monitor.http.get(path), 422, "not-as-expected")
    assert body["errors"][0]["where"] == f"query.{where}" or where == "status"
    assert where in body["detail"]
    assert "expected" in body["detail"]


def test_what_is_not_there_points_to_the_description(monitor, problem):
    assert "/docs" in problem(monitor.http.get("/v2"), 404, "no-such-path")["detail"]
    answer = monitor.http.put("/v1/nodes")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD"


def test_the_status_counts_what_is_there(monitor, flock):
    status = monitor.get("/v1/status")
    counts = status["nodes"]
    assert counts["total"] == sum(count for word, count in counts.items() if word != "total")
    assert counts["total"] == monitor.get("/v1/nodes", limit=1)["total"]
    assert counts["paused"] >= 1
    assert counts["failing"] >= 1
    assert status["counters"]["accepted"] >= len(flock)
    assert status["health"]["status"] in ("ok", "degraded")
    assert status["last_event"] >= len(flock)
    assert status["tags"] == FASTEST.name
