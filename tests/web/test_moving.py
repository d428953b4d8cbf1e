"""Roles moved by people over the API of a real monitor, and what is refused with which reason."""

import pytest
from tests.web.members import balance, service

from beatward.core.protocol.roles import State
from beatward.web import service_shapes


def send(monitor, path, body=None, method="POST"):
    return monitor.http.request(method, path, json=body, headers=monitor.api)


def ordered(monitor, name, word, **body):
    answer = send(monitor, f"/v1/services/{name}/{word}", body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_a_switchover_moves_a_role_to_whom_it_is_asked_for(monitor, members, phase):
    members("move", "move-1", "move-2", "move-3", move_1={"priority": 200})
    phase("move", "held", holder="move-1")
    answer = ordered(monitor, "move", "switchover", to="move-3", by="ann", reason="a drill")
    service_shapes.OrderedService.model_validate(answer, strict=True)
    assert (answer["ordered"], answer["to"], answer["token"]) == ("switchover", "move-3", 1)
    phase("move", "held", holder="move-3", token=2, target=None)
    told = monitor.get("/v1/events", after=answer["last_event"])["events"]
    roles = [one for one in told if one["event"] == "role" and one["detail"]["service"] == "move"]
    assert any("ann" in one["explanation"] for one in roles)
    assert roles[-1]["node"] == "move-3"


def test_a_failover_by_force_does_not_wait_for_a_holder_that_is_silent(monitor, members, phase):
    first, _ = members("force", "force-1", "force-2", force_1={"priority": 200})
    phase("force", "held", holder="force-1")
    ordered(monitor, "force", "failover", force=True, by="ann")
    found = phase("force", "held", holder="force-2", token=2)
    assert found["members"][0]["state"] in ("active", "standby")
    assert first.heard


def test_a_role_that_is_given_back_moves_by_itself_unless_that_is_paused(monitor, members, phase):
    first, second = members("wait", "wait-1", "wait-2", wait_1={"priority": 200})
    phase("wait", "held", holder="wait-1")
    answer = ordered(monitor, "wait", "pause", **{"for": "1h", "by": "ann", "reason": "a drill"})
    assert answer["until"] is not None
    found = phase("wait", "held")
    first.state = State.UNABLE
    found = phase("wait", "vacant")
    assert (found["paused"]["by"], found["paused"]["reason"]) == ("ann", "a drill")
    assert second.state == State.STANDBY
    ordered(monitor, "wait", "resume", by="ann")
    phase("wait", "held", holder="wait-2", paused=None)


def test_a_failover_without_force_works_while_it_is_paused(monitor, members, phase):
    first, _ = members("hand", "hand-1", "hand-2", hand_1={"priority": 200})
    phase("hand", "held", holder="hand-1")
    ordered(monitor, "hand", "pause")
    first.state = State.UNABLE
    phase("hand", "vacant")
    ordered(monitor, "hand", "failover")
    found = phase("hand", "held", holder="hand-2")
    assert found["paused"] is not None


IN_VAIN = [
    ("switchover", {}, 409, "no-role"),
    ("failover", {}, 409, "no-role"),
    ("failover", {"force": True}, 409, "no-role"),
    ("pause", {}, 409, "no-role"),
    ("resume", {}, 409, "no-role"),
]


@pytest.mark.parametrize(("word", "body", "status", "kind"), IN_VAIN)
def test_a_balanced_service_has_no_role_to_move(
    monitor, wait_until, problem, word, body, status, kind
):
    balance(monitor, "even", "even-1")
    wait_until(lambda: service(monitor, "even"), "even is known")
    answer = problem(send(monitor, f"/v1/services/even/{word}", body), status, kind)
    assert answer["detail"].startswith("even is in mode balance: all healthy members serve")


@pytest.mark.parametrize("word", ["switchover", "failover", "pause", "resume"])
def test_orders_need_the_token_and_a_service_that_is_known(monitor, problem, word):
    path = f"/v1/services/nowhere/{word}"
    for headers in ({}, monitor.bearer("even-1")):
        answer = monitor.http.post(path, json={}, headers=headers)
        problem(answer, 401, "unauthorized")
    problem(send(monitor, path, {}), 404, "unknown-service")
    body = problem(send(monitor, path, {"nonsense": 1}), 422, "not-as-expected")
    assert body["detail"].startswith("body.nonsense: ")


def test_orders_that_can_be_seen_to_be_in_vain_say_why(monitor, members, phase, seen, problem):
    _, second, third = members("vain", "vain-1", "vain-2", "vain-3", vain_1={"priority": 200})
    phase("vain", "held", holder="vain-1")
    path = "/v1/services/vain/switchover"
    body = problem(send(monitor, path, {"to": "vein-2"}), 404, "unknown-member")
    assert body["detail"] == "'vein-2' does not offer vain; alike: vain-2, vain-3, vain-1"
    body = problem(send(monitor, path, {"to": "vain-1"}), 409, "no-candidate")
    assert body["detail"] == "vain-1 cannot take the role of vain: it holds the role"
    second.state = third.state = State.UNABLE
    seen("vain", "vain-2", state="unable")
    seen("vain", "vain-3", state="unable")
    body = problem(send(monitor, path, {}), 409, "no-candidate")
    assert body["detail"].startswith("no node could take the role of vain: vain-1 holds the role; ")
    assert (body["phase"], body["holder"]) == ("held", "vain-1")
    body = problem(send(monitor, "/v1/services/vain/failover", {}), 409, "held")
    assert "a switchover moves it in good order" in body["detail"]
    body = problem(send(monitor, "/v1/services/vain/resume", {}), 409, "not-paused")
    assert body["detail"] == "automatic failover of vain is not paused"
    assert service(monitor, "vain")["token"] == 1


def test_a_role_that_no_node_offers_any_more_can_be_given_to_nobody(
    monitor, members, phase, problem
):
    (last,) = members("gone", "gone-1")
    phase("gone", "held", holder="gone-1")
    last.state = State.UNABLE
    phase("gone", "vacant")
    last.declare()
    phase("gone", "vacant", members=[])
    path = "/v1/services/gone/failover"
    body = problem(send(monitor, path, {}), 409, "no-candidate")
    assert body["detail"] == "no node could take the role of gone: no node offers the service"
    body = problem(send(monitor, path, {"to": "gone-1"}), 404, "unknown-member")
    assert body["detail"] == "'gone-1' does not offer gone; no node does"


def test_who_could_not_give_its_role_up_is_left_alone_unless_by_force(
    monitor, members, phase, problem
):
    first, _ = members("stuck", "stuck-1", "stuck-2", stuck_1={"priority": 200})
    phase("stuck", "held", holder="stuck-1")
    first.demotes = False
    ordered(monitor, "stuck", "switchover")
    found = phase("stuck", "refused")
    assert "could not be demoted" in found["reason"]
    problem(send(monitor, "/v1/services/stuck/switchover", {}), 409, "not-held")
    body = problem(send(monitor, "/v1/services/stuck/failover", {}), 409, "unsure")
    assert "only `force` skips that, and two may act then" in body["detail"]
    ordered(monitor, "stuck", "failover", force=True)
    phase("stuck", "held", holder="stuck-2", token=2)


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        # To force is not what somebody shall do by a word that might mean it.
        ("services/strict/failover", {"force": "yes"}, "force"),
        ("services/strict/failover", {"force": 1}, "force"),
        ("silences", {"node": "strict-*", "for": "1h", "actions": "true"}, "actions"),
        # What it is called within the program is no name for it.
        ("services/strict/pause", {"duration": "1h"}, "duration"),
        ("silences", {"node": "strict-*", "duration": "1h"}, "for"),
    ],
)
def test_a_request_is_taken_as_it_is_described(monitor, problem, path, body, where):
    answer = monitor.http.post(f"/v1/{path}", json=body, headers=monitor.api)
    told = problem(answer, 422, "not-as-expected")
    assert told["detail"].startswith(f"body.{where}: ")
