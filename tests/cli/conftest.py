"""The command line as users have it: processes, a real monitor, exit codes."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
from tests.harness import Monitor
from tests.waiting import wait_for
from tests.web.members import Member, wait_heard

from beatward.cli import main

# Short, so that waiting out a lease takes less than a test's patience.
LENDING = """
[failover]
lease = "1s"
demote_within = "500ms"
"""


def clean_environment(home, **more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BEATWARD_")}
    return {**kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), **more}


@dataclass
class Done:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def environment(home):
    return lambda **more: clean_environment(home, **more)


@pytest.fixture
def beatward(environment, monkeypatch):
    """Run a command by its own main() in this process, which is ten times as fast."""

    def run(*arguments, **more):
        out, err = io.StringIO(), io.StringIO()
        with monkeypatch.context() as patch:
            for key in [*os.environ]:
                patch.delenv(key)
            for key, value in environment(**more).items():
                patch.setenv(key, value)
            patch.setattr(sys, "argv", ["beatward", *map(str, arguments)])
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                    code = 0
                except SystemExit as end:
                    code = end.code or 0
        return Done(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def process(environment):
    """Run a command as a process of its own."""

    def run(*arguments, **more):
        done = subprocess.run(
            [sys.executable, "-m", "beatward", *map(str, arguments)],
            env=environment(**more),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def monitor(tmp_path_factory):
    """One monitor for all tests of this room; each test uses names of its own."""
    running = Monitor(tmp_path_factory.mktemp("monitor")).start()
    yield running
    running.end()


@pytest.fixture
def make_monitor(tmp_path):
    """Start monitors that a test may end or disturb."""
    made = []

    def make(name="own", **more):
        made.append(Monitor(tmp_path / name, **more))
        return made[-1].start()

    yield make
    for one in made:
        one.end()


@pytest.fixture(scope="session")
def wait_until():
    return wait_for


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A monitor that lends roles for a second at a time."""
    monitor = Monitor(tmp_path_factory.mktemp("services"), settings=LENDING).start()
    yield monitor
    monitor.end()


@pytest.fixture
def run(beatward, served):
    return lambda *arguments, **more: beatward(*arguments, "--data", served.data, **more)


@pytest.fixture
def held(run, wait_until):
    """Wait until somebody holds a service's role, and return it."""

    def wait(name, holder=None, phase="held"):
        def has_it():
            done = run("services", name, "--json")
            if done.code or done.json["phase"] != phase:
                return None
            return done.json if holder in (None, done.json["holder"]) else None

        return wait_until(has_it, f"{name} is {phase} ({holder})")

    return wait


@pytest.fixture
def members(served):
    made = []

    def make(name, *nodes, at=served):
        for index, node in enumerate(nodes):
            offer = {"priority": 100 - index, "address": "10.0.0.1", "port": 5432}
            made.append(Member(at.url, at.master, node, name, offer).start())
        wait_heard(at, name, nodes)
        return made[-len(nodes) :]

    yield make
    for member in made:
        member.end()
