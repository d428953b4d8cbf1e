"""Clients that begin a request and do not end it: each has a file descriptor, and not for long."""

import contextlib
import socket
import time

import pytest
from tests.web.serving import answer, serving

# Long enough for a request that is sent at once on a busy machine.
HEAD_SECONDS, BODY_SECONDS = 0.5, 0.7


async def _echo(scope, receive, send):
    """Answer with the size of the body, or not at all where the client went away first."""
    size, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        has_more = message.get("more_body", False)
    body = str(size).encode()
    await answer(send, body)


@pytest.fixture(scope="module")
def address():
    with serving(_echo, head_seconds=HEAD_SECONDS, body_seconds=BODY_SECONDS) as found:
        yield found


def _said_and_closed(address, *parts):
    """Send parts, each after an answer to the one before, and return all until the end."""
    with socket.create_connection(address, timeout=10) as client:
        answer = b""
        for index, part in enumerate(parts):
            client.sendall(part)
            while index + 1 < len(parts) and not answer.endswith(b"\r\n\r\n0"):
                answer += client.recv(1000)
        while chunk := client.recv(1000):
            answer += chunk
        return answer


WHOLE = b"GET / HTTP/1.1\r\nHost: m\r\n\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\nHost: m\r\n",),
        (b"G",),
        (b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 10\r\n\r\n12345",),
        (b"POST / HTTP/1.1\r\nHost: m\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",),
        (WHOLE, b"GET / HTTP/1.1\r\nHo"),
    ],
    ids=["half a head", "one byte", "half a body", "half a chunked body", "a second request"],
)
def test_a_request_that_does_not_arrive_in_time_is_told_so_and_ended(address, parts):
    answer = _said_and_closed(address, *parts)
    assert answer.count(b"HTTP/1.1 408 ") == 1
    assert answer.count(b"HTTP/1.1 200 ") == len(parts) - 1
    assert b"connection: close" in answer


@pytest.mark.parametrize("parts", [(b"",), (b"\r\n",)], ids=["nothing", "an empty line"])
def test_a_connection_that_asks_for_nothing_is_ended(address, parts):
    assert b"200" not in _said_and_closed(address, *parts)


def test_a_head_that_comes_by_drops_does_not_get_more_time(address):
    with socket.create_connection(address, timeout=10) as client:
        client.settimeout(0.05)
        client.sendall(b"GET / HTTP/1.1\r\n")
        begun, answer = time.monotonic(), None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while answer is None:
                client.sendall(b"X: y\r\n")
                with contextlib.suppress(TimeoutError):
                    answer = client.recv(1000)
        # An end at last; how soon is a matter of the machine, that it comes is the point.
        assert time.monotonic() - begun < 10


def test_a_request_that_is_whole_is_answered(address):
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\n\r\n12345")
        answer = b""
        # Head and body may come one after the other.
        while not answer.endswith(b"\r\n\r\n5"):
            part = client.recv(1000)
            assert part, answer
            answer += part
