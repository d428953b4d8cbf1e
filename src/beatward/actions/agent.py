"""kind = "agent": a named run waits in a queue until the agent of a node fetches and reports it.

    do ──► pending ──notify, every second──► agent fetches (`waiting`) ──► agent reports (`outcome`)
             └── no agent came, or no report, within the time limit: temporary

The monitor sends a name and never a command line; what the name means is in the agent's own
settings. A pending action is handed out again until it is reported, because an answer to a fetch
can be lost, so an agent must take the key as the name of the action: run it once, and report it
again when it is asked again. A success that comes after the time limit, or before the action is
asked for again after a restart, is remembered and counts for the next attempt. Not here: HTTP
(`web/`).
"""

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from beatward.action_settings import ActionSettings
from beatward.actions.driver import Surroundings
from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.outbox import Action, AttemptResult, Outcome
from beatward.errors import PermanentError, TemporaryError

# A pending action is an entry in a dict; only the fleet's size is a reason for a limit.
RUNNING_MAX = 1000
# One answer to an agent; the rest is handed out when it comes again.
FETCH_COUNT_MAX = 64
# An agent that does not come within a minute is away, not unlucky: notify it less.
NOTIFY_SPACING_SECONDS = 1.0
NOTIFY_QUICK_COUNT = 60
NOTIFY_SPACING_LATER_SECONDS = 10.0
# The agent ends a run that is late by itself; this is its report's way back.
REPORT_GRACE_NS = 2 * SECOND
# Remembered successes, for each node, so that none can push out another's; 64 kB at most.
LATE_COUNT_MAX = 64
KEY_LENGTH_MAX = 500
MESSAGE_LENGTH_MAX = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingAction:
    """One action as an agent sees it.

    name        what the agent's own settings call the run
    node        the node that the action is about; not always the agent's own
    timeout_ns  what is left of the attempt's time; the agent ends the run then
    """

    key: str
    name: str
    node: str
    attempt: int
    timeout_ns: int


@dataclass(slots=True)
class _Attempt:
    action: Action
    agent: str
    run: str
    until_ns: int
    report: "asyncio.Future[Outcome]"
    is_fetched: bool = False


class AgentQueue:
    """The driver; `waiting`, `has_mail` and `outcome` may be called from any thread."""

    running_max = RUNNING_MAX
    # `do` keeps the limit itself, for it knows whether the agent came.
    grace_ns = REPORT_GRACE_NS + SECOND // 4

    def __init__(
        self, surroundings: Surroundings, *, notify_spacing_seconds: float = NOTIFY_SPACING_SECONDS
    ) -> None:
        self._now_ns = surroundings.now_ns
        self._notify = surroundings.notify_agent
        self._notify_spacing_seconds = notify_spacing_seconds
        self._lock = threading.Lock()
        # By the agent's node and the key: every heartbeat over HTTP asks whether mail waits.
        self._pending: dict[str, dict[str, _Attempt]] = {}
        self._late: dict[str, OrderedDict[str, str]] = {}
        self._notifiers: dict[str, asyncio.Task[None]] = {}

    async def do(self, action: Action, settings: ActionSettings) -> str:
        """Queue the action for its agent and wait for its report; see `Driver.do`."""
        agent, run = settings.agent or "", settings.run or ""
        pending = _Attempt(
            action,
            agent,
            run,
            self._now_ns() + settings.timeout,
            asyncio.get_running_loop().create_future(),
        )
        with self._lock:
            message = self._late.get(agent, OrderedDict()).get(action.key)
            if message is not None:
                return _sentence(agent, message)
            mine = self._pending.setdefault(agent, {})
            is_first = all(other.is_fetched for other in mine.values())
            mine[action.key] = pending
        if is_first:
            self._begin_notifying(agent)
        try:
            await asyncio.wait([pending.report], timeout=settings.timeout / SECOND)
            if pending.is_fetched and not pending.report.done():
                await asyncio.wait([pending.report], timeout=REPORT_GRACE_NS / SECOND)
        finally:
            self._take_out(pending)
        if not pending.report.done():
            raise TemporaryError(_lateness(pending, settings.timeout))
        return _judged(pending.report.result(), agent)

    def has_mail(self, node: str) -> bool:
        """Tell whether something waits that the agent of a node has not fetched yet."""
        if node not in self._pending:
            return False
        with self._lock:
            return any(not pending.is_fetched for pending in self._pending.get(node, {}).values())

    def waiting(self, node: str) -> tuple[PendingAction, ...]:
        """Return what waits for the agent of a node, oldest first, and count it as fetched.

        What it has fetched and not reported is there again, after what is new.
        """
        now_ns = self._now_ns()
        with self._lock:
            mine = [
                pending
                for pending in self._pending.get(node, {}).values()
                if pending.until_ns > now_ns
            ]
            mine.sort(key=lambda pending: pending.is_fetched)
            fetched = mine[:FETCH_COUNT_MAX]
            for pending in fetched:
                pending.is_fetched = True
        return tuple(_handed_out(pending, now_ns) for pending in fetched)

    def outcome(self, node: str, outcome: Outcome) -> bool:
        """Take a report from the agent of a node; False when it has no use for us.

        A success counts whatever the attempt, because the action is done; a failure only ends the
        attempt that it is about. A success that is not waited for is remembered and also True.
        """
        with self._lock:
            pending = self._pending.get(node, {}).get(outcome.key)
            if pending is None and any(outcome.key in mine for mine in self._pending.values()):
                return False  # It is another's.
            if outcome.result == AttemptResult.SUCCESS:
                self._remember(node, outcome)
            if pending is None:
                return outcome.result == AttemptResult.SUCCESS
            if (
                outcome.result != AttemptResult.SUCCESS
                and outcome.attempt != pending.action.attempt
            ):
                return False
        pending.report.get_loop().call_soon_threadsafe(_complete, pending.report, outcome)
        return True

    async def forget(self, keys: Collection[str]) -> None:
        """Drop remembered successes; see `Driver.forget`."""
        with self._lock:
            for agent in list(self._late):
                for key in keys:
                    self._late[agent].pop(key, None)
                if not self._late[agent]:
                    del self._late[agent]

    async def retain(self, keys: Collection[str]) -> None:
        """Do nothing: a queue does not outlive the monitor."""

    async def end(self) -> None:
        """Do nothing: what an agent runs is the agent's."""

    async def close(self) -> None:
        """Stop notifying agents."""
        notifiers = list(self._notifiers.values())
        for notifier in notifiers:
            notifier.cancel()
        await asyncio.gather(*notifiers, return_exceptions=True)

    def _remember(self, node: str, outcome: Outcome) -> None:
        late = self._late.setdefault(node, OrderedDict())
        late[outcome.key[:KEY_LENGTH_MAX]] = outcome.message[:MESSAGE_LENGTH_MAX]
        while len(late) > LATE_COUNT_MAX:
            late.popitem(last=False)

    def _take_out(self, pending: _Attempt) -> None:
        with self._lock:
            mine = self._pending[pending.agent]
            del mine[pending.action.key]
            if not mine:
                del self._pending[pending.agent]

    def _begin_notifying(self, agent: str) -> None:
        # One task for each agent, however many actions wait for it. An earlier one only sleeps,
        # because all that it notified of has been fetched.
        notifier = self._notifiers.pop(agent, None)
        if notifier is not None:
            notifier.cancel()
        notifier = asyncio.get_running_loop().create_task(self._keep_notifying(agent))
        self._notifiers[agent] = notifier
        notifier.add_done_callback(lambda ended: self._drop_notifier(agent, ended))

    def _drop_notifier(self, agent: str, ended: "asyncio.Task[None]") -> None:
        if self._notifiers.get(agent) is ended:
            del self._notifiers[agent]

    async def _keep_notifying(self, agent: str) -> None:
        count = 0
        while self.has_mail(agent):
            try:
                self._notify(agent)
            except Exception:  # noqa: BLE001 - see below
                # The agent may still come by itself; the attempt's time limit holds in any case.
                if count == 0:
                    _log.exception("could not notify the agent on %s that an action waits", agent)
            count += 1
            spacing = self._notify_spacing_seconds
            if count >= NOTIFY_QUICK_COUNT:
                spacing = max(spacing, NOTIFY_SPACING_LATER_SECONDS)
            await asyncio.sleep(spacing)


def _handed_out(pending: _Attempt, now_ns: int) -> PendingAction:
    action = pending.action
    left_ns = max(pending.until_ns - now_ns, MILLISECOND)
    return PendingAction(action.key, pending.run, action.node, action.attempt, left_ns)


def _complete(report: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not report.done():
        report.set_result(outcome)


def _lateness(pending: _Attempt, timeout_ns: int) -> str:
    did = "fetched the action and did not report" if pending.is_fetched else "did not come for it"
    return f"the agent on {pending.agent} {did} within {format_duration(timeout_ns)}"


def _judged(report: Outcome, agent: str) -> str:
    message = _sentence(agent, report.message or report.result)
    if report.result == AttemptResult.SUCCESS:
        return message
    if report.result == AttemptResult.PERMANENT:
        raise PermanentError(message)
    raise TemporaryError(message, retry_after_ns=max(report.retry_after_ns, 0))


def _sentence(agent: str, message: str) -> str:
    return f"the agent on {agent} says: {message}"
