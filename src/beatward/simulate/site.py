"""One service on one simulated machine: all of it that outlives the agent's process.

disk       what the agent wrote down of its tenure; lost only with the machine
workload   the processes that do the service's work, each run with the token it was promoted with
hooks      at most one runs; it takes its time, may fail, hang, or succeed by half
guardian   the second process of the agent: it gives the role up at the lease's end where the agent
           cannot, and a new agent waits until it has; it can be killed or frozen too

What is suspended with its machine goes on where it stopped. Not here: when a hook runs (`member`),
and what may never happen (`check_roles`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from beatward.agent.roles.lease_holder import STUCK_PAUSE_NS, HolderState, LeaseHolder, RoleCommand
from beatward.core.instants import MICROSECOND, MILLISECOND, MINUTE, NEVER, SECOND

from .chance import exponential_ns
from .clock import HostClock
from .event_queue import EventQueue
from .truth import History, NodeTruth, Trouble

# A suspended machine does what it was about to do at most this long after it wakes.
_LOOK_NS = 20 * MILLISECOND
# A process group takes about this long to die of SIGKILL.
_KILL_NS = 3 * MILLISECOND
OUT = "out"


class HookFault(StrEnum):
    """How a service's hooks can be broken on one machine."""

    REFUSES = "refuses"  # promote fails and has done nothing
    HALF = "half"  # promote starts the work and then fails
    HANGS = "hangs"  # promote and demote never end, whatever they have done
    CLINGS = "clings"  # demote fails and has done nothing
    STUCK = "stuck"  # even SIGKILL does not end the work
    ILL = "ill"  # the state cannot be told
    DIES = "dies"  # the work ends by itself, once


@dataclass(frozen=True, slots=True)
class HookRates:
    """How long the hooks take on average, and how likely one of them goes wrong by chance."""

    promote_ns: int = 100 * MILLISECOND
    demote_ns: int = 50 * MILLISECOND
    start_ns: int = 50 * MILLISECOND
    fails_probability: float = 0.0


@dataclass(slots=True)
class WorkloadRun:
    """One run of the workload in true time."""

    token: int
    begin_ns: int
    end_ns: int = NEVER


@dataclass(frozen=True, slots=True)
class Promise:
    """What the guardian was told last: until when what may be done, on the machine's clock."""

    token: int
    lease_end_ns: int
    demote_until_ns: int


class Witness:
    """What is told which work really runs: a checker. Each method does nothing here."""

    def run_began(self, site: "Site", run: WorkloadRun) -> None:
        """Note that the work began."""

    def run_copied(self, site: "Site", run: WorkloadRun) -> None:
        """Note that the work goes on in a copy of its machine, too."""

    def run_ended(self, site: "Site", run: WorkloadRun) -> None:
        """Note that the work ended."""


class Site:
    """The machine's side; `cares` tells whether the agent's process is there and gets time."""

    def __init__(
        self,
        service: str,
        event_queue: EventQueue,
        rng: Random,
        *,
        clock: HostClock,
        truth: NodeTruth,
        skill: HookRates,
        witnesses: Sequence[Witness] = (),
        label: str = "",
    ) -> None:
        self.service = service
        self.truth = truth
        self.label = label or truth.name  # of the machine, which may have its name with another
        self.lent: tuple[int, int] | None = None  # in memory: a token, and which life took it
        self.ended: tuple[int, int] | None = None  # in the lock file: the same, when it is over
        self.say_last: Callable[[int, int], None] = lambda _token, _life: None
        self.restored_until_ns = -1  # what a copied machine did, it may go on with until then
        self.clock = clock
        self.rng = rng
        self.skill = skill
        self.memory = HolderState()  # on disk
        self.run: WorkloadRun | None = None
        self.quirk: HookFault | None = None
        self.guardian = History()  # when it was out
        self.cares: Callable[[], bool] = lambda: False
        self.is_healed = False  # nothing goes wrong by chance any more
        self._event_queue = event_queue
        self._witnesses = witnesses
        self._hook = 0  # counts hooks, so that one that was killed does nothing
        self._mended_ns = -MINUTE
        self._promise: Promise | None = None
        self._guards: str = ""  # what the guardian is doing
        self._watch = 0

    @property
    def is_stuck(self) -> bool:
        """Whether nothing can end the work, or could not until a moment ago: it is tried again."""
        since_ns = self._event_queue.now_ns - self._mended_ns
        return self.quirk == HookFault.STUCK or since_ns < STUCK_PAUSE_NS + SECOND

    def mend(self) -> None:
        """Let the hooks work again."""
        if self.quirk == HookFault.STUCK:
            self._mended_ns = self._event_queue.now_ns
        self.quirk = None

    @property
    def is_asleep(self) -> bool:
        """Whether nothing on this machine gets time."""
        return self.truth.history.has(Trouble.SUSPENDED)

    @property
    def is_guarded(self) -> bool:
        """Whether the guardian has not yet given up what an agent held that is gone."""
        return self._promise is not None and not self.guardian.has(OUT)

    def now_ns(self) -> int:
        """Return the machine's monotonic clock."""
        return self.clock.now_ns(self._event_queue.now_ns)

    # -- what can befall it ---------------------------------------------------------------------

    def power_off(self) -> None:
        """End all that runs; the disk stays."""
        self._hook += 1
        self._promise = self.lent = None
        self._guards = ""
        self._end_run()

    def replace(self) -> None:
        """Let another machine with an empty disk take the place of one that is off."""
        assert self.run is None
        self.memory = HolderState()
        self.ended = None

    def wake_as_copy(self, memory: HolderState, token: int, over_ns: int) -> None:
        """Go on as a copy of a machine: with its disk, and its work under a token if it ran.

        over_ns   when that has given the role up, on its clock
        """
        self.memory = memory
        self.restored_until_ns = self.clock.true_ns(over_ns)
        if token:
            self.run = WorkloadRun(token, self._event_queue.now_ns)
            for one in self._witnesses:
                one.run_copied(self, self.run)

    def die(self) -> None:
        """End the work, as by a bug of its own."""
        if not self.is_asleep:
            self._end_run()

    # -- hooks ----------------------------------------------------------------------------------

    def begin(self, command: RoleCommand, ended: Callable[[bool], None]) -> None:
        """Break off what runs, and run a hook; `ended` is told whether it succeeded, if it ends."""
        self.break_off()
        hook, kind = self._hook, command.kind
        effect_ns, lasts_ns, ok = self._fate(kind)
        if effect_ns is not None:
            self._event_queue.after(effect_ns, self._act, hook, command)
        if lasts_ns is not None:
            self._event_queue.after(lasts_ns, self._end, hook, ended, ok)

    def break_off(self) -> None:
        """Kill the hook that runs, with what it was about to do."""
        self._hook += 1

    def fails(self) -> bool:
        """Draw whether a hook goes wrong."""
        return self.rng.random() < self.skill.fails_probability and not self.is_healed

    def _fate(self, kind: str) -> tuple[int | None, int | None, bool]:
        """Draw after how long a hook has its effect, after how long it ends, and how."""
        rng, quirk = self.rng, self.quirk
        if kind == "stop":
            lasts_ns = exponential_ns(rng, _KILL_NS)
            return (
                (None, lasts_ns, False) if quirk == HookFault.STUCK else (lasts_ns, lasts_ns, True)
            )
        mean_ns = self.skill.promote_ns if kind == "promote" else self.skill.demote_ns
        lasts_ns = exponential_ns(rng, mean_ns)
        effect_ns = int(lasts_ns * rng.random())
        fails = self.fails()
        if kind == "promote" and fails:
            quirk = rng.choice((HookFault.REFUSES, HookFault.HALF, HookFault.HANGS))
        elif fails:
            quirk = rng.choice((HookFault.CLINGS, HookFault.HANGS))
        match quirk:
            case HookFault.REFUSES if kind == "promote":
                return None, lasts_ns, False
            case HookFault.HALF if kind == "promote":
                return effect_ns, lasts_ns, False
            case HookFault.HANGS:
                return (effect_ns if kind == "promote" else None), None, False
            case HookFault.CLINGS | HookFault.STUCK if kind == "demote":
                return None, lasts_ns, False
            case _:
                return effect_ns, lasts_ns, True

    def _act(self, hook: int, command: RoleCommand) -> None:
        if hook != self._hook:
            return
        if self.is_asleep:
            self._event_queue.after(_LOOK_NS, self._act, hook, command)
        elif command.kind == "promote":
            self._end_run()
            self.run = WorkloadRun(command.token, self._event_queue.now_ns)
            for one in self._witnesses:
                one.run_began(self, self.run)
        else:
            self._end_run()

    def _end(self, hook: int, ended: Callable[[bool], None], ok: bool) -> None:  # noqa: FBT001
        if hook != self._hook:
            return
        if self.is_asleep:
            self._event_queue.after(_LOOK_NS, self._end, hook, ended, ok)
        else:
            ended(ok)

    def _end_run(self) -> None:
        if self.run is not None:
            self.run.end_ns = self._event_queue.now_ns
            for one in self._witnesses:
                one.run_ended(self, self.run)
            self.run = None

    # -- the guardian ---------------------------------------------------------------------------

    def promise(self, tenure: LeaseHolder) -> None:
        """Take the agent's word on what it may do until when; to be called before it does it."""
        held = tenure.memory.held
        promise = Promise(held, tenure.lease_end_ns, tenure.demote_until_ns) if held else None
        if promise != self._promise:
            self._promise = promise
            self._guards = ""
            if promise is not None:
                self._look_after(promise.lease_end_ns)

    def _look_after(self, local_ns: int) -> None:
        self._watch += 1
        late_ns = exponential_ns(self.rng, 200 * MICROSECOND)
        self._event_queue.at(self.clock.true_ns(local_ns) + late_ns, self._look, self._watch)

    def _look(self, watch: int) -> None:
        """Do the agent's work where it does not; look again until there is nothing to guard."""
        if watch != self._watch or self._promise is None:
            return
        now_ns = self.now_ns()
        self._look_after(now_ns + _LOOK_NS)
        if self.is_asleep or self.guardian.has(OUT) or now_ns < self._promise.lease_end_ns:
            return
        if self.cares():
            self._guards = ""
            return
        wanted = "demote" if now_ns < self._promise.demote_until_ns else "stop"
        if self._guards != wanted:
            self._guards = wanted
            command = RoleCommand("stop" if wanted == "stop" else "demote", self._promise.token)
            self.begin(command, self._guarded)

    def _guarded(self, ok: bool) -> None:  # noqa: FBT001
        if ok:
            if self.lent is not None and self._promise is not None:
                token, life = self.lent
                if token == self._promise.token:
                    self.ended = self.lent
                    self.say_last(token, life)
            self._promise = None
        elif self._guards == "stop":
            self._guards = ""  # again at the next look
