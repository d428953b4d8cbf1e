"""What every door promises, over both wires and all kinds of addresses, on real sockets."""

import os
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from beatward.core.intake import Replies, Via
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol.record import DATAGRAM_SIZE_MAX, RECORD_SIZE
from beatward.errors import ConfigError
from beatward.transport import DOORS, open_door, peer_row, peer_text
from beatward.transport.wire import BATCH_SIZE, ROW_SIZE

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own")


def replies(rows, peers, begins=None):
    """Make replies of byte strings, each a datagram of its own unless `begins` says otherwise."""
    return Replies(
        np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), RECORD_SIZE),
        np.frombuffer(b"".join(peers), np.uint8).reshape(len(peers), PEER_SIZE),
        np.ones(len(rows), np.bool_) if begins is None else np.array(begins, np.bool_),
    )


def records(count):
    return [index.to_bytes(8, "little") * 8 for index in range(count)]


def test_a_datagram_comes_in_whole_with_its_sender_and_an_instant(line):
    line.say(b"a" * 64)
    before_ns = time.monotonic_ns()
    found = line.collect(1)
    assert found.datagrams == [b"a" * 64]
    assert peer_text(found.peers[0]) == peer_text(peer_row(line.sender.getsockname()))
    assert before_ns <= found.arrived_ns[0] <= time.monotonic_ns()


def test_an_empty_socket_gives_no_batch_and_a_new_watermark(line):
    first = line.door.drain()
    second = line.door.drain()
    assert first.batches == second.batches == ()
    assert first.emptied
    assert second.emptied
    assert first.watermark_ns < second.watermark_ns <= time.monotonic_ns()


def test_batches_have_the_shapes_that_intake_wants(line):
    line.say(b"a" * 64, b"b" * 128)
    line.collect(2)
    line.say(b"c" * 192)
    drain = line.door.drain()
    batch = drain.batches[0]
    assert batch.rows.shape == (1, ROW_SIZE)
    assert ROW_SIZE % RECORD_SIZE == 0
    assert (batch.rows.dtype, batch.peers.dtype) == (np.uint8, np.uint8)
    assert (batch.sizes.dtype, batch.arrived_ns.dtype) == (np.int64, np.int64)
    assert batch.peers.shape == (1, PEER_SIZE)
    assert batch.sizes.tolist() == [192]
    assert batch.via is Via.UDP


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1407, 1408])
def test_every_size_up_to_the_largest_comes_in_as_it_was(line, size):
    datagram = bytes(index % 251 for index in range(size))
    line.say(datagram)
    assert line.collect(1).datagrams == [datagram]


@pytest.mark.parametrize("size", [1409, 1472, 1473, 9000, 65000])
def test_a_datagram_that_is_too_large_is_seen_to_be_too_large(line, size):
    line.say(b"x" * size, b"y" * 64)
    found = line.collect(2)
    assert found.sizes[0] > DATAGRAM_SIZE_MAX
    assert found.datagrams[1] == b"y" * 64


def test_a_short_datagram_after_a_long_one_has_its_own_size_and_sender(line):
    line.say(b"l" * 1408)
    line.collect(1)
    with socket.socket(line.sender.family, socket.SOCK_DGRAM) as other:
        other.sendto(b"s", line.to)
        found = line.collect(1)
        assert found.datagrams == [b"s"]
        assert peer_text(found.peers[0]).endswith(f":{other.getsockname()[1]}")


def test_more_than_a_batch_comes_in_one_drain_in_order(line):
    sent = records(2 * BATCH_SIZE + 7)
    line.say(*sent)
    drain = line.door.drain()
    assert [len(batch.sizes) for batch in drain.batches] == [BATCH_SIZE, BATCH_SIZE, 7]
    assert drain.emptied
    got = np.concatenate([batch.rows[:, :RECORD_SIZE] for batch in drain.batches])
    assert got.tobytes() == b"".join(sent)
    stamps = np.concatenate([batch.arrived_ns for batch in drain.batches])
    assert (np.diff(stamps) >= 0).all()
    assert stamps[-1] == drain.watermark_ns


def test_a_drain_that_stops_at_its_limit_says_so_and_keeps_the_watermark(line):
    watermark_ns = line.door.drain().watermark_ns
    line.say(*records(2 * BATCH_SIZE + 3))
    drains = [line.door.drain(batches_max=1) for _ in range(3)]
    assert [drain.emptied for drain in drains] == [False, False, True]
    assert [len(drain.batches[0].sizes) for drain in drains] == [BATCH_SIZE, BATCH_SIZE, 3]
    assert [drain.watermark_ns == watermark_ns for drain in drains] == [True, True, False]


def test_a_door_counts_what_it_took_in(line):
    line.say(b"a" * 64, b"", b"b" * 1408)
    line.collect(3)
    assert (line.door.datagrams_count, line.door.bytes_count) == (3, 1472)
    assert line.door.errors_count == 0


def test_replies_go_back_to_the_sender(line):
    line.say(b"hello")
    found = line.collect(1)
    line.door.send(replies([b"r" * 64], found.peers))
    assert line.hear(1) == [b"r" * 64]
    assert (line.door.sent_count, line.door.refused_count) == (1, 0)


def test_more_replies_than_a_batch_all_go_and_each_to_its_own(line):
    line.say(b"hello")
    mine = line.collect(1).peers[0]
    rows = records(300)
    with socket.socket(line.sender.family, socket.SOCK_DGRAM) as other:
        other.settimeout(line.sender.gettimeout())
        other.sendto(b"hello", line.to)
        theirs = line.collect(1).peers[0]
        # In steps of 100 datagrams, because the system's receive buffer may be small.
        for _ in range(BATCH_SIZE // 100 + 1):
            line.door.send(replies(rows[:200], [mine, theirs] * 100))
            assert line.hear(100) == rows[:200:2]
            assert [other.recv(100) for _ in range(100)] == rows[1:200:2]
    assert line.door.refused_count == 0


def test_a_burst_beyond_one_call_of_the_kernel_is_sent_to_its_end(open_line, wire):
    # Sent to a second door, because its buffer surely holds the burst.
    with open_line("127.0.0.1:0", wire=wire) as line, open_line("127.0.0.1:0") as target:
        rows = records(2 * BATCH_SIZE + 5)
        line.door.send(replies(rows, [peer_row(target.to).tobytes()] * len(rows)))
        assert line.door.sent_count == len(rows)
        assert target.collect(len(rows)).datagrams == rows


def test_replies_without_an_address_are_left_out_and_not_counted(line):
    line.say(b"hello")
    mine = line.collect(1).peers[0]
    line.door.send(replies(records(3), [bytes(PEER_SIZE), mine, bytes(PEER_SIZE)]))
    assert line.hear(1) == records(3)[1:2]
    line.door.send(replies(records(1), [bytes(PEER_SIZE)]))
    line.door.send(replies([], []))
    assert (line.door.sent_count, line.door.refused_count) == (1, 0)


def test_records_of_one_datagram_go_out_together(line):
    line.say(b"hello")
    mine, rows = line.collect(1).peers[0], records(6)
    nowhere = bytes(PEER_SIZE)
    peers = [mine, mine, nowhere, nowhere, mine, mine]
    line.door.send(replies(rows, peers, [True, False, True, False, True, True]))
    assert line.hear(3) == [rows[0] + rows[1], rows[4], rows[5]]
    assert (line.door.sent_count, line.door.refused_count) == (3, 0)


def test_what_the_system_refuses_is_counted_and_the_rest_still_goes(line):
    line.say(b"hello")
    mine = line.collect(1).peers[0]
    no_port = mine[:2] + bytes(2) + mine[4:]
    no_family = b"\x63\x63" + mine[2:]
    peers = [no_port, mine, no_family, no_port, mine, no_family]
    line.door.send(replies(records(6), peers))
    assert line.hear(2) == [records(6)[1], records(6)[4]]
    assert (line.door.sent_count, line.door.refused_count) == (2, 4)


@on_linux
def test_the_quick_wire_tells_the_size_that_a_cut_datagram_had(open_line):
    with open_line("127.0.0.1:0", wire="recvmmsg") as line:
        line.say(b"x" * 65000)
        assert line.collect(1).sizes == [65000]


def heard_at_the_address_that_was_asked(door_address, host, *, wire="recvmmsg"):
    """Tell whether a connected socket, as agents have, hears the answer to what it sent."""
    with open_door(door_address, 65536, time.monotonic_ns, wire=wire) as door:
        port = int(door.address.rpartition(":")[2])
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as agent:
            agent.bind(("::1" if ":" in host else "127.0.0.1", 0))
            agent.connect((host, port))
            agent.settimeout(0.5)
            agent.send(b"hello")
            batch = door.drain().batches[0]
            assert peer_text(batch.peers[0]) == peer_text(peer_row(agent.getsockname()))
            door.send(replies([b"r" * 64], [batch.peers[0].tobytes()]))
            assert (door.sent_count, door.refused_count) == (1, 0)
            try:
                return agent.recv(100) == b"r" * 64
            except TimeoutError:
                return False


@on_linux
@pytest.mark.parametrize("wildcard", ["0.0.0.0:0", "[::]:0"])
def test_a_wildcard_door_answers_from_the_address_that_was_asked(wildcard):
    for host in ("127.0.0.1", "127.0.0.2", "127.9.9.9"):
        assert heard_at_the_address_that_was_asked(wildcard, host)


@on_linux
def test_a_wildcard_door_answers_from_the_v6_address_that_was_asked():
    table = Path("/proc/net/if_inet6")
    lines = table.read_text("utf-8").split("\n") if table.exists() else []
    # Not the link-local ones (scope 20): they cannot be reached from ::1.
    found = [line.split()[0] for line in lines if line and line.split()[3] != "20"]
    if not found:
        pytest.skip("this machine has no IPv6")
    for digits in found:
        host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
        assert heard_at_the_address_that_was_asked("[::]:0", host)


@on_linux
def test_answers_of_one_turn_leave_from_as_many_addresses_as_were_asked():
    with open_door("0.0.0.0:0", 65536, time.monotonic_ns, wire="recvmmsg") as door:
        port = int(door.address.rpartition(":")[2])
        agents = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
        for index, agent in enumerate(agents):
            agent.connect((f"127.0.0.{1 + index % 7}", port))
            agent.settimeout(5)
            agent.send(b"hello")
        peers = [peer.tobytes() for peer in door.drain().batches[0].peers]
        # A number of another process, out of a journal, must do no harm.
        stranger = peers[0][:16] + b"\xff" * 4 + peers[0][20:]
        door.send(replies(records(21), [stranger, *peers]))
        assert [agent.recv(100) for agent in agents[1:]] == records(21)[2:]
        assert agents[0].recv(100) == records(1)[0]
        assert agents[0].recv(100) == records(2)[1]
        assert (door.sent_count, door.refused_count) == (21, 0)
        for agent in agents:
            agent.close()


@on_linux
def test_an_error_of_the_network_is_counted_and_the_next_datagrams_come_in(open_line, wire):
    with open_line("127.0.0.1:0", wire=wire) as line:
        # IP_RECVERR lets ICMP answers reach this socket, as they always do on Windows.
        line.door._listener.setsockopt(socket.IPPROTO_IP, 11, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            nobody = peer_row(gone.getsockname()).tobytes()
        line.door.send(replies(records(1), [nobody]))
        line.say(b"a" * 64)
        assert line.collect(1).datagrams == [b"a" * 64]
        assert line.door.errors_count == 1


@on_linux
def test_what_a_full_buffer_loses_is_counted(open_line, wire):
    with open_line("127.0.0.1:0", wire=wire, receive_buffer=4096) as line:
        assert line.door.drops() == 0
        line.say(*records(1000))
        received = 0
        until = time.monotonic() + 10
        while received + line.door.drops() < 1000 and time.monotonic() < until:
            received += sum(len(batch.sizes) for batch in line.door.drain().batches)
        assert received + line.door.drops() == 1000
        assert line.door.drops() > 900
        line.say(*records(1))
        line.collect(1)
        assert line.door.drops() == 1000 - received


@on_linux
def test_the_receive_buffer_is_what_was_asked_or_what_the_system_allows(open_line):
    limit = int(Path("/proc/sys/net/core/rmem_max").read_text("utf-8"))
    for asked in (65536, 4 * limit):
        with open_line("127.0.0.1:0", receive_buffer=asked) as line:
            assert line.door.receive_buffer in {asked, min(asked, limit)}


def test_a_door_tells_its_real_port_and_the_best_wire_is_taken(address):
    with DOORS["udp"](address, 65536, time.monotonic_ns) as door:
        host, _, port = door.address.rpartition(":")
        assert host == address.rpartition(":")[0]
        assert int(port) > 0
        expected = "RecvmmsgWire" if sys.platform.startswith("linux") else "RecvfromWire"
        assert type(door._wire).__name__ == expected


def test_a_port_in_use_is_said_in_one_line_with_a_remedy(address):
    with open_door(address, 65536, time.monotonic_ns) as door:
        with pytest.raises(ConfigError) as caught:
            open_door(door.address, 65536, time.monotonic_ns, file="beatward.toml")
        message = str(caught.value)
        assert message.startswith(f"beatward.toml: monitor.udp: found {door.address!r}, expected")
        assert "another program has it" in message
        assert "\n" not in message
        # The refused attempt took nothing away from the first door.
        door.drain()


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("192.0.2.1:7227", "an address of this machine"),
        ("nothing", "an address such as 127.0.0.1:7227"),
        ("a" * 64 + ".invalid:1", "an address that can be bound"),
    ],
)
def test_an_address_that_cannot_be_had_says_what_would_do(address, remedy):
    with pytest.raises(ConfigError, match=remedy) as caught:
        open_door(address, 65536, time.monotonic_ns)
    assert (caught.value.key, caught.value.found) == ("monitor.udp", address)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX")
def test_a_low_port_without_the_right_says_which_right(tmp_path):
    limit = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if os.geteuid() == 0 or not limit.exists() or int(limit.read_text("utf-8")) == 0:
        pytest.skip("this user may open low ports")
    with pytest.raises(ConfigError, match="CAP_NET_BIND_SERVICE"):
        open_door("127.0.0.1:1", 65536, time.monotonic_ns)


def test_a_closed_door_is_our_own_mistake(line):
    line.door.close()
    line.door.close()
    with pytest.raises(AssertionError, match="closed door"):
        line.door.drain()
