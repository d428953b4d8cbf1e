"""POST /v1/nodes/{name}/heartbeat, against a monitor that really runs."""

import json
import socket
from urllib.parse import urlsplit

import pytest

GOOD = {"incarnation": 1, "sequence": 0, "interval": "60s"}


def test_a_first_heartbeat_is_believed_only_with_the_echo_of_the_answer(monitor):
    first = monitor.beat("echo-1", **GOOD)
    assert first.status_code == 202
    answer = first.json()
    said = {"echo": answer["echo"], "interval_ms": 60_000, "mail": False}
    assert answer == {**said, "known": False, "incarnation": 0, "newer": None}
    assert answer["echo"] > 0
    assert monitor.wait_status("echo-1", "new")["heard"] is None
    monitor.beat("echo-1", **GOOD, echo=answer["echo"] % 0xFFFFFFFF + 1)
    monitor.beat("echo-2", **GOOD, echo=answer["echo"])
    monitor.wait_status("echo-2", "alive")
    assert monitor.node("echo-1")["status"] == "new"


def test_what_a_heartbeat_says_is_shown(monitor):
    monitor.live("says-1", interval="2m", incarnation=77, sequence=5, cpu=12.5, memory=43, load=1.5)
    node = monitor.wait_status("says-1", "alive")
    assert node["interval_ns"] == 120_000_000_000
    assert (node["incarnation"], node["sequence"]) == (77, 5)
    assert (node["cpu"], node["memory"], node["load"]) == (12.5, 43.0, 1.5)
    assert (node["via"], node["health"]) == ("http", "ok")


def test_a_node_says_that_it_is_ill_and_well_again(monitor):
    echo = monitor.live("ill-1")
    monitor.wait_status("ill-1", "alive")
    said = {**GOOD, "echo": echo}
    monitor.beat("ill-1", **{**said, "sequence": 1, "status": "failing"})
    assert monitor.wait_status("ill-1", "failing")["health"] == "failing"
    monitor.beat("ill-1", **{**said, "sequence": 2})
    monitor.wait_status("ill-1", "alive")


@pytest.mark.parametrize(
    ("said", "status", "cause"),
    [({}, "left", "goodbye"), ({"exit_code": -9}, "dead", "exited")],
    ids=["in order", "by signal"],
)
def test_a_goodbye_is_direct_evidence(monitor, said, status, cause):
    name = f"bye-{status}"
    echo = monitor.live(name)
    monitor.wait_status(name, "alive")
    answer = monitor.beat(name, **{**GOOD, "sequence": 1}, kind="goodbye", echo=echo, **said)
    assert answer.status_code == 202
    assert monitor.wait_status(name, status)["cause"] == cause
    verdict = monitor.get(f"/v1/nodes/{name}/explain")["last_verdict"]
    assert verdict["status"] == status
    assert verdict["detail"]["exit_code"] == said.get("exit_code")


def test_an_exit_code_of_32_bits_is_shown_as_it_was(monitor):
    echo = monitor.live("wide-1")
    monitor.wait_status("wide-1", "alive")
    said = {**GOOD, "sequence": 1, "kind": "goodbye", "exit_code": 3_221_225_786}
    assert monitor.beat("wide-1", **said, echo=echo).status_code == 202
    monitor.wait_status("wide-1", "dead")
    verdict = monitor.get("/v1/nodes/wide-1/explain")["last_verdict"]
    assert verdict["detail"]["exit_code"] == 3_221_225_786
    assert "with exit code 3221225786" in verdict["explanation"]


def test_a_heartbeat_speaks_for_its_own_node_only(monitor, problem):
    path = "/v1/nodes/mine-1/heartbeat"
    answers = [
        monitor.http.post(path, json=GOOD, headers=headers)
        for headers in (
            {},
            {"Authorization": "Bearer bwn1_wrong"},
            {"Authorization": "Basic bWluZS0xOng="},
            monitor.bearer("mine-2"),
            monitor.api,
        )
    ]
    for answer in answers:
        assert "mine-1" in problem(answer, 401, "unauthorized")["detail"]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert monitor.node("mine-1") is None
    assert monitor.beat("mine-1", **GOOD).status_code == 202


WRONG = [
    ({}, "incarnation"),
    ({**GOOD, "incarnation": 0}, "incarnation"),
    ({**GOOD, "incarnation": 2**63}, "incarnation"),
    ({**GOOD, "sequence": -1}, "sequence"),
    ({**GOOD, "sequence": "1"}, "sequence"),
    ({**GOOD, "sequence": True}, "sequence"),
    ({"incarnation": 1, "sequence": 0}, "interval"),
    ({**GOOD, "interval_ms": 1000}, "interval"),
    ({**GOOD, "interval": "5"}, "duration"),
    ({**GOOD, "interval": "0s"}, "interval"),
    ({**GOOD, "interval": "50d"}, "interval"),
    ({**GOOD, "interval": 5}, "interval"),
    ({**GOOD, "kind": "probe"}, "kind"),
    ({**GOOD, "status": "fine"}, "status"),
    ({**GOOD, "exit_code": 1}, "exit_code"),
    ({**GOOD, "kind": "goodbye", "exit_code": 2**32}, "exit_code"),
    ({**GOOD, "cpu": -1}, "cpu"),
    ({**GOOD, "load": "high"}, "load"),
    ({**GOOD, "echo": 2**32}, "echo"),
    ({**GOOD, "sttaus": "ok"}, "sttaus"),
    ([], "array"),
]


@pytest.mark.parametrize(("said", "word"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_heartbeat_is_refused_with_the_reason(monitor, problem, said, word):
    path = "/v1/nodes/wrong-1/heartbeat"
    answer = monitor.http.post(path, content=json.dumps(said), headers=monitor.bearer("wrong-1"))
    assert word in problem(answer, 422, "not-as-expected")["detail"]
    assert monitor.node("wrong-1") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", json.dumps(GOOD).encode() + b"}"])
def test_what_is_no_json_is_refused(monitor, problem, content):
    path = "/v1/nodes/wrong-2/heartbeat"
    answer = monitor.http.post(path, content=content, headers=monitor.bearer("wrong-2"))
    problem(answer, 400, "no-json")


def test_only_post_is_possible(monitor, problem):
    answer = monitor.http.get("/v1/nodes/some/heartbeat", headers=monitor.bearer("some"))
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("name", ["a b", "ä", "%2e%2e", "a" * 129, ""])
def test_what_is_no_name_has_no_token(monitor, problem, name):
    answer = monitor.http.post(f"/v1/nodes/{name}/heartbeat", json=GOOD, headers=monitor.api)
    problem(answer, 401, "unauthorized")


def test_a_heartbeat_may_arrive_in_pieces(monitor):
    def pieces():
        for letter in json.dumps(GOOD).encode():
            yield bytes([letter])

    path = "/v1/nodes/pieces-1/heartbeat"
    answer = monitor.http.post(path, content=pieces(), headers=monitor.bearer("pieces-1"))
    assert answer.status_code == 202


TOO_LARGE = b" " * (64 * 1024) + b"{}"


@pytest.mark.parametrize("path", ["/v1/nodes/large-1/heartbeat", "/v1/join", "/v1/agent/inbox"])
@pytest.mark.parametrize("is_announced", [True, False], ids=["announced", "chunked"])
def test_a_body_has_a_limit(monitor, problem, path, is_announced):
    content = TOO_LARGE if is_announced else iter([TOO_LARGE[:30_000], TOO_LARGE[30_000:]])
    headers = {**monitor.bearer("large-1"), "Content-Type": "application/json"}
    answer = monitor.http.post(path, content=content, headers=headers)
    assert "65536" in problem(answer, 413, "too-large")["detail"]


def test_a_body_at_the_limit_is_read(monitor, problem):
    content = TOO_LARGE[2:]
    headers = monitor.bearer("large-2")
    answer = monitor.http.post("/v1/nodes/large-2/heartbeat", content=content, headers=headers)
    assert len(content) == 64 * 1024
    problem(answer, 422, "not-as-expected")


def test_a_body_that_lies_about_its_size_is_refused_by_the_server(monitor):
    host = urlsplit(monitor.url)
    with socket.create_connection((host.hostname, host.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{}"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
