"""Members of services made by hand: standings on a real socket, without hooks and without leases.

A member does what the monitor grants it, at once or as its fields say. Its life is proved over
HTTP and lasts a minute, so that a test decides alone who is heard and who is not.
"""

import contextlib
import socket
import threading
from dataclasses import dataclass, field

import httpx2
from tests.waiting import wait_for

from beatward.core.protocol import keys
from beatward.core.protocol.record import NO_SLOT
from beatward.core.protocol.roles import (
    RoleOrder,
    RoleReport,
    State,
    open_grant,
    seal_role_report,
    service_id,
)

SPACING_SECONDS = 0.05


@dataclass
class Member:
    """One node that offers one service in failover mode.

    promotes   it can do what PROMOTE asks; if not, it says so
    demotes    it can do what DEMOTE asks; if not, it is STUCK
    heard      it speaks; if not, it is as dead as a cut cable
    """

    url: str
    master: bytes
    name: str
    service: str
    offer: dict = field(default_factory=dict)
    promotes: bool = True
    demotes: bool = True
    heard: bool = True
    state: State = State.STANDBY
    token: int = 0
    freshness: int | None = None
    incarnation: int = 1

    def start(self):
        self.node = keys.node_id(self.name)
        self.key = keys.node_key(self.master, self.node)
        self.bearer = {"Authorization": f"Bearer {keys.bearer(self.key)}"}
        self.live()
        offered = {"name": self.service, "mode": "failover", **self.offer}
        self.declare(offered)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name=self.name)
        self.thread.start()
        return self

    def post(self, path, **body):
        headers = self.bearer
        answer = httpx2.post(f"{self.url}{path}", json=body, headers=headers, trust_env=False)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def live(self):
        path = f"/v1/nodes/{self.name}/heartbeat"
        said = {"incarnation": self.incarnation, "sequence": 0, "interval": "60s"}
        echo = self.post(path, **said)["echo"]
        self.post(path, **said, echo=echo)

    def declare(self, *services):
        return self.post("/v1/agent/services", name=self.name, services=services)

    def die(self):
        """Be killed: silent from now on, and somebody saw it."""
        self.heard = False
        path = f"/v1/nodes/{self.name}/heartbeat"
        said = {"incarnation": self.incarnation, "sequence": 1, "interval": "60s"}
        self.post(path, **said, kind="goodbye", exit_code=-9)

    def end(self):
        self.ended.set()
        self.thread.join(10)

    def _run(self):
        status = httpx2.get(f"{self.url}/v1/status", trust_env=False).json()
        host, _, port = status["udp"].rpartition(":")
        counter = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            door.connect((host, int(port)))
            door.settimeout(SPACING_SECONDS)
            while not self.ended.is_set():
                if not self.heard:
                    self.ended.wait(SPACING_SECONDS)
                    continue
                counter += 1
                door.send(self._standing(counter))
                with contextlib.suppress(TimeoutError, ConnectionError):
                    while True:
                        self._obey(door.recv(2048))

    def _standing(self, counter):
        said = RoleReport(service_id(self.service), counter, self.state, self.token, self.freshness)
        return seal_role_report(
            said, node=self.node, incarnation=self.incarnation, slot=NO_SLOT, key=self.key
        )

    def _obey(self, data):
        grant = open_grant(data, node=self.node, incarnation=self.incarnation, key=self.key)
        if grant is None or not self.heard:
            return
        holds = self.state in (State.PROMOTING, State.ACTIVE, State.DEMOTING)
        if grant.order == RoleOrder.PROMOTE and grant.token > self.token:
            self.token = grant.token
            self.state = State.ACTIVE if self.promotes else State.UNABLE
        elif grant.order == RoleOrder.DEMOTE and holds and grant.token >= self.token:
            self.state = State.STANDBY if self.demotes else State.STUCK
        elif not holds and self.state != State.STUCK:
            self.token = max(self.token, grant.token)


def wait_heard(monitor, name, nodes):
    """Wait until these members have said where they stand: before that none can be chosen."""

    def are_heard():
        found = service(monitor, name)
        heard = {one["node"] for one in found["members"] if one["heard"]} if found else set()
        return heard >= set(nodes)

    wait_for(are_heard, f"{nodes} of {name} say where they stand")


def service(monitor, name):
    """Return a service as the API shows it; None where there is none."""
    answer = monitor.http.get(f"/v1/services/{name}", headers=monitor.api)
    return answer.json() if answer.status_code == 200 else None


def balance(monitor, name, *nodes):
    for node in nodes:
        monitor.live(node)
        said = {"name": node, "services": [{"name": name, "weight": 50, "labels": {"rack": "7"}}]}
        path = "/v1/agent/services"
        answer = monitor.http.post(path, json=said, headers=monitor.bearer(node))
        assert answer.status_code == 202, answer.text
