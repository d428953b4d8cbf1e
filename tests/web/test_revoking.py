"""A key that was revoked opens no door any more, and what enrols again has another one."""

import socket

import pytest
from tests.joining import joined

from beatward.core.protocol import keys
from beatward.core.protocol.record import Flag, Kind, Record, seal

NONE = Flag(0)
LIFE = {"incarnation": 5, "sequence": 0, "interval": "60s"}


def record(name, key, *, incarnation=5, sequence=0, flags=NONE, echo=0):
    said = {"incarnation": incarnation, "sequence": sequence, "interval_ms": 60_000}
    return seal(
        Record(Kind.HEARTBEAT, node=keys.node_id(name), flags=flags, echo=echo, **said), key
    )


def send(monitor, data):
    host, _, port = monitor.get("/v1/status")["udp"].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.sendto(data, (host, int(port)))


def revoke(monitor, name, **more):
    answer = monitor.http.delete(
        f"/v1/nodes/{name}", params={"revoke": True, **more}, headers=monitor.api
    )
    assert answer.status_code == 202, answer.text


def enrolled_again(monitor, name):
    """Join and return the key."""
    return joined(monitor.http, monitor.join_token(names=name), name).key


def rejects(monitor, reason):
    text = monitor.http.get("/metrics", headers=monitor.api).text
    (line,) = [row for row in text.splitlines() if f'rejects_total{{reason="{reason}"}}' in row]
    return float(line.split()[-1])


def gone(monitor, name, wait_until):
    wait_until(lambda: monitor.node(name) is None, f"{name} is forgotten")


def test_every_door_is_closed_to_a_revoked_key(own_monitor, wait_until, problem):
    monitor = own_monitor
    monitor.live("stolen-1", incarnation=5)
    monitor.ping("stolen-1")
    revoke(monitor, "stolen-1")
    gone(monitor, "stolen-1", wait_until)
    detail = problem(monitor.beat("stolen-1", **LIFE), 401, "unauthorized")["detail"]
    assert "revoked" in detail
    assert "beatward token new" in detail
    assert monitor.http.get(monitor.ping_path("stolen-1")).status_code == 404
    declared = monitor.http.post(
        "/v1/agent/node",
        json={"name": "stolen-1", "nonce": "bm5ubm5ubm5ubm5ubm5ubg"},
        headers=monitor.bearer("stolen-1"),
    )
    problem(declared, 401, "unauthorized")
    assert monitor.node("stolen-1") is None


def test_datagrams_of_a_revoked_key_fail_their_tag(own_monitor, wait_until):
    monitor, old = own_monitor, own_monitor.key("stolen-2")
    echo = monitor.live("stolen-2", incarnation=5)
    revoke(monitor, "stolen-2")
    gone(monitor, "stolen-2", wait_until)
    new = enrolled_again(monitor, "stolen-2")
    assert new != old
    monitor.wait_status("stolen-2", "new")
    before = rejects(monitor, "tag")
    send(monitor, record("stolen-2", old, incarnation=9, sequence=1, echo=echo))
    wait_until(lambda: rejects(monitor, "tag") == before + 1, "the old key is turned away")
    assert monitor.node("stolen-2")["status"] == "new"
    # A life that the thief had used up is free again.
    send(monitor, record("stolen-2", new, incarnation=2, sequence=1, echo=echo))
    assert monitor.wait_status("stolen-2", "alive")["incarnation"] == 2


def test_a_relay_is_told_of_newer_lives_by_the_new_key_only(own_monitor, wait_until):
    monitor, old = own_monitor, own_monitor.key("stolen-3")
    echo = monitor.live("stolen-3")
    revoke(monitor, "stolen-3")
    gone(monitor, "stolen-3", wait_until)
    new = enrolled_again(monitor, "stolen-3")
    monitor.wait_status("stolen-3", "new")
    send(monitor, record("stolen-3", new, incarnation=7, sequence=1, echo=echo))
    monitor.wait_status("stolen-3", "alive")
    for key, count in ((old, 0), (new, 1)):
        data = record("stolen-3", key, incarnation=3, flags=Flag.RELAYED)
        answer = monitor.http.post("/v1/records?newer=true", content=data)
        assert len(answer.json().get("newer", [])) == count


def test_the_journal_says_who_revoked(monitor, wait_until):
    monitor.live("stolen-4")
    revoke(monitor, "stolen-4", by="ann")
    gone(monitor, "stolen-4", wait_until)

    def newest():
        events = monitor.get("/v1/events", node="stolen-4", limit=1000)["events"]
        return events[-1] if events[-1]["event"] == "forgotten" else None

    event = wait_until(newest, "the journal says so")
    assert event["explanation"] == (
        "the key of stolen-4 was revoked by ann: it opens nothing any more, "
        "and stolen-4 was removed"
    )
    assert event["detail"] == {"epoch": 1}


def test_a_name_that_is_not_known_is_revoked_too(monitor, problem):
    assert monitor.node("stolen-5") is None
    revoke(monitor, "stolen-5")
    problem(monitor.beat("stolen-5", **LIFE), 401, "unauthorized")
    assert monitor.node("stolen-5") is None


def test_what_can_be_no_name_is_not_revoked(monitor, problem):
    answer = monitor.http.delete(
        "/v1/nodes/no%20name", params={"revoke": True}, headers=monitor.api
    )
    problem(answer, 404, "unknown-node")


@pytest.mark.parametrize("journal", ["kept", "lost"])
def test_a_revoked_key_stays_so_after_a_restart(own_monitor, problem, journal):
    own_monitor.live("stolen-6")
    revoke(own_monitor, "stolen-6")
    own_monitor.end()
    if journal == "lost":
        for path in own_monitor.data.glob("journal*"):
            path.unlink()
    again = own_monitor.start()
    problem(again.beat("stolen-6", **LIFE), 401, "unauthorized")
    key = enrolled_again(again, "stolen-6")
    again.wait_status("stolen-6", "new")
    bearer = {"Authorization": f"Bearer {keys.bearer(key)}"}
    said = {**LIFE, "echo": 0}
    answer = again.http.post("/v1/nodes/stolen-6/heartbeat", json=said, headers=bearer)
    assert answer.status_code == 202
    said["echo"] = answer.json()["echo"]
    answer = again.http.post("/v1/nodes/stolen-6/heartbeat", json=said, headers=bearer)
    again.wait_status("stolen-6", "alive")


def test_a_key_is_not_revoked_when_it_cannot_be_written(own_monitor, problem):
    own_monitor.live("stolen-7")
    (own_monitor.data / "keys.lock").mkdir()
    answer = own_monitor.http.delete(
        "/v1/nodes/stolen-7", params={"revoke": True}, headers=own_monitor.api
    )
    detail = problem(answer, 503, "keys-unwritable")["detail"]
    assert "the key of stolen-7 is not revoked" in detail
    assert own_monitor.beat("stolen-7", **LIFE).status_code == 202
