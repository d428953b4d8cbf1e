"""The journal over HTTP: no event lost, none twice, whatever happens to the connection."""

import json
import socket
import threading
from urllib.parse import urlsplit

import pytest


class Stream:
    """A client of the stream that reads lines itself, so that it can stop anywhere."""

    def __init__(self, monitor, query="", **headers):
        self._context = monitor.http.stream("GET", f"/v1/events/stream{query}", headers=headers)
        self.answer = self._context.__enter__()
        assert self.answer.status_code == 200, self.answer.read()
        self._lines = self.answer.iter_lines()

    def read(self, count):
        """Return so many events as (id of the frame, data)."""
        found, frame_id = [], None
        while len(found) < count:
            line = next(self._lines)
            if line.startswith("id: "):
                frame_id = int(line[4:])
            elif line.startswith("data: "):
                found.append((frame_id, json.loads(line[6:])))
        return found

    def line(self):
        return next(self._lines)

    def rest(self):
        return list(self._lines)

    def close(self):
        self._context.__exit__(None, None, None)


def ids(found):
    return [frame_id for frame_id, _ in found]


@pytest.fixture(scope="module")
def written(monitor, wait_until):
    """A node with 42 events, and their ids."""
    monitor.ping("ev-1")
    monitor.wait_status("ev-1", "alive")
    monitor.toggle("ev-1", 40)

    def found():
        events = monitor.get("/v1/events", node="ev-1", limit=1000)["events"]
        return [event["id"] for event in events] if len(events) == 42 else None

    return wait_until(found, "42 events")


def test_pages_hold_every_event_once_and_in_order(monitor, written):
    found, after = [], 0
    while True:
        page = monitor.get("/v1/events", after=after, limit=5, node="ev-1")
        assert page["last"] >= written[-1]
        if not page["events"]:
            break
        found += [event["id"] for event in page["events"]]
        after = found[-1]
    assert found == written


def test_without_a_place_to_begin_the_newest_are_shown_oldest_first(monitor, written):
    page = monitor.get("/v1/events", limit=5, node="ev-1")
    assert [event["id"] for event in page["events"]] == written[-5:]
    assert [event["status"] for event in page["events"]] == ["new", "paused"] * 2 + ["new"]


def test_events_have_the_same_keys_everywhere(monitor, written):
    keys = ["id", "event", "at", "node", "status", "cause", "explanation", "action", "outcome"]
    keys.append("detail")
    page = monitor.get("/v1/events", after=0, limit=1000)["events"]
    stream = Stream(monitor, "?after=0")
    assert [event for _, event in stream.read(len(page))] == page
    stream.close()
    assert all(list(event) == keys for event in page)


@pytest.mark.parametrize("cut", [1, 7, 41])
@pytest.mark.parametrize("how", ["header", "query"])
def test_a_stream_goes_on_where_it_was_cut(monitor, written, cut, how):
    stream = Stream(monitor, "?node=ev-1&after=0")
    before = ids(stream.read(cut))
    stream.close()
    last = before[-1]
    if how == "header":
        stream = Stream(monitor, "?node=ev-1&after=0", **{"Last-Event-ID": str(last)})
    else:
        stream = Stream(monitor, f"?node=ev-1&after={last}")
    after = ids(stream.read(len(written) - cut))
    stream.close()
    assert before + after == written


def test_streams_that_are_cut_again_and_again_lose_and_double_nothing(monitor, wait_until):
    monitor.ping("ev-2")
    monitor.wait_status("ev-2", "alive")
    count = 122
    writer = threading.Thread(target=monitor.toggle, args=("ev-2", count - 2))
    writer.start()
    found, last = [], 0
    while len(found) < count:
        # Seven at a time, while new ones are being written.
        stream = Stream(monitor, "?node=ev-2", **{"Last-Event-ID": str(last)})
        found += ids(stream.read(min(7, count - len(found))))
        stream.close()
        last = found[-1]
    writer.join()
    page = monitor.get("/v1/events", node="ev-2", after=0, limit=1000)["events"]
    assert found == [event["id"] for event in page]
    assert len(found) == count


def test_without_a_place_to_begin_a_stream_tells_what_happens_next(monitor, written):
    stream = Stream(monitor, "?node=ev-3")
    assert stream.line() == "retry: 1000"
    monitor.ping("ev-3")
    found = [event["event"] for _, event in stream.read(2)]
    stream.close()
    assert found == ["joined", "transition"]


def test_the_stream_is_what_browsers_and_proxies_expect(monitor):
    stream = Stream(monitor, "?after=0")
    headers = stream.answer.headers
    stream.close()
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("sent", ["x", "-1", "1.5", "9" * 30, "\u0661"])
def test_a_wrong_last_event_id_is_refused(monitor, problem, sent):
    answer = monitor.http.get(
        "/v1/events/stream", headers={"Last-Event-ID": sent.encode("utf-8", "replace")}
    )
    problem(answer, 422, "not-as-expected")


def test_the_end_of_the_monitor_ends_its_streams_at_once(own_monitor):
    own_monitor.ping("ev-4")
    streams = [Stream(own_monitor, "?after=0") for _ in range(5)]
    for stream in streams:
        stream.read(3)
    own_monitor.end()
    for stream in streams:
        stream.rest()  # a clean end of the body; a broken one would raise
        stream.close()


def test_a_client_that_vanished_is_let_go(monitor, wait_until):
    def open_count():
        lines = monitor.http.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("beatward_streams"))

    before = open_count()
    host = urlsplit(monitor.url)
    connection = socket.create_connection((host.hostname, host.port), timeout=10)
    connection.sendall(b"GET /v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert open_count() == before + 1
    connection.close()
    wait_until(lambda: open_count() == before, "the stream is let go")
