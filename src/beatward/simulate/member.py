"""The agent's side of one member in one life: the real `LeaseHolder`, driven as by the agent.

    hear, time ──► holder.turn ──► disk, if its memory changed ──► turn again ──► guardian
                                                                       standing ◄──┴──► command

Writing takes time, in which the agent is killed now and then: what was to be written then is on
disk or is not. Not here: the hooks themselves and what outlives the process (`site`).
"""

from collections.abc import Callable
from functools import partial

from beatward.agent.roles.lease_holder import HolderState, LeaseHolder, RoleCommand
from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.protocol.roles import Grant, RoleReport, State

from .chance import exponential_ns, happens
from .event_queue import EventQueue
from .site import HookFault, Site

_WRITE_NS = 2 * MILLISECOND
# An fsync that stalls was seen on ordinary disks, see `disk`.
_STALL_PROBABILITY = 0.01
_STALL_NS = 120 * MILLISECOND
STATE_EVERY_NS = SECOND
_LATENESS_NS = MILLISECOND // 2


class PlayedMember:
    """One member in one life of its agent.

    say     sends a standing; tells whether the agent could
    cares   tells whether the process gets time
    """

    def __init__(
        self,
        site: Site,
        event_queue: EventQueue,
        *,
        say: Callable[[RoleReport], None],
        position: Callable[[], int | None],
        tenure: Callable[..., LeaseHolder] = LeaseHolder,
    ) -> None:
        self.site = site
        self._event_queue = event_queue
        self._say = say
        self._position = position
        self.tenure = tenure(site.service, site.memory, now_ns=site.now_ns())
        self._is_dead = False
        self._is_ready = False
        self._is_starting = False
        self._writing: HolderState | None = None
        self._doing: RoleCommand | None = None
        self._timer = 0
        if not self.tenure.memory.held:
            self._start_standby()
        self._event_queue.after(exponential_ns(site.rng, STATE_EVERY_NS), self._look)
        self.settle()

    @property
    def is_holding(self) -> bool:
        """Whether it has something to give up."""
        return bool(self.tenure.memory.held)

    def crash(self) -> None:
        """End with the process; a write under way has reached the disk or has not."""
        self._is_dead = True
        if self._writing is not None and happens(self.site.rng, 0.5):
            self.site.memory = self._writing

    def hear(self, grant: Grant) -> None:
        """Take a grant that the agent has opened."""
        self.tenure.hear(grant, self.site.now_ns())
        self.settle()

    def give_up(self) -> None:
        """Give the role up, because the agent leaves."""
        self.tenure.give_up(self.site.now_ns())
        self.settle()

    def settle(self) -> None:
        """Let the tenure look at the clock, and do what it wants done."""
        if not self._runs() or self._writing is not None:
            return
        now_ns = self.site.now_ns()
        self.tenure.turn(now_ns)
        if self.tenure.memory != self.site.memory:
            self._write()
            return
        self.site.promise(self.tenure)
        self._do()
        standing = self.tenure.standing(now_ns)
        if standing is not None:
            self._say(standing)
        self._arm()

    # -- inside ---------------------------------------------------------------------------------

    def _runs(self) -> bool:
        return not self._is_dead and self.site.cares()

    def _arm(self) -> None:
        self._timer += 1
        due_ns = self.tenure.next_due_ns
        if due_ns < NEVER:
            late_ns = exponential_ns(self.site.rng, _LATENESS_NS)
            at_ns = self.site.clock.true_ns(due_ns) + late_ns
            self._event_queue.at(at_ns, self._ring, self._timer)

    def _ring(self, timer: int) -> None:
        if timer == self._timer:
            self.settle()

    def _write(self) -> None:
        self._writing = self.tenure.memory
        wait_ns = exponential_ns(self.site.rng, _WRITE_NS)
        if happens(self.site.rng, _STALL_PROBABILITY):
            wait_ns += exponential_ns(self.site.rng, _STALL_NS)
        self._event_queue.after(wait_ns, self._written)

    def _written(self) -> None:
        if self._is_dead or self._writing is None:
            return
        self.site.memory, self._writing = self._writing, None
        self.settle()  # after a freeze, the wake-up calls this again

    def _do(self) -> None:
        """Begin what is to be done, and break off what is not to be done any more."""
        command = self.tenure.command
        if command == self._doing:
            return
        self._doing = command
        if command is None:
            self.site.break_off()
        else:
            self.site.begin(command, partial(self._done, command))

    def _done(self, command: RoleCommand, ok: bool) -> None:  # noqa: FBT001
        if self._is_dead:
            return
        if not self.site.cares():
            self._event_queue.after(20 * MILLISECOND, self._done, command, ok)
            return
        if command.kind != "promote" and ok:
            self._is_ready = False
            self._report()
        if command == self._doing:
            self._doing = None
        self.tenure.done(command, self.site.now_ns(), ok=ok)
        self.settle()
        if not self.tenure.memory.held:
            self._start_standby()

    def _start_standby(self) -> None:
        """Run the `start` hook until it succeeds; until then this member cannot be promoted."""
        if not self._is_starting:
            self._is_starting = True
            wait_ns = exponential_ns(self.site.rng, self.site.skill.start_ns)
            self._event_queue.after(wait_ns, self._started)

    def _started(self) -> None:
        if not self._runs() or self.site.fails():
            if not self._is_dead:
                self._event_queue.after(SECOND, self._started)
            return
        self._is_starting = False
        if not self.tenure.memory.held:
            self._is_ready = True
            self._report()
            self.settle()

    def _look(self) -> None:
        """Run the `state` hook."""
        if self._is_dead:
            return
        self._event_queue.after(STATE_EVERY_NS, self._look)
        if not self.site.cares():
            return
        if self.tenure.state == State.ACTIVE and self.site.run is None:
            self.tenure.give_up(self.site.now_ns())
        self._report()
        self.settle()

    def _report(self) -> None:
        able = self._is_ready and self.site.quirk != HookFault.ILL
        self.tenure.report(self.site.now_ns(), able=able, freshness=self._position())
