"""What the measurements stand on, without a monitor: schedules, seals, times and pictures."""

import socket
import sys
import threading
import time
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from tests.waiting import wait_for

from beatward.bench import bare, chart, ingest, relays, sender, subject
from beatward.bench.fleet import Fleet, name_of
from beatward.bench.report import BenchCheck, BenchReport, BenchTable, quantiles_ms
from beatward.cli.bench import show
from beatward.core.protocol import keys
from beatward.core.protocol.record import NO_SLOT, Flag, Kind, Record, open_record, seal
from beatward.core.tags import FASTEST

MASTER = bytes(range(32))

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="recvmmsg, UDP_SEGMENT")


@pytest.fixture
def fleet():
    return Fleet.of(MASTER, 50)


@pytest.fixture
def battery(fleet):
    found = sender.Battery(fleet)
    yield found
    found.close()


@pytest.fixture
def door():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        found.settimeout(5)
        yield found


PROVING = {"proving": True}


def probe_node(door, peer, heard, echo):
    asked = Record(Kind.PROBE, heard.node, 1, 0, 1000, slot=heard.slot, echo=echo)
    door.sendto(seal(asked, key_of(heard.slot)), peer)


def heard_from(door, fleet):
    """Yield the records that come, one after the other."""
    while True:
        yield from opened(door.recv(2048), fleet)


def key_of(index):
    return keys.node_key(MASTER, keys.node_id(name_of(index)))


def opened(data, fleet):
    """Open every record of a datagram with its node's key; a wrong tag raises."""
    known = {int(node): index for index, node in enumerate(fleet.node)}
    for start in range(0, len(data), 64):
        row = data[start : start + 64]
        index = known[int.from_bytes(row[16:24], "little")]
        record = open_record(row, key_of(index))
        assert record.slot == index
        yield record


def behind(body):
    """Open what a relay brings with the keys of its nodes; nobody there knows a slot."""
    names = {keys.node_id(name_of(index)): index for index in range(50)}
    for start in range(0, len(body), 64):
        row = body[start : start + 64]
        record = open_record(row, key_of(names[int.from_bytes(row[16:24], "little")]))
        assert record.slot == NO_SLOT
        yield record


def all_heard(battery, door, fleet, count):
    """Let the fleet beat until so many records have come; returns (records, datagrams)."""
    records, datagrams = [], 0
    while len(records) < count:
        battery.pulse()
        door.settimeout(0.01)
        try:
            while True:
                records += opened(door.recv(2048), fleet)
                datagrams += 1
        except TimeoutError:
            continue
    return records, datagrams


def test_a_fleet_has_the_keys_that_enrolment_would_give_it(fleet, tmp_path):
    saved = Fleet.load(fleet.save(tmp_path))
    assert saved.node.tolist() == [keys.node_id(name_of(index)) for index in range(50)]
    expected = np.frombuffer(b"".join(map(key_of, range(50))), np.uint8).reshape(50, 32)
    assert (saved.secret == FASTEST.prepare(expected)).all()
    assert (tmp_path / "fleet.npz").stat().st_mode & 0o777 == 0o600


@linux
@pytest.mark.parametrize("per_datagram", [1, 3, 20])
def test_every_node_beats_once_a_round_with_a_genuine_tag(battery, fleet, door, per_datagram):
    battery.aim(door.getsockname(), proving=False)
    battery.begin(sender.SendPace(1e6, 250, per_datagram, rounds=3))
    records, datagrams = all_heard(battery, door, fleet, 150)
    assert len(records) == battery.sent.records == 150
    assert datagrams == battery.sent.datagrams
    assert sorted(record.node for record in records) == sorted(fleet.node.tolist() * 3)
    for node in fleet.node:
        mine = [record for record in records if record.node == node]
        assert [record.sequence for record in mine] == [1, 2, 3]
        assert {record.interval_ms for record in mine} == {250}
        assert {record.flags for record in mine} == {0}


@linux
def test_the_sequence_goes_on_from_one_pace_to_the_next(battery, fleet, door):
    battery.aim(door.getsockname(), proving=False)
    battery.begin(sender.SendPace(1e6, 250, rounds=1))
    first, _ = all_heard(battery, door, fleet, 50)
    battery.begin(sender.SendPace(1e6, 1000, rounds=1))
    second, _ = all_heard(battery, door, fleet, 50)
    assert {record.sequence for record in first} == {1}
    assert {record.sequence for record in second} == {2}


@linux
def test_who_falls_silent_says_nothing_more(battery, fleet, door):
    stops = np.full(50, np.inf)
    stops[[7, 8]] = 0.0
    battery.aim(door.getsockname(), proving=False)
    battery.begin(sender.SendPace(1e6, 250, rounds=2, stops=stops))
    records, _ = all_heard(battery, door, fleet, 96)
    silent = {int(fleet.node[battery.order[position]]) for position in (7, 8)}
    assert not silent & {record.node for record in records}
    assert battery.sent.records == 96


@linux
def test_one_heartbeat_in_so_many_asks_for_an_acknowledgement(battery, fleet, door):
    battery.aim(door.getsockname(), proving=False)
    # 25 ms a round: a sender that is late skips rounds, and a busy machine makes it late.
    battery.begin(sender.SendPace(2e3, 250, rounds=5, asks_every=5))
    records, _ = all_heard(battery, door, fleet, 250)
    asking = [record.node for record in records if record.flags & Flag.ACKNOWLEDGE]
    assert sorted(asking) == sorted(fleet.node.tolist()), "each node once in five"


@linux
def test_a_fleet_learns_the_session_from_the_probe_that_answers_its_first_word(
    battery, fleet, door
):
    aiming = threading.Thread(target=battery.aim, args=[door.getsockname()], kwargs=PROVING)
    aiming.start()
    data, peer = door.recvfrom(2048)
    (hello,) = opened(data, fleet)
    assert hello.echo == 0
    probe_node(door, peer, hello, echo=4711)
    aiming.join(5)
    assert battery.session == 4711
    battery.begin(sender.SendPace(1e6, 250, rounds=1))
    records, _ = all_heard(battery, door, fleet, 50)
    assert {record.echo for record in records} == {4711}


@linux
@pytest.mark.parametrize("lives", [True, False])
def test_the_living_answer_probes_and_the_silent_do_not(battery, fleet, door, lives):
    battery.aim(door.getsockname(), proving=False)
    # Ten a second: the first is due at once, and nobody is due a second time within the test.
    stops = np.full(50, np.inf)
    stops[0] = np.inf if lives else 0.05
    battery.begin(sender.SendPace(10, 5000, stops=stops))
    wait_for(lambda: battery.pulse() or battery.sent.records)
    data, peer = door.recvfrom(2048)
    (heard,) = opened(data, fleet)
    wait_for(lambda: time.monotonic_ns() > battery.flight.begun_ns + 60_000_000)
    probe_node(door, peer, heard, echo=99)
    end = time.monotonic() + 0.3
    while not battery.sent.answered and time.monotonic() < end:
        battery.pulse()
    assert battery.sent.answered == int(lives)
    if lives:
        replies = (record for record in heard_from(door, fleet) if record.kind == Kind.PROBE_REPLY)
        reply = next(replies)
        assert (reply.node, reply.echo, reply.sequence) == (heard.node, 99, heard.sequence)


@linux
def test_the_bare_receiver_counts_what_it_was_sent(battery, tmp_path):
    with bare.running(tmp_path, tick_ns=1_000_000, receive_buffer=1 << 20) as receiver:
        battery.aim(receiver.address, proving=False)
        battery.begin(sender.SendPace(1e6, 250, 20, rounds=4))
        wait_for(lambda: battery.pulse() or battery.flight.is_over)
        wait_for(lambda: receiver.look().records == 200)
        look = receiver.look()
    assert (look.records, look.drops) == (200, 0)
    assert look.datagrams == battery.sent.datagrams


def test_the_receiver_in_python_speaks_the_same_protocol(battery, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no compiler there
    with bare.running(tmp_path, tick_ns=1_000_000, receive_buffer=1 << 20) as receiver:
        assert receiver.language == "python"
        battery.aim(receiver.address, proving=False)
        battery.begin(sender.SendPace(1e6, 250, rounds=1))
        wait_for(lambda: battery.pulse() or battery.flight.is_over)
        wait_for(lambda: receiver.look().records == 50)


def test_nodes_behind_a_relay_take_turns_and_never_repeat_themselves(fleet):
    ring = relays.Ring(fleet, np.arange(10, 40), session=4711)
    assert len(ring) == 30
    heard = [list(behind(ring.take(20))) for _ in range(6)]
    assert [record.node for record in heard[0]] == fleet.node[10:30].tolist()
    around = [*range(30, 40), *range(10, 20)]
    assert [record.node for record in heard[1]] == fleet.node[around].tolist()
    records = [record for body in heard for record in body]
    assert {record.echo for record in records} == {4711}
    assert {record.flags for record in records} == {Flag.RELAYED}
    for node in fleet.node[10:40]:
        assert [record.sequence for record in records if record.node == node] == [1, 2, 3, 4]


def test_a_relays_request_says_how_long_it_is():
    head, _, body = relays.request(b"B" * 128).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/records HTTP/1.1\r\n")
    assert b"Content-Length: 128" in head.split(b"\r\n")
    assert body == b"B" * 128


def test_of_few_times_the_p99_is_the_largest():
    assert quantiles_ms([3e6, 1e6, 2e6]) == {"count": 3, "p50": 2.0, "p99": 3.0, "max": 3.0}
    hundred = quantiles_ms([float(n) * 1e6 for n in range(1, 101)])
    assert (hundred["p50"], hundred["p99"], hundred["max"]) == (51.0, 100.0, 100.0)
    assert quantiles_ms([]) == {"count": 0, "p50": None, "p99": None, "max": None}


def test_a_chart_places_powers_of_ten_at_equal_distances():
    lines = [chart.ChartLine("a <b>", [(1_000, 10), (10_000, 100), (100_000, 1_000)])]
    picture = ET.fromstring(chart.draw([chart.Panel("t & u", "x", lines)]))
    (path,) = (each for each in picture.iter() if each.tag.endswith("polyline"))
    points = [tuple(map(float, pair.split(","))) for pair in path.get("points").split()]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert steps[0][0] > 0 > steps[0][1], "to the right and up"
    words = [each.text for each in picture.iter() if each.tag.endswith("text")]
    assert {"t & u", "a <b>", "1k", "10k", "100k", "10", "100"} <= set(words)


@pytest.mark.parametrize(
    ("rate", "seconds", "drops", "kept_up"),
    [
        (100_000, 3.0, 0, True),
        (94_000, 3.0, 0, True),  # three per cent, and a tenth of a second of three
        (93_000, 3.0, 0, False),
        (88_000, 1.0, 0, True),  # in a short step a breath of the sender's weighs more
        (100_000, 3.0, 1, False),
    ],
)
def test_a_rate_is_kept_up_without_a_single_drop(rate, seconds, drops, kept_up):
    numbers = {"cores": 0.1, "waited": 0.0, "ns": 1.0, "sender_cores": 0.1, "strangers_cores": 0.0}
    step = ingest.RateStep(
        100_000, rate, seconds, drops=drops, sender_late_ms=0.0, sender_skipped=0, **numbers
    )
    assert step.kept_up == kept_up


@pytest.mark.parametrize(
    ("accepted", "drops", "unaccounted"),
    [
        (1_000, 0, 0),
        (999, 0, 1),  # lost without a trace
        (1_001, 0, -1),  # heard twice
        (980, 1, 0),  # one datagram of twenty
        (999, 1, 0),  # or of one, as the last of a round
        (979, 1, 1),
        (1_000, 1, -1),  # dropped and heard all the same
    ],
)
def test_what_was_sent_is_accounted_for(accepted, drops, unaccounted):
    sent = sender.Sent(records=1_000)
    counts = subject.Counts(1.0, accepted, 0, drops, 0, 0, 0)
    assert subject.unaccounted(sent, counts, 20) == unaccounted


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_a_broken_promise_is_shown_and_answered_with_no(kept, as_json, capsys):
    machine = {"processor": "P", "cores": 2, "linux": "6", "python": "3", "tags": "x", "load": 1}
    table = BenchTable(("a", "b"), (("1", "2"),))
    promises = (BenchCheck("it holds", True, "yes"), BenchCheck("this too", kept, "4711 of 4712"))
    report = BenchReport("ingest", machine, {"x": 1}, (table,), promises, ("a remark",))
    assert show(report, as_json=as_json) == kept
    said = capsys.readouterr().out
    assert "4711 of 4712" in said
    assert "a remark" in said
    if not as_json:
        assert ("broken" in said) == (not kept)
