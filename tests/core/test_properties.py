"""Properties of a failure detector that no other test asks for; the table is docs/properties.md."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.by_hand import ByHand, changes, heard, said
from tests.core.one_slot import OneSlot
from tests.core.world import World

from beatward.core.detect import DetectorSettings
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Join
from beatward.core.protocol.record import Kind

PROBING = CoreSettings().membership
TICK = 10 * MILLISECOND


@pytest.mark.parametrize(
    ("kind", "knob", "values"),
    [
        ("fixed", "timeout_ns", (SECOND, 2 * SECOND, 9 * SECOND)),
        ("chen", "margin_ns", (MILLISECOND, 50 * MILLISECOND, SECOND)),
        ("chen", "late_probability", (0.1, 0.01, 0.001)),
        ("two_window", "late_probability", (0.1, 0.01, 0.001)),
        ("adaptive", "late_probability", (0.1, 0.01, 0.001)),
        ("histogram", "factor", (1.0, 1.5, 3.0)),
        ("bertier", "deviation_weight", (1.0, 4.0, 8.0)),
        ("phi", "threshold", (1.0, 3.0, 8.0, 12.0)),
        ("phi_exponential", "threshold", (1.0, 3.0, 8.0, 12.0)),
        ("calendar", "grace_ns", (SECOND, 2 * SECOND, 60 * SECOND)),
    ],
)
def test_who_is_more_careful_waits_longer(kind, knob, values):
    lateness = np.random.default_rng(2).exponential(30 * MILLISECOND, 3000)
    deadlines = []
    for value in values:
        slot = OneSlot(kind, **{"margin_min_ns": 0, knob: value})
        deadlines.append(slot.hear_all(lateness)[-1])
    assert sorted(deadlines) == deadlines
    assert deadlines[0] < deadlines[-1]


@pytest.mark.parametrize("kind", ["fixed", "chen", "two_window"])
def test_who_beats_slower_than_promised_is_suspected_and_never_condemned(kind):
    """It says 1 s and beats every 5 s: each promise is broken, each suspicion is refuted."""
    world = ByHand(CoreSettings(detector=DetectorSettings(kind=kind)))
    found = []
    for sequence in range(40):
        until = 5 * SECOND * (sequence + 1)
        output = world.step(world.now + TICK, said(sequence=sequence))
        while world.now < until - TICK:
            found += changes(output)
            asked = [reply for reply in heard(output) if reply.kind == Kind.PROBE]
            answer = [
                said(kind=Kind.PROBE_REPLY, sequence=sequence, echo=probe.echo) for probe in asked
            ]
            output = world.step(world.now + TICK, *answer)
    assert "dead" not in {status for _, status, _ in found}
    # One a promise at most: an answer gives it another timeout, so there may be a second one.
    suspicions = sum(status == "suspect" for _, status, _ in found)
    assert 0 < suspicions <= 4 * 40


@given(lost=st.lists(st.booleans(), min_size=1, max_size=30))
def test_one_answer_of_many_probes_is_enough_and_without_one_it_takes_the_whole_window(lost):
    """Property 17: whichever probes are lost, the first that is answered refutes."""
    world = ByHand()
    world.beat(*range(5))
    suspected_ns, probes, answered = None, 0, False
    while world.status() != "dead" and not answered:
        output = world.step(world.now + TICK)
        if suspected_ns is None and world.status() == "suspect":
            suspected_ns = world.now
        for probe in heard(output):
            probes += 1
            if not lost[(probes - 1) % len(lost)]:
                answer = said(kind=Kind.PROBE_REPLY, sequence=5, echo=probe.echo)
                answered = ("web-1", "alive", "refuted") in changes(world.step(world.now, answer))
    assert probes <= PROBING.window_ns // PROBING.spacing_ns
    if world.status() == "dead":
        assert all(lost[i % len(lost)] for i in range(probes))
        assert world.now - suspected_ns >= PROBING.window_ns
        assert probes == PROBING.window_ns // PROBING.spacing_ns
    else:
        assert answered


def test_who_cannot_hear_is_alive_and_who_cannot_be_heard_is_not():
    """Loss in one direction: `cut` takes what nodes say, and nothing is sent to `deaf`."""
    world = World()
    for name in ("mute", "deaf"):
        world.order(Join, name)
        world.start(name, SECOND)
    world.run(5 * SECOND)
    world.node("mute").is_cut = True
    deaf = world.node("deaf")
    deaf.protocol.receive = lambda *_: []
    world.run(20 * SECOND)
    snapshot = world.monitor.snapshot(world.now_ns)
    by_name = {snapshot.names[slot]: snapshot.status[slot] for slot in snapshot.rows()}
    assert (int(by_name["mute"]), int(by_name["deaf"])) == (3, 1)
    assert deaf.protocol.wants_reconnect


def test_a_fixed_timeout_finds_who_died_when_its_arithmetic_says():
    """Property 33: T_D in (To + d - T, To + d], its mean To + d - T/2 within 1 %."""
    timeout, delay, interval = 3 * SECOND, 40 * MILLISECOND, SECOND
    detector = OneSlot("fixed", timeout_ns=timeout)
    deadlines = np.array(detector.hear_all([delay] * 1000))
    crashed = np.random.default_rng(3).integers(0, 999 * interval, 20_000)
    # The last that left before or at the crash.
    detection = deadlines[crashed // interval] - crashed
    assert detection.max() <= timeout + delay
    assert detection.min() > timeout + delay - interval
    assert detection.mean() == pytest.approx(timeout + delay - interval / 2, rel=0.01)
