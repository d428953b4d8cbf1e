"""Decided actions, waiting for the journal's receipt, their time, or their outcome.

    decided --receipt--> ready --not_before--> running --success--> done
                           ^                      |---permanent---> failed
                           +------- temporary ----+   (attempts are bounded)

The promise: nothing runs before its decision is on disk; what was decided and has no final
outcome on disk runs again after a crash, under the same key; what succeeded never runs again.
A driver that can tell that a key was already done says so instead of doing it twice.
Not here: the deeds (`actions/`) and why they were decided (`core.policy`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beatward.core.entry import ActionRecord, Entry, Event
from beatward.core.instants import format_duration
from beatward.core.policy import ActionSettings


@dataclass(frozen=True, slots=True)
class Action:
    """One deed to do, as handed to a driver.

    key      names the decision for ever; the same in every attempt and after a restart
    attempt  1 for the first
    event    the transition behind it, as `core.entry.public` shows it, without `at`
    """

    key: str
    name: str
    kind: str
    node: str
    attempt: int
    event: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt. `result` is `success`, `temporary` or `permanent`."""

    key: str
    attempt: int
    result: str
    message: str
    retry_after_ns: int = 0
