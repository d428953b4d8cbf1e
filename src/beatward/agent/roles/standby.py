"""Getting a member ready to stand by: who is primary now, and the `start` hook for it.

    taken up, demoted, or a token that is new ──► ask the monitor who holds the role
        ──► the holder is another than the one stood by for ──► start hook ──► ready

It is not ready from the question on only if it was not before, or if the holder is another: a
switchover that fell back to the same holder disturbs no standby. Without a `start` hook a member is
always ready, and asks nothing. Not here: whether it is able for other reasons
(`guardian_workload`).
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from beatward.agent.attempts import Backoff, in_background
from beatward.agent.post import Access, post_as
from beatward.core.instants import NEVER, SECOND
from beatward.core.protocol.keys import is_name
from beatward.core.protocol.texts import HOST_WORDS, is_host
from beatward.errors import MonitorUnreachable

log = logging.getLogger("beatward.agent")

Primary = Mapping[str, str]

# While a node takes the role, and after a question that was not answered.
ASK_AGAIN_NS = SECOND
# A start hook that has failed, mostly because its primary is not there yet.
RETRY_NS = SECOND
RETRY_MAX_NS = 30 * SECOND
# Unanswered questions before it is started for the primary that was known last, or for none: a
# machine that starts up while the monitor is away shall not wait for it with its standby.
ASK_COUNT_MAX = 5


class Standby:
    """One member's readiness; used by one thread.

    run      runs the start hook for a primary; its end comes back by `started`
    wake     called from another thread when `turn` is wanted
    primary  `node`, `address` and `port` of the holder as known last; empty: none
    """

    def __init__(
        self,
        service: str,
        *,
        access: Access,
        run: Callable[[Primary], None] | None,
        wake: Callable[[], None],
    ) -> None:
        self._service = service
        self._access = access
        self._run = run
        self._wake = wake
        self.is_ready = run is None
        self.primary: Primary = {}
        self._is_running = False
        self._question: Future[Mapping[str, Any]] | None = None
        self._asked_token = -1
        self._settled_token = -1
        self._failures = 0
        self._due_ns = 0
        self._backoff = Backoff(RETRY_NS, RETRY_MAX_NS)

    @property
    def due_ns(self) -> int:
        """When `turn` has something to do."""
        is_waiting = self._is_running or self._question is not None
        return NEVER if self._run is None or is_waiting else self._due_ns

    def forget(self) -> None:
        """Begin anew: after a demotion, with a new guardian, or when the workload is gone."""
        self.is_ready = self._run is None
        self._is_running = False
        self._settled_token = -1
        self._due_ns = 0

    def lose(self, now_ns: int) -> None:
        """Begin anew, but not at once: what was started does not stand by.

        The pause doubles until `prove`: a start hook that succeeds proves nothing by itself.
        """
        self.forget()
        self._due_ns = now_ns + self._backoff.next_ns()

    def prove(self) -> None:
        """Take note that the workload says it stands by."""
        self._backoff.reset()

    def turn(self, now_ns: int, token: int) -> None:
        """Ask, or start, if it is time; only while nothing is held. token: the highest seen."""
        if self._run is None or self._is_running:
            return
        if self._question is not None:
            if self._question.done():
                self._take(self._question, now_ns)
                self._question = None
            return
        if self.is_ready and token == self._settled_token:
            self._due_ns = NEVER
        elif now_ns >= self._due_ns or token != self._asked_token:
            self._asked_token = token
            self._question = in_background(self._ask, self._wake)

    def started(self, now_ns: int, *, is_ok: bool) -> None:
        """Take in what became of the start hook."""
        self._is_running = False
        self.is_ready = is_ok
        self._due_ns = now_ns
        if not is_ok:
            self._due_ns = now_ns + self._backoff.next_ns()

    def _take(self, question: Future[Mapping[str, Any]], now_ns: int) -> None:
        self._due_ns = now_ns + ASK_AGAIN_NS
        try:
            answer = question.result()
        except MonitorUnreachable as error:
            self._failures += 1
            if self._failures < ASK_COUNT_MAX or self.is_ready:
                log.debug("%s: the primary is not known: %s", self._service, error)
                return
            log.warning("%s: the primary is not known (%s)", self._service, error)
            self._start()
            return
        self._failures = 0
        found = answer.get("holder")
        holder = found if isinstance(found, dict) else {}
        primary = {word: str(holder.get(word) or "") for word in ("node", "address", "port")}
        if primary["node"] and primary["node"] == answer["own"]:
            return  # It has not taken in yet that this node has given the role up.
        primary = primary if primary["node"] else {}
        is_other = bool(primary) and primary != self.primary
        if primary:
            self.primary = primary
        if answer.get("phase") == "held" or not primary:
            self._settled_token = self._asked_token
        if is_other or not self.is_ready:
            self._start()

    def _start(self) -> None:
        assert self._run is not None
        self.is_ready = False
        self._is_running = True
        self._run(self.primary)

    def _ask(self) -> Mapping[str, Any]:
        credential, monitor = self._access()
        if credential is None:
            raise MonitorUnreachable("this node is not enrolled yet")
        answer = post_as(credential, monitor, "/v1/agent/primary", {"service": self._service})
        if answer.status != 200:
            raise MonitorUnreachable(f"{monitor}: {answer.reason}")
        _check_holder(answer.body.get("holder"), monitor)
        return {**answer.body, "own": credential.name}


def _check_holder(holder: object, monitor: str) -> None:
    """Raise MonitorUnreachable for a holder that must not reach a hook.

    The monitor has checked what that node declared. It may have been broken into, and a hook
    that does not quote its variables would run what an address holds.
    """
    if not isinstance(holder, dict):
        return
    node, address, port = (holder.get(word) or "" for word in ("node", "address", "port"))
    is_right = isinstance(node, str) and (not node or is_name(node))
    is_right = is_right and isinstance(address, str) and (not address or is_host(address))
    if not is_right or not str(port or 0).isdigit():
        found = f"{node!r} at {address!r}, port {port!r}"
        raise MonitorUnreachable(f"{monitor}: found a holder {found}, expected {HOST_WORDS}")
