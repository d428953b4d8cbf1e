"""Decided actions, waiting for the journal's receipt, their time, or their outcome.

    decided --receipt--> ready --not_before--> running --success--> done
         |                 ^                      |---permanent---> failed
         +--silence--> held+------- temporary ----+   (attempts are bounded)

The promise: nothing runs before its decision is on disk; what was decided and has no final
outcome on disk runs again after a crash, under the same key; what succeeded never runs again.
A driver that can tell that a key was already done says so instead of doing it twice.
Destructive actions pass a gate last: those for nodes of a mass failure are put aside until it is
over, and at most a number a minute go in the whole fleet, in the order in which they became
ready.
Not here: the deeds (`actions/`) and why they were decided (`core.policy`).
"""

from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Protocol

from beatward.core.entry import ActionRecord, ActionState, Failure
from beatward.core.instants import MILLISECOND, MINUTE, NEVER
from beatward.core.policy import ActionRules

# How often it is tried again whether guarded actions may be released; none is more urgent.
GATE_SPACING_NS = 100 * MILLISECOND


@dataclass(frozen=True, slots=True)
class Action:
    """One deed to do, as handed to a driver.

    key      names the decision for ever; the same in every attempt and after a restart
    attempt  1 for the first
    event    the transition behind it, as `core.entry.public` shows it, but with `at_wall_ns`
             (nanoseconds since 1970 UTC) in place of `at`
    """

    key: str
    name: str
    kind: str
    node: str
    attempt: int
    event: Mapping[str, Any] = field(default_factory=dict)


class AttemptResult(StrEnum):
    """How one attempt ended; the words are those of the API."""

    SUCCESS = "success"
    TEMPORARY = "temporary"  # it may be tried again
    PERMANENT = "permanent"  # it would fail again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    key: str
    attempt: int
    result: AttemptResult
    message: str
    retry_after_ns: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What an outcome means: the action's row from now on, and when it runs again, if ever."""

    record: ActionRecord
    outcome: str
    message: str
    again_in_ns: int | None = None


class Gate(Protocol):
    """Who says whether a destructive action may be done; see `core.mass.MassGuard`."""

    def zone_of(self, node: str) -> int:
        """Return the number of the zone that a node is in."""

    def holder_of(self, node: str) -> int | None:
        """Return the number of the mass failure that holds back what would be done to a node."""

    def lasts(self, number: int) -> bool:
        """Tell whether a mass failure is not over yet."""

    def may_act(self, zone: int, ready_ns: int, now_ns: int) -> bool:
        """Tell whether an action in a zone that became ready at an instant may be done now."""


class Rate:
    """A number a minute: a bucket that holds a minute's worth, filled evenly.

    Kept as one instant, the one at which the bucket will be full again (the generic cell rate
    algorithm, ITU-T I.371): in any stretch of t minutes at most `per_minute` * (1 + t) are taken.
    """

    def __init__(self, per_minute: int) -> None:
        self._spacing_ns = MINUTE // per_minute
        self._depth_ns = (per_minute - 1) * self._spacing_ns
        self._full_ns = -MINUTE

    def next_ns(self, now_ns: int) -> int:
        """Return when the next may be taken; `now_ns` or earlier: at once."""
        return max(self._full_ns, now_ns) - self._depth_ns

    def take(self, now_ns: int) -> bool:
        """Take one, if there is one."""
        if self.next_ns(now_ns) > now_ns:
            return False
        self._full_ns = max(self._full_ns, now_ns) + self._spacing_ns
        return True


@dataclass(slots=True)
class _Waiting:
    record: ActionRecord
    running: bool = False
    held: bool = False
    ready_ns: int = 0
    guarded: bool = False
    sequence: int = 0  # the entry that it waits for
    order: int = 0  # its place among the timed


class Outbox:
    """All actions without a final outcome; bounded by how many transitions can wait for a disk.

    Two queues, so that a turn costs nothing while 100,000 actions wait: decisions in the order of
    their numbers until the journal holds them, then a heap by the instant they may run. An entry
    of a queue whose action has ended meanwhile, or was decided anew, is skipped when it comes up.
    """

    def __init__(
        self,
        settings: Mapping[str, ActionRules],
        *,
        gate: Gate,
        per_minute: int,
        is_needed: Callable[[str, Container[str]], bool] = lambda _node, _busy: False,
    ) -> None:
        """Begin with nothing.

        is_needed   whether a destructive action on a node would leave too few others, given the
                    nodes on which one is running
        """
        self._settings = settings
        self._gate = gate
        self._is_needed = is_needed
        self._rate = Rate(per_minute)
        self._guarded: dict[int, deque[tuple[int, str]]] = {}  # zone -> (order, key)
        self._aside: dict[int, list[tuple[int, str]]] = {}  # mass failure -> (order, key)
        self._ready: list[str] = []  # whose time has come, and no gate is in the way
        self._try_ns = 0
        self.guarded_count = 0
        self._waiting: dict[str, _Waiting] = {}
        self._unwritten: deque[tuple[int, int, str]] = deque()  # (sequence, not_before_ns, key)
        self._timed: list[tuple[int, int, str]] = []  # (not_before_ns, order, key), a heap
        self._order = 0
        self._revivals: dict[str, set[str]] = {}  # node -> keys of what would repair it
        self._held: dict[str, list[str]] = {}  # node -> keys of what a silence holds, in order
        self._running_count = 0
        self._held_count = 0
        # By the action's name. Replaced and never changed, because other threads read it.
        self.failures: Mapping[str, Failure] = {}
        self._busy: dict[str, int] = {}  # node -> how many destructive actions on it are running

    def __len__(self) -> int:
        return len(self._waiting)

    def counts(self) -> dict[str, int]:
        """Return how many actions wait, are running, are held by a silence, and by a guard."""
        others = self._running_count + self._held_count + self.guarded_count
        return {
            "waiting": len(self._waiting) - others,
            "running": self._running_count,
            "held": self._held_count,
            "guarded": self.guarded_count,
        }

    def guarded_nodes(self, count_max: int) -> dict[str, tuple[str, ...]]:
        """Return the names of actions that a guard or the rate holds back, by node, of the first
        so many.
        """
        places = (*self._aside.values(), *self._guarded.values())
        keys = (item[1] for place in places for item in place if self._is_meant(item))
        found: dict[str, tuple[str, ...]] = {}
        for key in islice(keys, count_max):
            record = self._waiting[key].record
            found[record.node] = (*found.get(record.node, ()), record.name)
        return found

    def destroys(self, name: str) -> bool:
        """Tell whether an action has to pass the gate."""
        settings = self._settings.get(name)
        return settings is not None and settings.destructive

    def settings(self, name: str) -> ActionRules | None:
        """Return the settings of an action, or None when they no longer name it."""
        return self._settings.get(name)

    def add(self, record: ActionRecord, *, sequence: int, not_before_ns: int) -> None:
        """Take a decided action; it waits until the journal holds `sequence`.

        sequence  not below that of the call before
        """
        self._keep(_Waiting(record, ready_ns=not_before_ns, sequence=sequence))
        self._unwritten.append((sequence, not_before_ns, record.key))

    def hold(self, record: ActionRecord) -> None:
        """Take a decided action that a silence holds; it waits for `let_go`."""
        self._keep(_Waiting(record, held=True))
        self._held.setdefault(record.node, []).append(record.key)
        self._held_count += 1

    def held(self, node: str) -> list[ActionRecord]:
        """Return what silences hold of a node, in the order it was decided."""
        return [self._waiting[key].record for key in self._held.get(node, ())]

    def held_nodes(self) -> list[str]:
        """Return the names of the nodes of which something is held."""
        return list(self._held)

    def let_go(self, key: str, *, sequence: int, now_ns: int) -> None:
        """Let a held action run once the journal holds `sequence`."""
        waiting = self._waiting[key]
        self._unhold(waiting)
        waiting.ready_ns, waiting.sequence = now_ns, sequence
        self._unwritten.append((sequence, now_ns, key))

    @property
    def has_work(self) -> bool:
        """Whether an action waits for its record, its time or the gate."""
        return bool(self._unwritten or self._timed or self._ready or self.guarded_count)

    def release(self, journaled: int, now_ns: int) -> tuple[Action, ...]:
        """Return the actions that may run now, in the order they were decided; each once."""
        self.take_ready(journaled, now_ns)
        ready, self._ready = self._ready, []
        keys = [key for key in ready if key in self._waiting]
        if self.guarded_count and now_ns >= self._try_ns:
            keys += self._pass_gate(now_ns)
        return tuple(self._begin(key) for key in keys)

    def take_ready(self, journaled: int, now_ns: int) -> None:
        """Find whose time has come, and bring the destructive before the gate."""
        self._take_receipts(journaled)
        while self._timed and self._timed[0][0] <= now_ns:
            _, order, key = heappop(self._timed)
            waiting = self._waiting.get(key)
            if waiting is None or waiting.order != order:
                continue
            if not self.destroys(waiting.record.name):
                self._ready.append(key)
                continue
            waiting.guarded = True
            self.guarded_count += 1
            zone = self._gate.zone_of(waiting.record.node)
            self._guarded.setdefault(zone, deque()).append((order, key))
            self._try_ns = now_ns

    def _begin(self, key: str) -> Action:
        waiting = self._waiting[key]
        waiting.running = True
        self._running_count += 1
        return _action(waiting.record)

    def _pass_gate(self, now_ns: int) -> list[str]:
        """Return what may run of the guarded, in order, as far as the rate goes."""
        passed: list[str] = []
        self._take_back()
        while (found := self._next_guarded(now_ns)) is not None and self._rate.take(now_ns):
            zone, item = found
            self._guarded[zone].remove(item)
            waiting = self._waiting[item[1]]
            waiting.guarded = False
            self.guarded_count -= 1
            self._busy[waiting.record.node] = self._busy.get(waiting.record.node, 0) + 1
            passed.append(item[1])
        self._try_ns = now_ns + GATE_SPACING_NS
        return passed

    def _next_guarded(self, now_ns: int) -> tuple[int, tuple[int, str]] | None:
        """Return the first guarded action that is not held back, after its zone."""
        first: tuple[int, tuple[int, str]] | None = None
        for zone, queue in list(self._guarded.items()):
            while queue and not self._is_meant(queue[0]):
                queue.popleft()  # withdrawn meanwhile
            if not queue:
                del self._guarded[zone]
                continue
            item = self._next_free(queue)
            if item is None or (first is not None and first[1][0] < item[0]):
                continue
            if self._gate.may_act(zone, self._waiting[item[1]].ready_ns, now_ns):
                first = zone, item
        return first

    def _next_free(self, queue: deque[tuple[int, str]]) -> tuple[int, str] | None:
        """Return the first that no mass failure holds; those before it that one holds are put
        aside, so that each is looked at once however long it lasts.
        """
        held: set[tuple[int, str]] = set()
        found = None
        for item in queue:
            if not self._is_meant(item):
                continue
            number = self._gate.holder_of(self._waiting[item[1]].record.node)
            if number is not None:
                self._aside.setdefault(number, []).append(item)
                held.add(item)
            elif self._may_spare(item):
                found = item
                break
        if held:
            left = [item for item in queue if item not in held]
            queue.clear()
            queue.extend(left)
        return found

    def _take_back(self) -> None:
        """Bring before the gate again what a mass failure that is over has held."""
        for number in [number for number in self._aside if not self._gate.lasts(number)]:
            found: dict[int, list[tuple[int, str]]] = {}
            for item in filter(self._is_meant, self._aside.pop(number)):
                zone = self._gate.zone_of(self._waiting[item[1]].record.node)
                found.setdefault(zone, []).append(item)
            for zone, items in found.items():
                # By the order in which they became ready, among those that came meanwhile.
                self._guarded[zone] = deque(sorted((*self._guarded.get(zone, ()), *items)))

    def _is_meant(self, item: tuple[int, str]) -> bool:
        # A key that was withdrawn may have been decided again, and has another place then.
        waiting = self._waiting.get(item[1])
        return waiting is not None and waiting.order == item[0]

    def _may_spare(self, item: tuple[int, str]) -> bool:
        if not self._is_meant(item):
            return False
        return not self._is_needed(self._waiting[item[1]].record.node, self._busy)

    def settle(self, outcome: Outcome, now_ns: int) -> Settled | None:
        """Take the outcome of an attempt; None for one that is not waited for.

        Raises ValueError for a result of no known kind.
        """
        waiting = self._waiting.get(outcome.key)
        if waiting is None or not waiting.running:
            return None
        if outcome.attempt != waiting.record.attempt + 1:
            return None  # said twice: the attempt under way is a later one
        settings = self._settings[waiting.record.name]
        self._note(waiting.record.name, outcome, now_ns)
        result = AttemptResult(outcome.result)
        if result == AttemptResult.SUCCESS:
            return self._end(outcome.key, ActionState.DONE, "success", outcome.message)
        if result == AttemptResult.PERMANENT:
            return self._end(outcome.key, ActionState.FAILED, "failed", outcome.message)
        if outcome.attempt >= settings.attempts_max:
            message = f"{outcome.message} (attempt {outcome.attempt}, the last)"
            return self._end(outcome.key, ActionState.FAILED, "failed", message)
        wait_ns = max(outcome.retry_after_ns, _backoff_ns(settings, outcome.attempt))
        record = _with(waiting.record, ActionState.DECIDED, outcome.attempt)
        waiting.record = record
        self._unbusy(waiting)
        waiting.running = False
        self._running_count -= 1
        self._push(now_ns + wait_ns, record.key)
        return Settled(record, "retry", outcome.message, wait_ns)

    def recall(self, failures: Iterable[Failure]) -> None:
        """Take up what failed before a restart, of actions that the settings still name."""
        self.failures = {one.name: one for one in failures if one.name in self._settings}

    def _note(self, name: str, outcome: Outcome, now_ns: int) -> None:
        if outcome.result != AttemptResult.SUCCESS:
            self.failures = {**self.failures, name: Failure(name, now_ns, outcome.message)}
        elif name in self.failures:
            self.failures = {key: one for key, one in self.failures.items() if key != name}

    def withdraw(self, node: str, message: str) -> list[Settled]:
        """Take back repairs of a node that have not begun: it is back without them."""
        mine = self._revivals.get(node, ())
        # Sorted, because the order of a set differs from run to run.
        keys = sorted(key for key in mine if not self._waiting[key].running)
        return [self._end(key, ActionState.WITHDRAWN, "withdrawn", message) for key in keys]

    def drop_held(self, node: str, message: str, *, repairs: bool = True) -> list[Settled]:
        """Take back what silences hold of a node: it is not wanted any more.

        repairs   False: but what would repair the node stays
        """
        kept = () if repairs else self._revivals.get(node, ())
        keys = [record.key for record in self.held(node) if record.key not in kept]
        return [self._end(key, ActionState.WITHDRAWN, "withdrawn", message) for key in keys]

    def cancel(self, key: str, message: str) -> Settled | None:
        """Take back an action that has not begun; None where it has, or there is none."""
        waiting = self._waiting.get(key)
        if waiting is None or waiting.running:
            return None
        return self._end(key, ActionState.WITHDRAWN, "withdrawn", message)

    def drop(self, key: str, message: str) -> Settled:
        """End an action that can no longer run, such as one the settings no longer name."""
        return self._end(key, ActionState.FAILED, "failed", message)

    def next_ns(self, journaled: int) -> int:
        """Return when the next waiting action may run, or NEVER; may be early, never late."""
        if self._unwritten:
            self._take_receipts(journaled)
        timed_ns = self._timed[0][0] if self._timed else NEVER
        return min(timed_ns, self._try_ns) if self.guarded_count else timed_ns

    def _take_receipts(self, journaled: int) -> None:
        while self._unwritten and self._unwritten[0][0] <= journaled:
            sequence, not_before_ns, key = self._unwritten.popleft()
            waiting = self._waiting.get(key)
            if waiting is not None and waiting.sequence == sequence:
                self._push(not_before_ns, key)

    def _keep(self, waiting: _Waiting) -> None:
        record = waiting.record
        self._waiting[record.key] = waiting
        settings = self._settings.get(record.name)
        # Who is fenced is not to be revived, and speaks of its role before it is left alone.
        if settings is not None and settings.revives and fenced_by(record.key) is None:
            self._revivals.setdefault(record.node, set()).add(record.key)

    def _unbusy(self, waiting: _Waiting) -> None:
        node = waiting.record.node
        if waiting.running and self.destroys(waiting.record.name):
            self._busy[node] -= 1
            if not self._busy[node]:
                del self._busy[node]

    def _unhold(self, waiting: _Waiting) -> None:
        waiting.held = False
        self._held_count -= 1
        mine = self._held[waiting.record.node]
        mine.remove(waiting.record.key)
        if not mine:
            del self._held[waiting.record.node]

    def _push(self, not_before_ns: int, key: str) -> None:
        self._order += 1
        self._waiting[key].order = self._order
        heappush(self._timed, (not_before_ns, self._order, key))

    def _end(self, key: str, state: ActionState, outcome: str, message: str) -> Settled:
        waiting = self._waiting.pop(key)
        self._running_count -= waiting.running
        self._unbusy(waiting)
        self.guarded_count -= waiting.guarded
        if waiting.held:
            self._unhold(waiting)
        record = waiting.record
        mine = self._revivals.get(record.node)
        if mine is not None:
            mine.discard(key)
            if not mine:
                del self._revivals[record.node]
        attempts_count = record.attempt + waiting.running
        return Settled(_with(record, state, attempts_count), outcome, message)


def _action(record: ActionRecord) -> Action:
    return Action(
        record.key, record.name, record.kind, record.node, record.attempt + 1, record.event
    )


def _backoff_ns(settings: ActionRules, attempt: int) -> int:
    # Shifting by more than 40 would only build a large number for `min` to throw away.
    return min(settings.retry_ns << min(attempt - 1, 40), settings.retry_max_ns)


def _with(record: ActionRecord, state: ActionState, attempt: int) -> ActionRecord:
    return ActionRecord(
        record.key, record.name, record.kind, record.node, state, attempt, record.event
    )


def fence_key(service: str, token: int) -> str:
    """Return the key under which the holder of a token is fenced."""
    return f"{service}/{token}/fence"


def fenced_by(key: str) -> tuple[str, int] | None:
    """Return service and token of such a key; None for the key of another action."""
    service, _, token = key.removesuffix("/fence").rpartition("/")
    return (service, int(token)) if key.endswith("/fence") and token.isdigit() else None
