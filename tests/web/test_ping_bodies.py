"""A job's log posted with its ping: whatever its size and its form, the ping counts."""

import socket
import subprocess

import pytest

from beatward.web.bounds import DROPPED_SIZE_MAX

pytestmark = pytest.mark.needs("curl")
LOG = "a line of a job's log\n" * 5000


def curl(*arguments, log):
    """Run curl with a log on its standard input; returns (status, body)."""
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", *arguments],
        check=True,
        capture_output=True,
        text=True,
        input=log,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


WAYS = {
    "posted": ["--data-binary", "@-"],
    "got": ["-X", "GET", "--data-binary", "@-"],
    "chunked": ["-H", "Transfer-Encoding: chunked", "--data-binary", "@-"],
    "asked for first": ["-H", "Expect: 100-continue", "--data-binary", "@-"],
    "not asked for": ["-H", "Expect:", "--data-binary", "@-"],
}


@pytest.mark.parametrize(
    ("way", "word"),
    [*((way, "/exit/0") for way in WAYS), *(("posted", word) for word in ("", "/start", "/fail"))],
)
def test_a_ping_with_a_long_log_counts_as_one_without(monitor, way, word):
    name = f"log-{way}{word}".replace("/", "-").replace(" ", "-")
    assert len(LOG) > 100_000
    url = monitor.url + monitor.ping_path(name) + word
    assert curl(*WAYS[way], url, log=LOG) == (200, "ok\n")
    monitor.wait_status(name, "failing" if word == "/fail" else "alive")


def test_a_job_that_posts_its_log_with_its_success_is_not_dead(monitor):
    answer = monitor.http.put("/v1/jobs/nightly", json={"every": "1h"}, headers=monitor.api)
    assert answer.status_code == 202
    url = monitor.url + monitor.ping_path("nightly")
    assert curl(url + "/start", log="")[0] == 200
    assert curl("--data-binary", "@-", url + "/exit/0", log=LOG) == (200, "ok\n")
    assert monitor.wait_status("nightly", "alive")["job"]["succeeded"]


def _ask(monitor, head, body):
    host = monitor.url.removeprefix("http://")
    address, _, port = host.partition(":")
    with socket.create_connection((address, int(port)), timeout=10) as client:
        client.sendall(f"POST {head} HTTP/1.1\r\nHost: {host}\r\n".encode() + body)
        answer = b""
        while chunk := client.recv(10_000):
            answer += chunk
    return answer


def test_a_log_that_is_too_long_to_be_read_does_not_undo_its_ping(monitor):
    path = monitor.ping_path("log-huge")
    announced = f"Content-Length: {DROPPED_SIZE_MAX + 1}\r\n\r\n"
    answer = _ask(monitor, path, announced.encode())
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer.lower()
    monitor.wait_status("log-huge", "alive")


def test_nobody_without_the_key_has_a_long_body_read(monitor):
    announced = b"Content-Length: 1000000\r\n\r\n"
    answer = _ask(monitor, monitor.ping_path("log-none") + "x", announced)
    assert answer.startswith(b"HTTP/1.1 404 Not Found")
    assert b"connection: close" in answer.lower()
