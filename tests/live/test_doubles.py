"""Two processes under one name: what the second one says does not make a second holder."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.harness import Monitor, nodes
from tests.waiting import wait_for

pytestmark = [pytest.mark.quiet, pytest.mark.real, pytest.mark.timeout(90)]

# Long enough that a role which moves too early is acted upon by two for seconds.
FAILOVER = """
start_grace = "1s"
[failover]
lease = "4s"
demote_within = "1s"
"""


class Agent:
    """`beatward agent` with hooks: it acts while the file `acts` is in its folder."""

    def __init__(
        self, name: str, folder: Path, monitor: Monitor, data: Path, *, url: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.acts = folder / "acts"
        hooks = {"promote": f"touch {self.acts}", "demote": f"rm -f {self.acts}"}
        lines = [f'name = "{name}"', f'monitor = "{url or monitor.url}"', f'data = "{data}"']
        lines += ['interval = "200ms"', "[service.db]", 'mode = "failover"']
        for kind, text in hooks.items():
            script = folder / kind
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o755)
            lines.append(f'{kind} = ["{script}"]')
        token = json.loads((monitor.data / "local.json").read_text())["token"]
        settings = folder / "agent.toml"
        settings.write_text("\n".join([lines[0], f'token = "{token}"', *lines[1:]]))
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "beatward", "agent", "-c", str(settings)],
                stdout=log,
                stderr=log,
            )

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def role(monitor: Monitor) -> dict:
    services = monitor.get("/v1/services")["services"]
    return next((one for one in services if one["name"] == "db"), {})


def test_an_agent_from_a_copied_folder_does_not_make_two_holders(tmp_path):
    with Monitor(tmp_path / "monitor", FAILOVER) as monitor, ExitStack() as stack:

        def started(name: str, folder: str, data: Path) -> Agent:
            agent = Agent(name, tmp_path / folder, monitor, data)
            stack.callback(agent.end)
            return agent

        first = started("db-a", "a", tmp_path / "data-a")
        wait_for(first.acts.exists, timeout=30, what="db-a's promotion")
        standby = started("db-b", "b", tmp_path / "data-b")
        wait_for(lambda: len(role(monitor)["members"]) == 2, what="the standby")
        wait_for(
            lambda: (
                all(one["state"] in ("active", "standby") for one in role(monitor)["members"])
                and role(monitor)["phase"] == "held"
            ),
            what="a holder and a standby",
        )
        copy = tmp_path / "data-copy"
        # A state that is being written has a dot first, and may be gone in a moment.
        shutil.copytree(tmp_path / "data-a", copy, ignore=shutil.ignore_patterns(".*"))
        for lock in (copy / "agent").glob("*.lock"):
            lock.unlink()
        second = started("db-a", "a2", copy)
        seen = Counted(first, standby, second)
        wait_for(lambda: seen.look() and seen.has_moved, timeout=30, what="the role's move")
        assert seen.most == 1, f"{seen.most} acted at once for {seen.overlap_s:.2f} s"
        causes = [event["cause"] for event in monitor.events() if event["event"] == "role"]
        assert "another_process" in causes


def test_a_restarted_monitor_knows_its_holder_at_whichever_of_its_own_addresses(tmp_path):
    """A door at 0.0.0.0 numbers its host's addresses as they are met, in each process anew."""
    monitor = Monitor(tmp_path / "monitor", FAILOVER, host="0.0.0.0")
    monitor.udp = monitor.udp.replace("127.0.0.1", "0.0.0.0")
    with monitor, ExitStack() as stack:
        with nodes(monitor.data, ["plain"]):
            monitor.wait_status("plain", "alive")
            url = f"http://127.0.0.2:{monitor.port}"
            agent = Agent("db-a", tmp_path / "a", monitor, tmp_path / "data-a", url=url)
            stack.callback(agent.end)
            wait_for(lambda: role(monitor).get("phase") == "held", timeout=30, what="a holder")
        monitor.end()
        monitor.start()

        def heard() -> str | None:
            return role(monitor)["members"][0]["heard"]

        first = wait_for(heard, what="the holder's word")
        wait_for(lambda: heard() != first, what="its next word")
        # Whether its lease has lasted until then is a matter of how quick this machine is.
        causes = [event["cause"] for event in monitor.events() if event["event"] == "role"]
        assert "promoted" in causes
        assert "another_process" not in causes


class Counted:
    """How many act, as their files say; the first one has to stop, and then another begins."""

    def __init__(self, *agents: Agent) -> None:
        self.agents = agents
        self.most = 0
        self.overlap_s = 0.0
        self._last = time.monotonic()

    def look(self) -> bool:
        count = sum(agent.acts.exists() for agent in self.agents)
        now = time.monotonic()
        if count > 1:
            self.overlap_s += now - self._last
        self._last, self.most = now, max(self.most, count)
        return True

    @property
    def has_moved(self) -> bool:
        first, *others = (agent.acts.exists() for agent in self.agents)
        return not first and any(others)
