"""POST /v1/join: the key reaches the one who holds a token, and nobody else."""

from dataclasses import asdict

import pytest

from beatward.core.protocol import join
from beatward.errors import JoinRefused

NONCE = b"0123456789abcdef"


def ask(monitor, token, name, **more):
    asked = join.request(token, name, NONCE)
    return asked, monitor.http.post("/v1/join", json={**asdict(asked), **more})


def test_a_token_gives_the_node_its_key_and_the_monitor_a_node(monitor):
    token = monitor.join_token()
    asked, answer = ask(monitor, token, "joined-1", labels={"zone": "a"})
    assert answer.status_code == 200, answer.text
    credential = join.accept(token, asked, join.JoinAnswer(**answer.json()))
    assert credential.key == monitor.key("joined-1")
    assert credential.udp.startswith("127.0.0.1:")
    assert not credential.udp.endswith(":0")
    assert monitor.wait_status("joined-1", "new")["labels"] == {"zone": "a"}


def test_a_second_join_keeps_the_node_and_may_change_its_labels(monitor, wait_until):
    ask(monitor, monitor.join_token(), "joined-2", labels={"zone": "a"})
    monitor.ping("joined-2")
    monitor.wait_status("joined-2", "alive")
    assert ask(monitor, monitor.join_token(), "joined-2", labels={"zone": "b"})[1].is_success
    wait_until(lambda: monitor.node("joined-2")["labels"] == {"zone": "b"}, "the new label")
    assert monitor.node("joined-2")["status"] == "alive"


def test_neither_secret_nor_key_crosses_the_network(monitor):
    token = monitor.join_token()
    _, answer = ask(monitor, token, "joined-3")
    secret = token.rpartition(".")[2]
    assert secret.encode() not in answer.request.content
    assert monitor.key("joined-3").hex() not in answer.text
    other, _ = ask(monitor, monitor.join_token(names="joined-*"), "joined-3")
    with pytest.raises(JoinRefused):
        join.accept(monitor.join_token(names="joined-*"), other, join.JoinAnswer(**answer.json()))


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (lambda m: join.new_token(b"x" * 32, serial="1"), "no-1", "not made by this monitor"),
        (lambda m: m.join_token(expires=1), "no-1", "expired"),
        (lambda m: m.join_token(names="web-*"), "no-1", "'web-*'"),
        (lambda m: m.join_token(), "no 1", "not a name"),
    ],
    ids=["another monitor's", "expired", "another name", "no name"],
)
def test_a_join_is_refused_with_the_reason(monitor, problem, make, name, reason):
    _, answer = ask(monitor, make(monitor), name)
    body = problem(answer, 403, "join-refused")
    assert reason in body["reason"]
    assert monitor.node("no-1") is None


def test_a_token_cannot_be_stretched(monitor, problem):
    asked = asdict(join.request(monitor.join_token(names="web-*"), "no-2", NONCE))
    wider = monitor.join_token().split(".")[1]
    problem(monitor.http.post("/v1/join", json={**asked, "payload": wider}), 403, "join-refused")


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"labels": {str(i): "x" for i in range(33)}}, "labels"),
        ({"labels": {"x" * 257: "x"}}, "labels"),
        ({"labels": {"x": "x" * 257}}, "labels"),
        ({"labels": {"": "x"}}, "labels"),
        ({"labels": {"x": 1}}, "labels"),
        ({"labels": {"x": "\x1b]0;stolen\x07"}}, "labels.x"),
        ({"labels": {"a\nforged": "x"}}, "one line of text without control characters"),
        ({"nonce": "not base64!"}, "nonce"),
        ({"name": None}, "name"),
        ({"surname": "x"}, "surname"),
    ],
    ids=range(10),
)
def test_a_wrong_request_says_where(monitor, problem, more, where):
    asked = asdict(join.request(monitor.join_token(), "no-3", NONCE))
    body = problem(monitor.http.post("/v1/join", json={**asked, **more}), 422, "not-as-expected")
    assert where in body["detail"]
    assert monitor.node("no-3") is None


def test_a_form_instead_of_json_is_told_so(monitor, problem):
    answer = monitor.http.post("/v1/join", data={"name": "x"})
    assert "application/json" in problem(answer, 422, "not-as-expected")["detail"]
    answer = monitor.http.post(
        "/v1/join", content=b"{", headers={"Content-Type": "application/json"}
    )
    detail = problem(answer, 400, "no-json")["detail"]
    assert detail.startswith("body: found text that is no JSON: ")
    assert "{}" not in detail
