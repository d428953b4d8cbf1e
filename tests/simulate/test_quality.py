"""Live quality against the truth: in a simulated world the instants of crashes are known."""

from dataclasses import replace

import numpy as np
import pytest
from tests.simulate.broken import NOTHING

from beatward.core.entry import Event
from beatward.core.instants import MILLISECOND
from beatward.simulate import draw
from beatward.simulate.faults import FaultKind
from beatward.simulate.truth import Trouble
from beatward.simulate.world import World

KINDS = (
    FaultKind.CRASH,
    FaultKind.FREEZE,
    FaultKind.HICCUP,
    FaultKind.CUT,
    FaultKind.CUT_UP,
    FaultKind.PARTITION,
    FaultKind.EXIT,
)
# Clocks drift by 200 ppm each way.
DRIFT = 1e-3
SEEDS = range(1, 9)


def played(seed, *, loss):
    """Play a world of those faults alone, in which nobody but the weather loses anything."""
    scenario = draw(seed, minutes=5, without=NOTHING - frozenset(KINDS))
    weather = replace(
        scenario.weather,
        loss_probability=loss,
        damage_probability=0.0,
        withhold_probability=0.0,
        heavy_tail=False,
    )
    # What a wheel with so small a buffer drops is lost as well.
    world = World(
        replace(
            scenario,
            weather=weather,
            links=(None,) * len(scenario.links),
            adversary_ns=0,
            drain_max=8192,
        )
    )
    world.play()
    return world


class Judged:
    """What the journal says of one node, with the truth beside it; instants are true time."""

    def __init__(self, world, name):
        clock = world.monitor.clock
        self.truth = world.truths[name]
        self.entries = [
            (clock.true_ns(entry.at_ns), entry)
            for entry in world.journal
            if entry.event == Event.TRANSITION and entry.node == name
        ]

    def down_at(self, begin_ns, end_ns):
        """Return when it crashed, if it was down at any time in between."""
        spans = self.truth.history.within(begin_ns, end_ns)
        return [span.begin_ns for span in spans if span.trouble == Trouble.DOWN]

    def detections(self):
        """Return true detection times: from the crash to a verdict while it was down."""
        found = []
        for at_ns, entry in self.entries:
            if entry.cause == "silent":
                found += [at_ns - begun_ns for begun_ns in self.down_at(at_ns, at_ns)]
        return found

    def mistakes(self):
        """Return how long it was suspected, each time that it lived all the while."""
        found, begun_ns = [], None
        for at_ns, entry in self.entries:
            if entry.cause == "overdue":
                begun_ns = at_ns
            elif entry.status != "dead" or entry.cause == "exited":
                if begun_ns is not None and not self.down_at(begun_ns, at_ns):
                    found.append(at_ns - begun_ns)
                begun_ns = None
        return found

    def exits(self):
        """Return true times from an exit to its verdict."""
        said = {at_ns for at_ns, _, code in self.truth.farewells if code is not None}
        verdicts = [at_ns for at_ns, entry in self.entries if entry.cause == "exited"]
        return [at_ns - max(one for one in said if one <= at_ns) for at_ns in verdicts]


def reported(world):
    monitor = world.monitor.monitor
    snapshot = monitor.snapshot(world.monitor.now_ns())
    rows = snapshot.rows()
    figures = snapshot.state.quality.figures(rows, snapshot.taken_ns)
    return [(snapshot.names[row], figures.at(index)) for index, row in enumerate(rows)]


@pytest.fixture(scope="module")
def quiet():
    """Worlds in which no datagram is lost by chance."""
    return [played(seed, loss=0.0) for seed in SEEDS]


def test_reported_detection_times_contain_the_true_ones(quiet):
    """From the last word on it is longer by an interval at most, and shorter by its delay."""
    count = 0
    for world in quiet:
        delay_ns = world.network.weather.longest_delay_ns()
        # A timer fires late, and the wheel turns at its ticks.
        slack_ns = 20 * MILLISECOND + world.scenario.tick_ns
        for name, found in reported(world):
            judged = Judged(world, name)
            true_ns = judged.detections()
            assert found.detections[0] == len(true_ns), name
            count += len(true_ns)
            if not true_ns:
                continue
            drift_ns = DRIFT * max(true_ns)
            least_ns = np.mean(true_ns) - delay_ns - drift_ns
            most_ns = np.mean(true_ns) + judged.truth.interval_ns + slack_ns + drift_ns
            assert least_ns <= found.detection_time_ns[0] <= most_ns, name
            longest_ns = max(true_ns)
            most_ns = longest_ns + judged.truth.interval_ns + slack_ns + drift_ns
            assert longest_ns - delay_ns - drift_ns <= found.detection_max_ns[0] <= most_ns, name
    assert count >= 30


def test_reported_mistakes_are_the_true_ones(quiet):
    """Who was suspected and never crashed, and for how long."""
    count = 0
    for world in [*quiet, *(played(seed, loss=0.03) for seed in (11, 12))]:
        for name, found in reported(world):
            true_ns = Judged(world, name).mistakes()
            count += len(true_ns)
            assert found.mistakes[0] == len(true_ns), name
            assert found.mistaken_ns[0] == pytest.approx(sum(true_ns), rel=DRIFT), name
    assert count >= 50


def test_reported_exits_are_the_true_ones(quiet):
    """The word says how long ago it came; only its delay stays unknown."""
    count = 0
    for world in quiet:
        delay_ns = world.network.weather.longest_delay_ns()
        for name, found in reported(world):
            true_ns = Judged(world, name).exits()
            count += len(true_ns)
            assert found.exits[0] == len(true_ns)
            assert sum(true_ns) - len(true_ns) * delay_ns <= found.exit_ns[0] <= sum(true_ns) + 1
    assert count >= 5


def test_no_more_is_lost_than_the_network_lost():
    """Chance alone takes heartbeats here: what is missing is what the weather took."""
    scenario = draw(21, minutes=5, without=NOTHING)
    weather = replace(scenario.weather, loss_probability=0.05, duplicate_probability=0.1)
    weather = replace(weather, damage_probability=0.0, withhold_probability=0.0)
    world = World(
        replace(scenario, weather=weather, links=(None,) * len(scenario.links), adversary_ns=0)
    )
    world.play()
    slots = missing = 0.0
    for _, found in reported(world):
        assert 0 <= found.missing[0] <= found.slots[0]
        slots, missing = slots + found.slots[0], missing + found.missing[0]
    healed = 1 - world.scenario.heal_ns / world.scenario.end_ns
    expected = 0.05 * (1 - healed)
    deviation = (expected / slots) ** 0.5
    assert missing / slots == pytest.approx(expected, abs=5 * deviation)
