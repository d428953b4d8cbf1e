"""The guardian of one service: it runs the hooks, and ends the role in time if the agent cannot.

An agent that is killed or frozen cannot demote. So what it decides is done by a process of its
own, which knows how long the lease runs, and does at its end what the agent would have had done:

    agent ──lease, hooks──► guardian ──► hooks ──► workload
                               │ ▲
                            shadow: its parent, which only waits

The shadow is there for the guardian itself: if that is killed, the shadow gives the role up; if
the shadow is, the guardian does. Both are subreapers, so every process that a hook has started,
and that has forked away from it, is still below the shadow and can be found and killed. Both hold
a file's lock until all is over, and the next guardian waits for it.

What ends a role, at the end of the lease or when the agent asks for it:

    demote hook ──exit 0──► given up
        │ fails, or demote_until has come
    stop hook ──► kill all that is left ──► given up, if it is certain
        │ not certain
    the agent claims STUCK and asks again

It is certain when the stop hook has ended with 0 and nothing is left below; without a stop hook,
when there were processes below and they are dead. Killed at once, and stopped after that, is
what is late already: after a freeze, or at a second attempt.

Not here: who holds what (`lease_holder`), and the agent's side (`guardian_client`).
"""

import contextlib
import json
import logging
import mmap
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from beatward.agent import clock
from beatward.agent.logs import log_to_stderr
from beatward.agent.processes import become_subreaper
from beatward.core.instants import MILLISECOND, NEVER, SECOND

from .channel import Channel, GuardianPlan, LastWord, LeaseTimes
from .hooks import Hook, Hooks
from .lease_holder import KILL_RESERVE_NS, LOOK_NS, STUCK_PAUSE_NS
from .lock import Lock

log = logging.getLogger("beatward.agent")

IDLE_NS = 5 * SECOND
LOCK_PAUSE_NS = 50 * MILLISECOND
# Of the time for stopping, what is left for killing what the stop hook has not stopped.
KILL_NS = 100 * MILLISECOND
# What is late already is stopped as thoroughly as can be: nothing is promised any more.
LATE_STOP_NS = 30 * SECOND
LATE_KILL_NS = 2 * SECOND
_SHARED = struct.Struct("<QQQQ")
_LAST_SIZE = 1024
# No answer follows a last word; the next process says it again.
LAST_COUNT = 3


class Shared:
    """What the shadow has to know when the guardian is gone: the lease, and the hook that runs."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SHARED.size + _LAST_SIZE)

    def note(self, lease: LeaseTimes | None, hook: Hook | None) -> None:
        """Write it down; the shadow reads it only after the guardian has ended."""
        demote_ns = 0 if lease is None else lease.over_ns - lease.end_ns
        over_ns = 0 if lease is None else lease.over_ns
        pid = 0 if hook is None else hook.pid
        packed = _SHARED.pack(lease.token if lease else 0, demote_ns, over_ns, pid)
        self._memory[: _SHARED.size] = packed

    def read(self, now_ns: int) -> tuple[LeaseTimes | None, int]:
        """Return a lease that ends now, if one was held, and the hook's process or 0."""
        token, demote_ns, over_ns, pid = _SHARED.unpack(self._memory[: _SHARED.size])
        if not token:
            return None, pid
        over_ns = min(over_ns, now_ns + demote_ns)
        until_ns = over_ns - min(KILL_RESERVE_NS, demote_ns // 2)
        return LeaseTimes(token, now_ns, until_ns, over_ns), pid

    @property
    def last(self) -> LastWord | None:
        """What is to be said when the role is over, if anything was ever to be."""
        found = self._memory[_SHARED.size :].rstrip(b"\0")
        return LastWord(**json.loads(found)) if found else None

    @last.setter
    def last(self, last: LastWord | None) -> None:
        data = b"" if last is None else json.dumps(asdict(last)).encode()
        self._memory[_SHARED.size :] = data.ljust(_LAST_SIZE, b"\0")


class Guardian:
    """The process's one loop.

    channel  to the agent; None: it cannot be reached any more
    lock     taken
    widowed  one that can be read when the shadow is gone; -1: this is the shadow
    """

    def __init__(
        self,
        plan: GuardianPlan,
        shared: Shared,
        channel: Channel | None,
        *,
        lock: Lock,
        widowed: int,
    ) -> None:
        self._plan = plan
        self._lock = lock
        self._shared = shared
        self._channel = channel
        self._root = os.getpid() if widowed < 0 else os.getppid()
        self._widowed = widowed
        self._hooks = Hooks()
        self._lease: LeaseTimes | None = None
        self._hook: Hook | None = None  # promote or start: at most one, and none while ending
        self._number = 0
        self._look: Hook | None = None  # state
        self._look_number = 0
        self._ending: Iterator[bool | None] | None = None
        self._ending_numbers: list[int] = []
        self._wants_stop = False
        self._wake_ns = NEVER
        # What was ended here, and before, and whether that is certain.
        self._ended: tuple[int, bool] = (0, True)
        self._given_up = lock.given_up()
        self._is_alone = channel is None
        self._shall_end = False
        self._stuck: LeaseTimes | None = None
        self._retry_ns = NEVER
        self._primary: Mapping[str, str] = {}

    def take_over(self, lease: LeaseTimes) -> None:
        """Take up the lease that a killed guardian has left; it ends at once."""
        self._lease = lease

    def run(self) -> None:
        """Return when the agent has ended in order, or is gone and nothing is held."""
        while True:
            self._turn(clock.now_ns())
            if self._is_over():
                break
            filenos = [] if self._channel is None else [self._channel.fileno()]
            filenos = [fileno for fileno in (*filenos, self._widowed) if fileno >= 0]
            found = self._hooks.wait(filenos, self._next_ns())
            if self._widowed in found:
                # Half a guardian cannot promise what two can.
                log.error("%s: half of the guardian was killed", self._plan.service)
                self._widowed, self._root = -1, os.getpid()
                self._is_alone = True
                if self._lease is not None and self._ending is None:
                    self._begin_ending(self._lease)
            if self._channel is not None:
                self._listen(self._channel)
        if self._hook is not None:
            self._hook.kill()

    # --- one turn ---

    def _is_over(self) -> bool:
        is_idle = self._ending is None and self._lease is None and self._stuck is None
        return is_idle and (self._shall_end or self._is_alone)

    def _next_ns(self) -> int:
        now_ns = clock.now_ns()
        if self._lease is None and self._ending is None:
            return min(now_ns + IDLE_NS, self._retry_ns)
        end_ns = NEVER if self._lease is None or self._ending else self._lease.end_ns
        return min(now_ns + LOOK_NS, end_ns, self._wake_ns)

    def _turn(self, now_ns: int) -> None:
        if self._look is not None and self._look.ended is not None:
            look, self._look = self._look, None
            self._report(look, self._look_number)
        if self._hook is not None and self._hook.ended is not None:
            hook, self._hook = self._hook, None
            self._shared.note(self._lease, None)
            self._report(hook, self._number)
        if self._ending is None and self._lease is not None and now_ns >= self._lease.end_ns:
            log.warning("%s: the lease is over; the role is given up", self._plan.service)
            self._begin_ending(self._lease)
        if now_ns >= self._retry_ns:
            self._retry()
        if self._ending is not None:
            self._wake_ns = NEVER
            is_certain = next(self._ending)
            if is_certain is not None:
                self._finish_ending(is_certain=is_certain)

    def _listen(self, channel: Channel) -> None:
        for message in channel.heard():
            self._heed(message)
        if channel.is_closed and not self._is_alone:
            self._is_alone = True
            if not self._shall_end:
                log.warning("%s: the agent is gone", self._plan.service)

    def _heed(self, message: Mapping[str, Any]) -> None:
        what = message["do"]
        if what == "lease":
            self._take_lease(LeaseTimes(*message["lease"]))
            self._say({"is": "here"})
        elif what == "ping":
            self._say({"is": "here"})
        elif what == "run":
            self._run(message)
        elif what in ("demote", "stop"):
            self._end_role(message)
        elif what == "end":
            self._shall_end = True

    def _take_lease(self, lease: LeaseTimes) -> None:
        held = self._lease
        is_over = lease.token <= self._ended[0] or lease.token == self._given_up
        if is_over or (held is not None and lease.token < held.token):
            return
        self._lease = lease
        self._shared.note(lease, self._hook)

    def _run(self, message: Mapping[str, Any]) -> None:
        kind, number = message["kind"], message["number"]
        self._primary = message["primary"]
        limit_ns = clock.now_ns() + message["timeout_ns"] if message["timeout_ns"] else NEVER
        if kind == "state":
            if self._look is not None:
                self._look.kill()
            self._look_number = number
            self._look = self._begin("state", message["token"], limit_ns)
            return
        if self._ending is not None:
            self._say_done(number, is_ok=False, text=f"{kind}: the role is being given up")
            return
        if self._hook is not None:
            self._hook.kill()
        if kind == "promote":
            self._lock.note(0)
            self._given_up = 0
            last = message["last"]
            self._shared.last = None if last is None else LastWord(**last)
            self._take_lease(LeaseTimes(*message["lease"]))
        self._number = number
        self._hook = self._begin(kind, message["token"], limit_ns)
        self._shared.note(self._lease, self._hook)

    def _end_role(self, message: Mapping[str, Any]) -> None:
        self._say({"is": "here"})
        lease = LeaseTimes(*message["lease"])
        token, is_certain = self._ended
        is_stop = message["do"] == "stop"
        is_ended = token == lease.token and (is_certain or not is_stop)
        if self._ending is None and (is_ended or lease.token == self._given_up):
            # It was done before the agent, which was frozen or killed, has asked for it.
            is_ok = is_certain or lease.token == self._given_up
            self._say_done(message["number"], is_ok=is_ok, text="the guardian had given it up")
            return
        self._lease = lease
        self._ending_numbers.append(message["number"])
        self._wants_stop = self._wants_stop or is_stop
        if self._ending is None:
            self._begin_ending(lease)

    # --- giving a role up ---

    def _begin_ending(self, lease: LeaseTimes) -> None:
        self._lease = lease
        self._ending = self._ending_steps()
        self._say({"is": "ending", "token": lease.token})

    def _finish_ending(self, *, is_certain: bool) -> None:
        lease = self._ended_lease
        self._ended = (lease.token, is_certain)
        if is_certain:
            self._say_last(lease.token)
        text = "given up" if is_certain else "it cannot be made sure that the workload has stopped"
        self._ending = None
        self._wants_stop = False
        self._lease = None
        self._shared.note(None, None)
        for number in self._ending_numbers:
            self._say_done(number, is_ok=is_certain, text=text)
        self._ending_numbers = []
        log.log(
            logging.INFO if is_certain else logging.ERROR,
            "%s: token %d: %s",
            self._plan.service,
            self._ended[0],
            text,
        )
        if self._is_alone and not is_certain:
            # A new process may try, too: nothing is gained by keeping it out.
            self._lock.release()
            self._stuck, self._retry_ns = lease, clock.now_ns() + STUCK_PAUSE_NS

    def _say_last(self, token: int) -> None:
        """Write down and say, for the life that was lent the token, that it is over."""
        last = self._shared.last
        if last is None or last.token != token:
            self._lock.note(token)
            return
        self._lock.note(token, last.life)
        family, address = last.family, tuple(last.address)
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as speaker:
            for _ in range(LAST_COUNT):
                speaker.sendto(bytes.fromhex(last.data), socket.MSG_DONTWAIT, address)

    def _retry(self) -> None:
        """Try to stop once more what could not be stopped, unless the next guardian does."""
        lease, self._stuck, self._retry_ns = self._stuck, None, NEVER
        if self._lock.take() and lease is not None:
            self._wants_stop = True
            self._begin_ending(lease)

    def _ending_steps(self) -> Iterator[bool | None]:
        """Give the role up: yields None to wait for a turn, and at last whether it is certain."""
        for hook in (self._hook, self._look):
            if hook is not None:
                hook.kill()
        while self._hook is not None:
            yield None
        token = self._ended_lease.token
        if not self._is_late_to_demote():
            hook = self._begin("demote", token, NEVER)
            self._shared.note(self._ended_lease, hook)
            while hook.ended is None:
                self._wake_ns = self._ended_lease.demote_until_ns
                if self._is_late_to_demote():
                    hook.kill(is_late=True)
                yield None
            if hook.ended.is_ok:
                yield True
                return
            log.warning("%s: %s", self._plan.service, hook.ended.text)
        yield from self._stopping_steps(token)

    def _stopping_steps(self, token: int) -> Iterator[bool | None]:
        until_ns = self._ended_lease.over_ns - KILL_NS
        killed = 0
        if clock.now_ns() >= until_ns:
            # Late already: whatever runs may act beside its successor. First of all it has to end.
            until_ns = clock.now_ns() + LATE_STOP_NS
            killed = self._kill()
        hook = self._begin("stop", token, until_ns) if "stop" in self._plan.hooks else None
        while hook is not None and hook.ended is None:
            self._wake_ns = until_ns
            yield None
        if hook is not None and hook.ended is not None and not hook.ended.is_ok:
            log.warning("%s: %s", self._plan.service, hook.ended.text)
        left = self._kill()
        if hook is None:
            has_stopped = killed > 0 or left > 0
        else:
            has_stopped = hook.ended is not None and hook.ended.is_ok
        yield killed >= 0 and left >= 0 and has_stopped

    def _is_late_to_demote(self) -> bool:
        return self._wants_stop or clock.now_ns() >= self._ended_lease.demote_until_ns

    def _kill(self) -> int:
        until_ns = max(self._ended_lease.over_ns, clock.now_ns() + LATE_KILL_NS)
        spared = {os.getpid(), self._root}
        return self._hooks.kill_below(self._root, spared, until_ns)

    @property
    def _ended_lease(self) -> LeaseTimes:
        """The lease of the role that is given up; in an orderly demotion it goes on meanwhile."""
        assert self._lease is not None, "a role is given up under its lease"
        return self._lease

    # --- speaking ---

    def _begin(self, kind: str, token: int, limit_ns: int) -> Hook:
        environment = {
            "BEATWARD_SERVICE": self._plan.service,
            "BEATWARD_NODE": self._plan.node,
            "BEATWARD_ROLE": kind,
            "BEATWARD_TOKEN": str(token),
            "BEATWARD_PRIMARY": self._primary.get("node", ""),
            "BEATWARD_PRIMARY_ADDRESS": self._primary.get("address", ""),
            "BEATWARD_PRIMARY_PORT": self._primary.get("port", ""),
        }
        return self._hooks.begin(kind, self._plan.hooks[kind], environment, limit_ns=limit_ns)

    def _report(self, hook: Hook, number: int) -> None:
        assert hook.ended is not None
        ended = hook.ended
        self._say_done(number, is_ok=ended.is_ok, text=ended.text, head=ended.head)

    def _say_done(self, number: int, *, is_ok: bool, text: str, head: str = "") -> None:
        self._say({"is": "done", "number": number, "ok": is_ok, "said": text, "head": head})

    def _say(self, message: Mapping[str, Any]) -> None:
        if self._channel is not None:
            self._channel.say(message)


def main(arguments: Sequence[str]) -> None:
    """Guard what the first line over the given descriptor says; returns when all is over."""
    log_to_stderr("")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        # What ends the agent is not meant for its guardian; but hooks are not to inherit that.
        signal.signal(number, lambda *_: None)
    channel = Channel(socket.socket(fileno=int(arguments[0])))
    message = _first_words(channel)
    if message is None:
        return
    plan = GuardianPlan(**message)
    lock = _take_lock(plan, channel)
    if lock is None:
        return
    become_subreaper()
    shared = Shared()
    widowed, alive = os.pipe()
    child = os.fork()
    if child:
        os.close(widowed)
        channel.close()
        _outlive(child, plan, shared, lock)
    os.close(alive)
    become_subreaper()
    channel.say({"is": "ready", "pid": os.getpid(), "ended": lock.ended()})
    Guardian(plan, shared, channel, lock=lock, widowed=widowed).run()
    os._exit(0)


def _outlive(child: int, plan: GuardianPlan, shared: Shared, lock: Lock) -> NoReturn:
    """Wait for the guardian's end, and do its duty if that was not in order."""
    pid = status = 0
    while pid != child:
        pid, status = os.waitpid(-1, 0)
    lease, hook = shared.read(clock.now_ns())
    if status != 0 and lease is not None:
        log.error("%s: the guardian was killed; the role is given up", plan.service)
        if hook:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(hook, signal.SIGKILL)
        guardian = Guardian(plan, shared, None, lock=lock, widowed=-1)
        guardian.take_over(lease)
        guardian.run()
    os._exit(0)


def _first_words(channel: Channel) -> Mapping[str, Any] | None:
    while not channel.is_closed:
        if found := channel.heard():
            return found[0]
        _wait(channel, NEVER)
    return None


def _take_lock(plan: GuardianPlan, channel: Channel) -> Lock | None:
    """Wait until no other guardian of this service is there; None: the agent has gone before."""
    lock = Lock(Path(plan.lock))
    has_waited = False
    while not lock.take():
        if not has_waited:
            has_waited = True
            channel.say({"is": "waiting"})
        _wait(channel, LOCK_PAUSE_NS)
        channel.heard()
        if channel.is_closed:
            return None
    return lock


def _wait(channel: Channel, pause_ns: int) -> None:
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    poll.poll(None if pause_ns == NEVER else pause_ns // MILLISECOND)


if __name__ == "__main__":
    main(sys.argv[1:])
