"""The hooks of examples/postgresql/ with two real servers on loopback, and no agent."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.ground.network import send
from examples.postgresql.client import Session
from examples.postgresql.servers import HOOKS, Place
from tests.harness import free_address
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.real,
    pytest.mark.needs("postgres"),
    pytest.mark.timeout(120),
]


class Member:
    """One server, as its agent would treat it."""

    def __init__(self, name: str, folder: Path, *, is_synchronous: bool) -> None:
        self.name = name
        port = int(free_address(socket.SOCK_STREAM).rpartition(":")[2])
        self.place = Place(folder / name, port)
        self.place.prepare(is_synchronous=is_synchronous)

    def hook(self, word: str, token: int, primary: "Member | None" = None, *, code: int = 0) -> str:
        """Run a hook and return what it printed; `code` is how it must end."""
        done = subprocess.run(
            [HOOKS / word, self.place.settings],
            env={
                **os.environ,
                "BEATWARD_NODE": self.name,
                "BEATWARD_TOKEN": str(token),
                "BEATWARD_PRIMARY": primary.name if primary else "",
                "BEATWARD_PRIMARY_ADDRESS": "127.0.0.1" if primary else "",
                "BEATWARD_PRIMARY_PORT": str(primary.place.port) if primary else "",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"{self.name} {word}: {done.stderr}"
        return done.stdout.strip() if code == 0 else done.stderr.strip()

    def ask(self, statement: str) -> list[list[str]]:
        with Session("127.0.0.1", self.place.port, timeout=10) as session:
            return session.ask(statement)

    def count(self) -> int:
        return int(self.ask("SELECT count(*) FROM writes")[0][0])


@pytest.fixture(params=["asynchronous", "synchronous"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Member, Member]]:
    """Two servers; a is the primary under token 1 with 1000 rows, b has everything."""
    # Not pytest's folder: PostgreSQL's user must be able to go there.
    memory = Path("/dev/shm")  # the disk of a busy machine would make it a minute
    folder = Path(tempfile.mkdtemp(prefix="beatward-", dir=memory if memory.exists() else None))
    folder.chmod(0o755)
    is_synchronous = request.param == "synchronous"
    a, b = (Member(name, folder, is_synchronous=is_synchronous) for name in "ab")
    try:
        a.place.create()
        a.hook("start", 0)
        a.hook("promote", 1)
        a.ask("CREATE TABLE writes (number int)")
        a.ask("INSERT INTO writes SELECT generate_series(1, 1000)")
        b.hook("start", 1, a)
        yield a, b
    finally:
        send(signal.SIGKILL, [pid for member in (a, b) for pid in member.place.processes()])
        wait_for(lambda: not a.place.processes() + b.place.processes(), what="the servers' end")
        shutil.rmtree(folder)


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_a_killed_primary_is_followed_by_its_standby_and_comes_back_rewound(pair) -> None:
    a, b = pair
    kind, lsn = b.hook("state", 1).split()
    assert kind == "standby"
    assert int(lsn) > 0
    os.kill(a.place.postmaster, signal.SIGKILL)
    # Those that it leaves answer for a moment, and break off.
    wait_for(lambda: not a.place.processes(), what="the end of a killed server")
    assert a.hook("state", 1) == "none"
    a.hook("demote", 1)
    b.hook("promote", 2)
    b.hook("promote", 2)  # the agent may have been killed before it could note that it was done
    assert b.hook("state", 2).split()[0] == "primary"
    assert b.ask("SHOW beatward.token") == [["2"]]
    b.ask("INSERT INTO writes VALUES (1001)")
    a.hook("start", 2, b)
    assert a.hook("state", 2).split()[0] == "standby"
    assert a.count() == b.count() == 1001
    assert b.ask("SELECT sync_state FROM pg_stat_replication") == [["sync"]]


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_what_the_old_primary_alone_had_is_rewound_or_everything_is_copied_anew(pair) -> None:
    a, b = pair
    os.kill(b.place.postmaster, signal.SIGSTOP)
    send(signal.SIGKILL, b.place.processes())
    wait_for(lambda: not b.place.processes(), what="the standby's end")
    a.ask("INSERT INTO writes VALUES (-1)")  # which b never gets
    a.hook("stop", 1)
    b.hook("promote", 2)
    b.ask("INSERT INTO writes VALUES (1001)")
    a.hook("start", 2, b)
    assert a.ask("SELECT count(*) FROM writes WHERE number = -1") == [["0"]]
    assert a.count() == 1001
    # A rewind that was killed half-way leaves nothing that can be started.
    a.hook("stop", 2)
    (a.place.folder / "half").touch()
    a.hook("start", 2, b)
    assert a.count() == 1001


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_a_frozen_server_is_stopped_for_certain_and_a_switchover_loses_nothing(pair) -> None:
    a, b = pair
    a.hook("demote", 1)
    b.hook("promote", 2)
    a.hook("start", 2, b)
    b.ask("INSERT INTO writes VALUES (1001)")
    send(signal.SIGSTOP, b.place.processes())
    b.hook("stop", 2)
    assert b.place.processes() == []
    a.hook("promote", 3)
    assert a.count() == 1001


@pytest.mark.parametrize("pair", ["synchronous"], indirect=True)
def test_who_takes_up_its_own_role_again_goes_on_waiting_for_its_standby(pair) -> None:
    a, b = pair
    os.kill(a.place.postmaster, signal.SIGKILL)
    # Those that it leaves answer for a moment, and break off.
    wait_for(lambda: not a.place.processes(), what="the end of a killed server")
    assert a.hook("state", 1) == "none"
    a.hook("demote", 1)
    a.hook("start", 1)
    a.hook("promote", 2)
    # Nobody has told b anything; it goes on streaming and could be promoted at any moment.
    wait_for(
        lambda: a.ask("SELECT sync_state FROM pg_stat_replication") == [["sync"]],
        what="the standby's return",
    )
    a.ask("INSERT INTO writes VALUES (1001)")
    send(signal.SIGKILL, a.place.processes())
    b.hook("promote", 3)
    assert b.count() == 1001


@pytest.mark.parametrize("pair", ["asynchronous"], indirect=True)
def test_a_copy_from_of_old_is_not_able_to_stand_by_alone(pair) -> None:
    a, b = pair
    a.hook("stop", 1)
    b.hook("promote", 2)
    b.hook("stop", 2)
    # Both machines were switched off; a comes up first, and nobody is primary.
    assert "complete under token 1 and the newest is 2" in a.hook("start", 2, code=1)
    b.hook("start", 2)
    assert b.hook("state", 2).split()[0] == "standby"
