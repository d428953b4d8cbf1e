"""Roles that programs take themselves: callbacks, contexts, and processes that do not let go."""

import asyncio
import contextlib
import shutil
import threading
import time

import pytest

from beatward import AsyncHeart, Heart, Service
from beatward.agent.roles.lease_holder import HolderState
from beatward.agent.roles.program_workload import EXIT_CODE
from beatward.agent.state import StateFile
from beatward.core.protocol.roles import LAST_WORD, State
from beatward.errors import RoleLost

pytestmark = pytest.mark.real

PATIENCE_S = 30.0


@pytest.fixture
def roles(monitor):
    """A monitor whose leases are short, and who grants `job` to nobody yet."""
    monitor.lease_ms, monitor.demote_ms = 800, 600
    monitor.roles["job"] = (0, "", False)
    return monitor


def lend(monitor, token=5):
    monitor.roles["job"] = (token, "web-1", False)


def ask_back(monitor, token=5):
    monitor.roles["job"] = (token, "web-1", True)


# --- with threads ---


def test_a_program_is_told_that_it_has_the_role_and_that_it_has_not(roles, told):
    said = []
    with Heart("web-1", interval="100ms", **told) as heart:
        role = heart.role("job", promote=said.append, demote=lambda: said.append("over"))
        assert not role.is_held
        roles.wait_stood("web-1", State.STANDBY)
        (declared,) = roles.wait(lambda: roles.declared.get("web-1"))
        assert (declared["name"], declared["mode"]) == ("job", "failover")
        lend(roles)
        assert role.wait()
        assert (role.token, said) == (5, [5])
        ask_back(roles)
        roles.wait_stood("web-1", State.STANDBY, 5)
        assert (role.token, said) == (0, [5, "over"])
        role.close()
        assert roles.stood("web-1", State.UNABLE, 5)
        assert not role.wait("10ms")
        roles.wait(lambda: roles.declared.get("web-1") == [])


@pytest.mark.quiet
def test_a_program_that_hears_nothing_has_no_role(roles, told):
    over = threading.Event()
    with Heart("web-1", interval="100ms", **told) as heart:
        role = heart.role("job", demote=over.set)
        roles.wait_stood("web-1", State.STANDBY)
        lend(roles)
        assert role.wait()
        roles.is_mute = True
        began = time.monotonic()
        assert over.wait(PATIENCE_S)
        assert time.monotonic() - began < 1.3
        assert not role.is_held


def test_a_program_gives_its_role_up_before_it_says_goodbye(roles, told):
    with Heart("web-1", interval="100ms", **told) as heart, heart.role("job") as role:
        roles.wait_stood("web-1", State.STANDBY)
        lend(roles)
        assert role.wait()
    assert roles.stood("web-1", State.UNABLE, 5)
    assert StateFile(told["data"], "web-1").state.roles["job"] == HolderState(5, 0, 600)
    roles.wait_goodbye("web-1")


def test_a_promotion_that_raises_is_given_back(roles, told, caplog):
    def promote(token):
        raise RuntimeError(f"not with {token}")

    with Heart("web-1", interval="100ms", **told) as heart:
        role = heart.role("job", promote=promote)
        roles.wait_stood("web-1", State.STANDBY)
        lend(roles)
        roles.wait_stood("web-1", State.STANDBY, 5)
        assert not role.is_held
    assert "not with 5" in caplog.text


def test_what_does_not_let_go_is_stuck_until_it_does(roles, told):
    release = threading.Event()
    with Heart("web-1", interval="100ms", **told) as heart:
        role = heart.role("job", demote=lambda: release.wait(PATIENCE_S), exit_when_stuck=False)
        roles.wait_stood("web-1", State.STANDBY)
        lend(roles)
        assert role.wait()
        roles.roles["job"] = (6, "web-2", False)
        roles.wait_stood("web-1", State.STUCK, 5)
        release.set()
        roles.wait_stood("web-1", State.STANDBY, 6)


@pytest.mark.parametrize(
    ("wanted", "options", "message"),
    [
        ({"name": "a b"}, {}, "name"),
        ({"name": "job", "port": 70000}, {}, "65535"),
        ({"name": "job", "version": 3}, {}, "version of the service job: expected a text"),
        ({"name": "job", "labels": {"a": 1}}, {}, "labels of the service job: expected labels"),
        ({"name": "job"}, {"transport": "http"}, "transport udp"),
    ],
)
def test_what_cannot_be_offered_is_refused_at_once(monitor, told, wanted, options, message):
    with (
        Heart("web-1", **told, **options) as heart,
        pytest.raises(ValueError, match=message),
    ):
        heart.role(**wanted)


def test_a_service_is_offered_once_and_by_a_heart_that_beats(roles, told):
    heart = Heart("web-1", services=[Service("web")], **told)
    with pytest.raises(RuntimeError, match="does not beat"):
        heart.role("job")
    with heart:
        heart.role("job")
        for name in ("job", "web"):
            with pytest.raises(ValueError, match="does not offer yet"):
                heart.role(name)


async def test_a_loop_is_refused_the_same(monitor, told):
    async with AsyncHeart("web-1", services=[Service("web")], **told) as heart:
        with pytest.raises(ValueError, match="does not offer yet, found 'web'"):
            heart.role("web")
        with pytest.raises(ValueError, match="labels of the service job: expected a table"):
            heart.role("job", labels=3)


HANGING = """
import sys, threading
from beatward import Heart
heart = Heart("web-1", interval="100ms").start()
role = heart.role("job", demote=threading.Event().wait)
role.wait()
print("held", flush=True)
threading.Event().wait()
"""


@pytest.mark.quiet
def test_a_process_that_does_not_let_go_is_ended(roles, start):
    process = start("-c", HANGING)
    roles.wait_stood("web-1", State.STANDBY)
    lend(roles)
    assert process.stdout.readline() == "held\n"
    roles.is_mute = True
    began = time.monotonic()
    assert process.wait(PATIENCE_S) == EXIT_CODE
    assert time.monotonic() - began < 1.6


FORMER = """
from beatward import Heart
with Heart("web-1", interval="100ms") as heart:
    role = heart.role("job", demote=lambda: print("demoted", flush=True))
    role.wait()
    print(role.token, flush=True)
    import os; os.kill(os.getpid(), 9)
"""


def test_what_a_former_life_held_is_demoted_first(roles, start):
    first = start("-c", FORMER)
    roles.wait_stood("web-1", State.STANDBY)
    lend(roles)
    assert first.wait(PATIENCE_S) == -9
    assert first.stdout.read() == "5\n"
    second = start("-c", FORMER)
    roles.wait(lambda: roles.stood("web-1", State.STANDBY, 5))
    lend(roles, 6)
    assert second.wait(PATIENCE_S) == -9
    assert second.stdout.read() == "demoted\n6\n"


# --- with an event loop ---


async def wait_unable(monitor, token=None):
    # In a thread: the loop has to turn meanwhile, for the heart beats from it.
    await asyncio.to_thread(monitor.wait_stood, "web-1", State.UNABLE, token)


async def hold(heart, then):
    """Hold the role until it is lost; `then` is called with the token."""
    async with heart.role("job") as token:
        then(token)
        await asyncio.Event().wait()


async def test_a_body_begins_with_the_role_and_is_cancelled_with_it(roles, told):
    async with AsyncHeart("web-1", interval="100ms", **told) as heart:
        tokens = []
        for token in (5, 6):
            lend(roles, token)
            with pytest.raises(RoleLost, match=f"job under token {token}"):
                await hold(heart, lambda got: tokens.append(got) or ask_back(roles, got))
            await wait_unable(roles, token)
        assert tokens == [5, 6]
        assert asyncio.current_task().cancelling() == 0


async def test_a_body_that_ends_gives_the_role_up(roles, told):
    lend(roles)
    async with AsyncHeart("web-1", interval="100ms", **told) as heart:
        async with heart.role("job") as token:
            assert token == 5
            assert heart.role("job").is_held
        await wait_unable(roles, 5)
        lend(roles, 6)
        with pytest.raises(ZeroDivisionError):
            await hold(heart, lambda _: 1 / 0)
        await wait_unable(roles, 6)


async def test_who_waits_for_a_role_may_be_cancelled_and_stands_by_no_more(roles, told):
    async with AsyncHeart("web-1", interval="100ms", **told) as heart:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0), heart.role("job"):
                pytest.fail("nobody has lent it")
        await wait_unable(roles)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), heart.role("job"):
                pytest.fail("nobody has lent it")


async def test_a_body_that_is_cancelled_from_outside_is_just_cancelled(roles, told):
    lend(roles)
    async with AsyncHeart("web-1", interval="100ms", **told) as heart:
        inside = asyncio.Event()
        task = asyncio.create_task(hold(heart, lambda _: inside.set()))
        await asyncio.wait_for(inside.wait(), PATIENCE_S)
        with pytest.raises(RuntimeError, match="stands by for job already"):
            async with heart.role("job"):
                pytest.fail("one is inside")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_unable(roles, 5)


async def test_a_body_that_ends_in_the_moment_of_its_cancellation_leaves_nothing_behind(
    roles, told
):
    lend(roles)

    async def body(heart):
        async with heart.role("job"):
            ask_back(roles)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async with AsyncHeart("web-1", interval="100ms", **told) as heart:
        with pytest.raises(RoleLost):
            await body(heart)
        await asyncio.sleep(0)
        assert asyncio.current_task().cancelling() == 0


BLOCKED = """
import asyncio, time
from beatward import AsyncHeart
async def main():
    async with AsyncHeart("web-1", interval="100ms") as heart:
        async with heart.role("job") as token:
            print("held", flush=True)
            time.sleep(3600)
asyncio.run(main())
"""


@pytest.mark.quiet
def test_a_loop_that_is_blocked_within_a_role_is_ended_with_its_process(roles, start):
    lend(roles)
    process = start("-c", BLOCKED)
    assert process.stdout.readline() == "held\n"
    began = time.monotonic()
    assert process.wait(PATIENCE_S) == EXIT_CODE
    assert time.monotonic() - began < 1.6


# --- two programs under one name ---

HOLDING = """
import time
from beatward import Heart
with Heart("web-1", interval="100ms") as heart:
    heart.role("job", promote=lambda token: print("held", token, flush=True))
    time.sleep(3600)
"""


def holding(roles, start):
    """Return a program that holds the role under token 5."""
    lend(roles)
    process = start("-c", HOLDING)
    assert process.stdout.readline() == "held 5\n"
    return process


def last_words(roles):
    return [said for _, said in roles.standings if said.counter == LAST_WORD]


def test_a_second_program_waits_for_the_end_of_the_first_and_says_its_last_word(roles, start):
    first = holding(roles, start)
    second = start("-c", HOLDING)
    assert any("another process stands by" in line for line in second.stderr)
    assert not roles.stood("web-1", State.DEMOTING, 5)
    assert last_words(roles) == []
    first.kill()
    roles.wait_stood("web-1", State.STANDBY, 5)
    (word, *_) = roles.wait(lambda: last_words(roles))
    assert (word.state, word.token) == (State.UNABLE, 5)


def test_a_program_from_a_copied_folder_knows_of_no_end(roles, start, environment, tmp_path):
    holding(roles, start)
    copied = tmp_path / "copied"
    # A state that is being written has a dot first, and may be gone in a moment.
    shutil.copytree(environment["BEATWARD_DATA"], copied, ignore=shutil.ignore_patterns(".*"))
    start("-c", HOLDING, env={**environment, "BEATWARD_DATA": str(copied)})
    roles.wait_stood("web-1", State.STANDBY, 5)
    count = len(roles.standings)
    roles.wait(lambda: len(roles.standings) > count + 4)
    assert last_words(roles) == []
