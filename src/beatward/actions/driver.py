"""What every driver promises the dispatcher, and what it is given.

Route: `Dispatcher.submit -> Driver.do -> Outcome`. A driver does one attempt of one deed and knows
nothing of retries, which are the outbox's. Those that run programs share two functions at the end.
Not here: any driver.
"""

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from beatward.action_settings import ActionSettings
from beatward.core.outbox import Action

# Of what a program printed, its end is told: there stands why it failed.
OUTPUT_LENGTH_MAX = 300
OUTPUT_BEGINS = "; it said: "
# What systemd tells its own service, and our own secrets, are none of a program's business.
_OURS = re.compile(r"BEATWARD_|(NOTIFY_SOCKET|WATCHDOG_USEC|WATCHDOG_PID|LISTEN_FDS|LISTEN_PID)$")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What drivers may know of the monitor that they work for.

    folder        where a driver keeps what must outlive the monitor; made when it is needed
    now_ns        the monotonic clock
    wall_ns       nanoseconds since 1970 UTC; for people and for dates that others send
    notify_agent  tells an agent, by its node's name, that an action waits; called in the loop's
                  thread
    """

    folder: Path
    now_ns: Callable[[], int]
    wall_ns: Callable[[], int]
    notify_agent: Callable[[str], None]


class Driver(Protocol):
    """The hands for one kind of action. All methods are called in the loop's thread.

    running_max  how many attempts of one action, by its name in the settings, run at once; the
                 others of that action wait, and their time with them
    grace_ns     how long beyond its limit an attempt may take to end its deed in good order;
                 with 0 it is cancelled on time
    """

    @property
    def running_max(self) -> int: ...  # noqa: D102 - said above
    @property
    def grace_ns(self) -> int: ...  # noqa: D102 - said above

    async def do(self, action: Action, settings: ActionSettings) -> str:
        """Do one attempt and return a sentence about its success.

        Raises TemporaryError or PermanentError; anything else counts as temporary and is logged.
        When cancelled it lets go at once: a deed that outlives the monitor stays as it is and is
        found again when the same key is asked for. No message may hold a secret.
        """

    async def forget(self, keys: Collection[str]) -> None:
        """Drop what is kept about these keys; their final outcome is in the journal."""

    async def retain(self, keys: Collection[str]) -> None:
        """Drop what an earlier life of the monitor kept about any key but these."""

    async def end(self) -> None:
        """End what runs and would outlive the monitor; `do` then returns or raises by itself."""

    async def close(self) -> None:
        """Release everything; no `do` is under way any more."""


def nodes_of(action: Action) -> tuple[list[str], int]:
    """Return the names of the nodes that an action is about, the first ten, and how many there are.

    An event of a mass failure is about many nodes; an event of a role that is vacant is about none.
    """
    if action.node:
        return [action.node], 1
    detail = action.event.get("detail") or {}
    names = list(detail.get("nodes") or ())
    return names, int(detail.get("count", len(names)))


def environment_for_programs() -> dict[str, str]:
    """Return the monitor's environment without what is meant for the monitor alone."""
    return {name: value for name, value in os.environ.items() if not _OURS.match(name)}


def last_words(output: str) -> str:
    """Return what a program printed as the end of a sentence about it; empty: it said nothing."""
    text = output.strip()
    cut = "..." if len(text) > OUTPUT_LENGTH_MAX else ""
    return f"{OUTPUT_BEGINS}{cut}{text[-OUTPUT_LENGTH_MAX:]}" if text else ""
