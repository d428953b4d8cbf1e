"""kind = "agent": letters are handed to whom they are addressed, poked for, and reported once."""

import asyncio
import dataclasses
import time

import pytest

from beatward.actions import Letter, Mailbox
from beatward.actions.agent import FETCH_COUNT_MAX, LATE_COUNT_MAX, POKES_QUICK_COUNT
from beatward.core.instants import SECOND
from beatward.core.outbox import Outcome

RUN = {"kind": "agent", "agent": "host-1", "run": "restart-web"}


@pytest.fixture
async def poked():
    """Every poke puts the name of the agent's node here."""
    return asyncio.Queue()


@pytest.fixture
async def mailbox(surroundings, poked):
    told = dataclasses.replace(surroundings, poke=poked.put_nowait)
    return Mailbox(told, poke_spacing_seconds=0.01)


@pytest.fixture
async def one(hands, mailbox):
    return hands(
        drivers={"agent": mailbox},
        revive=RUN,
        elsewhere=RUN | {"agent": "host-2"},
        brief=RUN | {"timeout": "50ms"},
    )


async def taken(queue):
    async with asyncio.timeout(10):
        return await queue.get()


async def test_an_agent_gets_a_name_and_never_a_command_line(one, mailbox, poked):
    one.submit("revive", "7/x", attempt=2)
    assert await taken(poked) == "host-1"
    assert mailbox.has_mail("host-1")
    assert not mailbox.has_mail("host-2")
    assert not mailbox.has_mail("web-3")
    (letter,) = mailbox.waiting("host-1")
    assert 0 < letter.timeout_ns <= 5 * SECOND
    assert dataclasses.replace(letter, timeout_ns=0) == Letter("7/x", "restart-web", "web-3", 2, 0)
    assert not mailbox.has_mail("host-1")
    assert mailbox.outcome("host-1", Outcome("7/x", 2, "success", "restarted"))
    outcome = await one.outcome()
    assert outcome == Outcome("7/x", 2, "success", "the agent on host-1 says: restarted")
    assert mailbox.waiting("host-1") == ()


@pytest.mark.parametrize("result", ["temporary", "permanent"])
async def test_a_failure_is_what_the_agent_says_it_is(one, mailbox, poked, result):
    one.submit("revive", "7/x")
    await taken(poked)
    assert mailbox.outcome("host-1", Outcome("7/x", 1, result, "", 3 * SECOND))
    outcome = await one.outcome()
    assert (outcome.result, outcome.message) == (result, f"the agent on host-1 says: {result}")
    assert outcome.retry_after_ns == (3 * SECOND if result == "temporary" else 0)


async def test_an_agent_is_poked_until_it_has_fetched_and_then_no_more(one, mailbox, poked, until):
    one.submit("revive")
    for _ in range(5):
        assert await taken(poked) == "host-1"
    mailbox.waiting("host-1")
    # The one who pokes looks again within a spacing, sees that all is fetched, and ends.
    await until(lambda: not mailbox._pokers)
    count = poked.qsize()
    await asyncio.sleep(0.05)  # Five spacings, in which nothing must happen.
    assert poked.qsize() == count
    one.submit("revive", "8/next")
    await until(lambda: poked.qsize() > count)


async def test_one_agent_is_poked_once_however_many_letters_wait_for_it(one, mailbox, poked):
    for i in range(20):
        one.submit("revive", f"{i}/x")
    one.submit("elsewhere", "99/x")
    assert {await taken(poked), await taken(poked)} == {"host-1", "host-2"}
    assert set(mailbox._pokers) == {"host-1", "host-2"}
    assert len(mailbox.waiting("host-1")) == 20


async def test_a_letter_that_comes_after_a_fetch_is_poked_for_at_once(surroundings, poked, hands):
    told = dataclasses.replace(surroundings, poke=poked.put_nowait)
    mailbox = Mailbox(told, poke_spacing_seconds=3600)
    one = hands(drivers={"agent": mailbox}, revive=RUN)
    for i in range(3):
        one.submit("revive", f"{i}/x")
        assert await taken(poked) == "host-1"
        assert f"{i}/x" in {letter.key for letter in mailbox.waiting("host-1")}
    assert poked.empty()


async def test_an_agent_that_stays_away_is_poked_less(surroundings, poked, hands):
    told = dataclasses.replace(surroundings, poke=poked.put_nowait)
    mailbox = Mailbox(told, poke_spacing_seconds=0.001)
    hands(drivers={"agent": mailbox}, revive=RUN).submit("revive")
    for _ in range(POKES_QUICK_COUNT):
        await taken(poked)
    await asyncio.sleep(0.1)  # A hundred quick spacings, and a hundredth of a slow one.
    assert poked.empty()


async def test_a_letter_that_is_not_reported_is_handed_out_again_after_what_is_new(
    one, mailbox, poked, until
):
    one.submit("revive", "1/old")
    await taken(poked)
    assert [letter.key for letter in mailbox.waiting("host-1")] == ["1/old"]
    one.submit("revive", "2/new")
    await until(lambda: mailbox.has_mail("host-1"))
    assert [letter.key for letter in mailbox.waiting("host-1")] == ["2/new", "1/old"]


async def test_a_fetch_is_bounded_and_the_rest_comes_with_the_next(one, mailbox, poked):
    for i in range(FETCH_COUNT_MAX + 10):
        one.submit("revive", f"{i}/x")
    await taken(poked)
    first, second = mailbox.waiting("host-1"), mailbox.waiting("host-1")
    assert [len(first), len(second)] == [FETCH_COUNT_MAX] * 2
    assert len({letter.key for letter in (*first, *second)}) == FETCH_COUNT_MAX + 10


async def test_who_is_not_addressed_can_neither_fetch_nor_report(one, mailbox, poked):
    one.submit("revive", "7/x")
    await taken(poked)
    assert mailbox.waiting("web-3") == ()
    for node in ("web-3", "host-2", ""):
        assert not mailbox.outcome(node, Outcome("7/x", 1, "success", "I did it"))
        assert not mailbox.outcome(node, Outcome("7/x", 1, "permanent", "never"))
    assert mailbox.outcome("host-1", Outcome("7/x", 1, "temporary", "busy"))
    assert (await one.outcome()).message == "the agent on host-1 says: busy"


async def test_nobody_can_claim_a_success_in_advance_for_another(one, mailbox, poked):
    assert mailbox.outcome("web-3", Outcome("7/x", 1, "success", "I did it"))
    one.submit("revive", "7/x")
    await taken(poked)
    assert [letter.key for letter in mailbox.waiting("host-1")] == ["7/x"]


async def test_no_visit_in_time_is_temporary(one, mailbox, poked):
    outcome = await one.do("brief")
    assert outcome.result == "temporary"
    assert outcome.message == "the agent on host-1 did not come for it within 50 ms"
    assert mailbox.waiting("host-1") == ()


async def test_no_report_in_time_is_temporary_and_a_late_success_counts_for_the_next_attempt(
    one, mailbox, poked
):
    one.submit("brief", "7/x")
    await taken(poked)
    assert len(mailbox.waiting("host-1")) == 1
    outcome = await one.outcome()
    assert outcome.result == "temporary"
    assert outcome.message == (
        "the agent on host-1 fetched the action and did not report within 50 ms"
    )
    assert not mailbox.outcome("host-1", Outcome("7/x", 1, "temporary", "too late"))
    assert mailbox.outcome("host-1", Outcome("7/x", 1, "success", "done at last"))
    assert mailbox.outcome("host-1", Outcome("7/x", 1, "success", "done at last"))
    second = await one.do("brief", "7/x", attempt=2)
    assert second == Outcome("7/x", 2, "success", "the agent on host-1 says: done at last")


async def test_what_is_past_its_time_is_not_handed_out(surroundings, poked, hands):
    now_ns = time.monotonic_ns()
    told = dataclasses.replace(surroundings, poke=poked.put_nowait, now_ns=lambda: now_ns)
    mailbox = Mailbox(told)
    hands(drivers={"agent": mailbox}, revive=RUN).submit("revive")
    await taken(poked)
    now_ns += 5 * SECOND - 1
    # Some time is always left to him who gets a letter.
    assert [letter.timeout_ns for letter in mailbox.waiting("host-1")] == [1_000_000]
    now_ns += 1
    assert mailbox.waiting("host-1") == ()


async def test_an_earlier_attempts_success_ends_a_later_one_and_its_failure_does_not(
    one, mailbox, poked
):
    one.submit("revive", "7/x", attempt=3)
    await taken(poked)
    assert not mailbox.outcome("host-1", Outcome("7/x", 2, "permanent", "old news"))
    assert mailbox.outcome("host-1", Outcome("7/x", 1, "success", "done"))
    # Again, because its answer was lost: no harm.
    assert mailbox.outcome("host-1", Outcome("7/x", 1, "success", "done"))
    outcome = await one.outcome()
    assert (outcome.attempt, outcome.result) == (3, "success")
    assert one.came.empty()


async def test_remembered_successes_are_bounded_and_forgotten_with_the_journal(one, mailbox, until):
    for i in range(LATE_COUNT_MAX + 5):
        mailbox.outcome("host-1", Outcome(f"{i}/x", 1, "success", "m" * 10_000))
    late = mailbox._late["host-1"]
    assert (len(late), next(iter(late))) == (LATE_COUNT_MAX, "5/x")
    assert max(map(len, late.values())) == 500
    one.dispatcher.forget([f"{i}/x" for i in range(LATE_COUNT_MAX + 4)])
    await until(lambda: len(mailbox._late["host-1"]) == 1)
    one.dispatcher.forget([f"{LATE_COUNT_MAX + 4}/x", "0/unknown"])
    await until(lambda: not mailbox._late)


async def test_reports_may_come_from_any_thread(one, mailbox, poked):
    one.submit("revive", "7/x")
    await taken(poked)
    letters = await asyncio.to_thread(mailbox.waiting, "host-1")
    report = Outcome(letters[0].key, 1, "success", "from a thread")
    assert await asyncio.to_thread(mailbox.outcome, "host-1", report)
    assert (await one.outcome()).message == "the agent on host-1 says: from a thread"


async def test_a_poke_that_fails_is_logged_and_the_agent_may_come_by_itself(
    surroundings, hands, all_logs, until
):
    def fail(node):
        raise RuntimeError("the inbox is full")

    mailbox = Mailbox(dataclasses.replace(surroundings, poke=fail))
    one = hands(drivers={"agent": mailbox}, revive=RUN)
    one.submit("revive", "7/x")
    await until(lambda: "could not be told" in all_logs.text)
    assert [letter.key for letter in mailbox.waiting("host-1")] == ["7/x"]
    mailbox.outcome("host-1", Outcome("7/x", 1, "success", "came by"))
    assert (await one.outcome()).result == "success"
