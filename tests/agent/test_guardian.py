"""The guardian as a process: hooks that misbehave, leases that end, and every half of it killed."""

import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
from tests.waiting import wait_for

from beatward.agent import clock
from beatward.agent.roles.channel import GuardianPlan
from beatward.agent.roles.guardian_client import GuardianClient
from beatward.agent.roles.lease_holder import HolderState, LeaseHolder, RoleCommand
from beatward.core.instants import MILLISECOND, SECOND

pytestmark = pytest.mark.real

MS = MILLISECOND
PATIENCE_S = 30.0
# A workload that has left its hook, its session and its parents behind.
DAEMON = "setsid sh -c 'setsid sleep 3600 >/dev/null 2>&1 & echo $! > {pid}' & wait; "
NOTE = 'echo "$BEATWARD_ROLE $BEATWARD_TOKEN" >> {log}; '


class Site:
    """A guardian, its hooks and its log, driven from the test."""

    def __init__(self, folder, **hooks) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.pid = folder / "pid"
        texts = {"promote": DAEMON, "demote": "kill $(cat {pid})", **hooks}
        # `stop = None` is no stop hook.
        self.hooks = {
            kind: text if isinstance(text, list) else ["sh", "-c", noting(self, text)]
            for kind, text in texts.items()
            if text is not None
        }
        self.client = self.new()

    def new(self) -> GuardianClient:
        plan = GuardianPlan("web-1", "db", self.hooks, str(self.folder / "agent" / "web-1+db.lock"))
        return GuardianClient(plan)

    def wait(self, condition, client=None):
        """Drive a client until a condition is true; returns all answers."""
        client = client or self.client
        told = []
        deadline = time.monotonic() + PATIENCE_S
        pause = threading.Event()
        while True:
            told += client.heard()
            is_there = client.turn(clock.now_ns(), 2 * SECOND)
            if condition(told, is_there):
                return told
            assert time.monotonic() < deadline, f"waited in vain; {told}, {self.said()}"
            pause.wait(0.01)

    def ready(self, client=None):
        client = client or self.client
        self.wait(lambda *_: client.is_ready, client)

    def run(self, kind, **options):
        """Run a hook and return its answer."""
        number = self.client.run(kind, 7, {}, **options)
        return next(told for told in self.wait(lambda all_told, _: _find(all_told, number))[::-1])

    def end(self, kind, **instants):
        number = self.client.end_role(RoleCommand(kind, 7), holder_of(**instants))
        return _find(self.wait(lambda told, _: _find(told, number)), number)

    def promote(self, **instants):
        assert self.take(**instants).is_ok
        assert self.workload_lives()

    def take(self, **instants):
        self.lent = Lent(**instants)
        number = self.client.promote(self.lent, {})
        return _find(self.wait(lambda told, _: _find(told, number)), number)

    def said(self):
        return self.log.read_text().splitlines()

    def workload_lives(self):
        return is_alive(int(self.pid.read_text()))


def noting(site, text):
    return (NOTE + text).format(log=site.log, pid=site.pid)


def _find(told, number):
    return next((one for one in told if one.number == number), None)


class Lent(LeaseHolder):
    """One that holds token 7, and until when."""

    def __init__(self, end=10.0, until=10.7, over=11.0) -> None:
        now_ns = clock.now_ns()
        # What the demote hook may not have is the reserve, and that follows from the demotion.
        super().__init__("db", HolderState(7, 7, 2 * round(1000 * (over - until))), now_ns=now_ns)
        self.lease_end_ns = now_ns + int(end * SECOND)
        self.over_ns = now_ns + int(over * SECOND)


def holder_of(over=10.0):
    """Return one that gives token 7 up, and is over so many seconds from now."""
    demote_ms = 1000
    now_ns = clock.now_ns() + int(over * SECOND) - demote_ms * MS
    return LeaseHolder("db", HolderState(7, 7, demote_ms), now_ns=now_ns)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def site(tmp_path):
    made = []

    def make(**hooks):
        made.append(Site(tmp_path, **hooks))
        made[0].ready()
        return made[0]

    yield make
    for one in made:
        one.client.end()
        for process in one.client._former:
            process.wait(PATIENCE_S)
        if one.pid.exists() and is_alive(int(one.pid.read_text())):
            os.kill(int(one.pid.read_text()), signal.SIGKILL)


# --- hooks that misbehave ---


def test_a_hook_is_told_what_it_is_run_for(site):
    words = ("SERVICE", "NODE", "ROLE", "TOKEN", "PRIMARY", "PRIMARY_ADDRESS", "PRIMARY_PORT")
    shown = " ".join(f"$BEATWARD_{word}" for word in words)
    db = site(start=f"echo {shown}")
    number = db.client.run("start", 7, {"node": "web-2", "address": "10.0.0.2", "port": "5432"})
    told = _find(db.wait(lambda told, _: _find(told, number)), number)
    assert told.head == "db web-1 start 7 web-2 10.0.0.2 5432\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo why; exit 9", "start: exit code 9 after "),
        ("kill -9 $$", "start: ended by signal 9 after "),
        ("sleep 3600", "start: did not end in time and was killed after "),
        # It says more than any pipe holds, and its time runs out all the same.
        ("while :; do echo flood; done", "start: did not end in time and was killed after "),
        ("sleep 3 & echo left", ""),
    ],
)
def test_no_hook_is_waited_for_longer_than_its_time(site, text, said):
    db = site(start=text)
    told = db.run("start", timeout_ns=500 * MS)
    assert told.text.startswith(said or "start: exit code 0 after ")
    assert told.is_ok is (not said)
    assert len(told.text) < 600


def test_what_cannot_be_started_is_an_answer_and_not_a_silence(site, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    db = site(start=["/nowhere/hook"], state=[str(plain)])
    assert "No such file" in db.run("start").text
    assert "Permission denied" in db.run("state").text
    plain.chmod(plain.stat().st_mode | stat.S_IXUSR)
    assert db.run("state").is_ok


def test_what_a_hook_leaves_in_the_background_may_go_on_speaking(site):
    # 300,000 bytes are more than any pipe holds: it does not block, and no SIGPIPE ends it.
    text = "(sleep 0.2; head -c 300000 /dev/zero && touch {pid}.said; exec sleep 3600) & "
    db = site(start=text + "echo $! > {pid}")
    assert db.run("start").is_ok
    wait_for((db.folder / "pid.said").exists)
    assert db.workload_lives()


# --- giving a role up ---


def test_a_demotion_that_succeeds_leaves_the_rest_alone(site):
    db = site(demote="exit 0")
    db.promote()
    assert db.end("demote").is_ok
    assert db.workload_lives()
    assert db.said() == ["promote 7", "demote 7"]


@pytest.mark.parametrize("demote", ["exit 1", "sleep 3600", "trap '' TERM; while :; do :; done"])
def test_what_a_demotion_leaves_is_killed_wherever_it_has_gone(site, demote):
    db = site(demote=demote)
    db.promote()
    began_ns = clock.now_ns()
    assert db.end("demote", over=1.5).is_ok
    assert clock.now_ns() - began_ns < 5 * SECOND
    assert not db.workload_lives()


def test_a_stop_hook_that_succeeds_is_believed_and_one_that_fails_is_not(site):
    db = site(demote="exit 1", stop="test -e {pid}.may")
    db.promote()
    assert not db.end("demote").is_ok
    # Its processes are dead, but the hook says that this is not all of it.
    assert not db.workload_lives()
    (db.folder / "pid.may").touch()
    assert db.end("stop").is_ok
    assert db.said() == ["promote 7", "demote 7", "stop 7", "stop 7"]


def test_without_a_stop_hook_and_a_process_nothing_is_certain(site):
    db = site(promote="exit 0", demote="exit 1")
    assert db.take().is_ok
    assert not db.end("demote").is_ok
    assert not db.end("stop").is_ok


def test_a_promotion_under_way_is_broken_off(site):
    db = site(promote="echo $$ > {pid}; exec sleep 3600", demote="exit 0")
    db.client.promote(Lent(), {})
    wait_for(lambda: db.pid.exists() and db.pid.read_text())
    assert db.end("demote").is_ok
    wait_for(lambda: not db.workload_lives())


# --- when nobody asks ---


def test_a_lease_that_nobody_renews_is_ended_by_the_guardian_alone(site):
    db = site()
    db.promote(end=0.4, until=1.1, over=1.4)
    db.wait(lambda *_: db.client.take_ending())
    wait_for(lambda: not db.workload_lives())
    assert db.said() == ["promote 7", "demote 7"]
    # An agent that thaws asks for what is done already.
    assert db.end("demote").is_ok
    assert db.said() == ["promote 7", "demote 7"]


def test_a_guardian_outlives_its_agent_until_the_lease_is_over(site):
    db = site()
    db.promote(end=1.0, until=1.7, over=2.0)
    db.client._channel.close()
    db.client._process.wait(PATIENCE_S)
    assert clock.now_ns() >= db.lent.lease_end_ns
    assert not db.workload_lives()
    assert db.said() == ["promote 7", "demote 7"]


def test_who_comes_next_waits_until_the_guardian_is_done(site):
    db = site(demote="sleep 0.5; kill $(cat {pid}); echo gone >> {log}")
    db.promote(end=0.5, until=5.0, over=6.0)
    db.client._channel.close()
    after = db.new()
    db.ready(after)
    assert db.said()[-1] == "gone"
    assert not db.workload_lives()
    after.end()


def test_a_guardian_that_is_killed_is_outlived_by_its_shadow(site):
    db = site()
    db.promote()
    os.kill(db.client._pid, signal.SIGKILL)
    db.wait(lambda _, is_there: not is_there)
    wait_for(lambda: not db.workload_lives())
    db.ready()
    assert db.said() == ["promote 7", "demote 7"]


def test_a_guardian_whose_shadow_is_killed_gives_up_at_once(site):
    db = site()
    db.promote()
    os.kill(parent_of(db.client._pid), signal.SIGKILL)
    db.wait(lambda _, is_there: not is_there)
    assert db.client.take_ending()
    wait_for(lambda: not db.workload_lives())
    db.ready()


def test_a_guardian_that_is_frozen_is_killed_and_its_shadow_gives_up(site):
    db = site()
    db.promote(end=60, until=61, over=62)
    os.kill(db.client._pid, signal.SIGSTOP)
    db.wait(lambda _, is_there: not is_there)
    wait_for(lambda: not db.workload_lives())
    assert db.said() == ["promote 7", "demote 7"]


def test_without_an_agent_what_cannot_be_stopped_is_left_to_the_next(site):
    db = site(promote="exit 0", demote="exit 1", stop="test -e {pid}.may")
    assert db.take(end=0.3, until=0.5, over=0.6).is_ok
    db.client._channel.close()
    after = db.new()
    db.ready(after)
    wait_for(lambda: db.said()[-1] == "stop 7")
    after.end()
    # Nobody new is there any more, so it goes on trying.
    (db.folder / "pid.may").touch()
    db.client._process.wait(PATIENCE_S)
