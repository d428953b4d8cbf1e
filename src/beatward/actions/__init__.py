"""The hands: one driver a kind of action, and the dispatcher that keeps them busy.

Route in: journaled `core.outbox.Action`s from the wheel's thread; out: one `Outcome` for every
attempt. `Drivers` is the whole catalogue: a new driver is a copy of the nearest folder that passes
tests/actions/test_conformance.py, and one more line here. Not here: what to do and when to try
again (`core.policy`, `core.outbox`).
"""

from collections.abc import Callable, Mapping

from .dispatcher import Dispatcher
from .driver import Driver, Surroundings
from .fence.power import Power
from .notify.webhook import Webhook
from .restart.command import Command
from .restart.mailbox import Letter, Mailbox

DRIVERS: Mapping[str, Callable[[Surroundings], Driver]] = {
    "webhook": Webhook,
    "notify": Command,
    "exec": Command,
    "agent": Mailbox,
    "fence": Power,
}

__all__ = [
    "DRIVERS",
    "Command",
    "Dispatcher",
    "Driver",
    "Letter",
    "Mailbox",
    "Power",
    "Surroundings",
    "Webhook",
]
