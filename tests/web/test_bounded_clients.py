"""Clients that send a head without an end, or hold connections that others need."""

import socket

import pytest
from tests.web.serving import answer, serving

from beatward.web.listener import HEAD_SIZE_MAX, HEADERS_MAX, Places

CONNECTIONS_MAX = 40  # so ten from one address


async def _greet(scope, receive, send):
    """Answer every request with its path."""
    del receive
    body = scope["path"].encode()
    await answer(send, body)


@pytest.fixture(scope="module")
def address():
    with serving(_greet, connections_max=CONNECTIONS_MAX) as found:
        yield found


def _connect(address, source="127.0.0.1"):
    return socket.create_connection(address, timeout=10, source_address=(source, 0))


def _read_until_closed(client):
    answer = b""
    try:
        while chunk := client.recv(10_000):
            answer += chunk
    except ConnectionResetError:
        pass  # it closed while more of ours was on its way
    return answer


def _read_answer(client, path):
    """Return one answer, whose head and body may come one after the other."""
    answer = b""
    while not answer.endswith(b"\r\n\r\n" + path):
        part = client.recv(10_000)
        assert part, answer
        answer += part
    return answer


def _answer(address, request, path=b"/here"):
    with _connect(address) as client:
        client.sendall(request)
        return _read_answer(client, path)


def test_a_head_without_an_end_is_refused_before_it_fills_the_memory(address):
    with _connect(address) as client:
        sent = 0
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        try:
            # The old monitor read all of it: 1.5 GiB in 8 s.
            while sent < 64 * 1024 * 1024:
                sent += client.send(b"x" * 65_536)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 16 * 1024 * 1024  # what the kernel's buffers on both sides take


@pytest.mark.parametrize(
    "head",
    [
        b"X: " + b"x" * HEAD_SIZE_MAX,
        b"\r\n".join(b"X%d: y" % at for at in range(HEADERS_MAX + 1)),
    ],
    ids=["a long header", "many headers"],
)
def test_a_head_that_is_too_large_is_told_so_and_ended(address, head):
    with _connect(address) as client:
        client.sendall(b"GET / HTTP/1.1\r\n" + head + b"\r\n\r\n")
        answer = _read_until_closed(client)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_long_path_counts_as_head(address):
    with _connect(address) as client:
        client.sendall(b"GET /" + b"x" * HEAD_SIZE_MAX + b" HTTP/1.1\r\nHost: m\r\n\r\n")
        assert _read_until_closed(client).startswith(b"HTTP/1.1 431 ")


def test_a_head_within_the_limits_is_answered(address):
    headers = b"\r\n".join(b"X%d: %s" % (at, b"y" * 200) for at in range(HEADERS_MAX - 1))
    request = b"GET /here HTTP/1.1\r\nHost: m\r\n" + headers + b"\r\n\r\n"
    assert _answer(address, request).startswith(b"HTTP/1.1 200 ")


def test_a_large_body_in_the_same_packet_is_no_head(address):
    body = b"x" * 60_000
    head = b"POST /here HTTP/1.1\r\nHost: m\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert _answer(address, head + body).startswith(b"HTTP/1.1 200 ")


def test_many_small_requests_on_one_connection_are_each_within_the_limit(address):
    request = b"GET /here HTTP/1.1\r\nHost: m\r\nX: " + b"y" * 4000 + b"\r\n\r\n"
    with _connect(address) as client:
        for _ in range(3 * HEAD_SIZE_MAX // len(request)):
            client.sendall(request)
            assert _read_answer(client, b"/here").startswith(b"HTTP/1.1 200 ")


def test_one_address_cannot_take_the_connections_of_others(address):
    idle = [_connect(address, "127.0.0.2") for _ in range(CONNECTIONS_MAX)]
    try:
        refused = [
            client for client in idle[CONNECTIONS_MAX // 4 :] if b" 503 " in client.recv(10_000)
        ]
        assert len(refused) == len(idle) - CONNECTIONS_MAX // 4
        assert _answer(address, b"GET /here HTTP/1.1\r\nHost: m\r\n\r\n").startswith(
            b"HTTP/1.1 200 "
        )
    finally:
        for client in idle:
            client.close()


def test_a_place_is_free_again_when_its_connection_has_ended():
    places = Places(8)
    assert [places.take("a") for _ in range(3)] == [True, True, False]
    places.give_back("a")
    assert places.take("a")
    assert places.take("b")
    assert places.take_refused() == {"a": 1}


def test_all_addresses_together_have_a_limit():
    places = Places(4)
    assert all(places.take(source) for source in "abcd")
    assert not places.take("e")
    places.give_back("a")
    assert places.take("e")
