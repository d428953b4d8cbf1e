"""The hands: one driver a kind of action, and the dispatcher that keeps them busy.

Route in: journaled `core.outbox.Action`s from the wheel's thread; out: one `Outcome` for every
attempt. `DRIVERS` is the whole catalogue: a new driver is a copy of the nearest file that passes
tests/actions/test_conformance.py, and one more line here. Not here: what to do and when to try
again (`core.policy`, `core.outbox`).
"""

from collections.abc import Callable, Mapping

from .agent import AgentQueue, PendingAction
from .command import Command
from .dispatcher import Dispatcher
from .driver import Driver, Surroundings
from .fence import Power
from .webhook import Webhook

DRIVERS: Mapping[str, Callable[[Surroundings], Driver]] = {
    "webhook": Webhook,
    "notify": Command,
    "exec": Command,
    "agent": AgentQueue,
    "fence": Power,
}

__all__ = [
    "DRIVERS",
    "AgentQueue",
    "Command",
    "Dispatcher",
    "Driver",
    "PendingAction",
    "Power",
    "Surroundings",
    "Webhook",
]
