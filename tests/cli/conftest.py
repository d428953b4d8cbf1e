"""The command line as users have it: processes, a real monitor, exit codes."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from tests.waiting import wait_for
from tests.web.members import Member

from beatward.cli import main
from beatward.core.protocol import keys

PATIENCE_SECONDS = 20
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
class Monitor:
    """`beatward monitor` as a process of its own; may be ended and started again."""

    folder: Path
    settings: str = ""
    file_size_max: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    process: subprocess.Popen | None = field(default=None, init=False)

    @property
    def data(self):
        return self.folder / "data"

    @property
    def local(self):
        return json.loads((self.data / "local.json").read_text("utf-8"))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.folder.mkdir(exist_ok=True)
        path = self.folder / "settings.toml"
        path.write_text(
            f'[monitor]\nudp = "127.0.0.1:0"\nhttp = "{self.host}:{self.port}"\n'
            f'data = "{self.data}"\n{self.settings}',
            "utf-8",
        )
        (self.data / "local.json").unlink(missing_ok=True)
        limit = self.file_size_max

        def restrict():
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "beatward", "monitor", "-c", str(path)],
            env=clean_environment(self.folder),
            stdout=log,
            stderr=log,
            preexec_fn=restrict,  # noqa: PLW1509  no thread of ours holds a lock here
        )
        log.close()
        wait_for(self._answers, f"the monitor answers: {(self.folder / 'log').read_text('utf-8')}")
        return self

    def _answers(self):
        assert self.process.poll() is None, (self.folder / "log").read_text("utf-8")
        if not (self.data / "local.json").exists():
            return False
        try:
            self.port = int(self.local["monitor"].rpartition(":")[2])
            return httpx2.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except (httpx2.HTTPError, ValueError):
            return False

    def end(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_SECONDS)
            self.process = None

    @property
    def master(self):
        return (self.data / "master.key").read_bytes()

    @property
    def api(self):
        return {"Authorization": f"Bearer {self.local['api_token']}"}

    def ping(self, name, rest=""):
        key = keys.ping_key(keys.node_key(self.master, keys.node_id(name)))
        answer = httpx2.get(f"{self.url}/ping/{name}/{key}{rest}", trust_env=False)
        assert answer.status_code == 200, answer.text

    def exits(self, name, code):
        """Let a node beat, and say that its program has ended with a code."""
        key = keys.node_key(self.master, keys.node_id(name))
        said = {"incarnation": time.time_ns() // 1000, "interval": "1d", "echo": 0}
        for sequence, more in enumerate(({}, {}, {"kind": "goodbye", "exit_code": code})):
            answer = httpx2.post(
                f"{self.url}/v1/nodes/{name}/heartbeat",
                headers={"Authorization": f"Bearer {keys.bearer(key)}"},
                json={**said, **more, "sequence": sequence},
                trust_env=False,
            )
            assert answer.status_code in (200, 202), answer.text
            said["echo"] = answer.json()["echo"]
            # The first heartbeat of a life only proves that it is no recorded one.
            if sequence:
                self.wait_status(name, "dead" if more else "alive")

    def wait_status(self, name, status):
        def has_it():
            answer = httpx2.get(f"{self.url}/v1/nodes/{name}", headers=self.api, trust_env=False)
            return answer.status_code == 200 and answer.json()["status"] == status

        wait_for(has_it, f"{name} is {status}")

    def order(self, name, word):
        url = f"{self.url}/v1/nodes/{name}/{word}"
        answer = httpx2.post(url, headers=self.api, trust_env=False)
        assert answer.status_code == 202, answer.text


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
        return made[-len(nodes) :]

    yield make
    for member in made:
        member.end()
