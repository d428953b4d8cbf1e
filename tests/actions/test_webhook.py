"""kind = "webhook" against a real server on loopback that answers well, badly, or not at all."""

import asyncio
import base64
import json
import socket
import ssl
import subprocess
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from beatward.actions.discretion import Discretion
from beatward.actions.webhook import RETRY_AFTER_MAX_NS, retry_after
from beatward.core.instants import SECOND

WALL_NS = 1_800_000_000 * SECOND


def http_date(wall_ns):
    return format_datetime(datetime.fromtimestamp(wall_ns // SECOND, UTC), usegmt=True)


def alarm(receiver, path="/hook", **more):
    return {"kind": "webhook", "url": receiver.url + path} | more


async def test_a_webhook_posts_the_event_as_json_under_an_idempotency_key(hands, receiver):
    one = hands(alarm=alarm(receiver, headers={"X-Team": "night"}))
    outcome = await one.do("alarm", "4711/alarm", attempt=3)
    assert (outcome.key, outcome.attempt, outcome.result) == ("4711/alarm", 3, "success")
    assert outcome.message == f"{receiver.url} answered 200 OK"
    (request,) = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["idempotency-key"] == "4711/alarm"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-team"] == "night"
    assert json.loads(request.body) == {
        "event": "transition",
        "id": 4711,
        "node": "web-3",
        "status": "dead",
        "cause": "silence",
        "explanation": "web-3 suspected: silent 2.31 s",
        "at": "2027-01-15T08:00:00.123456Z",
        "action": "alarm",
        "key": "4711/alarm",
        "attempt": 3,
    }


async def test_a_key_that_is_no_header_is_percent_encoded_and_cannot_be_overridden(hands, receiver):
    one = hands(alarm=alarm(receiver, headers={"idempotency-key": "mine"}))
    assert (await one.do("alarm", "7/größe 1\r\nX: y")).result == "success"
    assert receiver.requests[0].headers["idempotency-key"] == "7/gr%C3%B6%C3%9Fe%201%0D%0AX:%20y"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("200 OK", "success"),
        ("201 Created", "success"),
        ("204 No Content", "success"),
        ("299 Whatever", "success"),
        ("304 Not Modified", "permanent"),
        ("400 Bad Request", "permanent"),
        ("401 Unauthorized", "permanent"),
        ("404 Not Found", "permanent"),
        ("408 Request Timeout", "temporary"),
        ("410 Gone", "permanent"),
        ("425 Too Early", "temporary"),
        ("429 Too Many Requests", "temporary"),
        ("500 Internal Server Error", "temporary"),
        ("501 Not Implemented", "temporary"),
        ("503 Service Unavailable", "temporary"),
    ],
)
async def test_the_status_decides_what_became_of_it(hands, receiver, status, result):
    receiver.say(status)
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert (outcome.result, outcome.message) == (
        result,
        f"{receiver.url} answered {status}"
        + (
            ", a redirection to an address without a host; it is not followed, because the event "
            "and its headers were meant for the first address: put the final one into url"
            if status.startswith("3")
            else ""
        ),
    )


async def test_retry_after_in_seconds_is_honoured(hands, receiver):
    receiver.say("429 Too Many Requests", Retry_After="120")
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert (outcome.result, outcome.retry_after_ns) == ("temporary", 120 * SECOND)


async def test_retry_after_as_a_date_is_honoured(hands, receiver):
    receiver.say(
        "503 Service Unavailable",
        Date=http_date(WALL_NS),
        Retry_After=http_date(WALL_NS + 90 * SECOND),
    )
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert (outcome.result, outcome.retry_after_ns) == ("temporary", 90 * SECOND)


@pytest.mark.parametrize(
    ("headers", "wait_ns"),
    [
        ({}, 0),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 5 "}, 5 * SECOND),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "1.5"}, 0),
        ({"Retry-After": "²"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "999999999"}, RETRY_AFTER_MAX_NS),
        ({"Retry-After": "9" * 5000}, 0),
        ({"Retry-After": http_date(WALL_NS + 60 * SECOND)}, 60 * SECOND),
        ({"Retry-After": http_date(WALL_NS - 60 * SECOND)}, 0),
        ({"Retry-After": http_date(WALL_NS + 10**6 * SECOND)}, RETRY_AFTER_MAX_NS),
        # The receiver's clock is an hour ahead of ours, and it means half a minute.
        (
            {
                "Date": http_date(WALL_NS + 3600 * SECOND),
                "Retry-After": http_date(WALL_NS + 3630 * SECOND),
            },
            30 * SECOND,
        ),
        ({"Retry-After": "Fri, 15 Jan 2027 08:00:20 -0000"}, 20 * SECOND),
        ({"Retry-After": "Fri, 99 Jan 2027 99:00:20 GMT"}, 0),
    ],
    ids=range(15),
)
def test_retry_after_is_read_with_care(headers, wait_ns):
    assert retry_after(headers, WALL_NS) == wait_ns


async def test_a_redirection_is_not_followed_and_names_only_the_host_it_leads_to(hands, receiver):
    receiver.say("302 Found", Location="https://elsewhere.example/login?token=s3cret-target")
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.result == "permanent"
    assert "a redirection to https://elsewhere.example; it is not followed" in outcome.message
    assert "s3cret-target" not in outcome.message
    assert len(receiver.requests) == 1


async def test_a_refused_connection_is_temporary(hands, receiver):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    receiver.url = f"http://127.0.0.1:{port}"
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.result == "temporary"
    assert outcome.message == f"http://127.0.0.1:{port}: no connection; Connection refused"


async def test_a_name_with_several_addresses_that_all_refuse_says_what_one_of_them_said(
    hands, receiver
):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    receiver.url = f"http://localhost:{port}"
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.message == f"http://localhost:{port}: no connection; Connection refused"


async def test_a_host_that_does_not_exist_is_temporary(hands, receiver):
    receiver.url = "http://nobody.invalid"
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.result == "temporary"
    assert outcome.message.startswith("http://nobody.invalid: no connection; ")


async def test_silence_is_temporary_after_the_time_limit(hands, receiver):
    async def say_nothing(request, writer):
        await asyncio.Event().wait()

    receiver.answer = say_nothing
    outcome = await hands(alarm=alarm(receiver, timeout="200ms")).do("alarm")
    assert outcome.result == "temporary"
    assert outcome.message == f"{receiver.url}: no answer within 200 ms"


async def test_an_answer_that_trickles_is_bounded_as_a_whole(hands, receiver):
    async def trickle(request, writer):
        while True:
            writer.write(b"H")
            await asyncio.sleep(0.02)  # Each byte is well within any limit for a single read.

    receiver.answer = trickle
    outcome = await hands(alarm=alarm(receiver, timeout="300ms")).do("alarm")
    assert outcome.message == f"{receiver.url}: no answer within 300 ms"


@pytest.mark.parametrize(
    ("raw", "result", "said"),
    [
        (b"", "temporary", "the answer broke off or is not HTTP"),
        (b"HTTP/1.1 20", "temporary", "the answer broke off or is not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "temporary", "the answer broke off or is not HTTP"),
        # The status was heard, so the event was taken; sending it again would double it.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "success", "answered 200 OK"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\nhalf", "temporary", "answered 500 Oh"),
        (b"HTTP/1.1 404 No\r\nContent-Length: 100\r\n\r\nhalf", "permanent", "answered 404 No"),
    ],
    ids=range(6),
)
async def test_an_answer_that_breaks_off_counts_as_far_as_it_came(
    hands, receiver, raw, result, said
):
    receiver.write(raw, then_reset=False)
    ended = await hands(alarm=alarm(receiver)).do("alarm")
    assert (ended.result, said in ended.message) == (result, True), ended.message


async def test_a_connection_that_is_reset_is_temporary(hands, receiver):
    receiver.write(b"HTTP/1.1 200 O", then_reset=True)
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.result == "temporary"
    assert outcome.message.startswith(f"{receiver.url}: ")


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
async def test_an_endless_body_is_not_read_to_its_end(hands, receiver, status):
    written = 0

    async def never_end(request, writer):
        nonlocal written
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    receiver.answer = never_end
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.result == ("success" if status == "200 OK" else "temporary")
    assert len(outcome.message) <= 500
    # What the kernel buffers on both sides of a loopback connection, and no more.
    assert written < 16 * 1024 * 1024


async def test_a_compressed_refusal_is_not_unpacked(hands, receiver):
    receiver.say("400 Bad Request", body=b"\x1f\x8b" + b"A" * 100, Content_Encoding="gzip")
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.message == f"{receiver.url} answered 400 Bad Request"
    assert receiver.requests[0].headers["accept-encoding"] == "identity"


async def test_a_refusal_quotes_the_beginning_of_what_was_said(hands, receiver):
    receiver.say("400 Bad Request", body=b"invalid_payload\n\x1b[31m" + b"z" * 5000)
    outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.message.startswith(
        f"{receiver.url} answered 400 Bad Request: invalid_payload ?[31mzzz"
    )
    assert len(outcome.message) < 300


SECRETS = {
    "user": "alice-user",
    "password": "pa%24%24word-1",
    "path": "T0AAAAAA/B0BBBBBB/pathsecret99",
    "query": "querysecret42",
    "header": 'headersecret"77',
}


def test_nothing_that_opens_the_door_is_said_aloud():
    url = "https://alice-user:pa%24%24word-1@hooks.example/services/T0AAAAAA/x?token=querysecret42"
    discretion = Discretion(url, {"Authorization": 'Bearer headersecret"77'})
    assert discretion.place == "https://hooks.example"
    basic = base64.b64encode(b"alice-user:pa$$word-1").decode()
    heard = f'{url} pa$$word-1 {basic} {{"a": "headersecret\\"77"}} T0AAAAAA application/json'
    said = discretion.hide(heard)
    for secret in ("alice", "word-1", basic, "headersecret", "T0AAAAAA", "querysecret42"):
        assert secret not in said
    assert "application/json" in said


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://u:p@h.example:1/x?y#z", "https://h.example:1"),
        ("http://h:99999999/x", "an address that cannot be read"),
        ("http://[::1/x", "an address that cannot be read"),
        ("/relative", "an address without a host"),
    ],
)
def test_a_receiver_is_named_by_scheme_host_and_port(url, place):
    assert Discretion(url, {}).place == place


@pytest.mark.parametrize("trouble", ["echo", "refused", "redirect", "reset", "slow", "fine"])
async def test_no_secret_reaches_an_outcome_or_a_log(hands, receiver, all_logs, trouble):
    async def echo(request, writer):
        told = f"{request.line} {json.dumps(dict(request.headers))}".encode()
        head = f"HTTP/1.1 400 Bad\r\nContent-Length: {len(told)}\r\n\r\n"
        writer.write(head.encode() + told)

    async def hold(request, writer):
        await asyncio.Event().wait()

    address = receiver.url.removeprefix("http://")
    if trouble == "echo":
        receiver.answer = echo
    elif trouble == "slow":
        receiver.answer = hold
    elif trouble == "reset":
        receiver.write(b"", then_reset=True)
    elif trouble == "redirect":
        receiver.say("302 Found", Location=f"/services/{SECRETS['path']}?k={SECRETS['query']}")
    elif trouble == "refused":
        with socket.create_server(("127.0.0.1", 0)) as unused:
            address = "127.0.0.1:" + str(unused.getsockname()[1])
    login = f"{SECRETS['user']}:{SECRETS['password']}"
    url = f"http://{login}@{address}/services/{SECRETS['path']}?token={SECRETS['query']}"
    one = hands(
        alarm={
            "kind": "webhook",
            "url": url,
            "headers": {"X-Key": SECRETS["header"], "Api": f"Token {SECRETS['header']}"},
            "timeout": "300ms" if trouble == "slow" else "5s",
        }
    )
    outcome = await one.do("alarm")
    assert (outcome.result == "success") == (trouble == "fine")
    told = outcome.message + all_logs.text
    basic = base64.b64encode(b"alice-user:pa$$word-1").decode()
    for secret in ("alice-user", "word-1", basic, "pathsecret99", "querysecret42", "headersecret"):
        assert secret not in told


@pytest.mark.parametrize(
    "table",
    [
        {"headers": {"X-Key": "headersecret77\r\nX-Injected: 1"}},
        {"headers": {"X-Key": "headersecret77-\u20ac"}},
        {"headers": {"bad name": "headersecret77"}},
        {"url": "http://127.0.0.1:99999/headersecret77"},
        {"url": "http://[::1/headersecret77"},
        {"url": "http:///headersecret77"},
    ],
    ids=range(6),
)
async def test_settings_that_cannot_be_sent_are_permanent_and_not_quoted(
    hands, receiver, all_logs, table
):
    outcome = await hands(alarm=alarm(receiver) | table).do("alarm")
    assert outcome.result == "permanent"
    assert outcome.message.endswith("cannot be sent; mend the settings")
    assert "headersecret77" not in outcome.message + all_logs.text
    assert not receiver.requests


async def test_https_to_a_port_that_speaks_http_says_tls(hands, receiver):
    # What a plain HTTP server does with the bytes of a TLS handshake: it calls them a bad request.
    async def greet(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        receiver.url = f"https://127.0.0.1:{port}"
        outcome = await hands(alarm=alarm(receiver)).do("alarm")
    assert outcome.result == "temporary"
    assert outcome.message.startswith(f"https://127.0.0.1:{port}: no connection; TLS: ")
    assert "wrong version number" in outcome.message


@pytest.fixture
def certificate(tmp_path):
    """Make a certificate that nobody trusts, for a host that is not ours."""
    key, made = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=else.example"),
            *("-addext", "subjectAltName=DNS:else.example", "-keyout", key, "-out", made),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return made, key


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    ("trusted", "said"),
    [(False, "self-signed certificate"), (True, "is not valid for '127.0.0.1'")],
)
async def test_a_certificate_that_does_not_fit_is_temporary_and_says_why(
    hands, receiver, certificate, monkeypatch, trusted, said
):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: None)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        receiver.url = f"https://127.0.0.1:{port}"
        outcome = await hands(alarm=alarm(receiver)).do("alarm")
    # Temporary: certificates are renewed. The attempts are bounded in any case.
    assert outcome.result == "temporary"
    begin = f"https://127.0.0.1:{port}: no connection; TLS: the certificate is not trusted: "
    assert outcome.message.startswith(begin)
    assert said in outcome.message
    assert not receiver.requests


async def test_an_event_from_an_older_monitor_without_a_time_says_null(hands, receiver):
    one = hands(alarm=alarm(receiver))
    assert (await one.do("alarm", at_wall_ns=None)).result == "success"
    assert json.loads(receiver.requests[0].body)["at"] is None


@pytest.mark.parametrize(
    ("status", "result"),
    [("200 OK", "success"), ("204 No Content", "success"), ("202 Accepted", "temporary")],
)
async def test_of_a_fence_taken_is_not_done(hands, receiver, status, result):
    receiver.say(status)
    outcome = await hands(fence=alarm(receiver)).do("fence", "db/7/fence", event="role")
    assert outcome.result == result
    assert ("of a fence that is no confirmation" in outcome.message) == (result == "temporary")
    body = json.loads(receiver.requests[0].body)
    assert (body["event"], body["node"]) == ("role", "web-3")
    assert (body["service"], body["token"]) == ("db", 7)
    # Of anything else the receiver's word that it was taken is enough.
    assert (await hands(alarm=alarm(receiver)).do("alarm")).result == "success"
