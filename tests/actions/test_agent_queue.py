"""kind = "agent": letters are handed to whom they are addressed, poked for, and reported once."""

import asyncio
import dataclasses
import time

import pytest

from beatward.actions import AgentQueue, PendingAction
from beatward.actions.agent import FETCH_COUNT_MAX, LATE_COUNT_MAX, NOTIFY_QUICK_COUNT
from beatward.core.instants import SECOND
from beatward.core.outbox import Outcome

RUN = {"kind": "agent", "agent": "host-1", "run": "restart-web"}


@pytest.fixture
async def notified():
    """Every notification puts the name of the agent's node here."""
    return asyncio.Queue()


@pytest.fixture
async def queue(surroundings, notified):
    notifying = dataclasses.replace(surroundings, notify_agent=notified.put_nowait)
    return AgentQueue(notifying, notify_spacing_seconds=0.01)


@pytest.fixture
async def one(hands, queue):
    return hands(
        drivers={"agent": queue},
        revive=RUN,
        elsewhere=RUN | {"agent": "host-2"},
        brief=RUN | {"timeout": "50ms"},
    )


async def taken(queue):
    async with asyncio.timeout(10):
        return await queue.get()


async def test_an_agent_gets_a_name_and_never_a_command_line(one, queue, notified):
    one.submit("revive", "7/x", attempt=2)
    assert await taken(notified) == "host-1"
    assert queue.has_mail("host-1")
    assert not queue.has_mail("host-2")
    assert not queue.has_mail("web-3")
    (pending,) = queue.waiting("host-1")
    assert 0 < pending.timeout_ns <= 5 * SECOND
    assert dataclasses.replace(pending, timeout_ns=0) == PendingAction(
        "7/x", "restart-web", "web-3", 2, 0
    )
    assert not queue.has_mail("host-1")
    assert queue.outcome("host-1", Outcome("7/x", 2, "success", "restarted"))
    outcome = await one.outcome()
    assert outcome == Outcome("7/x", 2, "success", "the agent on host-1 says: restarted")
    assert queue.waiting("host-1") == ()


@pytest.mark.parametrize("result", ["temporary", "permanent"])
async def test_a_failure_is_what_the_agent_says_it_is(one, queue, notified, result):
    one.submit("revive", "7/x")
    await taken(notified)
    assert queue.outcome("host-1", Outcome("7/x", 1, result, "", 3 * SECOND))
    outcome = await one.outcome()
    assert (outcome.result, outcome.message) == (result, f"the agent on host-1 says: {result}")
    assert outcome.retry_after_ns == (3 * SECOND if result == "temporary" else 0)


async def test_an_agent_is_notified_until_it_has_fetched_and_then_no_more(
    one, queue, notified, until
):
    one.submit("revive")
    for _ in range(5):
        assert await taken(notified) == "host-1"
    queue.waiting("host-1")
    # The one who pokes looks again within a spacing, sees that all is fetched, and ends.
    await until(lambda: not queue._notifiers)
    count = notified.qsize()
    await asyncio.sleep(0.05)  # Five spacings, in which nothing must happen.
    assert notified.qsize() == count
    one.submit("revive", "8/next")
    await until(lambda: notified.qsize() > count)


async def test_one_agent_is_notified_once_however_many_actions_wait_for_it(one, queue, notified):
    for i in range(20):
        one.submit("revive", f"{i}/x")
    one.submit("elsewhere", "99/x")
    assert {await taken(notified), await taken(notified)} == {"host-1", "host-2"}
    assert set(queue._notifiers) == {"host-1", "host-2"}
    assert len(queue.waiting("host-1")) == 20


async def test_an_action_that_comes_after_a_fetch_is_notified_of_at_once(
    surroundings, notified, hands
):
    notifying = dataclasses.replace(surroundings, notify_agent=notified.put_nowait)
    queue = AgentQueue(notifying, notify_spacing_seconds=3600)
    one = hands(drivers={"agent": queue}, revive=RUN)
    for i in range(3):
        one.submit("revive", f"{i}/x")
        assert await taken(notified) == "host-1"
        assert f"{i}/x" in {pending.key for pending in queue.waiting("host-1")}
    assert notified.empty()


async def test_an_agent_that_stays_away_is_notified_less(surroundings, notified, hands):
    notifying = dataclasses.replace(surroundings, notify_agent=notified.put_nowait)
    queue = AgentQueue(notifying, notify_spacing_seconds=0.001)
    hands(drivers={"agent": queue}, revive=RUN).submit("revive")
    for _ in range(NOTIFY_QUICK_COUNT):
        await taken(notified)
    await asyncio.sleep(0.1)  # A hundred quick spacings, and a hundredth of a slow one.
    assert notified.empty()


async def test_an_action_that_is_not_reported_is_handed_out_again_after_what_is_new(
    one, queue, notified, until
):
    one.submit("revive", "1/old")
    await taken(notified)
    assert [pending.key for pending in queue.waiting("host-1")] == ["1/old"]
    one.submit("revive", "2/new")
    await until(lambda: queue.has_mail("host-1"))
    assert [pending.key for pending in queue.waiting("host-1")] == ["2/new", "1/old"]


async def test_a_fetch_is_bounded_and_the_rest_comes_with_the_next(one, queue, notified):
    for i in range(FETCH_COUNT_MAX + 10):
        one.submit("revive", f"{i}/x")
    await taken(notified)
    first, second = queue.waiting("host-1"), queue.waiting("host-1")
    assert [len(first), len(second)] == [FETCH_COUNT_MAX] * 2
    assert len({pending.key for pending in (*first, *second)}) == FETCH_COUNT_MAX + 10


async def test_who_is_not_addressed_can_neither_fetch_nor_report(one, queue, notified):
    one.submit("revive", "7/x")
    await taken(notified)
    assert queue.waiting("web-3") == ()
    for node in ("web-3", "host-2", ""):
        assert not queue.outcome(node, Outcome("7/x", 1, "success", "I did it"))
        assert not queue.outcome(node, Outcome("7/x", 1, "permanent", "never"))
    assert queue.outcome("host-1", Outcome("7/x", 1, "temporary", "busy"))
    assert (await one.outcome()).message == "the agent on host-1 says: busy"


async def test_nobody_can_claim_a_success_in_advance_for_another(one, queue, notified):
    assert queue.outcome("web-3", Outcome("7/x", 1, "success", "I did it"))
    one.submit("revive", "7/x")
    await taken(notified)
    assert [pending.key for pending in queue.waiting("host-1")] == ["7/x"]


async def test_no_visit_in_time_is_temporary(one, queue, notified):
    outcome = await one.do("brief")
    assert outcome.result == "temporary"
    assert outcome.message == "the agent on host-1 did not come for it within 50 ms"
    assert queue.waiting("host-1") == ()


async def test_no_report_in_time_is_temporary_and_a_late_success_counts_for_the_next_attempt(
    one, queue, notified
):
    one.submit("brief", "7/x")
    await taken(notified)
    assert len(queue.waiting("host-1")) == 1
    outcome = await one.outcome()
    assert outcome.result == "temporary"
    assert outcome.message == (
        "the agent on host-1 fetched the action and did not report within 50 ms"
    )
    assert not queue.outcome("host-1", Outcome("7/x", 1, "temporary", "too late"))
    assert queue.outcome("host-1", Outcome("7/x", 1, "success", "done at last"))
    assert queue.outcome("host-1", Outcome("7/x", 1, "success", "done at last"))
    second = await one.do("brief", "7/x", attempt=2)
    assert second == Outcome("7/x", 2, "success", "the agent on host-1 says: done at last")


async def test_what_is_past_its_time_is_not_handed_out(surroundings, notified, hands):
    now_ns = time.monotonic_ns()
    notifying = dataclasses.replace(
        surroundings, notify_agent=notified.put_nowait, now_ns=lambda: now_ns
    )
    queue = AgentQueue(notifying)
    hands(drivers={"agent": queue}, revive=RUN).submit("revive")
    await taken(notified)
    now_ns += 5 * SECOND - 1
    # Some time is always left to him who gets a letter.
    assert [pending.timeout_ns for pending in queue.waiting("host-1")] == [1_000_000]
    now_ns += 1
    assert queue.waiting("host-1") == ()


async def test_an_earlier_attempts_success_ends_a_later_one_and_its_failure_does_not(
    one, queue, notified
):
    one.submit("revive", "7/x", attempt=3)
    await taken(notified)
    assert not queue.outcome("host-1", Outcome("7/x", 2, "permanent", "old news"))
    assert queue.outcome("host-1", Outcome("7/x", 1, "success", "done"))
    # Again, because its answer was lost: no harm.
    assert queue.outcome("host-1", Outcome("7/x", 1, "success", "done"))
    outcome = await one.outcome()
    assert (outcome.attempt, outcome.result) == (3, "success")
    assert one.came.empty()


async def test_remembered_successes_are_bounded_and_forgotten_with_the_journal(one, queue, until):
    for i in range(LATE_COUNT_MAX + 5):
        queue.outcome("host-1", Outcome(f"{i}/x", 1, "success", "m" * 10_000))
    late = queue._late["host-1"]
    assert (len(late), next(iter(late))) == (LATE_COUNT_MAX, "5/x")
    assert max(map(len, late.values())) == 500
    one.dispatcher.forget([f"{i}/x" for i in range(LATE_COUNT_MAX + 4)])
    await until(lambda: len(queue._late["host-1"]) == 1)
    one.dispatcher.forget([f"{LATE_COUNT_MAX + 4}/x", "0/unknown"])
    await until(lambda: not queue._late)


async def test_reports_may_come_from_any_thread(one, queue, notified):
    one.submit("revive", "7/x")
    await taken(notified)
    pending_actions = await asyncio.to_thread(queue.waiting, "host-1")
    report = Outcome(pending_actions[0].key, 1, "success", "from a thread")
    assert await asyncio.to_thread(queue.outcome, "host-1", report)
    assert (await one.outcome()).message == "the agent on host-1 says: from a thread"


async def test_a_notification_that_fails_is_logged_and_the_agent_may_come_by_itself(
    surroundings, hands, all_logs, until
):
    def fail(node):
        raise RuntimeError("the inbox is full")

    queue = AgentQueue(dataclasses.replace(surroundings, notify_agent=fail))
    one = hands(drivers={"agent": queue}, revive=RUN)
    one.submit("revive", "7/x")
    await until(lambda: "could not notify the agent" in all_logs.text)
    assert [pending.key for pending in queue.waiting("host-1")] == ["7/x"]
    queue.outcome("host-1", Outcome("7/x", 1, "success", "came by"))
    assert (await one.outcome()).result == "success"
