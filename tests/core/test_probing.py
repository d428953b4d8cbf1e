"""Many suspects at once: probes keep to their rate, and nobody is judged without one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.by_hand import ByHand, changes, key_of, said

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.mass import MassSettings
from beatward.core.membership import MembershipSettings
from beatward.core.monitor import CoreSettings
from beatward.core.protocol.record import Kind, open_record

NAMES = tuple(f"web-{i}" for i in range(20))


def dying(rate, count=20, via=Via.UDP):
    """Return a monitor whose nodes have said their last word at 9 s."""
    membership = MembershipSettings(probes_per_second=rate)
    settings = CoreSettings(membership=membership, mass=MassSettings(count_min=1000))
    hand = ByHand(settings, nodes=NAMES[:count])
    for second in range(10):
        rows = [said(name, sequence=second) for name in NAMES[:count]]
        hand.walk(second * SECOND)
        hand.step(second * SECOND, *rows, via=via)
    return hand


def watch(hand, seconds, tick_ms=20):
    """Let time pass; return probes as (instant, node) and verdicts as {node: instant}."""
    probes, verdicts = [], {}
    until = hand.now + seconds * SECOND
    while hand.now < until:
        output = hand.step(hand.now + tick_ms * MILLISECOND)
        for row in output.replies.rows:
            name = next(n for n in NAMES if opened(row.tobytes(), n) is not None)
            probes.append((hand.now, name))
        verdicts.update({node: hand.now for node, status, _ in changes(output) if status == "dead"})
    return probes, verdicts


def opened(row, name):
    try:
        return open_record(row, key_of(name))
    except Exception:  # noqa: BLE001  another node's key
        return None


@pytest.mark.parametrize("rate", [10.0, 25.0])
def test_no_second_has_more_probes_than_the_rate_and_everybody_is_found_in_the_end(rate):
    hand = dying(rate)
    probes, verdicts = watch(hand, 30)
    assert set(verdicts) == set(NAMES)
    instants = np.array([at for at, _ in probes])
    for at in instants:
        # One tick may bring two places together.
        assert np.count_nonzero((instants >= at) & (instants < at + SECOND)) <= rate + 5
    assert len(probes) == 5 * len(NAMES)


def test_nobody_is_judged_before_its_whole_window_of_probes():
    hand = dying(10.0)
    probes, verdicts = watch(hand, 30)
    for name in NAMES:
        asked = [at for at, node in probes if node == name]
        assert len(asked) == 5
        assert verdicts[name] - asked[0] >= SECOND
    assert hand.snapshot().counters["probes_put_off"] > len(NAMES) / 2


def test_who_comes_first_is_judged_first_and_nobody_is_passed_over():
    hand = dying(10.0)
    _, verdicts = watch(hand, 30)
    assert sorted(verdicts, key=lambda name: (verdicts[name], NAMES.index(name))) == list(NAMES)


def test_within_the_rate_nobody_waits():
    hand = dying(400.0)
    _, verdicts = watch(hand, 3)
    assert len(set(verdicts.values())) == 1
    assert hand.snapshot().counters["probes_put_off"] == 0


def test_who_speaks_while_it_waits_is_alive():
    hand = dying(10.0)
    hand.walk(11 * SECOND)
    found = changes(hand.step(11 * SECOND, said("web-19", sequence=11)))
    assert found == [("web-19", "alive", "refuted")]


def test_who_waits_may_answer_for_a_window_after_its_probe():
    hand = dying(10.0)
    while hand.snapshot().state.membership.probes_sent[19] == 0:
        hand.step(hand.now + 20 * MILLISECOND)
    assert hand.now > 18 * SECOND
    asked = int(hand.snapshot().state.membership.challenge[19])
    reply = said("web-19", kind=Kind.PROBE_REPLY, sequence=15, echo=asked)
    at_ns = hand.now + 900 * MILLISECOND
    assert changes(hand.step(at_ns, reply))[-1] == ("web-19", "alive", "refuted")


def test_who_cannot_be_asked_waits_for_nobody():
    hand = dying(10.0, via=Via.HTTP)
    probes, verdicts = watch(hand, 3)
    assert probes == []
    assert len(set(verdicts.values())) == 1


def test_a_pause_of_our_own_does_not_flood_either():
    hand = dying(25.0)
    hand.walk(10_200 * MILLISECOND)
    hand.step(14 * SECOND)
    probes, verdicts = watch(hand, 30)
    instants = np.array([at for at, _ in probes])
    assert max(np.count_nonzero(np.abs(instants - at) < SECOND // 2) for at in instants) <= 30
    assert set(verdicts) == set(NAMES)


@given(rate=st.floats(5.0, 200.0), count=st.integers(1, 20))
def test_whatever_the_rate_everybody_is_found_after_a_window_of_probes(rate, count):
    hand = dying(rate, count)
    probes, verdicts = watch(hand, 60, tick_ms=100)
    assert set(verdicts) == set(NAMES[:count])
    assert all(sum(node == name for _, node in probes) >= 5 for name in verdicts)
