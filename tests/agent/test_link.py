"""The ways to the monitor: broken sockets, refusals, proxies, connections that went stale."""

import logging
import socket
import threading

import pytest

from beatward.agent.enrol import MonitorFound, find, identify
from beatward.agent.heartbeat_protocol import Report
from beatward.agent.link import HttpLink, UdpLink, as_json
from beatward.agent.monitor_connection import MonitorConnection
from beatward.agent.post import HttpClient, _proxy, check_url
from beatward.agent.registrations import Registrations
from beatward.agent.roles.lease_holder import HolderState
from beatward.agent.roles.shared_holder import SharedLeaseHolder
from beatward.agent.state import StateFile
from beatward.core.instants import SECOND
from beatward.core.protocol.join import Credential
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import (
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    exit_code_field,
    open_record,
    seal,
)
from beatward.errors import JoinRefused, MonitorUnreachable

pytestmark = pytest.mark.real

KEY = bytes(32)
START = 1_000 * SECOND


def spoken(kind=Kind.HEARTBEAT, **fields):
    said = {"node": node_id("web-1"), "incarnation": 7, "sequence": 3, "interval_ms": 250}
    return Record(kind, **{**said, **fields})


def receive(link, seconds=20):
    """Wait for the next datagram of a link."""
    for _ in range(seconds * 100):
        data = link.receive()
        if data is not None:
            return data
        threading.Event().wait(0.01)
    pytest.fail("nothing came")


@pytest.fixture
def peer():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(20)
        yield bound


@pytest.fixture
def udp():
    made = []

    def begin(*peers, forget=lambda _: None):
        made.append(
            UdpLink(tuple((socket.AF_INET, bound.getsockname()) for bound in peers), forget)
        )
        return made[-1]

    yield begin
    for link in made:
        link.close()


def test_datagrams_go_both_ways_and_strangers_are_not_heard(peer, udp):
    link = udp(peer)
    link.send(b"hello")
    data, address = peer.recvfrom(100)
    assert data == b"hello"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"from a stranger", address)
    peer.sendto(b"from the monitor", address)
    assert receive(link) == b"from the monitor"
    assert link.receive() is None


def test_a_refusal_is_noticed_and_loses_only_what_was_sent_meanwhile(udp):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
        link = udp(gone)
    assert not link.take_refusal()
    link.send(b"lost")
    assert link.receive() is None
    assert link.take_refusal()
    assert not link.take_refusal()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(address)
        back.settimeout(20)
        link.send(b"heard")
        assert back.recv(100) == b"heard"


def test_reopening_takes_a_new_port_and_the_next_address(peer, udp):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(20)
        forgotten = []
        link = udp(peer, other, forget=forgotten.append)
        number = link.fileno()
        link.send(b"1")
        first = peer.recvfrom(100)[1]
        link.reopen()
        assert forgotten == [number]
        link.send(b"2")
        assert other.recv(100) == b"2"
        link.reopen()
        link.send(b"3")
        data, address = peer.recvfrom(100)
        assert data == b"3"
        assert address != first


@pytest.mark.parametrize(("held", "places"), [(1, {0}), (0, {0, 1})], ids=["holds", "stands by"])
def test_who_holds_a_role_goes_on_to_the_address_at_which_it_was_lent(peer, held, places, tmp_path):
    # By the monitor's other address it might speak from another one of its own.
    file = StateFile(tmp_path, "web-1")
    file.note_role("db", HolderState(token=1, held=held))
    registrations = Registrations()
    registrations.add(SharedLeaseHolder("db", {"name": "db"}, lambda: None))
    identity = identify("web-1", monitor="http://127.0.0.1:9", data=tmp_path)
    connection = MonitorConnection(
        identity,
        file,
        interval_ns=SECOND,
        transport="udp",
        wake=lambda: None,
        registrations=registrations,
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        ways = [bound.getsockname() for bound in (peer, other)]
        addresses = tuple((socket.AF_INET, way) for way in ways)
        found = MonitorFound(Credential("web-1", KEY, ""), "http://127.0.0.1:9", addresses)
        connection._take_up(found, START)
        seen = set()
        for number in range(20):
            # One that is being given up as long as this lasts: nobody runs its demotion.
            registrations.holders[0].begin(file, START + number * SECOND)
            connection.turn(START + number * SECOND, Report)
            seen.add(ways.index(connection._link.peer[1]))
    connection.close()
    assert seen == places


def test_a_broken_socket_is_replaced_within_the_same_send(peer, udp):
    link = udp(peer)
    # As when the network below goes away: the socket is there and can do nothing.
    link._socket.close()
    link.send(b"still heard")
    assert peer.recv(100) == b"still heard"
    link._socket.close()
    assert link.receive() is None
    assert link.fileno() == -1


def test_an_address_that_cannot_be_reached_is_no_error(udp):
    # A datagram to the broadcast address needs a permission that this socket has not.
    link = UdpLink(((socket.AF_INET, ("255.255.255.255", 9)),), lambda _: None)
    link.send(b"lost")
    assert (link.receive(), link.fileno()) == (None, -1)
    link.close()


# --- records as JSON ---


@pytest.mark.parametrize(
    ("record", "body"),
    [
        (spoken(), {"kind": "heartbeat", "status": "ok"}),
        (
            spoken(status=Health.ILL, cpu=1250, memory=10_000, load=5, echo=9),
            {
                "kind": "heartbeat",
                "status": "failing",
                "cpu": 12.5,
                "memory": 100.0,
                "load": 0.05,
                "echo": 9,
            },
        ),
        (spoken(Kind.GOODBYE, status=Farewell.LEFT), {"kind": "goodbye"}),
        (spoken(Kind.GOODBYE, status=Farewell.LEFT, cpu=0), {"kind": "goodbye"}),
        (
            spoken(Kind.GOODBYE, status=Farewell.EXITED, cpu=exit_code_field(-9)),
            {"kind": "goodbye", "exit_code": -9},
        ),
        (spoken(Kind.PROBE_REPLY, echo=5), {"kind": "probe_reply", "status": "ok", "echo": 5}),
    ],
)
def test_a_record_as_json_says_what_the_record_says(record, body):
    always = {"incarnation": 7, "sequence": 3, "interval_ms": 250, "echo": 0}
    assert as_json(record) == {**always, **body}


def http_link(monitor, name="web-1", key=None):
    return HttpLink(monitor.url, Credential(name, key or monitor.key(name), ""), lambda _: None)


def test_an_answer_comes_back_as_the_acknowledgement_that_it_is(monitor):
    monitor.joins.append({"name": "web-1"})
    monitor.actions["web-1"] = [{"key": "k"}]
    link = http_link(monitor)
    key = monitor.key("web-1")
    link.send(seal(spoken(), key))
    heard = open_record(receive(link), key)
    assert (heard.kind, heard.sequence, heard.incarnation) == (Kind.ACKNOWLEDGEMENT, 3, 7)
    assert (heard.echo, heard.flags) == (monitor.session, Flag.MAIL)
    assert [body["echo"] for _, body in monitor.requests] == [0, monitor.session]
    link.close()


def test_a_refused_heartbeat_is_told_once_with_the_reason(monitor, caplog):
    link = http_link(monitor, key=KEY)
    for _ in range(2):
        link.send(seal(spoken(), KEY))
        monitor.wait(link.take_refusal)
    link.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"a heartbeat was not taken: {monitor.url}: who are you"
    ]


def test_a_link_that_closes_waits_for_its_last_request(monitor):
    monitor.joins.append({"name": "web-1"})
    link = http_link(monitor)
    goodbye = spoken(Kind.GOODBYE, status=Farewell.LEFT)
    link.send(seal(goodbye, monitor.key("web-1")))
    link.close()
    assert monitor.requests[-1][1]["kind"] == "goodbye"
    link._thread.join(20)
    assert not link._thread.is_alive()


# --- one request ---


def test_a_connection_that_the_monitor_closed_meanwhile_is_opened_again(monitor):
    client = HttpClient(monitor.url)
    assert client.post("/nothing", {}).status == 401
    client._connection.sock.shutdown(socket.SHUT_RDWR)
    answer = client.post("/nothing", {})
    assert (answer.status, answer.reason) == (401, "who are you")
    client.close()


def test_nobody_there_is_said_with_the_address():
    with pytest.raises(MonitorUnreachable, match=r"http://127\.0\.0\.1:9: .*refused"):
        HttpClient("http://127.0.0.1:9").post("/", {})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300000,
    ],
    ids=["nothing", "no http", "too much"],
)
def test_what_is_no_monitor_is_unreachable(data):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        client = HttpClient(f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(MonitorUnreachable):
            client.post("/", {})
        # What is left of the answer must not be read as the next one.
        assert client._connection is None
        thread.join(20)


def test_a_monitor_that_does_not_answer_in_time_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = HttpClient(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.1)
        with pytest.raises(MonitorUnreachable, match="timed out"):
            client.post("/", {})


def test_a_proxy_is_asked_for_what_is_not_exempt(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:8080")
    monkeypatch.setenv("HTTPS_PROXY", "secure.example:8443")
    monkeypatch.setenv("no_proxy", "inside.example, .other.example")
    assert _proxy("http", "m.example").port == 8080
    assert _proxy("https", "m.example").hostname == "secure.example"
    for host in ("inside.example", "m.inside.example", "m.other.example", "127.0.0.1", "localhost"):
        assert _proxy("http", host) is None
    monkeypatch.setenv("no_proxy", "10.0.0.0/8, fd00::/8,[2001:db8::1], 300.0.0.0/8, 192.0.2.7")
    for host in ("10.1.2.3", "fd00::7", "2001:db8::1", "192.0.2.7"):
        assert _proxy("http", host) is None
    for host in ("11.1.2.3", "fe80::7", "10.example", "192.0.2.70"):
        assert _proxy("http", host) is not None
    monkeypatch.setenv("no_proxy", "*")
    assert _proxy("http", "m.example") is None


def test_a_request_goes_through_the_proxy(monitor, monkeypatch):
    # The test's monitor answers any path; as a proxy it is shown the whole address.
    monkeypatch.setenv("http_proxy", monitor.url)
    client = HttpClient("http://monitor.example:7227")
    assert client.post("/v1/join", {"asked": 1}).status == 401
    client.close()
    assert monitor.requests == [("http://monitor.example:7227/v1/join", {"asked": 1})]


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("http://m:7227", "http://m:7227"),
        ("http://m:7227/", "http://m:7227"),
        ("https://m.example/beatward/", "https://m.example/beatward"),
        ("http://[::1]:7227", "http://[::1]:7227"),
    ],
)
def test_an_address_may_have_a_path_and_loses_its_last_slash(url, checked):
    assert check_url(url) == checked


@pytest.mark.parametrize(
    "url", ["", "m", "m:7227", "http://", "http://m:x", "http://m:0", "http://u@m", "http://m?a=b"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="expected the monitor's address as http://host:port"):
        check_url(url)


# --- enrolment ---


def test_an_enrolment_yields_the_key_and_where_to_send(monitor, told):
    found = find(identify("web-1", **told), None, "", wants_udp=True)
    assert found.credential.key == monitor.key("web-1")
    assert found.addresses == ((socket.AF_INET, ("127.0.0.1", monitor.port)),)
    assert (found.is_enrolled, found.refusal, found.hint) == (True, "", "")


def test_whoever_is_refused_goes_on_with_what_it_has(monitor, told):
    identity = identify("web-1", **{**told, "token": monitor.token(names="db-*")})
    known = Credential("web-1", KEY, "127.0.0.1:9")
    found = find(identity, known, "http://127.0.0.1:9", wants_udp=True)
    assert (found.credential, found.is_enrolled) == (known, False)
    assert "this join token is for 'db-*'" in found.refusal
    with pytest.raises(JoinRefused, match="for 'db-"):
        find(identity, None, "", wants_udp=True)


def test_an_impostor_who_does_not_know_the_token_is_refused(monitor, told):
    # It answers like a monitor, but with the secret of another master key.
    token = monitor.token()
    monitor.master = bytes(32)
    forged = monitor.token()

    def serve_join(body):
        return type(monitor)._serve_join(monitor, {**body, **proof_with(forged, body)})

    monitor._serve_join = serve_join
    with pytest.raises(JoinRefused, match="does not come from the monitor"):
        find(identify("web-1", **{**told, "token": token}), None, "", wants_udp=True)


def proof_with(token, body):
    from beatward.core.protocol import join

    payload, secret = join._split(token)
    return {
        "payload": payload,
        "proof": join._prove(secret, "join", body["challenge"], body["request"]),
    }


def test_local_json_counts_only_for_the_monitor_it_names(monitor, tmp_path):
    path = tmp_path / "local.json"
    path.write_text(f'{{"monitor": "{monitor.url}", "token": "{monitor.token()}"}}')
    here = identify("web-1", data=tmp_path)
    assert find(here, None, "", wants_udp=False).is_enrolled
    elsewhere = identify("web-1", data=tmp_path, monitor="http://127.0.0.1:9")
    with pytest.raises(MonitorUnreachable, match=r"no join token for http://127\.0\.0\.1:9"):
        find(elsewhere, None, "", wants_udp=False)


@pytest.mark.parametrize("text", ["", "[]", '{"monitor": 3}', '{"monitor": "x", "token": "y"}'])
def test_a_damaged_local_json_is_as_none(tmp_path, text):
    (tmp_path / "local.json").write_text(text)
    with pytest.raises(MonitorUnreachable, match="no monitor of this user runs on this machine"):
        find(identify("web-1", data=tmp_path), None, "", wants_udp=False)


def test_the_environment_tells_what_was_not_given():
    environment = {
        "BEATWARD_NAME": "env-1",
        "BEATWARD_MONITOR": "http://m:1/",
        "BEATWARD_TOKEN": " bwj1.a.b\n",
        "BEATWARD_DATA": "/d",
    }
    identity = identify(environment=environment)
    assert (identity.name, identity.monitor) == ("env-1", "http://m:1")
    assert (identity.token, str(identity.data)) == ("bwj1.a.b", "/d")
    given = identify("own", monitor="http://n:1", environment=environment)
    assert (given.name, given.monitor) == ("own", "http://n:1")
    assert identify(environment={}).name == socket.gethostname()


def test_the_folder_is_the_monitors_unless_told_otherwise(tmp_path, monkeypatch):
    from beatward.agent.enrol import DEFAULT_MONITOR, data_folder
    from beatward.config import PORT, default_data_folder

    monkeypatch.delenv("BEATWARD_DATA")
    assert data_folder() == default_data_folder()
    assert f"http://127.0.0.1:{PORT}" == DEFAULT_MONITOR


def test_the_log_says_nothing_while_all_is_well(monitor, told, caplog):
    from beatward import Heart

    caplog.set_level(logging.WARNING)
    with Heart("web-1", interval="20ms", **told) as heart:
        assert heart.wait_acknowledged()
    assert caplog.records == []
