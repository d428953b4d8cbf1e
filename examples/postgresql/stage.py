"""Two PostgreSQL servers under beatward on hosts of their own, clients that write, and faults.

    monitor 10.77.0.1     a 10.77.0.2     b 10.77.0.3     client 10.77.0.4

`Stage.suffer` lets one fault happen to whoever is primary, waits until the other one takes writes,
mends what was broken, waits until the old primary stands by again, and looks for every row that
was acknowledged. Not here: what is printed (`story`), and the long loop (`soak`).
"""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from examples.ground import faults
from examples.ground.cluster import Agent, Monitor, TookTooLong, wait_for
from examples.ground.faults import Mend
from examples.ground.network import Network, send
from examples.postgresql.client import Session, Write, Writer, doubles, lost
from examples.postgresql.servers import HOOKS, NAMES, Place

SERVICE = "db"
# What each writer's rows begin with; neither ever gets as far as the other's.
FIRST_ROWS = {"a": 0, "b": 1_000_000_000}
WRITABLE_TIMEOUT_S = 90.0
# Small servers are promoted in less than a second. Who loses the role sooner than so long after it
# has taken it counts as having failed, and is tried again after as long; faults are further apart.
PROMOTE_WITHIN_S = 5
RETURN_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Tuning:
    """What decides how long a failover takes; the defaults are beatward's own."""

    lease: str = "2s"
    demote_within: str = "1s"
    state_every: str = "1s"
    interval: str = "1s"
    window: str = "1s"


DEFAULT = Tuning()
TUNED = Tuning("1s", "600ms", "250ms", "200ms", "300ms")


@dataclass(frozen=True, slots=True)
class Report:
    """What one fault did; seconds.

    writable      from the fault to the first write that the new primary acknowledged
    gap           from the last write of the old one to that; it is shorter where the old primary
                  goes on until its lease ends
    back          from the fault to when there was a standby again
    acknowledged  writes since the stage was set
    lost          acknowledged writes that were there before and are no more
    doubles       writes that an older holder acknowledged after a newer one's first
    """

    fault: str
    old: str
    new: str
    token: int
    writable: float
    gap: float
    back: float
    acknowledged: int
    lost: int
    doubles: int

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON writes it."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


class Stage:
    """The hosts and all that runs on them; `with` ends every process and removes every file."""

    def __init__(
        self,
        *,
        is_synchronous: bool = True,
        tuning: Tuning = DEFAULT,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._say = say
        # Everybody may pass through: the servers run as a user of their own.
        self.folder = Path(tempfile.mkdtemp(prefix="beatward-"))
        self.folder.chmod(0o755)
        self.network = Network()
        self._is_synchronous = is_synchronous
        self._tuning = tuning
        self.writers: dict[str, Writer] = {}
        self._lost: set[int] = set()
        self._doubles: set[int] = set()

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of it; never raises."""
        for writer in self.writers.values():
            writer.stop()
        self.network.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self) -> None:
        self.network.__enter__()
        self.monitor = Monitor(
            self.network.host("monitor"), self.folder / "monitor", _monitor_settings(self._tuning)
        )
        self.agents: dict[str, Agent] = {}
        self.places: dict[str, Place] = {}
        for name in "ab":
            host = self.network.host(name)
            place = self.places[name] = Place(self.folder / name)
            place.prepare(is_synchronous=self._is_synchronous)
            settings = _agent_settings(self._tuning, place, host.address)
            self.agents[name] = Agent(host, self.folder / f"agent-{name}", settings)
        self.client = self.network.host("client")
        self.places["a"].create()
        self.monitor.start()
        self.agents["a"].start(self.monitor)
        wait_for(lambda: self.primary == "a", "a as the primary", timeout=60)
        self.ask("a", "CREATE TABLE writes (number bigint PRIMARY KEY)")
        self.agents["b"].start(self.monitor)
        self.wait_standby("b")
        for name, place in self.places.items():
            address = self.agents[name].host.address
            writer = Writer(address, place.port, first_row=FIRST_ROWS[name])
            self.writers[name] = writer
            self.client.begin(writer.run)
        wait_for(lambda: self.writers["a"].writes, "the first write")

    # --- looking ---

    def ask(self, name: str, statement: str) -> list[list[str]]:
        """Ask a server, as a client."""
        place = self.places[name]

        def question() -> list[list[str]]:
            address = self.agents[name].host.address
            with Session(address, place.port, timeout=10) as session:
                return session.ask(statement)

        return self.client.inside(question)

    @property
    def primary(self) -> str:
        """Who holds the role, or ""."""
        service = self.monitor.service(SERVICE)
        return str(service["holder"]) if service.get("phase") == "held" else ""

    def _is_settled(self) -> bool:
        service = self.monitor.service(SERVICE)
        return service.get("phase") == "held" and service["since_ns"] > PROMOTE_WITHIN_S * 10**9

    def wait_standby(self, name: str) -> None:
        """Wait until a node could be promoted, and is written to in time if it is to be."""
        wait_for(
            lambda: self._stands_by(name),
            f"{name} as a standby",
            timeout=RETURN_TIMEOUT_S,
            pause=0.1,
        )

    def _stands_by(self, name: str) -> bool:
        service = self.monitor.service(SERVICE)
        members = {member["node"]: member for member in service.get("members", ())}
        member = members.get(name, {})
        return (member.get("state"), member.get("status")) == ("standby", "alive")

    # --- faults ---

    def suffer(self, fault: str) -> Report:
        """Let a fault happen to the primary and see it through.

        Raises TookTooLong, with what the monitor says of the service.
        """
        wait_for(self._is_settled, f"a primary for {PROMOTE_WITHIN_S} s", timeout=60, pause=0.1)
        service = self.monitor.service(SERVICE)
        old, token = str(service["holder"]), int(service["token"])
        began = time.monotonic()
        mend = FAULTS[fault](self, old)
        self._say(f"{fault}: {old}")
        try:
            first = self._wait_write(token)
            before = [write.at for write in self.all_writes() if write.at < first.at]
            self._say(f"{first.server} takes writes under token {first.token}")
            mend()
            # With the monitor gone too, the old primary may have been the first to be back.
            other = "b" if first.server == "a" else "a"
            self.wait_standby(other)
        except TookTooLong as error:
            raise TookTooLong(f"{fault} of {old}: {error}; {self._explanation()}") from error
        back = time.monotonic()
        self._say(f"{other} stands by for {first.server}")
        fresh_lost, fresh_doubles = self._check(first.server)
        return Report(
            fault=fault,
            old=old,
            new=first.server,
            token=first.token,
            writable=first.at - began,
            gap=first.at - before[-1],
            back=back - began,
            acknowledged=len(self.all_writes()),
            lost=fresh_lost,
            doubles=fresh_doubles,
        )

    def _wait_write(self, token: int) -> Write:
        """Wait for the first write under a token above this one."""

        def newer() -> Write | None:
            found = [
                write
                for writer in self.writers.values()
                for write in writer.writes[-100:]
                if write.token > token
            ]
            return min(found, key=lambda write: write.at, default=None)

        return wait_for(newer, f"a write under a token above {token}", timeout=WRITABLE_TIMEOUT_S)

    def _explanation(self) -> str:
        service = self.monitor.get(f"/v1/services/{SERVICE}", default={}) or {}
        return str(service.get("explanation", "the monitor does not answer"))

    def all_writes(self) -> list[Write]:
        """Return every acknowledged write so far, in the order of the answers."""
        writes = [write for writer in self.writers.values() for write in list(writer.writes)]
        return sorted(writes, key=lambda write: write.at)

    def _check(self, name: str) -> tuple[int, int]:
        """Look for every row so far; returns how many are newly lost, and newly double."""
        # Acknowledged before we look; what is acknowledged while we look may be missing.
        writes = self.all_writes()
        rows = {int(number) for (number,) in self.ask(name, "SELECT number FROM writes")}
        found = {write.row for write in lost(writes, rows)}
        twice = {write.row for write in doubles(writes)}
        fresh = len(found - self._lost), len(twice - self._doubles)
        self._lost |= found
        self._doubles |= twice
        return fresh


def _server_killed(stage: Stage, name: str) -> Mend:
    send(signal.SIGKILL, [stage.places[name].postmaster])
    return lambda: None


def _both_killed(stage: Stage, name: str) -> Mend:
    _server_killed(stage, name)
    return faults.agent_killed(stage.monitor, stage.agents[name], SERVICE)


def _monitor_killed(stage: Stage, name: str) -> Mend:
    stage.monitor.kill()
    _server_killed(stage, name)
    stage.monitor.start()
    return lambda: None


def _all_but_server_killed(stage: Stage, name: str) -> Mend:
    agent = stage.agents[name]
    spared = set(stage.places[name].processes())
    send(signal.SIGKILL, set(agent.host.freeze()) - spared)
    agent.host.thaw()
    return lambda: agent.start(stage.monitor)


def _of_any_node(fault: faults.Fault) -> Callable[[Stage, str], Mend]:
    return lambda stage, name: fault(stage.monitor, stage.agents[name], SERVICE)


# What can happen to the primary, by its name.
FAULTS: dict[str, Callable[[Stage, str], Mend]] = {
    "server-killed": _server_killed,
    "server-and-agent-killed": _both_killed,
    "server-and-monitor-killed": _monitor_killed,
    "all-but-server-killed": _all_but_server_killed,
    **{name: _of_any_node(fault) for name, fault in faults.FAULTS.items()},
}


def _monitor_settings(tuning: Tuning) -> str:
    return f"""
[failover]
lease = "{tuning.lease}"
demote_within = "{tuning.demote_within}"
promote_within = "{PROMOTE_WITHIN_S}s"

[probe]
window = "{tuning.window}"

[recovery]
hold = "1s"
"""


def _agent_settings(tuning: Tuning, place: Place, address: str) -> str:
    hooks = "".join(f'{name} = ["{HOOKS / name}", "{place.settings}"]\n' for name in NAMES)
    return f"""
interval = "{tuning.interval}"

[service.{SERVICE}]
mode = "failover"
address = "{address}"
port = {place.port}
state_every = "{tuning.state_every}"
{hooks}"""
