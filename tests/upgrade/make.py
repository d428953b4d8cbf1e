"""Make what `test_upgrade.py` begins from: a data folder of an older version, and its agent.

    git worktree add OLD cd643e2 && (cd OLD && make setup)
    OLD/.venv/bin/python tests/upgrade/make.py OLD cd643e2

Writes `cd643e2/data.zip` (keys, journal and agents' state, as that version's own monitor and agents
wrote them), `cd643e2/agent.zip` (the sources of an agent; Python runs them as they are) and
`cd643e2/expected.json` (what that monitor answered at last). The keys are of this folder only.
"""

import json
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from pathlib import Path
from subprocess import PIPE

SOURCES, VERSION = Path(sys.argv[1]).resolve(), sys.argv[2]
sys.path.insert(0, str(SOURCES))
from scene import SETTINGS, answers  # noqa: E402  from this folder
from tests.live.harness import LiveMonitor, wait_for  # noqa: E402  of the older version

HERE = Path(__file__).parent / VERSION
# What an agent needs, and no room of the monitor.
AGENT = (
    *("__init__.py", "__main__.py", "errors.py", "core/__init__.py", "core/instants.py"),
    *("cli/__init__.py", "cli/agent.py", "cli/exec.py", "core/protocol/*.py", "agent/**/*.py"),
)
PROGRAM = """
import sys, threading
from beatward import Heart, Service
data = sys.argv[1]
def heart(name, **more):
    return Heart(name, data=data, **more).start()
web = heart("web-1", labels={"zone": "a", "rack": "7"}, services=[Service("web", port=80)])
over_http = heart("web-2", transport="http", services=[Service("web", port=81, weight=50)])
ill = heart("web-3", labels={"zone": "b"})
gone, left = heart("batch-1"), heart("batch-2")
db = [heart("db-1"), heart("db-2")]
for one in (web, over_http, ill, gone, left, *db):
    assert one.wait_acknowledged("20s")
ill.report("failing")
roles = [db[0].role("db", priority=200, port=5432), db[0].role("cache"), db[1].role("db")]
assert roles[0].wait() and roles[1].wait()
gone.stop(exit_code=7)
left.stop()
print("ready", flush=True)
sys.stdin.read()
for one in (web, over_http, ill):
    one.report("failing" if one is ill else "ok")
"""


def run(*arguments: str) -> str:
    """Run a command of the older version to its end, and return what it printed."""
    command = [sys.executable, "-m", "beatward", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout


def fill(monitor: LiveMonitor, program: subprocess.Popen[bytes]) -> dict[str, str]:
    """Let there be a row of every kind; returns the ping URL's path."""
    assert program.stdout is not None
    assert program.stdout.readline() == b"ready\n"
    data = str(monitor.data)
    backup = ("--schedule", "0 3 * * *", "--timezone", "Europe/Berlin", "--max-run", "1h")
    run("exec", "--data", data, "backup", *backup, "--", "true")
    run("exec", "--data", data, "sync", "--every", "1h", "--", "sh", "-c", "exit 7")
    monitor.post("/v1/jobs/hourly", {"schedule": "0 * * * *"}, method="PUT")
    url = run("token", "ping", "cron-1", "--data", data, "--monitor", monitor.url).strip()
    with urllib.request.urlopen(url) as answer:
        assert answer.status == 200
    wait_for(lambda: {"cron-1", "hourly", "sync"} <= monitor.statuses().keys(), what="all nodes")
    years = {"for": "3650d", "by": "ann", "reason": "new disks"}
    monitor.post("/v1/pause", {"nodes": ["cron-1"], **years})
    monitor.post("/v1/nodes/hourly/pause")
    monitor.post("/v1/silences", {"node": "web-*", **years})
    monitor.post("/v1/silences", {"node": "batch-*", "actions": True, **years})
    monitor.wait_status("dead", ["batch-1"])
    monitor.post("/v1/nodes/batch-1/acknowledgement", {"by": "ann", "note": "known"})
    monitor.post("/v1/services/cache/pause", years)
    wait_for(lambda: monitor.statuses() == WANTED, what="every status")
    wait_for(lambda: monitor.get("/v1/nodes/batch-1")["acknowledgement"], what="it is known")
    wait_for(lambda: monitor.get("/v1/services/cache")["paused"], what="the service's pause")
    wait_for(lambda: len(outcomes(monitor)) >= 3, what="an action that is done and one that waits")
    return {"ping": url.removeprefix(monitor.url)}


WANTED = {
    **dict.fromkeys(("web-1", "web-2", "db-1", "db-2", "backup"), "alive"),
    "web-3": "failing",
    "batch-1": "dead",
    "batch-2": "left",
    "sync": "failing",
    **dict.fromkeys(("cron-1", "hourly"), "paused"),
}


def outcomes(monitor: LiveMonitor) -> list[str]:
    """Return the outcomes of actions so far."""
    return [event["outcome"] for event in monitor.events() if event["event"] == "outcome"]


def pack(path: Path, files: dict[str, Path]) -> None:
    """Write files into an archive, the same bytes for the same contents."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            # The first instant that the format knows.
            archive.writestr(zipfile.ZipInfo(name), files[name].read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Make all three files anew."""
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        monitor = LiveMonitor(Path(folder), SETTINGS.format(url="http://127.0.0.1:9/"))
        command = [sys.executable, "-c", PROGRAM, str(monitor.data)]
        with monitor, subprocess.Popen(command, stdin=PIPE, stdout=PIPE) as program:
            try:
                more = fill(monitor, program)
                known = {"api_token": monitor.api_token, **answers(monitor)}
                # The monitor ends first, so that no node has said goodbye to it.
                monitor.stop()
            finally:
                program.kill()
        (HERE / "expected.json").write_text(json.dumps({**more, **known}, indent=1) + "\n")
        # Its locks are gone with it, and where it could be reached.
        kept = [monitor.data / name for name in ("journal.sqlite3", "master.key")]
        kept += monitor.data.glob("agent/*.json")
        pack(HERE / "data.zip", {str(path.relative_to(monitor.data)): path for path in kept})
    package = SOURCES / "src" / "beatward"
    files = {path for pattern in AGENT for path in package.glob(pattern)}
    pack(HERE / "agent.zip", {f"beatward/{path.relative_to(package)}": path for path in files})


main()
