"""POST /v1/agent/node: a node declares itself again with its own key; and who was turned away."""

from beatward.core.protocol import join
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Flag, Kind, Record, open_record, seal
from beatward.web.strangers import STRANGERS_MAX, Strangers

NONCE = join.encoded(b"0123456789abcdef")


def declare(monitor, name, bearer=None, **body):
    said = {"name": name, "nonce": NONCE, **body}
    headers = monitor.bearer(name) if bearer is None else bearer
    return monitor.http.post("/v1/agent/node", json=said, headers=headers)


def listed(monitor, name):
    speakers = monitor.get("/v1/status")["unknown"]["speakers"]
    return next((one for one in speakers if one["node"] == name), None)


def test_an_unknown_node_is_enrolled_by_its_key_with_labels_and_job(monitor, wait_until):
    answer = declare(monitor, "own-1", labels={"zone": "a"}, job={"every": "1h"})
    assert answer.status_code == 200, answer.text
    udp = answer.json()["udp"]
    assert answer.json() == {
        "node": f"{node_id('own-1'):016x}",
        "udp": udp,
        "proof": join.vouch(monitor.key("own-1"), NONCE, udp, "own-1"),
    }
    node = wait_until(lambda: monitor.node("own-1"), "its enrolment")
    assert node["labels"] == {"zone": "a"}
    assert node["job"]["period_ns"] == 3_600_000_000_000


def test_labels_take_the_place_of_those_before_and_stay_where_none_are_said(monitor, wait_until):
    monitor.enrol("own-2", {"zone": "a", "rack": "7"})
    wait_until(lambda: monitor.node("own-2"), "its enrolment")
    for said, labels in (
        ({"labels": {"zone": "b"}}, {"zone": "b"}),
        ({}, {"zone": "b"}),
        ({"labels": {}}, {}),
    ):
        assert declare(monitor, "own-2", **said).status_code == 200
        wait_until(
            lambda labels=labels: monitor.node("own-2")["labels"] == labels, f"labels {labels}"
        )


def test_the_key_of_another_node_declares_nothing_and_is_listed(monitor, problem):
    answer = declare(monitor, "own-3", monitor.bearer("own-4"))
    problem(answer, 401, "unauthorized")
    assert monitor.node("own-3") is None
    found = listed(monitor, "own-3")
    assert (found["via"], found["key"], found["forgotten"]) == ("http", "other", False)
    assert found["address"].startswith("127.0.0.1:")


def test_a_forgotten_node_is_not_brought_back_by_its_key(monitor, wait_until, problem):
    monitor.enrol("own-5", {})
    wait_until(lambda: monitor.node("own-5"), "its enrolment")
    assert monitor.http.delete("/v1/nodes/own-5", headers=monitor.api).status_code == 202
    wait_until(lambda: monitor.node("own-5") is None, "its removal")
    wait_until(lambda: declare(monitor, "own-5").status_code == 403, "the journal's word")
    body = problem(declare(monitor, "own-5"), 403, "forgotten")
    assert "enrol it again with a join token" in body["detail"]
    assert listed(monitor, "own-5")["forgotten"]
    status = monitor.get("/v1/status")
    assert status["health"]["status"] == "degraded"
    assert any("own-5" in reason for reason in status["health"]["reasons"])
    monitor.enrol("own-5", {})
    wait_until(lambda: monitor.node("own-5"), "its return")
    assert declare(monitor, "own-5").status_code == 200
    assert listed(monitor, "own-5") is None


def test_the_answer_to_a_life_that_is_behind_names_the_newer_one_sealed(monitor):
    monitor.live("own-6", incarnation=500)
    monitor.wait_status("own-6", "alive")
    answer = monitor.beat("own-6", incarnation=499, sequence=0, interval="60s").json()
    assert (answer["known"], answer["incarnation"]) == (True, 500)
    known = open_record(join.decoded(answer["newer"]), monitor.key("own-6"))
    assert (known.kind, known.incarnation, known.sequence) == (Kind.ACKNOWLEDGEMENT, 500, 0)
    assert known.echo == answer["echo"]
    assert (
        monitor.beat("own-6", incarnation=500, sequence=0, interval="60s").json()["newer"] is None
    )


def test_a_relay_is_told_of_newer_lives_only_where_it_asks_and_only_of_genuine_records(monitor):
    monitor.live("own-7", incarnation=500)
    monitor.wait_status("own-7", "alive")
    behind = Record(Kind.HEARTBEAT, node_id("own-7"), 499, 0, interval_ms=1000, flags=Flag.RELAYED)
    rows = seal(behind, monitor.key("own-7")) + seal(behind, bytes(32))

    def post(query):
        headers = {"Content-Type": "application/octet-stream"}
        answer = monitor.http.post(f"/v1/records{query}", content=rows, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    assert "newer" not in post("")
    (newer,) = post("?newer=true")["newer"]
    assert open_record(join.decoded(newer), monitor.key("own-7")).incarnation == 500


def test_strangers_are_bounded_and_dropped_after_an_hour():
    now = [0]
    strangers = Strangers(lambda: now[0])
    scope = {"client": ("::1", 80)}
    for number in range(STRANGERS_MAX + 3):
        strangers.note(f"node-{number}", scope, "http")
    strangers.note("no name at all", scope, "http")
    assert len(strangers.heard()) == STRANGERS_MAX
    assert strangers.overflow_count == 3
    assert strangers.heard()[0].address == "[::1]:80"
    now[0] = 3600 * 10**9
    assert strangers.heard() == []
