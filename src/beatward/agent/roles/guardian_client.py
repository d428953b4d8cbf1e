"""The agent's side of its guardian: it starts one, asks for hooks, and notices when it is gone.

    start ──► waiting for the lock of a former guardian ──► ready ──► killed, or no answer: lost

A guardian that does not answer is killed: its shadow gives the role up then, as it would if
another process had killed it. What was asked of a lost guardian is not answered any more; the
member gives its role up and asks the next one. Not here: what a guardian does (`guardian`).
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

from beatward.agent import clock
from beatward.core.instants import NEVER, SECOND

from .channel import Channel, GuardianPlan, LastWord, LeaseTimes, lease_of
from .lease_holder import LeaseHolder, RoleCommand

log = logging.getLogger("beatward.agent")

PING_NS = SECOND
RESTART_PAUSE_NS = SECOND


@dataclass(frozen=True, slots=True)
class HookResult:
    """An answer. number: of what was asked; head: the first that the hook has said."""

    number: int
    is_ok: bool
    text: str
    head: str


class GuardianClient:
    """Starts guardians, one at a time; used by one thread.

    is_ready     the guardian holds the lock, and hooks may be asked for
    has_ended    it has begun to give the role up by itself, since `take_ending`
    ended        the token and the life of a holder before, of which its lock file proves the end
    """

    def __init__(self, plan: GuardianPlan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._former: list[subprocess.Popen[bytes]] = []
        self._channel: Channel | None = None
        self._pid = 0
        self._number = 0
        self._start_ns = 0
        self._asked_ns = NEVER
        self._pinged_ns = 0
        self._is_ending = False
        self.ended: tuple[int, int] | None = None
        self.is_ready = False

    @property
    def next_due_ns(self) -> int:
        """When `turn` has something to do."""
        if self._channel is None:
            return self._start_ns
        return self._pinged_ns + PING_NS

    def fileno(self) -> int:
        """Return what to wait on for reading, or -1."""
        return -1 if self._channel is None else self._channel.fileno()

    def turn(self, now_ns: int, patience_ns: int) -> bool:
        """Start a guardian if there is none, and ask whether it is there; False: it is lost.

        patience_ns   one that has not answered for this time is taken for frozen
        """
        self._former = [process for process in self._former if process.poll() is None]
        if self._channel is None and now_ns >= self._start_ns:
            self._start(now_ns)
        if self._channel is None:
            return True
        if now_ns - self._asked_ns > patience_ns:
            log.error("%s: the guardian does not answer and is killed", self._plan.service)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self._pid, signal.SIGKILL)
            self._lose(now_ns)
            return False
        if self._channel.is_closed:
            log.error("%s: the guardian is gone", self._plan.service)
            self._lose(now_ns)
            return False
        if now_ns >= self._pinged_ns + PING_NS:
            self._ask({"do": "ping"}, now_ns)
        return True

    def heard(self) -> Sequence[HookResult]:
        """Return what was answered since the last call."""
        results = []
        for message in [] if self._channel is None else self._channel.heard():
            self._asked_ns = NEVER
            if message["is"] == "ready":
                self.is_ready, self._pid = True, message["pid"]
                self.ended = None if message["ended"] is None else tuple(message["ended"])
            elif message["is"] == "waiting":
                log.warning("%s: a former guardian is waited for", self._plan.service)
            elif message["is"] == "ending":
                self._is_ending = True
            elif message["is"] == "done":
                results.append(
                    HookResult(message["number"], message["ok"], message["said"], message["head"])
                )
        return results

    def take_ending(self) -> bool:
        """Tell whether the guardian has begun to give the role up since the last call."""
        is_ending, self._is_ending = self._is_ending, False
        return is_ending

    def promote(
        self, holder: LeaseHolder, primary: Mapping[str, str], last: LastWord | None = None
    ) -> int:
        """Ask to take the role, with its lease, and return the number of the answer.

        last   what the guardian says for this life when the role is over; None: nothing
        """
        self._number += 1
        message = {
            "kind": "promote",
            "number": self._number,
            "token": holder.token,
            "timeout_ns": 0,
        }
        held = {"lease": astuple(lease_of(holder)), "last": None if last is None else asdict(last)}
        self._ask({"do": "run", "primary": dict(primary), **held, **message}, clock.now_ns())
        return self._number

    def run(self, kind: str, token: int, primary: Mapping[str, str], *, timeout_ns: int = 0) -> int:
        """Ask for a hook and return the number of its answer; timeout_ns: 0: none."""
        self._number += 1
        message = {"kind": kind, "number": self._number, "token": token, "timeout_ns": timeout_ns}
        self._ask({"do": "run", "primary": dict(primary), **message}, clock.now_ns())
        return self._number

    def end_role(self, command: RoleCommand, holder: LeaseHolder) -> int:
        """Ask to demote or to stop, and return the number of the answer."""
        assert command.kind != "promote"
        self._number += 1
        message = {"do": command.kind, "number": self._number, "lease": astuple(lease_of(holder))}
        self._ask(message, clock.now_ns())
        return self._number

    def lend(self, lease: LeaseTimes) -> None:
        """Say how long the lease runs."""
        self._ask({"do": "lease", "lease": astuple(lease)}, clock.now_ns())

    def end(self) -> None:
        """Let the guardian go; nothing is held any more, or it may do what it can alone."""
        if self._channel is not None:
            self._channel.say({"do": "end"})
            self._channel.close()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)

    def _ask(self, message: Mapping[str, Any], now_ns: int) -> None:
        if self._channel is None:
            return
        self._channel.say(message)
        self._pinged_ns = now_ns
        if self.is_ready:
            self._asked_ns = min(self._asked_ns, now_ns)

    def _start(self, now_ns: int) -> None:
        ours, its = socket.socketpair()
        self._start_ns = now_ns + RESTART_PAUSE_NS
        try:
            self._process = subprocess.Popen(  # noqa: S603  ourselves
                [sys.executable, "-m", "beatward.agent.roles.guardian", str(its.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            log.warning("%s: no guardian can be started: %s", self._plan.service, error)
            ours.close()
        else:
            self._channel = Channel(ours)
            self._channel.say(asdict(self._plan))
            self._pinged_ns = now_ns
        finally:
            its.close()

    def _lose(self, now_ns: int) -> None:
        if self._process is not None:
            self._former.append(self._process)
        if self._channel is not None:
            self._channel.close()
        self._process = self._channel = None
        self.is_ready = False
        self._asked_ns = NEVER
        self._start_ns = max(self._start_ns, now_ns)
