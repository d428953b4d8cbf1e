"""One of several equal workers. All of them do jobs; one of them, the scheduler, makes them.

    python examples/leader/worker.py NAME JOBS

BEATWARD_MONITOR and BEATWARD_TOKEN say where the monitor is, as for any heart.
"""

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path

from examples.leader.jobs import Jobs, OldToken

from beatward import AsyncHeart
from beatward.errors import RoleLost

# A job each; short, so that a gap in the table is the time in which nobody was the leader.
PAUSE_S = 0.05


async def main(name: str, path: Path) -> None:
    """Work, and schedule whenever this worker is the one that may."""
    # Cancelled, it leaves its blocks in order: the role is given back and need not run out.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with Jobs(path) as jobs:
        async with AsyncHeart(name, interval="200ms", data=path.parent / name) as heart:
            await asyncio.gather(schedule(heart, jobs), work(name, jobs))


async def schedule(heart: AsyncHeart, jobs: Jobs) -> None:
    """Make jobs while the role is lent; stand by for it again when it is lost."""
    while True:
        try:
            async with heart.role("scheduler") as token:
                while True:
                    # The table refuses a token that is not the newest any more.
                    jobs.add(token, heart.name, time.time())
                    await asyncio.sleep(PAUSE_S)
        except (RoleLost, OldToken) as error:
            print(f"{heart.name}: {error}", flush=True)


async def work(name: str, jobs: Jobs) -> None:
    """Take jobs for ever."""
    while True:
        if jobs.take(name) is None:
            await asyncio.sleep(PAUSE_S)


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
