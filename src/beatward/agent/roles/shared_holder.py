"""One lease holder between two threads: the conversation reports for it, its runner acts for it.

    conversation: standing, hear ──► holder ◄── turn, done, report: the runner
                                       │
                                    state file: written before a promotion begins

A member that has not begun reports nothing: a report that it holds nothing has to be true.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from beatward.agent import clock
from beatward.agent.heartbeat_protocol import HeartbeatProtocol
from beatward.agent.state import StateFile
from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.roles import Grant, RoleReport, State, service_id

from .channel import LastWord
from .lease_holder import LOOK_NS, HolderState, LeaseHolder, RoleCommand

log = logging.getLogger("beatward.agent")

IDLE_NS = SECOND
HOLDING = frozenset((State.PROMOTING, State.ACTIVE, State.DEMOTING))
# How long a member that leaves waits until the monitor has heard what it gave up.
HEARD_PATIENCE_NS = SECOND
# How often the last word of a former holder is repeated: it is not answered.
ENDED_COUNT_MAX = 8


class SharedLeaseHolder:
    """A holder that two threads may use, each call as a whole; the lock is never held for long.

    name          the service
    declaration   what the monitor is told of it
    on_news       called from the conversation's thread after a grant; must not block
    lock          to be held while `holder` is used
    last_word     what is to be said for this life when the token is over that it was lent; None: it
                  was lent none. It is for the guardian alone, and never written to a disk before.
    remark        what keeps it from taking the role, in words for people; empty: nothing
    """

    def __init__(
        self, name: str, declaration: Mapping[str, Any], on_news: Callable[[], None]
    ) -> None:
        self.name = name
        self.id = service_id(name)
        self.declaration = declaration
        self.lock = threading.RLock()
        self.holder: LeaseHolder | None = None
        self.last_word: LastWord | None = None
        self._on_news = on_news
        self._written = HolderState()
        self._ended: tuple[int, int] | None = None
        self._ended_count = 0
        self.remark = ""

    def begin(
        self, file: StateFile, now_ns: int, *, ended: tuple[int, int] | None = None
    ) -> LeaseHolder:
        """Take up what the last life left, and speak from now on.

        ended   the token and the life of a holder before, which has ended for certain
        """
        self._written = file.read_role(self.name)
        with self.lock:
            self._ended, self._ended_count = ended, 0
            self.holder = LeaseHolder(self.name, self._written, now_ns=now_ns)
            return self.holder

    def remember(self, file: StateFile) -> bool:
        """Write down what has changed; returns whether all is written. Blocks for the disk."""
        with self.lock:
            memory = self._written if self.holder is None else self.holder.memory
        if memory != self._written and file.note_role(self.name, memory):
            self._written = memory
        return memory == self._written

    def prepare_promotion(self, command: RoleCommand, file: StateFile) -> bool:
        """Write down what a promotion must not forget; returns whether it may begin now.

        It may not if that failed, or if the command was overtaken while the disk was waited for.
        """
        is_written = self.remember(file)
        with self.lock:
            assert self.holder is not None, "what has not begun has no command"
            now_ns = clock.now_ns()
            self.holder.turn(now_ns)
            if not is_written:
                log.error("%s: no role is taken that cannot be remembered", self.name)
                self.holder.done(command, now_ns, ok=False)
            return self.holder.command == command

    def turn_due_ns(self, now_ns: int) -> int:
        """Return when its owner is to look again, if nothing comes in before."""
        with self.lock:
            if self.holder is None:
                return now_ns + IDLE_NS
            spacing_ns = LOOK_NS if self.holder.memory.held else IDLE_NS
            return min(now_ns + spacing_ns, self.holder.turn_due_ns)

    # --- the conversation's side ---

    @property
    def is_held(self) -> bool:
        """Whether the role is taken, held or being given up; what is stuck may stay so for ever."""
        with self.lock:
            return self.holder is not None and self.holder.state in HOLDING

    @property
    def standing_due_ns(self) -> int:
        """When `standing` has something to say."""
        with self.lock:
            return NEVER if self.holder is None else self.holder.standing_due_ns

    def standing(self, now_ns: int) -> RoleReport | None:
        """Return what is to be said now, see `LeaseHolder.standing`."""
        with self.lock:
            return None if self.holder is None else self.holder.standing(now_ns)

    def hear(
        self, grant: Grant, now_ns: int, protocol: HeartbeatProtocol, where: tuple[int, Any] | None
    ) -> None:
        """Take in an answer.

        protocol   of the life that it is for; where: the monitor's socket, if there is one
        """
        if grant.service == self.id and self.holder is not None:
            with self.lock:
                before = self.holder.memory.held
                self.holder.hear(grant, now_ns)
                held = self.holder.memory.held
                if held and held != before and where is not None:
                    data = protocol.seal_last_word(self.id, held, protocol.incarnation)
                    self.last_word = LastWord(held, protocol.incarnation, data.hex(), *where)
            self._on_news()

    def word_of_the_ended(self, protocol: HeartbeatProtocol) -> bytes | None:
        """Return the last word of a holder before us, while it is to be said with ours.

        What that has left behind is ours to end, so it is not said before we hold nothing.
        """
        with self.lock:
            is_free = self.holder is not None and not self.holder.memory.held
        if self._ended is None or not is_free or self._ended_count >= ENDED_COUNT_MAX:
            return None
        self._ended_count += 1
        return protocol.seal_last_word(self.id, *self._ended)
