"""Failover as `beatward agent` does it: real hooks, a real guardian, and a monitor that grants."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from tests.waiting import wait_for

from beatward.agent.roles.guardian_workload import read_state
from beatward.agent.roles.lease_holder import HolderState
from beatward.agent.state import StateFile
from beatward.core.protocol.roles import LAST_WORD, State

pytestmark = pytest.mark.real

PATIENCE_S = 30.0
# A workload that outlives its hook, its session and the agent.
PROMOTE = "setsid sleep 3600 >/dev/null 2>&1 & echo $! > {folder}/pid; "
DEMOTE = "kill $(cat {folder}/pid); rm {folder}/pid; "
NOTE = 'echo "$BEATWARD_ROLE $BEATWARD_TOKEN $BEATWARD_PRIMARY" >> {folder}/log; '


class Site:
    """The settings of one node, its hooks' log, and its agent."""

    def __init__(self, folder, beatward) -> None:
        self.folder = folder
        self.beatward = beatward
        self.name = "web-1"
        self.agent = None
        self.data = folder / "data"  # as the environment says, see conftest
        (folder / "log").touch()

    def write(self, extra="", **hooks) -> None:
        texts = {"promote": PROMOTE, "demote": DEMOTE, **hooks}
        lines = ['interval = "100ms"', "[service.db]"]
        lines += ['mode = "failover"', 'address = "10.0.0.1"', "port = 5432", extra]
        for kind, text in texts.items():
            script = self.folder / kind
            script.write_text(f"#!/bin/sh\n{NOTE}{text}\n".replace("{folder}", str(self.folder)))
            script.chmod(0o755)
            lines.append(f'{kind} = ["{script}"]')
        (self.folder / "agent.toml").write_text("\n".join(lines))

    def start(self):
        config = str(self.folder / "agent.toml")
        self.agent = self.beatward("agent", "-c", config, "--name", self.name)
        return self.agent

    def log(self):
        return [line.strip() for line in (self.folder / "log").read_text().splitlines()]

    def kinds(self):
        return [line.split()[0] for line in self.log() if not line.startswith("state")]

    def workload(self):
        """Return the workload's process, or 0."""
        try:
            pid = int((self.folder / "pid").read_text() or 0)
            text = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ValueError):
            return 0
        return pid if text.rpartition(")")[2].split()[0] not in "ZX" else 0

    def memory(self):
        return StateFile(self.data, self.name).state.roles.get("db", HolderState())

    def guardian(self):
        """Return the process that runs the hooks: the only child of the agent's only child."""
        shadow = child_of(self.agent.pid)
        return None if shadow is None else child_of(shadow)


def child_of(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue
        found += [int(path.parent.name)] if parent == pid else []
    return min(found, default=None)


@pytest.fixture
def site(tmp_path, monitor, beatward):
    monitor.lease_ms, monitor.demote_ms = 1000, 600
    monitor.roles["db"] = (0, "", False)
    one = Site(tmp_path, beatward)
    yield one
    if one.agent is not None and one.agent.poll() is None:
        one.agent.kill()
    if one.workload():
        os.kill(one.workload(), signal.SIGKILL)


def promoted(site, monitor, token=5):
    """Start the agent and give it the role."""
    site.start()
    monitor.wait_stood("web-1", State.STANDBY)
    monitor.roles["db"] = (token, "web-1", False)
    monitor.wait_stood("web-1", State.ACTIVE, token)
    assert site.workload()


def test_a_member_is_declared_promoted_and_demoted_in_order(site, monitor):
    site.write()
    promoted(site, monitor)
    (said,) = monitor.declared["web-1"]
    assert (said["name"], said["mode"], said["address"]) == ("db", "failover", "10.0.0.1")
    assert site.memory() == HolderState(5, 5, 600)
    monitor.roles["db"] = (5, "web-1", True)
    monitor.wait_stood("web-1", State.STANDBY, 5)
    assert not site.workload()
    assert site.kinds() == ["promote", "demote"]
    wait_for(lambda: site.memory() == HolderState(5, 0, 600))


@pytest.mark.quiet
def test_a_holder_that_hears_nothing_gives_up_within_its_lease(site, monitor):
    site.write()
    promoted(site, monitor)
    monitor.is_mute = True
    began = time.monotonic()
    wait_for(lambda: not site.workload())
    assert time.monotonic() - began < 1.7
    monitor.wait_stood("web-1", State.STANDBY, 5)


def test_an_agent_that_ends_gives_up_before_it_says_goodbye(site, monitor):
    site.write(demote="sleep 0.3; " + DEMOTE)
    promoted(site, monitor)
    site.agent.terminate()
    monitor.wait_goodbye("web-1")
    assert not site.workload()
    assert monitor.stood("web-1", State.UNABLE, 5)
    assert site.agent.wait(PATIENCE_S) == 0


def test_the_guardian_of_a_killed_agent_demotes_and_the_next_agent_waits(site, monitor):
    site.write(demote="sleep 0.3; " + DEMOTE)
    promoted(site, monitor)
    count = len(monitor.standings)
    site.agent.kill()
    site.agent.wait()
    site.start()
    monitor.wait(lambda: len(monitor.standings) > count + 1)
    # It says nothing before the guardian is done; what that has given up need not be demoted again.
    assert not site.workload()
    monitor.wait_stood("web-1", State.STANDBY, 5)
    assert site.kinds() == ["promote", "demote"]


def test_what_was_held_before_the_machine_was_started_anew_is_demoted(site, monitor):
    site.write(demote="exit 0")
    promoted(site, monitor)
    site.agent.kill()
    site.agent.wait()
    lock = site.data / "agent" / "web-1+db.lock"
    boot, token = wait_for(lambda: lock.read_text().split()[:2])
    assert token == "5"
    lock.write_text(f"{boot[::-1]} {token}")
    site.start()
    monitor.wait_stood("web-1", State.STANDBY, 5)
    assert site.kinds() == ["promote", "demote", "demote"]


@pytest.mark.quiet
def test_the_guardian_of_a_frozen_agent_demotes_in_time(site, monitor):
    site.write()
    promoted(site, monitor)
    os.kill(site.agent.pid, signal.SIGSTOP)
    began = time.monotonic()
    wait_for(lambda: not site.workload())
    assert time.monotonic() - began < 1.7
    os.kill(site.agent.pid, signal.SIGCONT)
    monitor.wait_stood("web-1", State.STANDBY, 5)
    assert site.kinds() == ["promote", "demote"]


@pytest.mark.parametrize("victim", ["guardian", "shadow"])
def test_an_agent_whose_guardian_is_killed_gives_up_and_starts_another(site, monitor, victim):
    site.write(demote=DEMOTE + "exit 0")
    promoted(site, monitor)
    guardian = site.guardian()
    os.kill(guardian if victim == "guardian" else child_of(site.agent.pid), signal.SIGKILL)
    wait_for(lambda: not site.workload())
    wait_for(lambda: "promote" in site.kinds() and site.guardian() not in (None, guardian))
    monitor.wait_stood("web-1", State.STANDBY, 5)
    monitor.roles["db"] = (6, "web-1", False)
    monitor.wait_stood("web-1", State.ACTIVE, 6)


@pytest.mark.quiet
def test_a_guardian_that_is_frozen_when_the_lease_ends_is_outlived_by_its_shadow(site, monitor):
    site.write(demote=DEMOTE + "exit 0")
    promoted(site, monitor)
    os.kill(site.guardian(), signal.SIGSTOP)
    monitor.is_mute = True
    began = time.monotonic()
    wait_for(lambda: not site.workload())
    assert time.monotonic() - began < 1.7
    monitor.wait_stood("web-1", State.STANDBY, 5)


def test_a_promotion_that_fails_is_claimed_back(site, monitor):
    site.write(promote="exit 1", demote="exit 0")
    site.start()
    monitor.wait_stood("web-1", State.STANDBY)
    monitor.roles["db"] = (5, "web-1", False)
    monitor.wait_stood("web-1", State.STANDBY, 5)
    assert site.kinds() == ["promote", "demote"]


@pytest.mark.quiet
@pytest.mark.parametrize("demote", ["exit 1", "sleep 3600"])
def test_what_cannot_be_demoted_is_killed(site, monitor, demote):
    site.write(demote=demote)
    promoted(site, monitor)
    monitor.is_mute = True
    began = time.monotonic()
    wait_for(lambda: not site.workload())
    assert time.monotonic() - began < 1.9
    monitor.wait_stood("web-1", State.STANDBY, 5)


def test_a_standby_is_unable_until_it_follows_the_primary_of_now(site, monitor):
    site.write(start="test -e {folder}/may", state="echo standby 77")
    monitor.roles["db"] = (3, "web-9", False)
    monitor.declared["web-9"] = [{"name": "db", "address": "10.0.0.9", "port": 5432}]
    site.start()
    monitor.wait_stood("web-1", State.UNABLE, 3)
    wait_for(lambda: "start 3 web-9" in site.log())
    (site.folder / "may").touch()
    assert monitor.wait_stood("web-1", State.STANDBY, 3)
    monitor.wait(lambda: monitor.standings[-1][1].replication_position == 77)
    # Another holder: to be followed before this one can be promoted again.
    monitor.declared["web-8"] = [{"name": "db", "address": "10.0.0.8", "port": 5432}]
    (site.folder / "may").unlink()
    monitor.roles["db"] = (4, "web-8", False)
    monitor.wait_stood("web-1", State.UNABLE, 4)
    (site.folder / "may").touch()
    monitor.wait_stood("web-1", State.STANDBY, 4)
    assert "start 4 web-8" in site.log()


def test_a_holder_whose_workload_is_gone_gives_up(site, monitor):
    state = "test -e {folder}/pid && kill -0 $(cat {folder}/pid) && echo primary || echo none"
    times = 'state_every = "100ms"\nstate_timeout = "100ms"'
    site.write(state=state, extra=times, demote=DEMOTE + "exit 0")
    promoted(site, monitor)
    os.kill(site.workload(), signal.SIGKILL)
    monitor.wait_stood("web-1", State.STANDBY, 5)
    assert site.kinds() == ["promote", "demote"]


def test_a_state_hook_that_fails_or_hangs_does_not_end_a_role(site, monitor):
    state = "test -e {folder}/hang && sleep 5; test -e {folder}/fail && exit 1; echo primary"
    site.write(state=state, extra='state_every = "100ms"\nstate_timeout = "100ms"')
    (site.folder / "fail").touch()
    site.start()
    monitor.wait_stood("web-1", State.UNABLE)
    site.write(
        state=state.replace("primary", "standby"),
        extra='state_every = "100ms"\nstate_timeout = "100ms"',
    )
    (site.folder / "fail").unlink()
    monitor.wait_stood("web-1", State.STANDBY)
    monitor.roles["db"] = (5, "web-1", False)
    monitor.wait_stood("web-1", State.ACTIVE, 5)
    (site.folder / "state").write_text("#!/bin/sh\nsleep 5\n")
    count = len(monitor.standings)
    monitor.wait(lambda: len(monitor.standings) > count + 8)
    assert monitor.stood("web-1", State.ACTIVE, 5)


def test_no_role_is_taken_that_cannot_be_remembered(site, monitor):
    site.write(demote="exit 0")
    site.start()
    monitor.wait_stood("web-1", State.STANDBY)
    # A folder in the place of the fresh file: even root can neither remove nor write it.
    blocked = site.data / "agent" / f"web-1.json.{site.agent.pid}"
    blocked.mkdir()
    monitor.roles["db"] = (5, "web-1", False)
    monitor.wait_stood("web-1", State.UNABLE, 5)
    assert "promote" not in site.kinds()
    blocked.rmdir()
    monitor.wait_stood("web-1", State.STANDBY, 5)


def test_services_are_declared_again_to_a_monitor_that_has_restarted(site, monitor):
    site.write()
    site.start()
    monitor.wait_stood("web-1", State.STANDBY)
    monitor.declared.clear()
    monitor.close()
    monitor.session += 1
    monitor.open()
    monitor.wait(lambda: "web-1" in monitor.declared)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ("primary 12\nmore\n", ("primary", 12)),
        ("standby\n", ("standby", None)),
        ("none", ("none", None)),
        ("standby -1", ("standby", None)),
        ("standby 99999999999999999999", ("standby", None)),
        ("", ("", None)),
    ],
)
def test_the_first_line_of_a_state_hook_is_read(head, found):
    assert read_state(head) == found


def test_the_guardian_of_a_killed_agent_says_its_last_word_and_the_next_agent_says_it_again(
    site, monitor
):
    site.write()
    promoted(site, monitor)
    site.agent.kill()
    site.agent.wait()
    monitor.wait(lambda: last_words(monitor))
    assert not site.workload()
    (word, *_) = last_words(monitor)
    assert (word.state, word.token) == (State.UNABLE, 5)
    count = len(last_words(monitor))
    site.start()
    monitor.wait(lambda: len(last_words(monitor)) > max(count, 3))


def test_an_agent_from_a_copied_folder_says_no_last_word(site, monitor):
    site.write()
    promoted(site, monitor)
    # The workload's own file stays: its hooks are the same, so they would end that one, too.
    copied = site.folder / "copied"
    # A state that is being written has a dot first, and may be gone in a moment.
    shutil.copytree(site.data, copied, ignore=shutil.ignore_patterns(".*"))
    for lock in (copied / "agent").glob("*.lock"):
        lock.unlink()
    (site.folder / "demote").write_text("#!/bin/sh\n")
    config = str(site.folder / "agent.toml")
    twin = site.beatward("agent", "-c", config, "--name", site.name, "--data", str(copied))
    monitor.wait_stood("web-1", State.STANDBY, 5)
    count = len(monitor.standings)
    monitor.wait(lambda: len(monitor.standings) > count + 4)
    assert last_words(monitor) == []
    twin.kill()


def last_words(monitor):
    return [said for _, said in monitor.standings if said.counter == LAST_WORD]


def starts(site):
    return [line for line in site.log() if line.startswith("start")]


def test_a_workload_that_does_not_stand_by_is_started_with_growing_pauses_and_says_why(
    site, monitor
):
    # A start hook that succeeds at once, and a workload that is a primary whatever it did.
    site.write(start="", state="echo primary", extra='state_every = "100ms"')
    began = time.monotonic()
    site.start()
    wait_for(lambda: len(starts(site)) == 3)
    # The second and the third come after one second and two more, whatever the machine does.
    assert time.monotonic() - began >= 3
    assert monitor.stood("web-1", State.UNABLE)
    remarks = monitor.wait(lambda: [body for path, body in monitor.requests if "remarks" in path])
    words = "state: it is a primary although this node does not hold the role"
    assert remarks[0]["remarks"] == [{"service": "db", "remark": words}]


def test_a_workload_that_stands_by_at_last_is_able_and_its_remark_is_taken_back(site, monitor):
    site.write(start="", state="cat {folder}/word", extra='state_every = "100ms"')
    (site.folder / "word").write_text("none")
    site.start()

    def said():
        return [body["remarks"] for path, body in monitor.requests if "remarks" in path]

    words = "state: it is gone, although it should stand by"
    monitor.wait(lambda: said()[:1] == [[{"service": "db", "remark": words}]])
    (site.folder / "word").write_text("standby")
    monitor.wait_stood("web-1", State.STANDBY)
    monitor.wait(lambda: said()[-1] == [])
