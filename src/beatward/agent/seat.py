"""One member's tenure between two threads: the conversation speaks for it, its owner acts for it.

    conversation: standing, hear ──► tenure ◄── turn, done, report: the owner
                                       │
                                    state file: written before a promotion begins

What a member is that has not begun says nothing: whoever says that it holds nothing must know it.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.roles import Grant, Standing, service_id

from . import clock
from .state import StateFile
from .tenure import LOOK_NS, Duty, Memory, Tenure

log = logging.getLogger("beatward.agent")

IDLE_NS = SECOND
# What is given up is said to the monitor; whether it heard is waited for so long.
HEARD_PATIENCE_NS = SECOND


class Seat:
    """A tenure that two threads may use, each call as a whole; the lock is never held for long.

    name          the service
    declaration   what the monitor is told of it
    on_news       called from the conversation's thread after a grant; must not block
    lock          to be held while `tenure` is used
    """

    def __init__(
        self, name: str, declaration: Mapping[str, Any], on_news: Callable[[], None]
    ) -> None:
        self.name = name
        self.id = service_id(name)
        self.declaration = declaration
        self.lock = threading.RLock()
        self.tenure: Tenure | None = None
        self._on_news = on_news
        self._written = Memory()

    def begin(self, file: StateFile, now_ns: int) -> Tenure:
        """Take up what the last life left, and speak from now on."""
        self._written = file.state.roles.get(self.name, Memory())
        with self.lock:
            self.tenure = Tenure(self.name, self._written, now_ns=now_ns)
            return self.tenure

    def remember(self, file: StateFile) -> bool:
        """Write down what has changed; returns whether all is written. Blocks for the disk."""
        with self.lock:
            memory = self._written if self.tenure is None else self.tenure.memory
        if memory != self._written and file.note_role(self.name, memory):
            self._written = memory
        return memory == self._written

    def prepare_promotion(self, duty: Duty, file: StateFile) -> bool:
        """Write down what a promotion must not forget; returns whether it may begin now.

        It may not if that failed, or if the duty was overtaken while the disk was waited for.
        """
        is_written = self.remember(file)
        with self.lock:
            assert self.tenure is not None, "what has not begun has no duty"
            now_ns = clock.now_ns()
            self.tenure.turn(now_ns)
            if not is_written:
                log.error("%s: no role is taken that cannot be remembered", self.name)
                self.tenure.done(duty, now_ns, ok=False)
            return self.tenure.duty == duty

    def turn_due_ns(self, now_ns: int) -> int:
        """Return when its owner is to look again, if nothing comes in before."""
        with self.lock:
            if self.tenure is None:
                return now_ns + IDLE_NS
            spacing_ns = LOOK_NS if self.tenure.memory.held else IDLE_NS
            return min(now_ns + spacing_ns, self.tenure.turn_due_ns)

    # --- the conversation's side ---

    @property
    def standing_due_ns(self) -> int:
        """When `standing` has something to say."""
        with self.lock:
            return NEVER if self.tenure is None else self.tenure.standing_due_ns

    def standing(self, now_ns: int) -> Standing | None:
        """Return what is to be said now, see `Tenure.standing`."""
        with self.lock:
            return None if self.tenure is None else self.tenure.standing(now_ns)

    def hear(self, grant: Grant, now_ns: int) -> None:
        """Take in an answer."""
        if grant.service == self.id and self.tenure is not None:
            with self.lock:
                self.tenure.hear(grant, now_ns)
            self._on_news()
