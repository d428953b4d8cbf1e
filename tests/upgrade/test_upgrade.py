"""The data folder of an older version opens, and that version's agents go on; see `make.py`."""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.harness import Monitor
from tests.upgrade.scene import SETTINGS, answers
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "data.zip").exists())
# Written for the older agent.
PROGRAM = """
import sys
import beatward
from beatward import Heart, Service
print(beatward.__file__, flush=True)
def heart(name, **more):
    return Heart(name, data=sys.argv[1], **more).start()
web = heart("web-1", labels={"zone": "a", "rack": "7"}, services=[Service("web", port=80)])
ill = heart("web-2", transport="http", services=[Service("web", port=81, weight=50)])
db = heart("db-1")
for one in (web, ill, db):
    assert one.wait_acknowledged("20s"), one.name
ill.report("failing")
role = db.role("db", priority=200, port=5432)
assert role.wait()
print(role.token, flush=True)
sys.stdin.read()
role.close()
for one in (web, ill, db):
    one.stop()
"""


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes webhooks."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.keys.append(self.headers["Idempotency-Key"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        return


@contextmanager
def receiver():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.keys = []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Upgraded:
    """Today's monitor on a copy of an older version's data."""

    def __init__(self, version, monitor, keys):
        self.monitor = monitor
        self.keys = keys
        self.agent = HERE / version / "agent.zip"
        self.then = json.loads((HERE / version / "expected.json").read_text())
        self.now = answers(monitor)

    @property
    def environment(self):
        told = {"PYTHONPATH": str(self.agent), "BEATWARD_DATA": str(self.monitor.data)}
        return {**os.environ, **told}


@pytest.fixture(scope="module", params=VERSIONS)
def upgraded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("upgraded")
    with receiver() as server:
        url = f"http://127.0.0.1:{server.server_port}/"
        monitor = Monitor(folder, SETTINGS.format(url=url))
        with zipfile.ZipFile(HERE / request.param / "data.zip") as archive:
            archive.extractall(monitor.data)
        # An upgrade leaves the monitor at its addresses; these were ports of another day.
        for path in (monitor.data / "agent").glob("*.json"):
            known = json.loads(path.read_text("utf-8"))
            path.write_text(json.dumps({**known, "monitor": monitor.url, "udp": monitor.udp}))
        for path in monitor.data.rglob("*.*"):
            path.chmod(0o600)
        with monitor:
            yield Upgraded(request.param, monitor, server.keys)


def same(then, now, *members):
    """Compare members of two lists of objects, by the first member."""
    left = {one[members[0]]: {member: one[member] for member in members} for one in then}
    right = {one[members[0]]: {member: one[member] for member in members} for one in now}
    assert right == left


def test_an_older_version_is_there():
    assert VERSIONS


def test_every_node_is_there_with_all_that_was_said_of_it(upgraded):
    then, now = upgraded.then["nodes"], upgraded.now["nodes"]
    for one in (*then, *now):
        # What is counted from the instant of asking.
        for said in (one["maintenance"] or {}, one["acknowledgement"] or {}):
            said.pop("left_ns", None)
    same(then, now, "name", "labels", "incarnation", "maintenance", "acknowledgement", "silence")
    lasting = {one["name"] for one in then if one["status"] in ("dead", "left", "paused")}
    assert lasting == {"batch-1", "batch-2", "cron-1", "hourly"}
    kept = [[one for one in both if one["name"] in lasting] for both in (then, now)]
    same(*kept, "name", "status", "cause", "since")


def test_every_job_promises_what_it_promised_and_ran_as_it_ran(upgraded):
    then, now = ([one for one in upgraded.then["nodes"] if one["job"]] for _ in range(2))
    now = [one for one in upgraded.now["nodes"] if one["job"]]
    plans = [[{"name": one["name"], **one["job"]} for one in both] for both in (then, now)]
    members = ("schedule", "timezone", "period_ns", "grace_ns", "max_run_ns")
    same(*plans, "name", *members, "ended", "succeeded", "ran_ns", "failed", "exit_code")
    assert {one["name"] for one in now} == {"backup", "sync", "hourly"}


def test_every_service_has_its_members_and_its_token(upgraded):
    then, now = upgraded.then["services"], upgraded.now["services"]
    for one in (*then, *now):
        (one["paused"] or {}).pop("left_ns", None)
    same(then, now, "name", "mode", "holder", "token", "automatic", "paused")
    offered = ("node", "address", "port", "weight", "priority", "zone", "version", "labels")
    for before, after in zip(then, now, strict=True):
        same(before["members"], after["members"], *offered)


def test_every_silence_and_every_event_is_there(upgraded):
    then, now = upgraded.then["silences"], upgraded.now["silences"]
    same(then, now, "id", "node", "labels", "actions", "at", "until", "by", "reason")
    kept = upgraded.now["events"][: len(upgraded.then["events"])]
    same(upgraded.then["events"], kept, *upgraded.then["events"][0])


def test_secrets_that_were_handed_out_are_good(upgraded):
    monitor = upgraded.monitor
    assert monitor.api_token == upgraded.then["api_token"]
    with urllib.request.urlopen(monitor.url + upgraded.then["ping"], timeout=5) as answer:
        assert answer.read().strip() == b"ok"


def test_an_action_that_was_decided_is_done_under_its_key(upgraded):
    wait_for(lambda: upgraded.keys, what="the webhook that the older version could not deliver")
    events = {one["id"]: one for one in upgraded.then["events"]}
    decided = [one["id"] for one in events.values() if one["action"] == "alarm"]
    assert int(upgraded.keys[0].partition(".")[0]) + 1 == decided[0]
    assert events[decided[0]]["node"] == "batch-1"


def _held(monitor):
    db = monitor.get("/v1/services/db")
    return db if db["phase"] == "held" else None


def test_agents_of_the_older_version_go_on(upgraded):
    monitor = upgraded.monitor
    command = [sys.executable, "-c", PROGRAM, str(monitor.data)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=upgraded.environment, **pipes) as program:
        assert program.stdout.readline().startswith(f"{upgraded.agent}/beatward/")
        # Under token 1 it held the role before the upgrade; a stall that is longer than the lease
        # takes the role away, and gives it back under a higher token.
        token = int(program.stdout.readline())
        assert token >= 2
        monitor.wait_status(["web-1", "db-1"], "alive")
        monitor.wait_status("web-2", "failing")
        # The program has the role before the monitor has heard that it took it.
        db = wait_for(lambda: _held(monitor), what="the role as held")
        assert db["holder"] == "db-1"
        assert db["token"] >= token
        program.communicate("", timeout=30)
        assert program.returncode == 0
    monitor.wait_status(["web-1", "web-2", "db-1"], "left")


def test_an_older_agent_enrols_no_new_node_and_is_told_what_to_do(upgraded):
    done = subprocess.run(
        [sys.executable, "-m", "beatward", "agent", "--name", "new-1"],
        env=upgraded.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode != 0
    assert "upgrade beatward on the node to the monitor's version" in done.stderr
    assert "new-1" not in {one["name"] for one in upgraded.monitor.get("/v1/nodes")["nodes"]}


def test_commands_of_the_older_version_are_watched(upgraded):
    monitor = upgraded.monitor
    command = [
        sys.executable,
        "-m",
        "beatward",
        "exec",
        "web-3",
        "--",
        "sh",
        "-c",
        "read x; exit 3",
    ]
    with subprocess.Popen(command, env=upgraded.environment, stdin=subprocess.PIPE) as wrapper:
        monitor.wait_status("web-3", "alive")
        wrapper.communicate(b"\n", timeout=30)
        assert wrapper.returncode == 3
    monitor.wait_status("web-3", "dead")
    ended = [one for one in monitor.events() if one["node"] == "web-3" and one["status"] == "dead"]
    assert ended[-1]["cause"] == "exited"
