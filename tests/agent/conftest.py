"""A monitor for tests: two real sockets on loopback that seal and open with core.protocol.

It answers as docs/protocol.md says and keeps what it heard; it judges nothing. The real monitor
against the real agent is tested end to end elsewhere.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beatward.core.protocol import join, keys
from beatward.core.protocol.record import (
    MAGIC,
    VERSION,
    Flag,
    Kind,
    Record,
    open_record,
    seal,
    tag,
)
from beatward.core.protocol.roles import (
    _GRANT,
    RoleOrder,
    RoleReport,
    State,
    open_role_report,
    service_id,
)
from beatward.errors import MalformedRecord

MASTER = bytes(range(100, 132))
PATIENCE_S = 20.0


class TinyMonitor:
    """One port number, UDP and HTTP. `wait` blocks until what was heard satisfies a condition."""

    __test__ = False

    def __init__(self, *, session: int = 0xBEA7, master: bytes = MASTER) -> None:
        self.session = session
        self.master = master
        self.records: list[Record] = []
        self.datagram_peers: list[tuple[str, int]] = []
        self.requests: list[tuple[str, dict]] = []
        self.actions: dict[str, list[dict]] = {}
        self.outcomes: list[dict] = []
        self.joins: list[dict] = []
        self.is_mute = False
        self.refuses_outcomes = 0
        self.refuses_reports = False
        self.udp_shown: str | None = None
        self.standings: list[tuple[str, RoleReport]] = []
        self.lease_ms, self.demote_ms = 2000, 1000
        # Of each service: the token, who it is for, and whether it is asked back.
        self.roles: dict[str, tuple[int, str, bool]] = {}
        self.declared: dict[str, list[dict]] = {}
        self._changed = threading.Condition()
        self.port = 0
        self._threads: list[threading.Thread] = []

    # --- life ---

    def open(self) -> "TinyMonitor":
        """Listen on the same port as before, if there was one."""
        for _ in range(50):
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._udp.bind(("127.0.0.1", self.port))
            try:
                self._http = _Server(("127.0.0.1", self._udp.getsockname()[1]), self)
                break
            except OSError:
                self._udp.close()
        self.port = self._udp.getsockname()[1]
        self._threads = [
            threading.Thread(target=self._listen, args=(self._udp,), daemon=True),
            threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def close(self) -> None:
        """Go away: datagrams to the port are refused by the kernel, and so are connections."""
        if not self._threads:
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"stop", ("127.0.0.1", self.port))
        self._http.shutdown()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._udp.close()
        self._http.server_close()
        self._threads = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, **terms) -> str:
        return join.new_token(self.master, serial="test", **terms)

    def key(self, name: str) -> bytes:
        return keys.node_key(self.master, keys.node_id(name))

    # --- watching ---

    def wait(self, condition: Callable[[], object], patience_s: float = PATIENCE_S):
        """Return the condition's first true value; fails the test when it takes too long."""
        deadline = time.monotonic() + patience_s
        with self._changed:
            while True:
                found = condition()
                if found:
                    return found
                left = deadline - time.monotonic()
                said = self.standings[-5:] or self.records[-5:]
                assert left > 0, f"waited in vain; heard {said}"
                self._changed.wait(min(left, 0.05))

    def said(self, name: str, kind: Kind = Kind.HEARTBEAT) -> list[Record]:
        node = keys.node_id(name)
        return [record for record in self.records if (record.node, record.kind) == (node, kind)]

    def wait_beats(self, name: str, count: int) -> list[Record]:
        return self.wait(lambda: len(self.said(name)) >= count and self.said(name))

    def wait_goodbye(self, name: str) -> Record:
        return self.wait(lambda: self.said(name, Kind.GOODBYE))[0]

    def note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    # --- talking ---

    def send(self, name: str, kind: Kind, **fields) -> None:
        """Say something to a node at the address it was last heard from."""
        node = keys.node_id(name)
        index = max(i for i, record in enumerate(self.records) if record.node == node)
        self._udp.sendto(self._sealed(name, kind, **fields), self.datagram_peers[index])

    # --- roles, as docs/protocol.md has them; who gets them is up to the test ---

    def stood(self, name: str, state: State, token: int | None = None) -> bool:
        """Tell whether a node has said last that it stands there."""
        said = [standing for node, standing in self.standings if node == name][-1:]
        return bool(said) and said[0].state == state and token in (None, said[0].token)

    def wait_stood(self, name: str, state: State, token: int | None = None) -> RoleReport:
        self.wait(lambda: self.stood(name, state, token))
        return [standing for node, standing in self.standings if node == name][-1]

    def _grant(
        self, udp: socket.socket, name: str, said: RoleReport, peer, incarnation: int
    ) -> None:
        service = next((role for role in self.roles if service_id(role) == said.service), None)
        if service is None:
            return
        token, holder, is_asked_back = self.roles[service]
        holds = said.state in (State.PROMOTING, State.ACTIVE)
        lease_ms = self.lease_ms
        if holder != name:
            word = RoleOrder.DEMOTE if holds else RoleOrder.STAND_BY
            lease_ms = 0 if holds else lease_ms
        elif said.token != token:
            word = RoleOrder.PROMOTE
        elif is_asked_back and (holds or said.state == State.DEMOTING):
            word = RoleOrder.DEMOTE
        else:
            word = RoleOrder.HOLD if holds else RoleOrder.STAND_BY
        body = _GRANT.pack(
            MAGIC,
            VERSION,
            Kind.GRANT,
            3,
            said.counter,
            said.service,
            keys.node_id(name),
            incarnation,
            token << 8 | word,
            lease_ms,
            self.demote_ms,
        )
        udp.sendto(body + tag(self.key(name), body), peer)

    def _take_standing(self, udp: socket.socket, name: str, data: bytes, peer) -> bool:
        try:
            said = open_role_report(data, self.key(name))
        except MalformedRecord:
            return False
        self.note(lambda: self.standings.append((name, said)))
        if not self.is_mute:
            self._grant(udp, name, said, peer, int.from_bytes(data[24:32], "little"))
        return True

    def _serve_roles(self, name: str, path: str, body: dict) -> tuple[int, dict]:
        if path == "/v1/agent/services":
            self.note(lambda: self.declared.update({name: body["services"]}))
            return 202, {"services": []}
        token, holder, _ = self.roles.get(body["service"], (0, "", False))
        found = [said for said in self.declared.get(holder, []) if said["name"] == body["service"]]
        shown = {"address": found[0]["address"], "port": found[0]["port"]} if found else {}
        answer = {"node": holder, "address": "", "port": 0, **shown}
        return 200, {"token": token, "phase": "held", "holder": answer if holder else None}

    def _sealed(self, name: str, kind: Kind, **fields) -> bytes:
        return seal(Record(kind=kind, node=keys.node_id(name), **fields), self.key(name))

    def _listen(self, udp: socket.socket) -> None:
        names = {}
        while True:
            try:
                data, peer = udp.recvfrom(2048)
            except ConnectionRefusedError:
                continue
            if data == b"stop":
                return
            node = int.from_bytes(data[16:24], "little")
            for asked in self.joins:
                names[keys.node_id(asked["name"])] = asked["name"]
            name = names.get(node)
            if name is None:
                continue
            if self._take_standing(udp, name, data, peer):
                continue
            try:
                spoken = open_record(data, self.key(name))
            except MalformedRecord:
                continue
            with self._changed:
                self.datagram_peers.append(peer)
                self.records.append(spoken)
                self._changed.notify_all()
            if not self.is_mute:
                self._answer(udp, name, spoken, peer)

    def _answer(self, udp: socket.socket, name: str, spoken: Record, peer) -> None:
        fields = {
            "incarnation": spoken.incarnation,
            "sequence": spoken.sequence,
            "interval_ms": spoken.interval_ms,
            "slot": 3,
            "echo": self.session,
            "flags": Flag.MAIL if self.actions.get(name) else 0,
        }
        if spoken.kind != Kind.PROBE_REPLY and spoken.echo != self.session:
            udp.sendto(self._sealed(name, Kind.PROBE, **fields), peer)
        elif spoken.flags & Flag.ACKNOWLEDGE:
            udp.sendto(self._sealed(name, Kind.ACKNOWLEDGEMENT, **fields), peer)

    def serve(self, path: str, body: dict, bearer: str) -> tuple[int, dict]:
        """Answer one POST request."""
        if path == "/v1/join/challenge":
            return 200, {"challenge": "a-challenge"}
        self.note(lambda: self.requests.append((path, body)))
        if path == "/v1/join":
            return self._serve_join(body)
        names = [asked["name"] for asked in self.joins if bearer == self._bearer(asked["name"])]
        if not names:
            return 401, {"detail": "who are you"}
        name = names[0]
        if path == f"/v1/nodes/{name}/heartbeat":
            return 202, {
                "echo": self.session,
                "interval_ms": body["interval_ms"],
                "mail": bool(self.actions.get(name)),
            }
        if path == "/v1/agent/inbox":
            waiting = list(self.actions.get(name, []))
            return 200, {"actions": waiting}
        if path == "/v1/agent/outcome":
            return self._serve_outcome(name, body)
        if path == "/v1/agent/report" and not self.refuses_reports:
            return 202, {"taken": True}
        if path in ("/v1/agent/services", "/v1/agent/primary"):
            return self._serve_roles(name, path, body)
        return 404, {"detail": "no such route"}

    def _serve_join(self, body: dict) -> tuple[int, dict]:
        said = json.loads(join.decoded(body["request"]))
        sent = {key: body[key] for key in ("payload", "challenge", "proof")}
        asked = join.JoinRequest(said["name"], said["nonce"], body["request"], **sent)
        udp = self.udp_shown or f"127.0.0.1:{self.port}"
        try:
            join.check_proof(self.master, asked)
            join.check_terms(asked, 0)
        except join.JoinRefused as error:
            return 403, {"reason": str(error)}
        answer = join.answer(
            self.master, asked, self.key(asked.name), nonce=os.urandom(16), udp=udp
        )
        self.note(lambda: self.joins.append({**body, **said}))
        return 200, asdict(answer)

    def _serve_outcome(self, name: str, body: dict) -> tuple[int, dict]:
        if self.refuses_outcomes:
            self.refuses_outcomes -= 1
            return 503, {"detail": "not now"}
        waiting = self.actions.get(name, [])
        rest = [action for action in waiting if action["key"] != body["key"]]
        self.actions[name] = rest
        self.note(lambda: self.outcomes.append(body))
        return 202, {}

    def _bearer(self, name: str) -> str:
        return f"Bearer {keys.bearer(self.key(name))}"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, monitor: TinyMonitor) -> None:
        self.monitor = monitor
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write for head and body, or Nagle's algorithm makes each answer 40 ms late.
    wbufsize = -1
    timeout = 5

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = json.loads(self.rfile.read(length) or "{}")
        bearer = self.headers.get("Authorization", "")
        status, answer = self.server.monitor.serve(self.path, body, bearer)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        return


@pytest.fixture
def monitor():
    tiny = TinyMonitor().open()
    yield tiny
    tiny.close()


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch, tmp_path):
    """Keep the state of the user who runs the tests out of them, and theirs out of this."""
    for name in [name for name in os.environ if name.startswith("BEATWARD_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEATWARD_DATA", str(tmp_path / "data"))


@pytest.fixture(autouse=True)
def no_turn_fails(caplog):
    """A heart outlives its own mistakes; so a test has to look for them in the log."""
    yield
    assert not [record for record in caplog.get_records("call") if "a turn failed" in record.msg]


@pytest.fixture
def told(monitor, tmp_path):
    """What a node on another machine is told, as arguments."""
    return {"monitor": monitor.url, "token": monitor.token(), "data": tmp_path / "node"}


@pytest.fixture
def environment(monitor, tmp_path):
    """What a node on another machine is told, as an environment for a child process."""
    return {
        **os.environ,
        "BEATWARD_MONITOR": monitor.url,
        "BEATWARD_TOKEN": monitor.token(),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"),
        "PYTHONUNBUFFERED": "1",
    }


COMMAND_LINE = "from beatward.cli import main; main()"


@pytest.fixture
def beatward(start):
    """Start the command line in a process of its own."""
    return lambda *arguments, **options: start("-c", COMMAND_LINE, *arguments, **options)


@pytest.fixture
def start(environment):
    """Start Python in a process of its own; whatever still runs at the end is killed."""
    running: list[subprocess.Popen] = []

    def begin(*arguments: str, **options) -> subprocess.Popen:
        settings = {
            "env": environment,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        process = subprocess.Popen([sys.executable, *arguments], **settings)
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
