"""A monitor that turns only when something comes or is due writes what one of many turns writes."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.core.by_hand import START
from tests.core.test_scenarios import GUARDED
from tests.core.world import TICK_NS, World

from beatward.core.entry import JobPlan
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.mass import MassSettings
from beatward.core.membership import MembershipSettings
from beatward.core.order_kinds import (
    Acknowledge,
    AddSilence,
    Join,
    Lift,
    Pause,
    PauseService,
    Resume,
    SwitchOver,
)
from beatward.core.pace import PaceSettings
from beatward.core.policy import ActionRules, Rule

NAMES = tuple(f"web-{number}" for number in range(5))
# Everything that has a deadline of its own: probing at a rate, retries, guards, holds, roles, pace.
RULED = replace(
    GUARDED,
    mass=MassSettings(count_min=3, window_ns=5 * SECOND),
    membership=MembershipSettings(hold_down_ns=2 * SECOND, probes_per_second=20.0),
    rules=(*GUARDED.rules, Rule((), ("page",), roles=("vacant", "held"))),
    actions={
        **GUARDED.actions,
        "page": ActionRules("page", "webhook", attempts_max=3, retry_ns=700 * MILLISECOND),
    },
    actions_per_minute=6,
)
PACED = replace(RULED, pace=PaceSettings(budget=3.0, min_ns=SECOND // 2, max_ns=4 * SECOND))


class PatientWorld(World):
    """A world whose monitor takes a turn when something has come or its instant is there."""

    def __init__(self, settings=None):
        self.turns_count = 0
        super().__init__(settings)

    def _session_begins(self, recovered):
        super()._session_begins(recovered)
        self._awake_ns = self._wake_ns = self.now_ns
        self._journaled = -1
        self._step, self.monitor.step = self.monitor.step, self._noted_step

    def _noted_step(self, inputs):
        self.turns_count += 1
        output = self._step(replace(inputs, listened_ns=self._awake_ns))
        self._wake_ns, self._journaled = output.wake_ns, inputs.journaled
        return output

    def _turn(self):
        written = self.entries[-1].sequence if self.entries else 0
        has_come = any(arrived_ns <= self.now_ns for arrived_ns, _, _ in self._under_way)
        has_come |= bool(self._orders or self._outcomes) or written != self._journaled
        has_paused = self.now_ns - self._awake_ns > self.settings.guard.pause_limit_ns
        if has_come or has_paused or self.now_ns >= self._wake_ns:
            super()._turn()
        # As the wheel between two turns; a monitor that is frozen comes to neither.
        self._awake_ns = self.now_ns


def beginning(world):
    for name in NAMES:
        world.order(Join, name, labels={"zone": "a"})
    world.order(Join, "backup", job=JobPlan(period_ns=8 * SECOND, grace_ns=SECOND))
    world.run(TICK_NS)
    for name in NAMES:
        world.start(name, SECOND)
        world.run(170 * MILLISECOND)
    for name in NAMES[:2]:
        world.offer("db", name)
    world.run(3 * SECOND)


def start(world, name):
    if world.node(name).protocol is None:
        world.start(name, SECOND)


def end(world, name, exit_code):
    if world.node(name).protocol is not None:
        world.end(name, exit_code)


def outcome(world, action, result):
    if action in world.running:
        world.report_outcome(action, result, "because")


def cut(world, names, *, is_cut):
    for name in names:
        world.node(name).is_cut = is_cut


def silence(world, name, seconds):
    world.order_for_all(
        AddSilence, nodes=name, id=f"s{len(world.entries)}", for_ns=seconds * SECOND
    )


names = st.sampled_from(NAMES)
seconds = st.integers(1, 6)
COMMANDS = st.one_of(
    st.tuples(st.just(World.kill), names),
    st.tuples(st.just(start), names),
    st.tuples(st.just(end), names, st.sampled_from((None, 0, 3))),
    st.tuples(st.just(World.say_health), names, st.sampled_from(("ill", "well"))),
    st.tuples(
        st.just(outcome),
        st.sampled_from(("page", "restart")),
        st.sampled_from(("success", "temporary", "permanent")),
    ),
    st.tuples(st.just(lambda w, n: cut(w, n, is_cut=True)), st.sets(names, min_size=1)),
    st.tuples(st.just(lambda w: cut(w, NAMES, is_cut=False))),
    st.tuples(st.just(lambda w, n, s: w.order(Pause, n, for_ns=s * SECOND)), names, seconds),
    st.tuples(st.just(lambda w, n: w.order(Resume, n)), names),
    st.tuples(st.just(lambda w, n: w.order(Acknowledge, n)), names),
    st.tuples(st.just(lambda w: w.order_for_all(Lift))),
    st.tuples(st.just(silence), st.sampled_from(("*", "web-1")), seconds),
    st.tuples(st.just(lambda w: w.order_for_all(SwitchOver, service="db"))),
    st.tuples(
        st.just(lambda w, s: w.order_for_all(PauseService, service="db", for_ns=s * SECOND)),
        seconds,
    ),
    st.tuples(st.just(lambda w: w.restart(away_ns=SECOND))),
    st.tuples(st.just(lambda w: w.freeze(2 * SECOND))),
)
HISTORIES = st.lists(st.tuples(COMMANDS, st.integers(1, 700)), min_size=1, max_size=14)


def written(world):
    return [
        (
            entry.at_ns - START,
            str(entry.event),
            entry.node,
            entry.cause,
            entry.outcome,
            entry.explanation,
        )
        for entry in world.entries
    ]


@pytest.mark.parametrize("terms", [RULED, PACED], ids=["rules, guards and roles", "a budget"])
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(history=HISTORIES)
def test_turns_at_arrivals_and_when_something_is_due_write_what_turns_all_the_time_write(
    terms, history
):
    often, seldom = World(terms), PatientWorld(terms)
    for world in (often, seldom):
        beginning(world)
        for (command, *arguments), ticks in history:
            command(world, *arguments)
            world.run(ticks * TICK_NS)
        world.run(12 * SECOND)
    assert written(seldom) == written(often)
