"""Maintenance of many, acknowledged alarms and silences over the API of a real monitor."""

import pytest

from beatward.web import shapes

COMMANDS = [
    ("POST", "/v1/pause", {"nodes": ["asked-1"]}),
    ("POST", "/v1/resume", {"nodes": ["asked-1"]}),
    ("POST", "/v1/nodes/asked-1/acknowledgement", {}),
    ("DELETE", "/v1/nodes/asked-1/acknowledgement", None),
    ("POST", "/v1/silences", {"node": "asked-1", "for": "1h"}),
    ("DELETE", "/v1/silences/nope", None),
]


def send(monitor, method, path, body=None):
    return monitor.http.request(method, path, json=body, headers=monitor.api)


def ordered(monitor, method, path, body=None):
    answer = send(monitor, method, path, body)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.fixture
def alive(monitor):
    """Make nodes that are alive."""

    def make(*names, labels=None):
        for name in names:
            monitor.ping(name)
            monitor.wait_status(name, "alive")
        return names

    return make


@pytest.mark.parametrize(("method", "path", "body"), COMMANDS)
def test_commands_need_the_token(monitor, alive, problem, method, path, body):
    alive("asked-1")
    for headers in ({}, monitor.bearer("asked-1"), {"Authorization": "Bearer bwa1_wrong"}):
        answer = monitor.http.request(method, path, json=body, headers=headers)
        problem(answer, 401, "unauthorized")
    node = monitor.node("asked-1")
    assert (node["status"], node["silence"]) == ("alive", None)


def test_nodes_are_paused_by_names_and_patterns_for_a_time(monitor, alive):
    alive("crew-1", "crew-2", "other-1")
    said = {"nodes": ["crew-*", "other-1"], "for": "1h", "by": "ann", "reason": "kernel"}
    answer = ordered(monitor, "POST", "/v1/pause", said)
    shapes.OrderedMany.model_validate(answer, strict=True)
    assert (answer["ordered"], answer["count"]) == ("pause", 3)
    node = monitor.wait_status("crew-2", "paused")
    shapes.Node.model_validate(node, strict=True)
    pause = node["maintenance"]
    assert (pause["by"], pause["reason"]) == ("ann", "kernel")
    assert 3590e9 < pause["left_ns"] < 3600e9
    assert abs(int(pause["until"][17:19]) - int(answer["until"][17:19])) in (0, 1, 59)
    explained = monitor.get("/v1/nodes/crew-2/explain")
    assert "by ann (kernel), silence does not count" in explained["sentence"]
    assert ordered(monitor, "POST", "/v1/resume", {"nodes": ["crew-1"], "by": "bob"})["count"] == 1
    assert monitor.wait_status("crew-1", "new")["maintenance"] is None
    assert monitor.node("crew-2")["status"] == "paused"
    (event,) = [
        one
        for one in monitor.get("/v1/events", node="crew-1")["events"]
        if one["status"] == "new" and one["cause"] == "resume"
    ]
    assert event["explanation"].endswith("bob has ended its maintenance")


def test_the_planned_end_comes_by_itself(monitor, alive):
    alive("brief-1")
    ordered(monitor, "POST", "/v1/pause", {"nodes": ["brief-1"], "for": "700ms"})
    monitor.wait_status("brief-1", "paused")
    node = monitor.wait_status("brief-1", "new")
    assert (node["cause"], node["maintenance"]) == ("resume", None)


def test_nodes_are_paused_by_labels(monitor, wait_until):
    running = monitor
    for name, rack in (("rack-1", "7"), ("rack-2", "7"), ("rack-3", "8")):
        running.enrol(name, {"rack": rack})
        wait_until(lambda name=name: running.node(name), f"{name} is enrolled")
    page = running.get("/v1/nodes", label="rack=7")
    assert [node["name"] for node in page["nodes"]] == ["rack-1", "rack-2"]
    assert ordered(running, "POST", "/v1/pause", {"labels": {"rack": "7"}})["count"] == 2
    running.wait_status("rack-1", "paused")
    running.wait_status("rack-2", "paused")
    assert running.node("rack-3")["status"] == "new"
    asked = {"label": "rack=7", "status": "paused", "match": "*-2"}
    assert running.get("/v1/nodes", **asked)["matching"] == 1


@pytest.mark.parametrize(
    ("body", "words", "more"),
    [
        (
            {"nodes": ["knwon-1", "known-1"]},
            "no node is called 'knwon-1'; ",
            {"unknown": ["knwon-1"]},
        ),
        ({"nodes": ["nothing-like-*"]}, "no node is called 'nothing-like-*'; ", {"alike": []}),
        ({"labels": {"rack": "none"}}, "no node has rack=none; ", {"unknown": []}),
        (
            {"nodes": ["known-1"], "labels": {"rack": "9"}},
            "no node is called 'known-1' and has rack=9; ",
            {"unknown": ["known-1"]},
        ),
    ],
)
@pytest.mark.parametrize("path", ["/v1/pause", "/v1/resume"])
def test_who_is_not_there_is_named_and_nothing_is_changed(
    monitor, alive, problem, path, body, words, more
):
    alive("known-1")
    answer = problem(send(monitor, "POST", path, body), 404, "unknown-node")
    assert answer["detail"].startswith(words)
    assert answer["detail"].endswith("Nothing was changed")
    assert answer["known"] >= 1
    assert more.items() <= answer.items()
    if more["unknown" if "unknown" in more else "alike"] == ["knwon-1"]:
        assert "known-1" in answer["alike"]
    assert monitor.node("known-1")["status"] == "alive"


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/pause", {}, "nodes"),
        ("/v1/resume", {"labels": {}}, "nodes"),
        ("/v1/pause", {"nodes": ["asked-1"], "for": "0s"}, "for"),
        ("/v1/pause", {"nodes": ["asked-1"], "for": "1 hour"}, "for"),
        ("/v1/pause", {"nodes": ["asked-1"], "for": "4000d"}, "for"),
        ("/v1/pause", {"nodes": ["asked-1"], "for": 3600}, "for"),
        ("/v1/pause", {"nodes": ["asked-1"], "untill": "1h"}, "untill"),
        ("/v1/pause", {"nodes": [""]}, "nodes"),
        ("/v1/pause", {"nodes": ["x"] * 1001}, "nodes"),
        ("/v1/silences", {"for": "1h"}, "node"),
        ("/v1/silences", {"node": "*"}, "for"),
        ("/v1/silences", {"node": "*", "for": "1h", "reason": "x" * 1001}, "reason"),
    ],
)
def test_what_is_not_as_expected_is_named(monitor, problem, path, body, where):
    answer = problem(send(monitor, "POST", path, body), 422, "not-as-expected")
    assert any(where in wrong["where"] for wrong in answer["errors"])


def test_an_alarm_is_acknowledged_and_that_can_be_taken_back(monitor, alive, problem, wait_until):
    alive("alarm-1")
    path = "/v1/nodes/alarm-1/acknowledgement"
    assert (
        "there is no alarm" in problem(send(monitor, "POST", path, {}), 409, "no-alarm")["detail"]
    )
    monitor.ping("alarm-1", "/fail")
    monitor.wait_status("alarm-1", "failing")
    problem(send(monitor, "DELETE", path), 409, "no-alarm")
    answer = ordered(monitor, "POST", path, {"by": "ann", "note": "the disk"})
    assert answer == {"ordered": "acknowledge", "node": "alarm-1"}
    node = wait_until(
        lambda: (found := monitor.node("alarm-1"))["acknowledgement"] and found, "it is known"
    )
    shapes.Node.model_validate(node, strict=True)
    known = node["acknowledgement"]
    assert (known["by"], known["note"], known["status"]) == ("ann", "the disk", "failing")
    said = monitor.get("/v1/status")["said"]
    assert "alarm-1" in [one["node"] for one in said["acknowledged"]]
    assert send(monitor, "DELETE", path + "?by=bob").status_code == 202
    wait_until(lambda: monitor.node("alarm-1")["acknowledgement"] is None, "it is taken back")
    problem(send(monitor, "POST", "/v1/nodes/nobody/acknowledgement", {}), 404, "unknown-node")


def test_silences_are_begun_listed_and_ended(monitor, alive, problem, wait_until):
    alive("quiet-1", "loud-1")
    body = {"node": "quiet-*", "for": "2h", "by": "ann", "reason": "switch", "actions": True}
    answer = ordered(monitor, "POST", "/v1/silences", body)
    shapes.OrderedSilence.model_validate(answer, strict=True)

    def listed():
        page = monitor.get("/v1/silences")
        shapes.SilenceList.model_validate(page, strict=True)
        return {one["id"]: one for one in page["silences"]}

    silence = wait_until(lambda: listed().get(answer["id"]), "it is listed")
    assert {**body, "left_ns": 0}.items() - {("for", "2h"), ("left_ns", 0)} <= silence.items()
    assert 7190e9 < silence["left_ns"] <= 7200e9
    assert monitor.node("quiet-1")["silence"] == answer["id"]
    assert monitor.node("loud-1")["silence"] is None
    assert "by silence" in monitor.get("/v1/nodes/quiet-1/explain")["sentence"]
    assert answer["id"] in [one["id"] for one in monitor.get("/v1/status")["said"]["silences"]]
    assert "beatward_silences 1.0" in monitor.http.get("/metrics", headers=monitor.api).text
    ordered(monitor, "DELETE", f"/v1/silences/{answer['id']}?by=bob")
    wait_until(lambda: answer["id"] not in listed(), "it is ended")
    gone = send(monitor, "DELETE", f"/v1/silences/{answer['id']}")
    assert "no silence is called" in problem(gone, 404, "unknown-silence")["detail"]


def test_a_silence_of_a_name_that_nobody_has_is_a_mistake_and_of_a_pattern_is_not(
    monitor, alive, problem
):
    alive("known-1")
    wrong = send(monitor, "POST", "/v1/silences", {"node": "knwon-1", "for": "1h"})
    assert "known-1" in problem(wrong, 404, "unknown-node")["alike"]
    later = ordered(monitor, "POST", "/v1/silences", {"node": "later-*", "for": "1s"})
    assert later["ordered"] == "silence"


def test_all_of_it_is_there_after_a_restart(own_monitor, wait_until):
    for name in ("web-1", "web-2"):
        own_monitor.ping(name)
        own_monitor.wait_status(name, "alive")
    own_monitor.ping("web-2", "/fail")
    own_monitor.wait_status("web-2", "failing")
    ordered(own_monitor, "POST", "/v1/pause", {"nodes": ["web-1"], "for": "1h", "by": "ann"})
    ordered(own_monitor, "POST", "/v1/nodes/web-2/acknowledgement", {"by": "bob", "note": "ü"})
    silence = ordered(own_monitor, "POST", "/v1/silences", {"node": "web-*", "for": "1h"})
    own_monitor.wait_status("web-1", "paused")
    wait_until(lambda: own_monitor.node("web-2")["acknowledgement"], "it is known")
    before = own_monitor.node("web-1")["maintenance"]
    own_monitor.end()
    own_monitor.start()
    node = own_monitor.node("web-1")
    assert (node["status"], node["silence"]) == ("paused", silence["id"])
    # Wall-clock time and the monitor's own are read one after the other.
    assert node["maintenance"]["until"][:19] == before["until"][:19]
    assert 3500e9 < node["maintenance"]["left_ns"] < before["left_ns"]
    assert own_monitor.node("web-2")["acknowledgement"]["note"] == "ü"
    assert [one["id"] for one in own_monitor.get("/v1/silences")["silences"]] == [silence["id"]]
