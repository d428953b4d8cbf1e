"""A simulated member of a service: its hooks, its disk, its guardian, and what ends when."""

import pytest

from beatward.agent.roles.lease_holder import HolderState
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.roles import Grant, RoleOrder, State, service_id
from beatward.simulate.chance import split
from beatward.simulate.clock import HostClock
from beatward.simulate.event_queue import EventQueue
from beatward.simulate.member import PlayedMember
from beatward.simulate.site import OUT, HookFault, HookRates, Site
from beatward.simulate.truth import NodeTruth, Trouble

LEASE_MS, DEMOTE_MS = 2000, 1000
OVER_NS = (LEASE_MS + DEMOTE_MS) * MILLISECOND


class Stage:
    """One machine with one member, and a monitor that answers as it is told to."""

    def __init__(self, seed=1):
        self.event_queue = EventQueue()
        self.truth = NodeTruth("a", SECOND)
        self.runs, self.said = [], []
        self.word = RoleOrder.STAND_BY
        self.token = 0
        self.site = Site(
            "role",
            self.event_queue,
            split(seed, "site"),
            clock=HostClock(boot_ns=77 * SECOND, wall_ns=0),
            truth=self.truth,
            skill=HookRates(),
            witnesses=[self],
        )
        self.member = None
        self.site.cares = self._cares
        self.start()

    def _cares(self):
        history = self.truth.history
        still = history.has(Trouble.FROZEN) or history.has(Trouble.SUSPENDED)
        return not history.has(Trouble.DOWN) and not still

    def run_began(self, _site, run):
        self.runs.append(run)

    def run_ended(self, _site, _run):
        pass

    def start(self):
        self.member = PlayedMember(
            self.site, self.event_queue, say=self._answer, position=lambda: 5
        )

    def kill(self):
        self.truth.history.begin(Trouble.DOWN, self.event_queue.now_ns)
        self.member.crash()

    def _answer(self, standing):
        self.said.append(standing)
        if self.word is not None:
            self.event_queue.after(MILLISECOND, self._grant, standing)

    def _grant(self, standing):
        word = RoleOrder.HOLD if standing.token == self.token != 0 else self.word
        grant = Grant(service_id("role"), standing.counter, word, self.token, LEASE_MS, DEMOTE_MS)
        if self._cares():
            self.member.hear(grant)

    def promote(self, token):
        self.token, self.word = token, RoleOrder.PROMOTE
        self.run(3 * SECOND)

    def run(self, for_ns):
        self.event_queue.run_until(self.event_queue.now_ns + for_ns)


@pytest.fixture
def stage():
    made = Stage()
    made.run(2 * SECOND)
    return made


def test_a_member_that_is_able_says_so_and_is_promoted_under_its_token(stage):
    assert stage.said[-1].state == State.STANDBY
    stage.promote(7)
    assert [run.token for run in stage.runs] == [7]
    assert stage.site.memory == HolderState(7, 7, DEMOTE_MS)
    assert stage.said[-1].state == State.ACTIVE


def test_a_holder_that_is_not_answered_gives_up_in_time(stage):
    stage.promote(1)
    stage.word = None
    stage.token = 99
    asked_ns = stage.event_queue.now_ns
    stage.run(10 * SECOND)
    assert stage.runs[0].end_ns <= asked_ns + OVER_NS
    assert stage.said[-1].state == State.STANDBY
    assert stage.site.memory.held == 0


def test_a_guardian_ends_what_a_killed_agent_leaves_and_a_new_one_waits_for_it(stage):
    stage.promote(1)
    stage.kill()
    killed_ns = stage.event_queue.now_ns
    assert stage.site.is_guarded
    stage.run(10 * SECOND)
    assert killed_ns < stage.runs[0].end_ns <= killed_ns + OVER_NS
    assert not stage.site.is_guarded
    assert stage.site.memory.held == 1  # and so the next life demotes before anything else
    stage.truth.history.end(Trouble.DOWN, stage.event_queue.now_ns)
    stage.word, stage.token = None, 0
    stage.start()
    assert stage.member.tenure.state == State.DEMOTING
    stage.run(5 * SECOND)
    assert stage.said[-1].state == State.STANDBY
    assert stage.said[-1].token == 1


def test_a_guardian_ends_what_a_frozen_agent_cannot(stage):
    stage.promote(1)
    stage.truth.history.begin(Trouble.FROZEN, stage.event_queue.now_ns)
    frozen_ns = stage.event_queue.now_ns
    stage.run(20 * SECOND)
    assert stage.runs[0].end_ns <= frozen_ns + OVER_NS


def test_without_a_guardian_the_work_of_a_killed_agent_goes_on(stage):
    stage.promote(1)
    stage.site.guardian.begin(OUT, stage.event_queue.now_ns)
    stage.kill()
    stage.run(60 * SECOND)
    assert stage.site.run is not None


@pytest.mark.parametrize("quirk", [HookFault.REFUSES, HookFault.HALF])
def test_a_promotion_that_fails_leaves_nothing_running_and_says_no(stage, quirk):
    stage.site.quirk = quirk
    stage.promote(3)
    stage.run(5 * SECOND)
    assert stage.site.run is None
    assert len(stage.runs) == (quirk == HookFault.HALF)
    assert (stage.said[-1].state, stage.said[-1].token) == (State.STANDBY, 3)


def test_a_hook_that_hangs_is_ended_at_the_leases_end(stage):
    stage.promote(1)
    stage.site.quirk = HookFault.HANGS
    stage.word, stage.token = None, 99
    begun_ns = stage.event_queue.now_ns
    stage.run(10 * SECOND)
    assert stage.runs[0].end_ns <= begun_ns + OVER_NS


def test_what_cannot_be_stopped_is_said_to_be_stuck(stage):
    stage.promote(1)
    stage.site.quirk = HookFault.STUCK
    stage.word, stage.token = None, 99
    stage.run(10 * SECOND)
    assert stage.said[-1].state == State.STUCK
    assert stage.site.run is not None
    stage.site.quirk = None
    stage.run(10 * SECOND)
    assert stage.said[-1].state == State.STANDBY


def test_work_that_died_is_given_back(stage):
    stage.promote(1)
    stage.site.die()
    stage.run(3 * SECOND)
    assert stage.said[-1].state == State.STANDBY


def test_a_machine_that_was_replaced_knows_no_token(stage):
    stage.promote(4)
    stage.kill()
    stage.site.power_off()
    assert stage.runs[0].end_ns == stage.event_queue.now_ns
    assert stage.site.memory.token == 4
    stage.site.replace()
    assert stage.site.memory == HolderState()


def test_a_crash_while_it_writes_leaves_the_old_memory_or_the_new():
    left = set()
    for seed in range(30):
        stage = Stage(seed)
        stage.run(2 * SECOND)
        stage.token, stage.word = 5, RoleOrder.PROMOTE
        while stage.member.tenure.memory.token != 5:
            stage.run(MILLISECOND // 10)
        if stage.site.memory.token != 5:
            stage.kill()
            left.add(stage.site.memory.token)
            stage.run(5 * SECOND)
            assert stage.site.run is None
    assert left == {0, 5}
