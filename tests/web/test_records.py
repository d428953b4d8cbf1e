"""POST /v1/records: what relays bring, against a monitor that really runs."""

import json
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from tests import joining

from beatward.core.protocol import keys
from beatward.core.protocol.record import RECORD_SIZE, Farewell, Flag, Kind, Record, pack, seal
from beatward.web.records import PATH, RECORDS_MAX

BINARY = {"Content-Type": "application/octet-stream"}


@dataclass
class Behind:
    """A node behind a relay: it seals its records itself, with the key that a join gave it."""

    name: str
    key: bytes
    echo: int = 0
    sequence: int = 0
    incarnation: int = 1

    def says(self, kind=Kind.HEARTBEAT, *, flags=Flag.RELAYED, **more):
        record = Record(
            kind,
            keys.node_id(self.name),
            self.incarnation,
            self.sequence,
            interval_ms=60_000,
            flags=flags,
            echo=self.echo,
            **more,
        )
        return seal(record, self.key)

    def next(self, **more):
        self.sequence += 1
        return self.says(**more)


def post(monitor, *records, headers=BINARY):
    return monitor.http.post(PATH, content=b"".join(records), headers=headers)


def take(monitor, *records):
    """Post records that are all taken; return the answer."""
    answer = post(monitor, *records)
    assert answer.status_code == 202, answer.text
    said = answer.json()
    assert (said["taken"], said["unmarked"]) == (len(records), 0)
    return said


def joined(monitor, name):
    """Join as a node does, over a relay that only hands the bytes on."""
    return Behind(name, joining.joined(monitor.http, monitor.join_token(), name).key)


def living(monitor, *names):
    """Let nodes behind a relay join and prove their lives."""
    nodes = [joined(monitor, name) for name in names]
    for name in names:
        monitor.wait_status(name, "new")
    echo = take(monitor, *(node.says() for node in nodes))["echo"]
    for node in nodes:
        node.echo = echo
    take(monitor, *(node.says() for node in nodes))
    for name in names:
        monitor.wait_status(name, "alive")
    return nodes


def rejects(monitor):
    return monitor.get("/v1/status")["rejects"]


def wait_rejected(monitor, wait_until, before, **more):
    wanted = before | {reason: before[reason] + count for reason, count in more.items()}
    wait_until(lambda: rejects(monitor) == wanted, f"rejects grew by {more}")


def test_nodes_behind_a_relay_are_believed_with_the_echo_of_its_answer(monitor, wait_until):
    one, two = joined(monitor, "behind-1"), joined(monitor, "behind-2")
    monitor.wait_status("behind-2", "new")
    before = rejects(monitor)
    echo = take(monitor, one.says(), two.says())["echo"]
    assert 0 < echo < 2**31
    wait_rejected(monitor, wait_until, before, unproven=2)
    assert monitor.node("behind-1")["status"] == "new"
    one.echo = two.echo = echo
    assert take(monitor, one.says(cpu=1250), two.says(status=1))["echo"] == echo
    seen = monitor.wait_status("behind-1", "alive")
    assert (seen["via"], seen["cpu"], seen["interval_ns"]) == ("http", 12.5, 60_000_000_000)
    monitor.wait_status("behind-2", "failing")
    take(monitor, one.next(), two.next())
    monitor.wait_status("behind-2", "alive")
    wait_until(lambda: monitor.node("behind-1")["sequence"] == 1, "the second heartbeat")


def test_a_bad_tag_spoils_nobody_else(own_monitor, wait_until):
    one, two, three = living(own_monitor, "good-1", "good-2", "good-3")
    before = rejects(own_monitor)
    bad = bytearray(two.next())
    bad[-1] ^= 1
    stranger = Behind("good-4", b"\0" * 32)
    noise = b"\0" * 13 + bytes([Flag.RELAYED]) + b"\0" * 50
    take(own_monitor, one.next(), bytes(bad), stranger.says(), noise, three.next())
    wait_rejected(own_monitor, wait_until, before, tag=1, unknown_node=1, magic=1)
    assert [own_monitor.node(f"good-{i}")["sequence"] for i in (1, 2, 3)] == [1, 0, 1]


def test_a_replay_changes_nothing(own_monitor, wait_until):
    one, two = living(own_monitor, "again-1", "again-2")
    old = [one.next(), two.next()]
    take(own_monitor, *old)
    wait_until(lambda: own_monitor.node("again-2")["sequence"] == 1, "the second heartbeats")
    before = rejects(own_monitor)
    heard = own_monitor.node("again-1")["heard"]
    take(own_monitor, *old, *old)
    wait_rejected(own_monitor, wait_until, before, replay=4)
    assert own_monitor.node("again-1")["heard"] == heard
    one.incarnation = 0
    take(own_monitor, one.next())
    wait_rejected(own_monitor, wait_until, before, replay=4, old_life=1)


def test_several_heartbeats_of_one_node_may_come_together(own_monitor, wait_until):
    (one,) = living(own_monitor, "queue-1")
    before = own_monitor.get("/v1/status")["counters"]["accepted"]
    take(own_monitor, *(one.next() for _ in range(4)))
    wait_until(
        lambda: own_monitor.get("/v1/status")["counters"]["accepted"] == before + 4, "all of them"
    )


def test_a_goodbye_is_direct_evidence(monitor):
    left, exited = living(monitor, "farewell-1", "farewell-2")
    left.sequence = exited.sequence = 1
    take(
        monitor,
        left.says(Kind.GOODBYE, status=Farewell.LEFT),
        exited.says(Kind.GOODBYE, status=Farewell.EXITED, cpu=3),
    )
    monitor.wait_status("farewell-1", "left")
    assert monitor.wait_status("farewell-2", "dead")["cause"] == "exited"


def test_a_datagram_that_somebody_held_back_cannot_be_played_here(monitor):
    """Over HTTP a late word counts, so only those who chose a relay are heard here."""
    (one,) = living(monitor, "held-1")
    one.sequence = 1
    take(monitor, one.says(Kind.GOODBYE, status=Farewell.EXITED))
    monitor.wait_status("held-1", "dead")
    held = one.next(flags=Flag.ACKNOWLEDGE)
    answer = post(monitor, held)
    assert answer.status_code == 202
    assert answer.json() == {"taken": 0, "unmarked": 1, "echo": one.echo}
    # Whoever has no key cannot mark it either.
    changed = bytearray(held)
    changed[13] |= Flag.RELAYED
    post(monitor, bytes(changed))
    # What is marked comes back, and comes after the others: so they have been judged.
    other = living(monitor, "held-2")[0]
    assert monitor.node("held-1")["status"] == "dead"
    take(monitor, other.next(), one.next())
    monitor.wait_status("held-1", "recovering")


def test_the_unmarked_are_left_out_and_the_others_taken_in_order(own_monitor, wait_until):
    one, two, three = living(own_monitor, "mark-1", "mark-2", "mark-3")
    answer = post(own_monitor, one.next(), two.next(flags=0), three.next(flags=Flag.RELAYED | 0x81))
    assert answer.json() == {"taken": 2, "unmarked": 1, "echo": one.echo}
    wait_until(lambda: own_monitor.node("mark-3")["sequence"] == 1, "the last")
    assert [own_monitor.node(f"mark-{i}")["sequence"] for i in (1, 2, 3)] == [1, 0, 1]
    metrics = own_monitor.http.get("/metrics", headers=own_monitor.api).text
    assert 'beatward_http_total{door="records",result="taken"} 8.0' in metrics
    assert 'beatward_http_total{door="records",result="unmarked"} 1.0' in metrics


def test_no_token_is_asked_for_and_a_wrong_one_is_no_matter(open_monitor):
    node = Behind("nobody-1", bytes(32))
    for headers in ({}, {"Authorization": "Bearer bwn1_wrong"}):
        assert post(open_monitor, node.says(), headers=headers).status_code == 202


@pytest.mark.parametrize("size", [0, 1, 63, 65, 64 * 1024 - 1])
def test_a_body_holds_whole_records(monitor, problem, size):
    said = problem(post(monitor, b"B" * size), 400, "no-records")
    assert f"found {size} bytes" in said["detail"]
    assert "1024 records of 64 bytes" in said["detail"]


def test_so_many_records_are_taken_and_not_one_more(monitor, problem):
    row = Behind("many-1", bytes(32)).says()
    take(monitor, *[row] * RECORDS_MAX)
    problem(post(monitor, *[row] * RECORDS_MAX, row), 413, "too-large")
    pieces = iter([row * 512, row * 512, row])
    problem(monitor.http.post(PATH, content=pieces, headers=BINARY), 413, "too-large")
    pieces = (row[i : i + 7] for i in range(0, RECORD_SIZE, 7))
    answer = monitor.http.post(PATH, content=pieces, headers=BINARY)
    assert answer.json()["taken"] == 1


def test_only_post_is_possible(monitor, problem):
    for method in ("GET", "PUT", "DELETE"):
        answer = monitor.http.request(method, PATH)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"
    problem(monitor.http.post(f"{PATH}/", content=b""), 404, "no-such-path")


def test_a_body_that_is_cut_short_counts_for_nothing(own_monitor, wait_until):
    (one,) = living(own_monitor, "cut-1")
    host = urlsplit(own_monitor.url)
    before = own_monitor.get("/v1/status")["counters"]["records"]
    with socket.create_connection((host.hostname, host.port), timeout=10) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 128\r\n\r\n"
        connection.sendall(head.encode() + one.next())

    def refused():
        metrics = own_monitor.http.get("/metrics", headers=own_monitor.api).text
        return 'beatward_http_total{door="records",result="refused"} 1.0' in metrics

    wait_until(refused, "the door noticed")
    take(own_monitor, one.next())
    wait_until(lambda: own_monitor.node("cut-1")["sequence"] == 2, "the next heartbeat")
    assert own_monitor.get("/v1/status")["counters"]["records"] == before + 1


def test_a_flood_beyond_the_inbox_is_refused_whole_and_taken_later(
    slow_monitor, problem, wait_until
):
    (one,) = living(slow_monitor, "flood-1")
    row, before = one.says(), slow_monitor.get("/v1/status")["counters"]
    body, taken = row * RECORDS_MAX, 0
    # 64 of them fill the inbox of a wheel that turns once a second.
    for _ in range(10 * 64):
        answer = post(slow_monitor, body)
        if answer.status_code != 202:
            break
        taken += RECORDS_MAX
    assert taken >= 65_536
    said = problem(answer, 503, "inbox-full")
    assert answer.headers["retry-after"] == "1"
    assert "nothing was taken" in said["detail"]
    wait_until(lambda: post(slow_monitor, one.next()).status_code == 202, "there is room again")

    def counters():
        found = slow_monitor.get("/v1/status")["counters"]
        return found if found["records"] >= before["records"] + taken + 1 else None

    after = wait_until(counters, "everything that was taken was counted")
    assert after["records"] == before["records"] + taken + 1
    # The refused are counted as records: the full body, and what was tried before there was room.
    refused = after["inbox_refused"] - before["inbox_refused"]
    assert refused >= RECORDS_MAX
    wait_until(lambda: slow_monitor.node("flood-1")["sequence"] == one.sequence, "the heartbeat")


def test_what_is_sealed_is_what_is_read(monitor):
    """The mark lies under the tag, at the place that docs/protocol.md gives."""
    node = Behind("mark-9", bytes(32))
    body = pack(Record(Kind.HEARTBEAT, 1, 1, 0, interval_ms=1, flags=Flag.RELAYED))
    assert body[13] == Flag.RELAYED == 4
    assert not Flag.RELAYED & (Flag.ACKNOWLEDGE | Flag.MAIL)
    assert json.loads(post(monitor, node.says()).content)["taken"] == 1


@pytest.mark.parametrize("value", ["0.6", "", "yes", "True"])
def test_a_flag_that_is_neither_true_nor_false_is_refused(monitor, value):
    node = Behind("edge-flag", bytes(32))
    answer = monitor.http.post(f"{PATH}?newer={value}", content=node.next(), headers=BINARY)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error == {"where": "query.newer", "found": repr(value), "expected": "true or false"}
