"""The dispatcher over drivers that misbehave: every attempt is bounded and none is lost."""

import asyncio
import threading
import time

import pytest

from beatward.core.instants import SECOND
from beatward.core.outbox import Outcome
from beatward.errors import PermanentError, TemporaryError

REVIVE = {"kind": "exec", "command": ["true"]}


class Strange:
    """A driver that does what a test wants."""

    grace_ns = 0

    def __init__(self, deed, running_max=100):
        self.deed, self.running_max = deed, running_max
        self.running_count = self.most_count = 0
        self.forgotten, self.retained, self.told = [], [], []

    async def do(self, action, settings):
        self.running_count += 1
        self.most_count = max(self.most_count, self.running_count)
        try:
            return await self.deed(action)
        finally:
            self.running_count -= 1

    async def forget(self, keys):
        self.forgotten += keys
        if "bad" in keys:
            raise OSError("no")

    async def retain(self, keys):
        self.retained += keys

    async def end(self):
        self.told.append("end")

    async def close(self):
        self.told.append("close")


def raising(error):
    async def deed(action):
        raise error

    return deed


async def hang(action):
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("error", "result", "message"),
    [
        (TemporaryError("busy", retry_after_ns=7), "temporary", "busy"),
        (PermanentError("never"), "permanent", "never"),
        (
            KeyError("a secret"),
            "temporary",
            "the driver failed: KeyError; the monitor's log says where",
        ),
        (
            TimeoutError("from below"),
            "temporary",
            "the driver failed: TimeoutError; the monitor's log says where",
        ),
        (
            asyncio.CancelledError("somebody else's"),
            "temporary",
            "the driver failed: CancelledError; the monitor's log says where",
        ),
        (
            ExceptionGroup("two", [ValueError(), OSError()]),
            "temporary",
            "the driver failed: ExceptionGroup; the monitor's log says where",
        ),
    ],
    ids=range(6),
)
async def test_every_exception_becomes_an_outcome(hands, all_logs, error, result, message):
    one = hands(drivers={"exec": Strange(raising(error))}, revive=REVIVE)
    outcome = await one.do("revive", "7/x", attempt=5)
    wait_ns = 7 if isinstance(error, TemporaryError) else 0
    assert outcome == Outcome("7/x", 5, result, message, wait_ns)
    logged = [record.getMessage() for record in all_logs.records if record.exc_info]
    expected = ["action 7/x (revive) failed unexpectedly"]
    assert logged == (expected if "log says where" in message else [])
    assert one.dispatcher.running_count == 0


async def test_a_hang_ends_with_the_time_limit(hands):
    one = hands(drivers={"exec": Strange(hang)}, revive=REVIVE | {"timeout": "50ms"})
    outcome = await one.do("revive")
    assert (outcome.result, outcome.message) == ("temporary", "no result within 50 ms")


async def test_time_does_not_run_while_an_action_waits_for_its_turn(hands):
    async def half(action):
        await asyncio.sleep(0.1)  # A fifth of the limit; eight in a row take more than all of it.
        return "done"

    one = hands(
        drivers={"exec": Strange(half, running_max=1)}, revive=REVIVE | {"timeout": "500ms"}
    )
    for i in range(8):
        one.submit("revive", f"{i}/x")
    assert [(await one.outcome()).result for _ in range(8)] == ["success"] * 8


async def test_so_many_run_at_once_and_no_more(hands, until):
    gate = asyncio.Event()

    async def wait(action):
        await gate.wait()
        return "done"

    driver = Strange(wait, running_max=3)
    one = hands(drivers={"exec": driver}, revive=REVIVE)
    for i in range(10):
        one.submit("revive", f"{i}/x")
    await until(lambda: driver.running_count == 3)
    assert one.dispatcher.running_count == 10
    gate.set()
    outcomes = [await one.outcome() for _ in range(10)]
    assert [outcome.key for outcome in outcomes] == [f"{i}/x" for i in range(10)]
    assert driver.most_count == 3


async def test_slow_webhooks_do_not_hold_up_a_restart(hands):
    async def quick(action):
        return "done"

    drivers = {"webhook": Strange(hang, running_max=1), "exec": Strange(quick, running_max=1)}
    alarm = {"kind": "webhook", "url": "http://127.0.0.1:1"}
    one = hands(drivers=drivers, alarm=alarm, revive=REVIVE)
    for i in range(5):
        one.submit("alarm", f"{i}/alarm")
    assert (await one.do("revive", "9/revive")).key == "9/revive"


async def test_a_receiver_that_hangs_does_not_hold_up_another_of_its_kind(hands):
    async def some(action):
        if action.name == "slow":
            await hang(action)
        return "done"

    alarm = {"kind": "webhook", "url": "http://127.0.0.1:1"}
    drivers = {"webhook": Strange(some, running_max=2)}
    one = hands(drivers=drivers, slow=alarm, quick=alarm, options={"waiting_max": 5})
    for i in range(5):
        one.submit("slow", f"{i}/slow")
    for i in range(5):
        one.submit("quick", f"{i}/quick")
    assert [(await one.outcome()).key for _ in range(5)] == [f"{i}/quick" for i in range(5)]
    assert one.dispatcher.refused_count == 0


async def test_an_action_that_fails_again_and_again_is_logged_once_and_when_it_works_again(
    hands, all_logs
):
    results = ["no", "no", "no", "yes"]

    async def some(action):
        if results.pop(0) == "no":
            raise TemporaryError("http://10.0.0.9: no connection")
        return "http://10.0.0.9 answered 200 OK"

    one = hands(drivers={"exec": Strange(some)}, revive=REVIVE)
    for attempt in range(1, 5):
        await one.do("revive", attempt=attempt)
    assert [
        record.getMessage() for record in all_logs.records if record.levelname == "WARNING"
    ] == [
        "the action revive failed; web-3, attempt 1: http://10.0.0.9: no connection",
        "the action revive works again: http://10.0.0.9 answered 200 OK",
    ]


async def test_too_many_are_turned_away_for_now_and_counted(hands):
    gate = asyncio.Event()

    async def wait(action):
        await gate.wait()
        return "done"

    one = hands(drivers={"exec": Strange(wait)}, revive=REVIVE, options={"waiting_max": 2})
    for key in ("1/x", "2/x", "3/x"):
        one.submit("revive", key)
    turned_away = await one.outcome()
    assert (turned_away.key, turned_away.result) == ("3/x", "temporary")
    assert turned_away.retry_after_ns == 5 * SECOND
    assert one.dispatcher.refused_count == 1
    gate.set()
    assert {(await one.outcome()).key, (await one.outcome()).key} == {"1/x", "2/x"}


async def test_the_next_attempt_may_be_submitted_from_within_the_outcome(hands):
    async def fail(action):
        raise TemporaryError("busy")

    one = hands(drivers={"exec": Strange(fail)}, revive=REVIVE)
    heard = one.came.put_nowait

    def again(outcome):
        heard(outcome)
        if outcome.attempt < 3:
            one.submit("revive", attempt=outcome.attempt + 1)

    one.dispatcher._on_outcome = again
    one.submit("revive")
    assert [(await one.outcome()).attempt for _ in range(3)] == [1, 2, 3]


async def test_an_outcome_that_is_not_taken_does_not_stop_the_rest(hands, all_logs):
    async def quick(action):
        return "done"

    one = hands(drivers={"exec": Strange(quick)}, revive=REVIVE)
    heard = one.came.put_nowait

    def refuse_one(outcome):
        if outcome.key == "1/x":
            raise OverflowError("full")
        heard(outcome)

    one.dispatcher._on_outcome = refuse_one
    one.submit("revive", "1/x")
    assert (await one.do("revive", "2/x")).key == "2/x"
    assert "the outcome of action 1/x was not taken" in all_logs.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "the settings have no [action.gone] any more"),
        ("alarm", "there is no driver of kind webhook"),
    ],
)
async def test_an_action_that_the_settings_no_longer_allow_is_permanent(hands, name, message):
    alarm = {"kind": "webhook", "url": "http://127.0.0.1:1"}
    one = hands(drivers={"exec": Strange(hang)}, alarm=alarm)
    outcome = await one.do(name)
    assert (outcome.result, outcome.message) == ("permanent", message)


async def test_a_message_is_one_bounded_line_that_paints_nothing(hands):
    async def babble(action):
        return "a\nb\x1b[31m\x00c\u202e  d" + "x" * 10_000

    outcome = await hands(drivers={"exec": Strange(babble)}, revive=REVIVE).do("revive")
    assert outcome.message.startswith("a b?[31m?c? dxxx")
    assert outcome.message.endswith("x...")
    assert len(outcome.message) == 500


async def test_the_wheels_thread_can_submit_and_forget(hands, until):
    async def quick(action):
        return threading.current_thread().name

    driver = Strange(quick)
    one = hands(drivers={"exec": driver}, revive=REVIVE)
    wheel = threading.Thread(target=one.submit, args=("revive", "7/x"))
    wheel.start()
    assert (await one.outcome()).message == threading.main_thread().name
    wheel.join()
    writer = threading.Thread(target=one.dispatcher.forget, args=(["bad", "7/x"],))
    writer.start()
    await until(lambda: driver.forgotten == ["bad", "7/x"])
    writer.join()


async def test_traces_that_cannot_be_dropped_are_logged_and_no_more(hands, all_logs, until):
    driver = Strange(hang)
    one = hands(drivers={"exec": driver}, revive=REVIVE)
    one.dispatcher.forget(["bad"])
    await until(lambda: "could not drop the traces of 1 actions" in all_logs.text)
    await one.dispatcher.retain(["kept"])
    assert driver.retained == ["kept"]


async def test_closing_lets_go_without_an_outcome_and_takes_nothing_more(hands, until):
    driver = Strange(hang)
    one = hands(drivers={"exec": driver}, revive=REVIVE)
    one.submit("revive")
    await until(lambda: driver.running_count)
    await one.dispatcher.close()
    await one.dispatcher.close()
    assert driver.running_count == 0
    assert driver.told == ["close"]
    one.submit("revive", "8/x")
    one.dispatcher.forget(["7/web-3"])
    for _ in range(5):
        await asyncio.sleep(0)
    assert one.came.empty()
    assert driver.forgotten == []


def test_a_wheel_that_turns_on_after_the_loop_has_closed_does_no_harm(hands):
    made = []

    async def live():
        from beatward.actions import Dispatcher

        made.append(Dispatcher({}, print, drivers={}, now_ns=time.monotonic_ns))

    asyncio.run(live())
    made[0].submit(("anything",))
    made[0].forget(("anything",))
    assert made[0].running_count == 0
