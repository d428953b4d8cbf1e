"""Hearts that beat from an event loop, against a real socket."""

import asyncio
import threading

import pytest

from beatward import AsyncHeart
from beatward.core.protocol.record import Farewell

pytestmark = pytest.mark.real

FAST = "20ms"


def wait_silent(heart):
    """Wait until the heart has given its socket up at least once."""
    pause = threading.Event()
    for _ in range(400):
        if heart._connection._is_silent:
            return
        pause.wait(0.05)
    pytest.fail("the heart never noticed that nobody answers")


async def test_an_async_heart_beats_from_the_loop(monitor, told):
    heart = AsyncHeart("web-1", interval=FAST, **told)
    async with heart:
        await asyncio.to_thread(monitor.wait_beats, "web-1", 4)
        assert heart.is_acknowledged
        with pytest.raises(RuntimeError, match="beats already"):
            await heart.start()
    assert monitor.wait_goodbye("web-1").status == Farewell.LEFT
    assert heart.credential is None


async def test_an_async_heart_falls_silent_when_its_loop_is_blocked(monitor, told):
    async with AsyncHeart("web-1", interval=FAST, **told):
        await asyncio.to_thread(monitor.wait_beats, "web-1", 3)
        before = monitor.said("web-1")[-1].sequence
        # Blocking the loop is the point: a third of a second in which no heartbeat may leave.
        threading.Event().wait(0.3)
        await asyncio.to_thread(monitor.wait, lambda: monitor.said("web-1")[-1].sequence > before)
    after = next(beat.sequence for beat in monitor.said("web-1") if beat.sequence > before)
    assert after - before >= 10


async def test_an_async_heart_survives_a_monitor_that_comes_back(monitor, told):
    async with AsyncHeart("web-1", interval=FAST, **told) as heart:
        await asyncio.to_thread(monitor.wait_beats, "web-1", 3)
        await asyncio.to_thread(monitor.close)
        await asyncio.to_thread(wait_silent, heart)
        count = len(monitor.said("web-1"))
        await asyncio.to_thread(monitor.open)
        await asyncio.to_thread(monitor.wait_beats, "web-1", count + 2)


async def test_an_async_heart_speaks_http_too(monitor, told):
    heart = AsyncHeart("web-1", interval=FAST, transport="http", **told)
    async with heart:
        await asyncio.to_thread(monitor.wait, lambda: heart.is_acknowledged)
    posted = [body for path, body in monitor.requests if path.endswith("/heartbeat")]
    assert posted[-1]["kind"] == "goodbye"


FORKING = """
import asyncio, os
from beatward import AsyncHeart
async def main():
    loop = asyncio.get_running_loop()
    async with AsyncHeart("web-1", interval="20ms") as heart:
        while not heart.is_acknowledged:
            await asyncio.sleep(0.01)
        if os.fork() == 0:
            # The child's copy of the loop turns on for fifteen heartbeats' time.
            loop.call_later(0.3, os._exit, 0)
            await loop.create_future()
        await asyncio.to_thread(os.wait)
asyncio.run(main())
"""


def test_a_loop_that_turns_on_in_a_forked_child_is_silent_there(monitor, start):
    process = start("-W", "ignore", "-c", FORKING)
    assert process.wait(30) == 0
    monitor.wait_goodbye("web-1")
    sequences = [beat.sequence for beat in monitor.said("web-1")]
    assert len(sequences) > 5
    assert len(sequences) == len(set(sequences))
