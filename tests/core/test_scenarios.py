"""tests/scenarios/*.txt: scenes as text, what is done and what the journal must then hold.

A scene is blocks of commands, `----`, and the lines expected of them; an empty line ends a block.
After a change that is meant to be, BEATWARD_REWRITE=1 writes what came; read the diff.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.core.world import World

from beatward.core.entry import JobPlan
from beatward.core.instants import MILLISECOND, NEVER, SECOND, parse_duration
from beatward.core.mass import MassSettings
from beatward.core.membership import Status
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import (
    Acknowledge,
    AddSilence,
    EndSilence,
    FailOver,
    Forget,
    Join,
    Lift,
    Pause,
    Resume,
    SwitchOver,
    Unacknowledge,
)
from beatward.core.policy import ActionRules, Rule

FOLDER = Path(__file__).parents[1] / "scenarios"
SCENES = sorted(FOLDER.glob("*.txt"))
# A few nodes are killed at will; what guards the many has scenes of its own.
RULES = CoreSettings(
    mass=MassSettings(count_min=1_000_000),
    rules=(Rule(("dead",), ("page", "restart")), Rule(("failing",), ("page",))),
    actions={
        "page": ActionRules("page", "webhook"),
        "restart": ActionRules("restart", "exec", revives=True),
    },
)

GUARDED = replace(
    RULES,
    mass=MassSettings(),
    actions={
        **RULES.actions,
        "restart": replace(RULES.actions["restart"], destructive=True),
    },
    rules=(*RULES.rules, Rule(("recovering",), ("page",))),
)


class Stage:
    """Plays commands in a world. `rules` as the very first command gives it actions."""

    def __init__(self):
        self.world = World()

    def play(self, commands):
        """Return the lines that a block of commands leads to."""
        self.world.lines = []
        for command in commands:
            if not command.startswith("#"):
                word, *arguments = command.split()
                getattr(self, f"do_{word}")(*arguments)
        return self.world.lines

    def do_rules(self):
        self.world = World(RULES)

    def do_guarded_rules(self):
        self.world = World(GUARDED)

    def do_lift(self, zone=""):
        self.world.order_for_all(Lift, zone=zone)

    def do_fleet(self, zone, count):
        """Enrol so many nodes of a zone and start them, ten a second."""
        for number in range(1, int(count) + 1):
            self.world.order(Join, f"{zone}-{number}", labels={"zone": zone})
        self.world.run(10 * MILLISECOND)
        for number in range(1, int(count) + 1):
            self.world.start(f"{zone}-{number}", SECOND)
            self.world.run(100 * MILLISECOND)

    def do_join(self, *names):
        for name in names:
            self.world.order(Join, name)

    def do_job(self, name, _every, period, _grace, grace, _run, run):
        plan = JobPlan(period_ns=parse_duration(period), grace_ns=parse_duration(grace))
        self.world.order(Join, name, job=replace(plan, run_ns=parse_duration(run)))

    def do_start(self, name, _every, interval):
        self.world.start(name, parse_duration(interval))

    def do_kill(self, *names):
        for name in names:
            self.world.kill(name)

    def do_leave(self, name):
        self.world.end(name)

    def do_exit(self, name, code):
        self.world.end(name, int(code))

    def do_ill(self, name):
        self.world.say_health(name, "ill")

    def do_well(self, name):
        self.world.say_health(name, "well")

    def do_cut(self, name):
        self.world.node(name).is_cut = True

    def do_mend(self, name):
        self.world.node(name).is_cut = False

    def do_lose(self, name, count):
        self.world.node(name).lose_count = int(count)

    def do_delay(self, name, duration):
        self.world.node(name).delay_ns = parse_duration(duration)

    def do_run(self, duration):
        self.world.run(parse_duration(duration))

    def do_freeze(self, duration):
        self.world.freeze(parse_duration(duration))

    def do_restart(self, duration="0s"):
        self.world.restart(parse_duration(duration))

    def do_replay(self):
        self.world.replay()

    def do_pause(self, name, duration="", *words):
        for_ns = parse_duration(duration) if duration else NEVER
        self.world.order(Pause, name, for_ns=for_ns, reason=" ".join(words))

    def do_acknowledge(self, name, by, *words):
        self.world.order(Acknowledge, name, by=by, note=" ".join(words))

    def do_unacknowledge(self, name, by):
        self.world.order(Unacknowledge, name, by=by)

    def do_silence(self, called, pattern, duration, *words):
        actions = words[:1] == ("actions",)
        self.world.order_for_all(
            AddSilence,
            id=called,
            nodes=pattern,
            for_ns=parse_duration(duration),
            reason=" ".join(words[actions:]),
            actions=actions,
        )

    def do_unsilence(self, called, by):
        self.world.order_for_all(EndSilence, id=called, by=by)

    def do_explain(self, name):
        snapshot = self.world.monitor.snapshot(self.world.now_ns)
        self.world.lines.append(f"{'':9}  {'=':<10}  {snapshot.explain(snapshot.find(name))[0]}")

    def do_offer(self, service, *names):
        for name in names:
            self.world.offer(service, name)

    def do_switchover(self, service, to=""):
        self.world.order_for_all(SwitchOver, service=service, to=to)

    def do_failover(self, service, *words):
        self.world.order_for_all(FailOver, service=service, force="--force" in words)

    def do_role(self, service):
        view = self.world.monitor.snapshot(self.world.now_ns).services[service]
        acting = ", ".join(self.world.holders(service)) or "nobody"
        words = f"{view.explanation}; acting: {acting}"
        self.world.lines.append(f"{'':9}  {'=':<10}  {words}")

    def do_resume(self, name):
        self.world.order(Resume, name)

    def do_forget(self, name):
        self.world.order(Forget, name)

    def do_outcome(self, name, result, *words):
        self.world.report_outcome(name, result, " ".join(words))

    def do_statuses(self):
        snapshot = self.world.monitor.snapshot(self.world.now_ns)
        for slot in snapshot.rows():
            words = f"{snapshot.names[slot]} is {Status(snapshot.status[slot]).word}"
            self.world.lines.append(f"{'':9}  {'=':<10}  {words}")

    def do_rejects(self):
        rejects = self.world.monitor.snapshot(self.world.now_ns).rejects
        for reason, count in rejects.items():
            if count:
                self.world.lines.append(f"{'':9}  {'=':<10}  {reason}: {count}")


def blocks(text):
    """Divide a scene into its blocks: (lines of commands, lines expected)."""
    for block in text.strip("\n").split("\n\n"):
        commands, _, expected = block.partition("\n----")
        yield commands.splitlines(), expected.removeprefix("\n").splitlines()


def played(text):
    """Return a scene with what really came of its commands."""
    stage = Stage()
    parts = []
    for commands, _ in blocks(text):
        came = stage.play(commands)
        parts.append("\n".join([*commands, "----", *came] if came else commands))
    return "\n\n".join(parts) + "\n"


@pytest.mark.parametrize("path", SCENES, ids=lambda path: path.stem)
def test_the_scene_plays_as_it_is_written(path):
    text = path.read_text("utf-8")
    came = played(text)
    if os.environ.get("BEATWARD_REWRITE") == "1":
        path.write_text(came, "utf-8")
        return
    assert came == text


def test_a_scene_that_is_wrong_is_noticed():
    text = (FOLDER / "a_node_dies_and_returns.txt").read_text("utf-8")
    for wrong in (
        text.replace("web-1 suspected", "web-1 respected"),
        text.replace("every 1s", "every 900ms"),
        text.replace("page for web-1: success: delivered\n", ""),
    ):
        assert wrong != text
        assert played(wrong) != wrong


def test_the_scenes_are_there():
    assert {path.stem for path in SCENES} >= {
        "a_heartbeat_is_late",
        "a_lost_heartbeat_is_refuted",
        "a_monitor_restarts",
        "a_node_dies_and_returns",
        "a_process_exits",
        "a_replay_changes_nothing",
        "everybody_is_silent",
        "many_go_dark_at_once",
        "a_role_moves",
        "a_role_over_a_restart",
        "a_silence_holds_notifications",
        "an_alarm_is_acknowledged",
        "maintenance",
        "maintenance_with_a_planned_end",
        "the_monitor_freezes",
    }
