"""step(): one turn of the pure machine; the composition of all rooms of the core.

    Inputs -> settle -> obey -> doubt -> hear -> judge -> lead -> release -> Output

Outcomes and orders come first: all that follows goes by what they have changed. Arrivals are taken
before silence is judged, and silence is judged at the watermark of the drain, never at a later
"now": no node is accused of a heartbeat that lies unread in the kernel. Roles are led by the
statuses of this turn, and actions are released last, by what is on disk.
Same state, same inputs: same output, bit for bit.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

import numpy as np

from beatward.core.arrays import IntArray
from beatward.core.columns import NodeColumns
from beatward.core.conflict_entries import ConflictEntries
from beatward.core.conflicts import Conflicts
from beatward.core.detect import DetectorSettings
from beatward.core.entry import ActionRecord, Entry, Event, Failure, JobPlan, Recovered
from beatward.core.explanation import VIA_CODES
from beatward.core.figures import Goal
from beatward.core.guard import Guard, GuardSettings
from beatward.core.hearing import Heard, Hearing
from beatward.core.instants import MILLISECOND, NEVER, SECOND
from beatward.core.intake import Datagrams, Intake, Reject, Replies
from beatward.core.jobs import Dues, Jobs
from beatward.core.judging import Judging
from beatward.core.ledger import Ledger
from beatward.core.mass import MassGuard, MassSettings
from beatward.core.mass_entries import MassEntries
from beatward.core.membership import (
    WATCHED,
    Cause,
    MembershipSettings,
    Status,
)
from beatward.core.order_kinds import Order
from beatward.core.orders import Orders
from beatward.core.outbox import Action, Outbox, Outcome
from beatward.core.pace import Pace, PaceSettings
from beatward.core.policy import ActionRules, Rule
from beatward.core.registry import NO_VIA
from beatward.core.roles.reports import RoleReports
from beatward.core.roles.settings import RoleSettings
from beatward.core.runs import Runs
from beatward.core.services import Services
from beatward.core.snapshot import Snapshot, freeze
from beatward.core.speakers import Speaker
from beatward.core.state import State
from beatward.core.voice import Voice

# A snapshot names the nodes of at most this many guarded actions.
GUARDED_SHOWN_MAX = 1000
# For this long after the kernel dropped datagrams none is left waiting on purpose.
DROPS_REMEMBERED_NS = 60 * SECOND
_NO_EPOCHS: Mapping[int, int] = {}


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """What every room of the machine is set to. Reasons and costs: `beatward.config`.

    roles      of the services in failover mode for which `services` has nothing of their own
    """

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    membership: MembershipSettings = field(default_factory=MembershipSettings)
    guard: GuardSettings = field(default_factory=GuardSettings)
    pace: PaceSettings = field(default_factory=PaceSettings)
    mass: MassSettings = field(default_factory=MassSettings)
    actions_per_minute: int = 10
    start_grace_ns: int = 10 * SECOND
    rules: tuple[Rule, ...] = ()
    actions: Mapping[str, ActionRules] = field(default_factory=dict)
    goal: Goal = field(default_factory=Goal)
    roles: RoleSettings = field(default_factory=RoleSettings)
    services: Mapping[str, RoleSettings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that has come in since the last turn.

    watermark_ns  everything that arrived before this instant is here or was here earlier
    drained_ns    the instant when the drain ended
    dropped       how many datagrams our own kernel threw away unread since the last turn
    journaled     the journal holds every entry up to this sequence
    dues          when jobs are due next, asked for by `Output.plans`
    listened_ns   the last instant at which the monitor was awake between two turns; 0: it was not.
                  No two such instants in a row, nor one and a turn, lie further apart than
                  `GuardSettings.pause_limit_ns`
    """

    watermark_ns: int
    drained_ns: int
    datagrams: tuple[Datagrams, ...] = ()
    journaled: int = 0
    outcomes: tuple[Outcome, ...] = ()
    orders: tuple[Order, ...] = ()
    dropped: int = 0
    dues: tuple[Dues, ...] = ()
    listened_ns: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """All that should happen now; `wake_ns` is when the machine next wants a turn.

    plans   by name, jobs whose due instants are wanted from now on, and (None) no more
    """

    entries: tuple[Entry, ...]
    replies: Replies
    actions: tuple[Action, ...]
    wake_ns: int
    plans: Mapping[str, JobPlan | None] = field(default_factory=dict)


class Monitor:
    """The machine. One thread calls it; nothing in it blocks, sleeps or looks at a clock."""

    def __init__(
        self,
        settings: CoreSettings,
        *,
        master: bytes,
        session: int,
        epochs: Mapping[int, int] = _NO_EPOCHS,
    ) -> None:
        """Make a machine that knows no node yet; `epochs` by identity, where it is not 0."""
        self.settings = settings
        self._state = state = State.empty(
            master,
            detector=settings.detector,
            membership=settings.membership,
            goal=settings.goal,
            epochs=epochs,
        )
        self._registry, self._membership = state.registry, state.membership
        self._detector = state.detector
        self._guard = Guard(settings.guard)
        self._intake = Intake(state.registry)
        is_pacing = settings.pace.budget is not None
        self._voice = Voice(state.registry, session, is_pacing=is_pacing)
        self._jobs = Jobs(state)
        self._role_reports = RoleReports(state.registry, self._intake)
        self._conflicts = Conflicts(state.registry, self._voice)
        self._hearing = Hearing(
            state,
            runs=Runs(state, self._jobs),
            intake=self._intake,
            voice=self._voice,
            conflicts=self._conflicts,
        )
        self._mass = MassGuard(
            settings.mass, state.registry, state.membership, jobs=state.jobs.records
        )
        self._outbox = Outbox(
            settings.actions,
            gate=self._mass,
            per_minute=settings.actions_per_minute,
            is_needed=self._is_needed,
        )
        self._ledger = Ledger(state, self._outbox, settings.rules, mass=self._mass)
        self._mass_entries = MassEntries(state, self._ledger, self._mass)
        self._conflict_entries = ConflictEntries(state, self._ledger, self._conflicts)
        self._services = self._new_services()
        self._orders = self._new_orders()
        self._judging = self._new_judging()
        self._pace = self._new_pace()
        self._journaled, self._turns, self._wake_ns = 0, 0, NEVER

    def _new_services(self) -> Services:
        return Services(
            self._state,
            self._ledger,
            self._outbox,
            intake=self._intake,
            reports=self._role_reports,
            voice=self._voice,
            settings=self.settings.roles,
            named=self.settings.services,
        )

    def _new_orders(self) -> Orders:
        return Orders(
            self._state,
            self._ledger,
            self._outbox,
            mass=self._mass,
            mass_entries=self._mass_entries,
            jobs=self._jobs,
            services=self._services,
            voice=self._voice,
            start_grace_ns=self.settings.start_grace_ns,
        )

    def _new_judging(self) -> Judging:
        return Judging(
            self._state,
            self._ledger,
            self._guard,
            mass=self._mass,
            mass_entries=self._mass_entries,
            jobs=self._jobs,
            voice=self._voice,
            conflicts=self._conflicts,
            start_grace_ns=self.settings.start_grace_ns,
        )

    def _new_pace(self) -> Pace | None:
        if self.settings.pace.budget is None:
            return None
        return Pace(self.settings.pace, self._registry, self._membership)

    def _is_needed(self, node: str, busy: Container[str]) -> bool:
        # Services cancel what waits in the outbox, so they are made after it.
        return self._services.is_needed(node, busy)

    # -- beginning ---------------------------------------------------------------------------

    def restore(self, recovered: Recovered, now_ns: int) -> None:
        """Take up what the journal knows and begin a session; call once, before the first step.

        Every node known before is known again, in the status it had; those whose silence counts
        get a full start grace, because it was the monitor that was away.
        """
        self._journaled = recovered.sequence
        self._ledger.go_on(recovered.sequence)
        self._state.begin(now_ns)
        nodes = NodeColumns.of(recovered.nodes)
        slots = self._restore_nodes(nodes, now_ns)
        self._ledger.record(
            Event.STARTED,
            now_ns,
            explanation=f"the monitor began a session with {len(self._registry)} known nodes",
            detail={"nodes": len(self._registry), "actions": len(recovered.actions)},
        )
        for silence in recovered.silences:
            self._state.upkeep.begin_silence(silence)
        offers = {int(slots[row]): said for row, said in nodes.services.items()}
        self._services.restore(offers, recovered.services, now_ns)
        self._outbox.recall(recovered.failures)
        for action in recovered.actions:
            self._restore_action(action, now_ns)
        self._remember_mass(recovered)

    def _restore_nodes(self, nodes: NodeColumns, now_ns: int) -> IntArray:
        if not len(nodes):
            return np.zeros(0, np.int64)
        registry, membership = self._registry, self._membership
        slots = registry.enrol_new(nodes.names, nodes.node)
        self._state.make_room()
        self._detector.forget(slots)
        for row, said in nodes.labels.items():
            registry.label(int(slots[row]), said)
        registry.take_up(
            slots,
            incarnation=nodes.incarnation,
            interval_ms=nodes.interval_ns // MILLISECOND,
            via=nodes.via.numbered({**VIA_CODES, "": NO_VIA}),
            peers=nodes.address,
        )
        status = nodes.status.numbered({one.word: int(one) for one in Status})
        cause = nodes.cause.numbered({one.word: int(one) for one in Cause})
        grace_ns = now_ns + self._orders.grace_ns(slots)
        if self._pace is not None:
            # The journal knows the interval of its last change of status, not that of today.
            grace_ns = np.maximum(grace_ns, now_ns + 2 * self.settings.pace.max_ns)
        due_ns = np.where(WATCHED[status], grace_ns, NEVER)
        # Seed 101296: a wall clock set back while we are away puts the past ahead of us, and a node
        # that had just come back recovered for two hours.
        since_ns = np.minimum(nodes.since_ns, now_ns)
        membership.place(slots, status, cause, since_ns=since_ns, due_ns=due_ns)
        for row, job in nodes.jobs.items():
            self._jobs.restore(int(slots[row]), job, now_ns, grace_ns=self.settings.start_grace_ns)
        for row, conflict in nodes.conflicts.items():
            self._conflicts.restore(int(slots[row]), conflict, now_ns)
        self._conflict_entries.publish()
        suspect = status == Status.SUSPECT
        self._judging.open_window(slots[suspect], grace_ns[suspect])
        upkeep = self._state.upkeep
        for row, maintenance in nodes.maintenance.items():
            upkeep.pause(slots[[row]], maintenance)
        for row, known in nodes.known.items():
            upkeep.acknowledge(int(slots[row]), known)
        paused = np.array(list(upkeep.maintenance), np.int64)
        until_ns = [said.until_ns for said in upkeep.maintenance.values()]
        membership.plan(paused, np.array(until_ns, np.int64))
        return slots

    def _remember_mass(self, recovered: Recovered) -> None:
        # A mass that was held back before a restart is one after it, however long that took. What
        # has been tried already was not held back.
        slots = {
            self._registry.slot_of(action.node)
            for action in recovered.actions
            if self._outbox.destroys(action.name) and action.attempt == 0
        } - {-1}
        if slots:
            since_ns = self._membership.since_ns[sorted(slots)]
            self._mass.remember(int(since_ns.min()), int(since_ns.max()))

    def _restore_action(self, record: ActionRecord, now_ns: int) -> None:
        settings = self._outbox.settings(record.name)
        # A repair waits until the node could be heard: it may have come back by itself.
        grace_ns = self.settings.start_grace_ns if settings is not None and settings.revives else 0
        self._ledger.take_up(record, now_ns + grace_ns)
        self._services.take_up(record, now_ns)
        if settings is None:
            message = "the settings no longer name this action"
            self._ledger.record_settled(self._outbox.drop(record.key, message), now_ns)
            return
        self._ledger.withdraw_needless(record.node, now_ns)

    @property
    def state(self) -> State:
        """The state as it is, for tools that measure it; readers take a `snapshot`."""
        return self._state

    @property
    def unwatched(self) -> tuple[Speaker, ...]:
        """Nodes with a key of ours that speak and are not enrolled; frozen, for any thread."""
        return self._intake.speakers.unwatched

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The actions of the settings whose last attempt failed; any thread may ask."""
        return tuple(self._outbox.failures.values())

    @property
    def conflicts(self) -> tuple[str, ...]:
        """Say under which names two processes speak, a few of them; frozen, for any thread."""
        return self._conflict_entries.sentences

    # -- one turn ----------------------------------------------------------------------------

    def step(self, inputs: Inputs, *, wall_offset_ns: int = 0) -> Output:
        """Take one turn at the watermark of the drain. The order of its phases is law.

        wall_offset_ns  added to an instant it gives nanoseconds since 1970 UTC; only shown
        """
        now_ns = inputs.watermark_ns
        self._turns += 1
        self._journaled = max(self._journaled, inputs.journaled)
        self._state.note_wall_offset(wall_offset_ns)
        self._settle(inputs.outcomes, now_ns)
        self._obey(inputs, now_ns)
        pause_ns, is_stale = self._doubt(inputs, now_ns)
        self._hear(inputs.datagrams, now_ns, stale=is_stale)
        self._judge(pause_ns, now_ns)
        self._lead(inputs.drained_ns, now_ns)
        actions = self._release(now_ns)
        self._wake_ns = self._next_ns(now_ns)
        plans = self._jobs.take_plans()
        return Output(self._ledger.take(), self._voice.take(), actions, self._wake_ns, plans)

    def _settle(self, outcomes: tuple[Outcome, ...], now_ns: int) -> None:
        """Take what became of actions."""
        for outcome in outcomes:
            settled = self._ledger.record_outcome(outcome, now_ns)
            if settled is not None and self._services.has_roles:
                self._services.follow(settled, now_ns)

    def _obey(self, inputs: Inputs, now_ns: int) -> None:
        """Do what people ask, and take the due instants of jobs."""
        if inputs.orders or self._orders.next_ns() <= now_ns:
            self._orders.obey(inputs.orders, now_ns)
        if inputs.orders and self.unwatched:
            self._intake.speakers.drop_enrolled()
        for dues in inputs.dues:
            self._jobs.hand(dues)

    def _doubt(self, inputs: Inputs, now_ns: int) -> tuple[int, bool]:
        """Let the guard look at this turn itself, before it is used to judge others.

        Return how long a pause of our own before it was, and whether arrivals were stamped late.
        """
        guard = self._guard
        guard.listened(inputs.listened_ns)
        is_stale = guard.is_stale(inputs.drained_ns)
        if stall := guard.note_drain(now_ns, inputs.drained_ns):
            self._judging.record_stall(stall, now_ns)
        pause_ns = guard.turn(now_ns, self._wake_ns)
        guard.note_drops(inputs.dropped, now_ns)
        self._state.note_guard(guard.pauses, guard.drops)
        return pause_ns, is_stale or pause_ns > 0

    def _hear(self, datagrams: tuple[Datagrams, ...], now_ns: int, *, stale: bool) -> None:
        """Take what has arrived: before silence is judged, or it would be judged unread."""
        accepted_count = self._hearing.accepted_count
        for _, batches in groupby(datagrams, key=attrgetter("via")):
            self._hear_batches(tuple(batches), now_ns, stale=stale)
        if self._hearing.accepted_count > accepted_count:
            self._judging.hear(now_ns)

    def _judge(self, pause_ns: int, now_ns: int) -> None:
        """Judge silence, and tell of names under which two processes speak."""
        if pause_ns:
            self._judging.begin_anew(pause_ns, now_ns)
        self._orders.end_maintenance(self._judging.judge(now_ns), now_ns)
        if self._conflicts.is_watching:
            self._conflict_entries.turn(now_ns)

    def _lead(self, drained_ns: int, now_ns: int) -> None:
        """Lead roles by the statuses of now, and say which intervals nodes are asked for."""
        if self._services.has_roles:
            self._services.turn(now_ns, base_ns=drained_ns, journaled=self._journaled)
        if self._pace is not None:
            self._pace.turn(now_ns)

    def _release(self, now_ns: int) -> tuple[Action, ...]:
        """Return the actions that may be done: decided, on disk, and held back by nothing."""
        if self._outbox.has_work:
            self._outbox.take_ready(self._journaled, now_ns)
        if self._looks:
            self._judging.look(now_ns)
        return self._outbox.release(self._journaled, now_ns) if self._outbox.has_work else ()

    def _next_ns(self, now_ns: int) -> int:
        """Return when there is something to do though nothing comes, or NEVER; may be past."""
        return min(
            self._membership.earliest_ns(self._registry.count),
            self._outbox.next_ns(self._journaled),
            self._orders.next_ns(),
            self._jobs.next_ns(),
            self._services.next_ns(),
            self._conflicts.next_ns(),
            self._mass.next_look_ns() if self._looks else NEVER,
            NEVER if self._pace is None else self._pace.next_ns(now_ns),
        )

    @property
    def _looks(self) -> bool:
        """Whether to look around again and again, because something is held back."""
        return bool(self._outbox.guarded_count) or self._mass.is_watching

    def is_expecting(self, now_ns: int) -> bool:
        """Tell whether what comes in next may be urgent, so that none of it should be left lying
        for the sake of taking more together.

        A suspect may answer, a holder ask for its lease; and where datagrams were dropped lately,
        the room for those that wait is too small.
        """
        drops = self._guard.drops
        if drops.count and now_ns - drops.last_ns < DROPS_REMEMBERED_NS:
            return True
        if self._services.has_roles:
            return True
        status = self._membership.status[: self._registry.count]
        return bool((status == Status.SUSPECT).any())

    def snapshot(self, now_ns: int) -> Snapshot:
        """Copy what is held to be true, for readers in other threads."""
        state = freeze(self._state)
        return Snapshot(
            state=state,
            taken_ns=now_ns,
            wall_offset_ns=self._state.wall_offset_ns,
            session=self._voice.session,
            turns=self._turns,
            sequence=self._ledger.sequence,
            journaled=self._journaled,
            counters={
                "records": self._intake.records_count,
                "accepted": self._hearing.accepted_count,
                "joins_refused": self._orders.refused_count,
                "probes_put_off": self._judging.probing.put_off_count,
                "standings": self._role_reports.accepted_count,
                "services_refused": self._services.refused_count,
                "conflicts_overflow": self._conflicts.overflow_count,
                "speakers_overflow": self._intake.speakers.overflow_count,
            },
            rejects={reason.name.lower(): int(self._intake.rejects[reason]) for reason in Reject},
            outbox=self._outbox.counts(),
            pace=None if self._pace is None else self._pace.report,
            guarded=self._outbox.guarded_nodes(GUARDED_SHOWN_MAX),
            services=self._services.board(state, now_ns),
            roles=self._services.fact_counts.copy(),
            speakers=self._intake.speakers.heard(now_ns),
        )

    # -- its parts ---------------------------------------------------------------------------

    def _hear_batches(self, batches: tuple[Datagrams, ...], now_ns: int, *, stale: bool) -> None:
        heard = self._hearing.take(self._intake.open(batches), now_ns, stale=stale)
        if heard.lives or heard.runs or heard.changes:
            self._record_heard(heard, now_ns)
        if heard.standings is not None:
            self._services.hear(heard.standings, now_ns, is_stale=stale)

    def _record_heard(self, heard: Heard, now_ns: int) -> None:
        changed = {change.slot: change for change in reversed(heard.changes)}
        # A job's life is a run, and that is what is said of it.
        lives = [slot for slot in heard.lives if slot not in self._jobs]
        self._ledger.record_lives(np.array(lives, np.int64), now_ns, changed)
        for run in heard.runs:
            self._ledger.record_run(run, changed.get(run.slot))
        self._ledger.record_changes(heard.changes, exit_codes=heard.exit_codes)
