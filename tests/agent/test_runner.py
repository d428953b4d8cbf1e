"""The one loop of a role, over a workload that the test plays: what is asked of it, and when."""

import asyncio
import contextlib
import threading

import pytest
from tests.waiting import wait_for

from beatward.agent import clock
from beatward.agent.heartbeat_protocol import HeartbeatProtocol
from beatward.agent.roles.async_role import AsyncRole, TaskWorkload
from beatward.agent.roles.guardian_workload import GuardianWorkload
from beatward.agent.roles.lease_holder import HolderState, RoleCommand
from beatward.agent.roles.program_workload import ProgramWorkload
from beatward.agent.roles.role import CallbackWorkload
from beatward.agent.roles.runner import RoleRunner
from beatward.agent.services import HookedService
from beatward.agent.state import StateFile
from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.roles import Grant, RoleOrder, State
from beatward.errors import RoleLost

PATIENCE_S = 20.0
LEASE_MS = 60_000


class Played:
    """A workload that notes what it is asked for; the test finishes it, or loses it."""

    def __init__(self) -> None:
        self.is_ready = self.is_able = True
        self.freshness = 42
        self.ended = None
        self.due_ns = NEVER
        self.asked = []
        self.turns = 0
        self.is_closed = False

    def listen(self, now_ns):
        pass

    def perform(self, command):
        self.asked.append(command)

    def look(self):
        self.turns += 1

    def fileno(self):
        return -1

    def close(self):
        self.is_closed = True


class Conversation:
    """Speaks for a runner as the heart's thread does, and plays the monitor that answers."""

    def __init__(self, folder, held=0, demote_ms=LEASE_MS) -> None:
        self.file = StateFile(folder, "web-1")
        if held:
            self.file.note_role("db", HolderState(held, held, demote_ms))
        self.said = None
        self.runner = RoleRunner({"name": "db"}, self.file, wake=lambda: None)
        self.protocol = HeartbeatProtocol(
            "web-1", bytes(32), incarnation=7, interval_ns=SECOND, start_ns=0
        )

    def say(self):
        """Return the report that is due now, or None."""
        return self.runner.shared.standing(clock.now_ns())

    def answer(self, word, token):
        """Let the monitor answer the newest report."""
        self.said = self.say() or self.said
        grant = Grant(self.runner.shared.id, self.said.counter, word, token, LEASE_MS, 1000)
        self.runner.shared.hear(grant, clock.now_ns(), self.protocol, None)

    @property
    def state(self):
        holder = self.runner.shared.holder
        return None if holder is None else holder.state

    def wait_turn(self):
        """Wait for a turn that has begun after this call."""
        for _ in range(2):
            turns = self.workload.turns
            self.runner.wake()
            wait_for(lambda turns=turns: self.workload.turns > turns)

    def wait_state(self, state):
        wait_for(lambda: self.state == state)


@pytest.fixture
def scene(tmp_path):
    """A conversation whose runner stands by over a played workload."""
    one = Conversation(tmp_path)
    one.workload = Played()
    one.runner.start(one.workload)
    one.wait_state(State.STANDBY)
    yield one
    one.runner.stop()
    assert one.workload.is_closed


def promoted(scene, token=5):
    scene.answer(RoleOrder.PROMOTE, token)
    wait_for(lambda: RoleCommand("promote", token) in scene.workload.asked)
    assert scene.runner.finish(RoleCommand("promote", token), ok=True)
    scene.wait_state(State.ACTIVE)


def test_a_promotion_is_on_the_disk_before_it_is_asked_for(scene):
    written = []
    scene.workload.perform = lambda _: written.append(
        StateFile(scene.file.path.parents[1], "web-1").state.roles
    )
    scene.answer(RoleOrder.PROMOTE, 5)
    wait_for(lambda: written)
    assert written[0] == {"db": HolderState(5, 5, 1000)}


def test_a_command_is_asked_for_once_and_its_end_tells_whether_the_role_is_held(scene):
    promoted(scene)
    scene.runner.wake()
    scene.answer(RoleOrder.HOLD, 5)
    assert scene.workload.asked == [RoleCommand("promote", 5)]
    assert scene.runner.token == 5
    scene.answer(RoleOrder.DEMOTE, 5)
    wait_for(lambda: len(scene.workload.asked) == 2)
    assert scene.workload.asked[1] == RoleCommand("demote", 5)
    assert scene.runner.token == 0
    assert not scene.runner.finish(RoleCommand("demote", 5), ok=True)
    scene.wait_state(State.STANDBY)


def test_a_promotion_that_ends_after_the_role_was_asked_back_does_not_hold_it(scene):
    scene.answer(RoleOrder.PROMOTE, 5)
    wait_for(lambda: scene.workload.asked)
    scene.answer(RoleOrder.DEMOTE, 5)
    wait_for(lambda: RoleCommand("demote", 5) in scene.workload.asked)
    assert not scene.runner.finish(RoleCommand("promote", 5), ok=True)
    assert scene.state == State.DEMOTING


def test_a_workload_that_was_lost_is_asked_again_as_soon_as_it_is_ready(scene):
    promoted(scene)
    scene.workload.is_ready = False
    scene.runner.give_up()
    scene.wait_turn()
    assert RoleCommand("demote", 5) not in scene.workload.asked
    for times in (1, 2):
        scene.workload.is_ready = True
        scene.runner.wake()
        wait_for(lambda times=times: scene.workload.asked.count(RoleCommand("demote", 5)) == times)
        scene.workload.is_ready = False
        scene.wait_turn()
    assert scene.state == State.DEMOTING


def test_what_has_given_up_and_is_not_able_never_says_that_it_stands_by(scene):
    promoted(scene)
    scene.runner.give_up()
    wait_for(lambda: RoleCommand("demote", 5) in scene.workload.asked)
    # Held, so that no turn of the loop comes between.
    with scene.runner.shared.lock:
        scene.workload.is_able = False
        scene.runner.finish(RoleCommand("demote", 5), ok=True)
        assert scene.state == State.UNABLE


def test_a_role_that_a_former_life_held_is_demoted_first(tmp_path):
    one = Conversation(tmp_path, held=5)
    one.workload = Played()
    one.runner.start(one.workload)
    # At once: a `close` right after it knows what is held.
    assert one.workload.asked == [RoleCommand("demote", 5)]
    one.runner.finish(RoleCommand("demote", 5), ok=True)
    one.runner.close()
    assert one.workload.is_closed


def test_nothing_is_said_before_the_workload_is_ready(tmp_path):
    one = Conversation(tmp_path, held=5)
    one.workload = Played()
    one.workload.is_ready = False
    one.runner.start(one.workload)
    assert one.state is None
    assert one.say() is None
    one.workload.is_ready = True
    one.runner.wake()
    one.wait_state(State.DEMOTING)
    one.runner.stop()


def test_a_runner_that_leaves_gives_up_and_waits_until_that_is_heard(scene):
    promoted(scene)
    scene.runner.leave()
    wait_for(lambda: RoleCommand("demote", 5) in scene.workload.asked)
    assert not scene.runner.wait_left(0)
    scene.runner.finish(RoleCommand("demote", 5), ok=True)
    scene.wait_state(State.UNABLE)
    scene.answer(RoleOrder.STAND_BY, 5)
    assert scene.runner.wait_left(PATIENCE_S)


def test_a_runner_that_nobody_hears_ends_soon_after_the_role_is_given_up(scene):
    promoted(scene)
    closing = threading.Thread(target=scene.runner.close)
    closing.start()
    wait_for(lambda: RoleCommand("demote", 5) in scene.workload.asked)
    scene.runner.finish(RoleCommand("demote", 5), ok=True)
    # The lease would run for a minute.
    closing.join(PATIENCE_S)
    assert not closing.is_alive()


def test_a_turn_that_fails_does_not_end_the_loop(scene, caplog):
    def fail(_):
        scene.workload.listen = lambda now_ns: None
        raise ZeroDivisionError

    scene.workload.listen = fail
    scene.runner.wake()
    wait_for(lambda: "a turn failed" in caplog.text)
    promoted(scene)
    caplog.clear()  # Elsewhere a turn that fails is a failure of the test.


class Slow(ProgramWorkload):
    """A program whose demotion the test finishes."""

    def promote(self, token, finish):
        finish(ok=True)

    def demote(self, finish):
        self.finish = finish


@pytest.mark.parametrize("ok", [True, False])
def test_a_demotion_that_ends_too_late_counts_as_the_stop_that_was_asked_for(tmp_path, ok):
    one = Conversation(tmp_path, held=5, demote_ms=1000)
    workload = Slow(one.runner, exit_when_stuck=False)
    one.runner.start(workload)
    holder = one.runner.shared.holder
    wait_for(lambda: holder.command == RoleCommand("stop", 5))
    with one.runner.shared.lock:
        assert not workload.finish(ok=ok)
        assert one.state == (State.UNABLE if ok else State.STUCK)
        # What has failed is tried once more, and not before a pause.
        assert (holder.memory.held, holder.command) == (0 if ok else 5, None)
    one.runner.stop()


# --- the three workloads, each by the same suite ---


class Taken:
    """One workload in a scene of its own; `said` is what became of the role, in order."""

    def __init__(self, folder, kind, held=0) -> None:
        self.scene = Conversation(folder, held)
        self.said = folder / "said"
        self.said.touch()
        self._end = lambda: None
        self.workload = getattr(self, f"_{kind}")(self.scene.runner)
        self.scene.runner.start(self.workload)

    def lines(self):
        return self.said.read_text().splitlines()

    def note(self, line):
        with self.said.open("a") as file:
            file.write(f"{line}\n")

    def close(self):
        """Close the runner, and what the test has started for it; may be called again."""
        self.scene.runner.close()
        self._end()
        self._end = lambda: None

    def _callbacks(self, runner):
        workload = CallbackWorkload(
            runner,
            lambda token: self.note(f"promote {token}"),
            lambda: self.note("demote"),
            exit_when_stuck=False,
        )
        workload.is_able = True
        return workload

    def _task(self, runner):
        loop = asyncio.new_event_loop()
        workload = TaskWorkload(runner, loop, exit_when_stuck=False)
        role = AsyncRole(runner, workload)

        async def body():
            while True:
                with contextlib.suppress(RoleLost):
                    async with role as token:
                        self.note(f"promote {token}")
                        try:
                            await asyncio.Event().wait()
                        finally:
                            self.note("demote")

        def run():
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        def end():
            loop.call_soon_threadsafe(task.cancel)
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

        task = loop.create_task(body())
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._end = end
        return workload

    def _guardian(self, runner):
        note = f'echo "$BEATWARD_ROLE{{}}" >> {self.said}'
        hooks = {
            "promote": ("sh", "-c", note.format(" $BEATWARD_TOKEN")),
            "demote": ("sh", "-c", note.format("")),
        }
        service = HookedService("db", mode="failover", hooks=hooks)
        return GuardianWorkload(runner, service, node="web-1", access=lambda: (None, ""))


@pytest.fixture
def take(tmp_path):
    """Make a `Taken` of a kind; all use the same folder, as processes of one name do."""
    with contextlib.ExitStack() as made:

        def one(kind, held=0):
            taken = Taken(tmp_path, kind, held)
            made.callback(taken.close)
            return taken

        yield one


KINDS = pytest.mark.parametrize(
    "kind", ["callbacks", "task", pytest.param("guardian", marks=pytest.mark.real)]
)


@KINDS
def test_a_workload_takes_a_role_and_gives_it_back_each_time(take, kind):
    taken = take(kind)
    scene = taken.scene
    for token in (5, 6):
        scene.wait_state(State.STANDBY)
        scene.answer(RoleOrder.PROMOTE, token)
        scene.wait_state(State.ACTIVE)
        assert scene.runner.token == token
        wait_for(lambda token=token: taken.lines()[-1:] == [f"promote {token}"])
        scene.answer(RoleOrder.DEMOTE, token)
        wait_for(lambda: not scene.runner.shared.holder.memory.held)
        assert taken.lines()[-1] == "demote"
    assert taken.lines() == ["promote 5", "demote", "promote 6", "demote"]


@KINDS
def test_a_workload_gives_up_what_it_holds_when_its_runner_closes(take, kind):
    taken = take(kind)
    taken.scene.wait_state(State.STANDBY)
    taken.scene.answer(RoleOrder.PROMOTE, 5)
    wait_for(lambda: taken.lines() == ["promote 5"] and taken.scene.state == State.ACTIVE)
    taken.close()
    assert taken.lines() == ["promote 5", "demote"]
    assert taken.scene.file.read_role("db") == HolderState(5, 0, 1000)


@KINDS
def test_a_workload_ends_first_what_a_former_life_held(take, kind):
    taken = take(kind, held=5)
    wait_for(lambda: taken.scene.state == State.STANDBY)
    # A task has nothing that could be acting still: it ended with its process.
    assert taken.lines() == ([] if kind == "task" else ["demote"])


@KINDS
def test_a_workload_waits_until_no_other_process_of_its_name_acts(take, kind):
    first = take(kind)
    first.scene.wait_state(State.STANDBY)
    second = take(kind)
    turned_ns = second.scene.runner.last_turn_ns
    wait_for(lambda: second.scene.runner.last_turn_ns > turned_ns)
    assert not second.workload.is_ready
    assert second.scene.state is None
    first.close()
    second.scene.wait_state(State.STANDBY)
