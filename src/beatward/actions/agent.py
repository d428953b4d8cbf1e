"""kind = "agent": a named run waits in a mailbox until the agent of a node fetches and reports it.

    do ──► letter ──poke, every second──► agent fetches (`waiting`) ──► agent reports (`outcome`)
             └── no agent came, or no report, within the time limit: temporary

The monitor sends a name and never a command line; what the name means is in the agent's own
settings. A letter is handed out again until it is reported, because an answer to a fetch can be
lost, so an agent must take the key as the name of the deed: run it once, and report it again when
it is asked again. A success that comes after the time limit, or before the action is asked for
again after a restart, is remembered and counts for the next attempt. Not here: HTTP (`web/`).
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

# A letter is an entry in a dict; only the fleet's size is a reason for a limit.
RUNNING_MAX = 1000
# One answer to an agent; the rest is handed out when it comes again.
FETCH_COUNT_MAX = 64
# An agent that does not come within a minute is away, not unlucky: poke it less.
POKE_SPACING_SECONDS = 1.0
POKES_QUICK_COUNT = 60
POKE_SPACING_LATER_SECONDS = 10.0
# The agent ends a run that is late by itself; this is its report's way back.
REPORT_GRACE_NS = 2 * SECOND
# Remembered successes, for each node, so that none can push out another's; 64 kB at most.
LATE_COUNT_MAX = 64
KEY_LENGTH_MAX = 500
MESSAGE_LENGTH_MAX = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Letter:
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
class _Waiting:
    action: Action
    agent: str
    run: str
    until_ns: int
    report: "asyncio.Future[Outcome]"
    is_fetched: bool = False


class Mailbox:
    """The driver; `waiting`, `has_mail` and `outcome` may be called from any thread."""

    running_max = RUNNING_MAX
    # `do` keeps the limit itself, for it knows whether the agent came.
    grace_ns = REPORT_GRACE_NS + SECOND // 4

    def __init__(
        self, surroundings: Surroundings, *, poke_spacing_seconds: float = POKE_SPACING_SECONDS
    ) -> None:
        self._now_ns = surroundings.now_ns
        self._poke = surroundings.poke
        self._poke_spacing_seconds = poke_spacing_seconds
        self._lock = threading.Lock()
        # By the agent's node and the key: every heartbeat over HTTP asks whether mail waits.
        self._letters: dict[str, dict[str, _Waiting]] = {}
        self._late: dict[str, OrderedDict[str, str]] = {}
        self._pokers: dict[str, asyncio.Task[None]] = {}

    async def do(self, action: Action, settings: ActionSettings) -> str:
        """Put a letter into the mailbox and wait for its report; see `Driver.do`."""
        agent, run = settings.agent or "", settings.run or ""
        letter = _Waiting(
            action,
            agent,
            run,
            self._now_ns() + settings.timeout,
            asyncio.get_running_loop().create_future(),
        )
        with self._lock:
            said = self._late.get(agent, OrderedDict()).get(action.key)
            if said is not None:
                return _sentence(agent, said)
            mine = self._letters.setdefault(agent, {})
            is_first = all(other.is_fetched for other in mine.values())
            mine[action.key] = letter
        if is_first:
            self._begin_poking(agent)
        try:
            await asyncio.wait([letter.report], timeout=settings.timeout / SECOND)
            if letter.is_fetched and not letter.report.done():
                await asyncio.wait([letter.report], timeout=REPORT_GRACE_NS / SECOND)
        finally:
            self._take_out(letter)
        if not letter.report.done():
            raise TemporaryError(_lateness(letter, settings.timeout))
        return _judged(letter.report.result(), agent)

    def has_mail(self, node: str) -> bool:
        """Tell whether something waits that the agent of a node has not fetched yet."""
        if node not in self._letters:
            return False
        with self._lock:
            return any(not letter.is_fetched for letter in self._letters.get(node, {}).values())

    def waiting(self, node: str) -> tuple[Letter, ...]:
        """Return what waits for the agent of a node, oldest first, and count it as fetched.

        What it has fetched and not reported is there again, after what is new.
        """
        now_ns = self._now_ns()
        with self._lock:
            mine = [
                letter
                for letter in self._letters.get(node, {}).values()
                if letter.until_ns > now_ns
            ]
            mine.sort(key=lambda letter: letter.is_fetched)
            fetched = mine[:FETCH_COUNT_MAX]
            for letter in fetched:
                letter.is_fetched = True
        return tuple(_handed_out(letter, now_ns) for letter in fetched)

    def outcome(self, node: str, outcome: Outcome) -> bool:
        """Take a report from the agent of a node; False when it has no use for us.

        A success counts whatever the attempt, because the deed is done; a failure only ends the
        attempt that it is about. A success that is not waited for is remembered and also True.
        """
        with self._lock:
            letter = self._letters.get(node, {}).get(outcome.key)
            if letter is None and any(outcome.key in mine for mine in self._letters.values()):
                return False  # It is another's.
            if outcome.result == AttemptResult.SUCCESS:
                self._remember(node, outcome)
            if letter is None:
                return outcome.result == AttemptResult.SUCCESS
            if outcome.result != AttemptResult.SUCCESS and outcome.attempt != letter.action.attempt:
                return False
        letter.report.get_loop().call_soon_threadsafe(_complete, letter.report, outcome)
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
        """Do nothing: a mailbox does not outlive the monitor."""

    async def end(self) -> None:
        """Do nothing: what an agent runs is the agent's."""

    async def close(self) -> None:
        """Stop poking."""
        pokers = list(self._pokers.values())
        for poker in pokers:
            poker.cancel()
        await asyncio.gather(*pokers, return_exceptions=True)

    def _remember(self, node: str, outcome: Outcome) -> None:
        late = self._late.setdefault(node, OrderedDict())
        late[outcome.key[:KEY_LENGTH_MAX]] = outcome.message[:MESSAGE_LENGTH_MAX]
        while len(late) > LATE_COUNT_MAX:
            late.popitem(last=False)

    def _take_out(self, letter: _Waiting) -> None:
        with self._lock:
            mine = self._letters[letter.agent]
            del mine[letter.action.key]
            if not mine:
                del self._letters[letter.agent]

    def _begin_poking(self, agent: str) -> None:
        # One task for each agent, however many letters wait for it. An earlier one only sleeps,
        # because all that it poked for has been fetched.
        poker = self._pokers.pop(agent, None)
        if poker is not None:
            poker.cancel()
        poker = asyncio.get_running_loop().create_task(self._keep_poking(agent))
        self._pokers[agent] = poker
        poker.add_done_callback(lambda ended: self._drop_poker(agent, ended))

    def _drop_poker(self, agent: str, ended: "asyncio.Task[None]") -> None:
        if self._pokers.get(agent) is ended:
            del self._pokers[agent]

    async def _keep_poking(self, agent: str) -> None:
        count = 0
        while self.has_mail(agent):
            try:
                self._poke(agent)
            except Exception:  # noqa: BLE001 - see below
                # The agent may still come by itself; the attempt's time limit holds in any case.
                if count == 0:
                    _log.exception("the agent on %s could not be told that an action waits", agent)
            count += 1
            spacing = self._poke_spacing_seconds
            if count >= POKES_QUICK_COUNT:
                spacing = max(spacing, POKE_SPACING_LATER_SECONDS)
            await asyncio.sleep(spacing)


def _handed_out(letter: _Waiting, now_ns: int) -> Letter:
    action = letter.action
    left_ns = max(letter.until_ns - now_ns, MILLISECOND)
    return Letter(action.key, letter.run, action.node, action.attempt, left_ns)


def _complete(report: "asyncio.Future[Outcome]", outcome: Outcome) -> None:
    if not report.done():
        report.set_result(outcome)


def _lateness(letter: _Waiting, timeout_ns: int) -> str:
    did = "fetched the action and did not report" if letter.is_fetched else "did not come for it"
    return f"the agent on {letter.agent} {did} within {format_duration(timeout_ns)}"


def _judged(report: Outcome, agent: str) -> str:
    message = _sentence(agent, report.message or report.result)
    if report.result == AttemptResult.SUCCESS:
        return message
    if report.result == AttemptResult.PERMANENT:
        raise PermanentError(message)
    raise TemporaryError(message, retry_after_ns=max(report.retry_after_ns, 0))


def _sentence(agent: str, said: str) -> str:
    return f"the agent on {agent} says: {said}"
