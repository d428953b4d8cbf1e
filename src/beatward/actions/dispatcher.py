"""Actions in, outcomes out: the wheel's hands, with every attempt bounded and none lost.

    submit --(any thread)--> lane of its name --(running_max)--> Driver.do --> on_outcome

Every action of the settings has a lane of its own, so a receiver that hangs holds up no other.

Whatever a driver does, each accepted attempt ends in exactly one `Outcome`, unless the monitor
closes first: then there is none, as after a crash, and the outbox asks again after its start.
Not here: retries (`core.outbox`) and the deeds themselves (the drivers).
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from beatward.action_settings import ActionSettings
from beatward.core.instants import MINUTE, SECOND, format_duration
from beatward.core.outbox import Action, AttemptResult, Outcome
from beatward.core.protocol.texts import shown
from beatward.errors import PermanentError, TemporaryError

from .driver import Driver

# In one lane. One task of asyncio takes about 2 kB; a fleet of 10,000 that dies at once fits in
# 20 MB for each action that it asks for.
WAITING_MAX = 10_000
FULL_RETRY_NS = 5 * SECOND
MESSAGE_LENGTH_MAX = 500
# Of an action that fails again and again.
LOG_SPACING_NS = MINUTE

_log = logging.getLogger(__name__)


class Dispatcher:
    """Implements `ports.Drivers`; only `submit` and `forget` may be called from any thread.

    settings    by the name of the action
    drivers     by kind
    on_outcome  called in the loop's thread, once an attempt
    now_ns      the monotonic clock
    """

    def __init__(
        self,
        settings: Mapping[str, ActionSettings],
        on_outcome: Callable[[Outcome], None],
        *,
        drivers: Mapping[str, Driver],
        now_ns: Callable[[], int],
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._settings = settings
        self._on_outcome = on_outcome
        self._drivers = drivers
        self._now_ns = now_ns
        self._waiting_max = waiting_max
        self._loop = asyncio.get_running_loop()  # So it is made where the drivers shall run.
        self._lanes = {
            name: asyncio.Semaphore(drivers[action.kind].running_max)
            for name, action in settings.items()
            if action.kind in drivers
        }
        self._waiting_counts: Counter[str] = Counter()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._forgetting: set[asyncio.Task[None]] = set()
        self._logged: dict[str, tuple[int, int]] = {}  # when, and failures since
        self._is_closed = False
        self.refused_count = 0

    @property
    def running_count(self) -> int:
        """Return how many actions run or wait for their turn."""
        return len(self._tasks)

    def submit(self, actions: Sequence[Action]) -> None:
        """Begin actions at once, from any thread; one that is under way by its key is ignored."""
        self._call(self._begin, tuple(actions))

    def forget(self, keys: Collection[str]) -> None:
        """Drop the drivers' traces of keys whose final outcome is in the journal; any thread."""
        self._call(self._begin_forgetting, tuple(keys))

    async def retain(self, keys: Collection[str]) -> None:
        """Drop traces of all keys but these: at start, before the first `submit`.

        keys   all actions without a final outcome, as the store recovered them
        """
        for driver in self._drivers.values():
            await driver.retain(keys)

    async def close(self, *, end_deeds: bool = False) -> None:
        """Take nothing more and let go of everything; calling it twice does nothing.

        end_deeds   end running commands instead of leaving them to be found by the next start
        """
        if self._is_closed:
            return
        self._is_closed = True
        if end_deeds:
            for driver in self._drivers.values():
                await driver.end()
        tasks = [*self._tasks.values(), *self._forgetting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for driver in self._drivers.values():
            await driver.close()

    def _call(self, function: Callable[..., None], argument: Sequence[object]) -> None:
        # A closed loop raises: the monitor is going down, and the next start asks again.
        if argument and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(function, argument)
            except RuntimeError:
                _log.debug("the loop closed before %s", function.__name__)

    def _begin(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if self._is_closed or action.key in self._tasks:
                continue
            if self._waiting_counts[action.name] >= self._waiting_max:
                self.refused_count += 1
                message = (
                    f"{self._waiting_max} of {action.name} run or wait already; this one did not "
                    "begin"
                )
                self._report(_outcome(action, AttemptResult.TEMPORARY, message, FULL_RETRY_NS))
                continue
            self._waiting_counts[action.name] += 1
            self._tasks[action.key] = self._loop.create_task(self._attempt(action))

    def _begin_forgetting(self, keys: Collection[str]) -> None:
        if self._is_closed:
            return
        task = self._loop.create_task(self._forget(keys))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)

    async def _forget(self, keys: Collection[str]) -> None:
        for driver in self._drivers.values():
            try:
                await driver.forget(keys)
            except Exception:  # noqa: BLE001 - see below
                # What stays behind is dropped by `retain` at the next start.
                _log.exception("could not drop the traces of %d actions", len(keys))

    async def _attempt(self, action: Action) -> None:
        try:
            outcome = await self._outcome(action)
        finally:
            # First, because the outcome may bring the next attempt back at once.
            del self._tasks[action.key]
            self._waiting_counts[action.name] -= 1
        self._log_failure(action, outcome)
        self._report(outcome)

    def _log_failure(self, action: Action, outcome: Outcome) -> None:
        """Log the first failure of an action, then one a minute, and that it works again."""
        logged = self._logged.get(action.name)
        if outcome.result == AttemptResult.SUCCESS:
            if logged is not None:
                del self._logged[action.name]
                _log.warning("the action %s works again: %s", action.name, outcome.message)
            return
        now_ns, count = self._now_ns(), 1
        if logged is not None:
            last_ns, count = logged[0], logged[1] + 1
            if now_ns - last_ns < LOG_SPACING_NS:
                self._logged[action.name] = last_ns, count
                return
        self._logged[action.name] = now_ns, 0
        _log.warning(
            "the action %s failed%s; %s, attempt %d: %s",
            action.name,
            f" {count} times since this was logged last" if count > 1 else "",
            action.node or "about many nodes",
            outcome.attempt,
            outcome.message,
        )

    async def _outcome(self, action: Action) -> Outcome:
        try:
            settings, driver, lane = self._find(action)
            async with lane:
                self._stop_when_closed()
                message = await _do_in_time(driver, action, settings)
            return _outcome(action, AttemptResult.SUCCESS, message)
        except PermanentError as error:
            return _outcome(action, AttemptResult.PERMANENT, str(error))
        except TemporaryError as error:
            return _outcome(action, AttemptResult.TEMPORARY, str(error), error.retry_after_ns)
        except (Exception, asyncio.CancelledError) as error:
            # Were we cancelled, or did the driver let another task's cancellation out? In the
            # second case the action would end without an outcome and never be asked for again.
            if isinstance(error, asyncio.CancelledError) and self._is_going_down():
                raise
            # Only the type: the text of an unforeseen exception may hold a secret, and
            # outcomes are shown to everyone. The log is the operator's own.
            _log.exception("action %s (%s) failed unexpectedly", action.key, action.name)
            message = f"the driver failed: {type(error).__name__}; the monitor's log says where"
            return _outcome(action, AttemptResult.TEMPORARY, message)

    def _stop_when_closed(self) -> None:
        # Who waited for its turn must not begin because closing has ended who was before it.
        if self._is_closed:
            raise asyncio.CancelledError

    def _is_going_down(self) -> bool:
        task = asyncio.current_task()
        return self._is_closed or (task is not None and task.cancelling() > 0)

    def _find(self, action: Action) -> tuple[ActionSettings, Driver, asyncio.Semaphore]:
        # The settings may have changed since the decision; what counts is what they say now.
        settings = self._settings.get(action.name)
        if settings is None:
            raise PermanentError(f"the settings have no [action.{action.name}] any more")
        if settings.kind not in self._drivers:
            raise PermanentError(f"there is no driver of kind {settings.kind}")
        return settings, self._drivers[settings.kind], self._lanes[action.name]

    def _report(self, outcome: Outcome) -> None:
        try:
            self._on_outcome(outcome)
        except Exception:  # noqa: BLE001 - a full inbox must not end the loop
            _log.exception("the outcome of action %s was not taken", outcome.key)


async def _do_in_time(driver: Driver, action: Action, settings: ActionSettings) -> str:
    limit_ns = settings.timeout + driver.grace_ns
    bounds = asyncio.timeout(limit_ns / SECOND)
    try:
        async with bounds:
            return await driver.do(action, settings)
    except TimeoutError as error:
        if not bounds.expired():
            raise
        message = f"no result within {format_duration(settings.timeout)}"
        raise TemporaryError(message) from error


def _outcome(
    action: Action, result: AttemptResult, message: str, retry_after_ns: int = 0
) -> Outcome:
    return Outcome(action.key, action.attempt, result, _shown(message), retry_after_ns)


def _shown(message: str) -> str:
    """Return one bounded line; what a command prints must not paint on a terminal."""
    line = " ".join(shown(message).split())
    if len(line) <= MESSAGE_LENGTH_MAX:
        return line
    return line[: MESSAGE_LENGTH_MAX - 3] + "..."
