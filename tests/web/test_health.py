"""The monitor's own trouble, in words: a wheel that stands, a full inbox, a journal that fails.

The production program cannot be brought into these states at will, so here the real application
stands on rooms that are real but for what is in trouble.
"""

from dataclasses import dataclass, field, replace

import httpx2
import numpy as np
import pytest
from tests.web.serving import serving

from beatward.actions.agent import PendingAction
from beatward.core.entry import Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Datagrams, Via
from beatward.core.monitor import CoreSettings, Inputs, Monitor
from beatward.core.order_kinds import Join
from beatward.core.outbox import Outcome
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol import keys
from beatward.errors import PermanentError, TemporaryError
from beatward.server.key_book import KeyBook
from beatward.web.app import create_app
from beatward.web.backend import Backend, HealthReport, MonitorIdentity, Turns
from beatward.web.events import Streams
from beatward.web.journal_signal import JournalSignal

MASTER = bytes(range(32))
SESSION = 4711
GOOD = {"incarnation": 1, "sequence": 0, "interval": "60s", "echo": SESSION}


@dataclass
class Machine:
    """A real machine whose wheel turns when a test says so."""

    core: Monitor = field(
        default_factory=lambda: Monitor(CoreSettings(), master=MASTER, session=SESSION)
    )
    clock_ns: int = 1000 * SECOND
    room: int = 1000
    records: list = field(default_factory=list)
    orders: list = field(default_factory=list)

    def __post_init__(self):
        self.core.restore(Recovered(), self.clock_ns)

    def snapshot(self):
        return self.core.snapshot(self.clock_ns)

    def now_ns(self):
        return self.clock_ns

    def wall_offset_ns(self):
        return 1_700_000_000 * SECOND

    def submit(self, record, via, peer=b""):
        if len(self.records) >= self.room:
            return False
        self.records.append((record, via))
        return True

    def order(self, order):
        if len(self.orders) >= self.room:
            return False
        self.orders.append(order)
        return True

    def turn(self):
        """Let the wheel turn once over all that was put in."""
        batches = [_batch(record, via, self.clock_ns) for record, via in self.records]
        inputs = Inputs(
            self.clock_ns, self.clock_ns, datagrams=tuple(batches), orders=tuple(self.orders)
        )
        self.records, self.orders = [], []
        return self.core.step(inputs, wall_offset_ns=self.wall_offset_ns())


def _batch(record, via, arrived_ns):
    rows = np.frombuffer(record, np.uint8).reshape(1, -1)
    peers = np.zeros((1, PEER_SIZE), np.uint8)
    return Datagrams(rows, np.array([64]), peers, np.array([arrived_ns]), Via(via))


@dataclass
class Journal:
    """A journal that is empty, or cannot be read."""

    error: Exception | None = None
    reads: int = 0

    def events(self, *, after, limit, node, newest_first):
        return self._answer([])

    def last_sequence(self):
        return self._answer(0)

    def last_verdict(self, node):
        return self._answer(None)

    def _answer(self, value):
        self.reads += 1
        if self.error is not None:
            raise self.error
        return value


class Mail:
    """Has one letter for `busy-1`."""

    def __init__(self):
        self.outcomes = []

    def has_mail(self, node):
        return node == "busy-1"

    def waiting(self, node):
        return (PendingAction("4711/fix", "fix", "db-1", 2, SECOND),) if node == "busy-1" else ()

    def outcome(self, node, outcome: Outcome):
        self.outcomes.append((node, outcome))
        return node == "busy-1"


@dataclass
class RoleReport:
    """What the monitor says of itself."""

    said: HealthReport = field(default_factory=lambda: HealthReport(7, 0, None, 100, 1000 * SECOND))

    def report(self):
        return self.said


@dataclass
class House:
    """The application on its own listener, and the rooms behind it."""

    machine: Machine = field(default_factory=Machine)
    journal: Journal = field(default_factory=Journal)
    mail: Mail = field(default_factory=Mail)
    health: RoleReport = field(default_factory=RoleReport)
    journal_signal: JournalSignal = field(default_factory=JournalSignal)
    http: httpx2.Client = field(init=False)

    def bearer(self, name):
        key = keys.node_key(MASTER, keys.node_id(name))
        return {"Authorization": f"Bearer {keys.bearer(key)}"}

    def beat(self, name):
        path = f"/v1/nodes/{name}/heartbeat"
        return self.http.post(path, json=GOOD, headers=self.bearer(name))

    def report(self, **changes):
        self.health.said = replace(self.health.said, **changes)


@pytest.fixture
def house(tmp_path):
    made = House()
    identity = MonitorIdentity(MASTER, "test", SESSION, "127.0.0.1:1", loopback=True)
    backend = Backend(
        made.machine,
        made.journal,
        made.mail,
        made.health,
        identity,
        KeyBook(tmp_path),
        made.journal_signal,
    )
    app = create_app(backend, streams=Streams(count_max=2, keep_alive_seconds=0.05))
    with serving(app, made.journal_signal) as (host, port):
        made.http = httpx2.Client(base_url=f"http://{host}:{port}", timeout=10, trust_env=False)
        yield made
        made.http.close()


HEALTH = [
    ({}, 200, "ok", ""),
    ({"last_turn_ns": 998 * SECOND}, 200, "degraded", "2 s ago"),
    ({"last_turn_ns": 994 * SECOND}, 503, "stopped", "6 s ago"),
    ({"journal_error": "no room on the disk", "waiting": 12}, 200, "degraded", "no room"),
    ({"waiting": 10_001}, 200, "degraded", "10001"),
    ({"waiting": 9_999}, 200, "ok", ""),
    ({"watermark_ns": 996 * SECOND}, 200, "degraded", "in the last 4 s waits"),
    ({"watermark_ns": 999_500 * MILLISECOND}, 200, "ok", ""),
    ({"warnings": ("the buffer is small",)}, 200, "degraded", "the buffer is small"),
]


@pytest.mark.parametrize(("said", "code", "status", "reason"), HEALTH, ids=range(len(HEALTH)))
def test_health_is_told_with_its_reasons(house, said, code, status, reason):
    house.report(**said)
    answer = house.http.get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (code, status)
    assert bool(answer.json()["reasons"]) == bool(reason)
    assert reason in "".join(answer.json()["reasons"])
    assert house.http.get("/v1/status").json()["health"] == answer.json()


def test_a_full_inbox_asks_for_patience_and_takes_nothing(house, problem):
    house.machine.room = 0
    ping = f"/ping/full-1/{keys.ping_key(keys.node_key(MASTER, keys.node_id('full-1')))}"
    api = {"Authorization": f"Bearer {keys.api_token(MASTER)}"}
    beat = house.beat("full-1")
    problem(beat, 503, "inbox-full")
    answers = [beat, house.http.get(ping)]
    house.machine.room = 1000
    house.beat("full-2")
    house.machine.turn()
    house.machine.room = 0
    answers.append(house.http.post("/v1/nodes/full-2/pause", headers=api))
    answers.append(house.beat("full-2"))
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    assert house.machine.snapshot().find("full-1") == -1


def test_a_heartbeat_becomes_a_record_that_the_machine_believes(house):
    answer = house.beat("real-1")
    said = {"echo": SESSION, "interval_ms": 60_000, "mail": False}
    assert answer.json() == {**said, "known": False, "incarnation": 0, "newer": None}
    assert house.machine.orders == [Join("real-1")]
    house.machine.turn()
    node = house.http.get("/v1/nodes/real-1").json()
    assert (node["status"], node["via"]) == ("alive", "http")
    assert node["heard"] == "2023-11-14T22:30:00.000Z"
    house.beat("real-1")
    assert house.machine.orders == []


def test_an_unreadable_journal_is_told_and_heartbeats_go_on(house, problem):
    house.beat("dark-1")
    house.machine.turn()
    house.journal.error = TemporaryError("the database is locked")
    for path in ("/v1/events", "/v1/status", "/v1/nodes/dark-1/explain"):
        answer = house.http.get(path)
        assert "locked" in problem(answer, 503, "journal-unreadable")["detail"]
        assert answer.headers["retry-after"] == "1"
    house.journal.error = PermanentError("the file is damaged")
    assert "retry-after" not in house.http.get("/v1/events").headers
    assert house.http.get("/healthz").status_code == 200
    assert house.beat("dark-1").status_code == 202


def test_our_own_mistake_is_told_without_its_insides(house, problem):
    house.journal.error = RuntimeError("secret insides")
    answer = house.http.get("/v1/events")
    assert "secret" not in problem(answer, 500, "our-mistake")["detail"]


def test_a_stream_outlives_a_journal_that_cannot_be_read_for_a_moment(house):
    house.journal.error = TemporaryError("the database is locked")
    with house.http.stream("GET", "/v1/events/stream?after=0") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        while next(lines) != ": still here":
            pass
        house.journal.error = None
        reads = house.journal.reads
        while house.journal.reads < reads + 2:
            assert next(lines) in (": still here", "")


def test_a_quiet_stream_says_that_it_is_still_here(house):
    with house.http.stream("GET", "/v1/events/stream") as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(6)] == ["retry: 1000", "", *[": still here", ""] * 2]


def test_streams_have_a_limit(house, problem):
    first = house.http.stream("GET", "/v1/events/stream")
    second = house.http.stream("GET", "/v1/events/stream")
    with first as one, second as two:
        assert (one.status_code, two.status_code) == (200, 200)
        third = house.http.get("/v1/events/stream")
        problem(third, 503, "too-many-streams")
        assert third.headers["retry-after"] == "5"


def test_an_agent_is_told_of_mail_fetches_it_and_reports(house):
    assert house.beat("busy-1").json()["mail"] is True
    assert house.beat("idle-1").json()["mail"] is False

    def post(word, name, **body):
        path = f"/v1/agent/{word}"
        return house.http.post(path, json={"name": name, **body}, headers=house.bearer(name))

    assert post("inbox", "idle-1").json() == {"actions": []}
    (pending,) = post("inbox", "busy-1").json()["actions"]
    assert (pending["key"], pending["name"], pending["attempt"]) == ("4711/fix", "fix", 2)
    report = {"key": "4711/fix", "attempt": 2, "result": "success", "message": "done"}
    assert post("outcome", "busy-1", **report).json() == {"taken": True}
    assert house.mail.outcomes == [("busy-1", Outcome("4711/fix", 2, "success", "done"))]
    assert post("outcome", "idle-1", **report).json() == {"taken": False}
    assert post("outcome", "busy-1", **{**report, "result": "maybe"}).status_code == 422


@pytest.mark.parametrize("word", ["inbox", "outcome"])
def test_an_agent_asks_for_its_own_node_only(house, problem, word):
    body = {"name": "busy-1"}
    if word == "outcome":
        body |= {"key": "k", "attempt": 1, "result": "success"}
    for headers in ({}, house.bearer("idle-1"), {"Authorization": "Bearer x"}):
        answer = house.http.post(f"/v1/agent/{word}", json=body, headers=headers)
        problem(answer, 401, "unauthorized")
    assert house.mail.outcomes == []


def test_the_turns_of_the_wheel_are_a_histogram(house):
    house.report(durations=Turns((1_000_000, 10_000_000), (3, 5), 6, 40_000_000))
    text = house.http.get("/metrics").text
    assert 'beatward_wheel_turn_seconds_bucket{le="0.001"} 3.0' in text
    assert 'beatward_wheel_turn_seconds_bucket{le="+Inf"} 6.0' in text
    assert "beatward_wheel_turn_seconds_sum 0.04" in text
