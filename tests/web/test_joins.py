"""POST /v1/join: the key reaches the one who holds a token, and nobody else."""

import json
from dataclasses import replace

import pytest
from tests.joining import NONCE, ask_to_join, challenged, joined

from beatward.core.protocol import join
from beatward.errors import JoinRefused


def ask(monitor, token, name, **more):
    return ask_to_join(monitor.http, token, name, **more)


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
    key = joined(monitor.http, monitor.join_token(), "joined-2", labels={"zone": "a"}).key
    monitor.ping("joined-2")
    monitor.wait_status("joined-2", "alive")
    again = joined(monitor.http, monitor.join_token(), "joined-2", labels={"zone": "b"}, key=key)
    assert again.key == key
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
    asked = challenged(monitor.http, monitor.join_token(names="web-*"), "no-2")
    wider = replace(asked, payload=monitor.join_token().split(".")[1])
    problem(monitor.http.post("/v1/join", json=wider.body()), 403, "join-refused")


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
        ({"nonce": None}, "nonce"),
        ({"surname": "x"}, "surname"),
        ({"job": {"every": "soon"}}, "job"),
    ],
    ids=range(11),
)
def test_a_wrong_request_says_where(monitor, problem, more, where):
    answer = ask(monitor, monitor.join_token(), "no-3", **more)[1]
    body = problem(answer, 422, "not-as-expected")
    assert where in body["detail"]
    assert monitor.node("no-3") is None


@pytest.mark.parametrize("text", ["bm8ganNvbg", "W10", "MQ", "e30", "x"])
def test_a_text_that_is_no_request_is_refused(monitor, text):
    token = monitor.join_token()
    asked = challenged(monitor.http, token, "no-3")
    proof = join._prove(join._split(token)[1], "join", asked.challenge, text)
    body = {**asked.body(), "request": text, "proof": proof}
    assert monitor.http.post("/v1/join", json=body).status_code in (400, 403, 422)
    assert monitor.node("no-3") is None


def test_a_join_in_the_old_form_is_refused_and_says_what_to_do(monitor, problem):
    token = monitor.join_token()
    _, payload, secret = token.split(".")
    shown = join.encoded(NONCE)
    proof = join._prove(join.decoded(secret), "request", shown, "old-1")
    body = {"name": "old-1", "payload": payload, "nonce": shown, "proof": proof, "labels": {}}
    refused = problem(monitor.http.post("/v1/join", json=body), 403, "join-refused")
    assert "upgrade beatward on the node" in refused["reason"]
    assert monitor.node("old-1") is None


@pytest.mark.parametrize("more", [{"labels": {"zone": "stolen"}}, {"job": {"every": "1h"}}])
def test_a_recorded_join_says_nothing_else(monitor, problem, more):
    token = monitor.join_token()
    asked = challenged(monitor.http, token, "rec-1", labels={"zone": "a"})
    said = {**json.loads(join.decoded(asked.text)), **more}
    forged = replace(asked, text=join.encoded(json.dumps(said).encode()))
    problem(monitor.http.post("/v1/join", json=forged.body()), 403, "join-refused")
    beside = monitor.http.post("/v1/join", json={**asked.body(), **more})
    problem(beside, 422, "not-as-expected")


def test_a_recorded_join_is_not_played_again(monitor, problem, wait_until):
    asked, answer = ask(monitor, monitor.join_token(), "rec-2")
    assert answer.status_code == 200
    monitor.wait_status("rec-2", "new")
    # Not within the minute either, and not for a node that was forgotten since.
    assert monitor.http.delete("/v1/nodes/rec-2", headers=monitor.api).status_code == 202
    wait_until(lambda: monitor.node("rec-2") is None, "rec-2 is forgotten")
    again = problem(monitor.http.post("/v1/join", json=asked.body()), 403, "join-refused")
    assert "used before" in again["reason"]
    assert monitor.node("rec-2") is None


@pytest.mark.parametrize("challenge", ["", "AAAA", join.encoded(bytes(32)), "é", "x" * 43])
def test_a_challenge_of_one_s_own_is_refused(monitor, problem, challenge):
    token = monitor.join_token()
    asked = join.request(token, "rec-3", NONCE, challenge)
    answer = monitor.http.post("/v1/join", json=asked.body())
    assert answer.status_code in (403, 422)
    assert monitor.node("rec-3") is None


def test_a_name_that_has_spoken_is_not_given_out_again(monitor, problem):
    key = joined(monitor.http, monitor.join_token(), "taken-1").key
    # Until it has spoken it may ask again: it may have died before it wrote its key down.
    assert joined(monitor.http, monitor.join_token(), "taken-1").key == key
    monitor.live("taken-1", incarnation=7)
    monitor.wait_status("taken-1", "alive")
    for more in ({}, {"key": bytes(32)}):
        answer = ask(monitor, monitor.join_token(names="taken-*"), "taken-1", **more)[1]
        reason = problem(answer, 403, "join-refused")["reason"]
        assert "a node called taken-1 is enrolled already" in reason
        assert "beatward token new --node taken-1 --replace" in reason
        assert "sealed_key" not in answer.text
    assert joined(monitor.http, monitor.join_token(), "taken-1", key=key).key == key


def test_an_operator_may_let_a_name_be_taken_again_and_the_journal_says_so(monitor, wait_until):
    key = joined(monitor.http, monitor.join_token(), "taken-2").key
    monitor.live("taken-2", incarnation=7)
    monitor.wait_status("taken-2", "alive")
    token = monitor.join_token(names="taken-*", replaces=True)
    # The same key: what still has it is found to be a second process of the name.
    assert joined(monitor.http, token, "taken-2").key == key

    def said():
        events = monitor.get("/v1/events", node="taken-2", limit=1000)["events"]
        return [one["explanation"] for one in events if one["event"] == "replaced"]

    (sentence,) = wait_until(said, "the journal says so")
    assert sentence == (
        "taken-2 was enrolled again from 127.0.0.1 with the join token test, without its key"
    )


def test_a_forgotten_name_needs_a_token_and_no_more(monitor, wait_until):
    monitor.live("taken-3", incarnation=7)
    monitor.wait_status("taken-3", "alive")
    assert monitor.http.delete("/v1/nodes/taken-3", headers=monitor.api).status_code == 202
    wait_until(lambda: monitor.node("taken-3") is None, "taken-3 is forgotten")
    assert joined(monitor.http, monitor.join_token(), "taken-3").key == monitor.key("taken-3")


def test_a_form_instead_of_json_is_told_so(monitor, problem):
    answer = monitor.http.post("/v1/join", data={"name": "x"})
    assert "application/json" in problem(answer, 422, "not-as-expected")["detail"]
    answer = monitor.http.post(
        "/v1/join", content=b"{", headers={"Content-Type": "application/json"}
    )
    detail = problem(answer, 400, "no-json")["detail"]
    assert detail.startswith("body: found text that is no JSON: ")
    assert "{}" not in detail
