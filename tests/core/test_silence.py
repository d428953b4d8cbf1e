"""Two stages between silence and a verdict: suspected at the deadline, dead after the window."""

import pytest
from tests.core.by_hand import LIFE, START, ByHand, changes, heard, said

from beatward.core.detect import DetectorSettings
from beatward.core.instants import MILLISECOND, MINUTE, NEVER, SECOND
from beatward.core.intake import Via
from beatward.core.mass import MassSettings
from beatward.core.membership import RUNG_MAX, MembershipSettings
from beatward.core.monitor import CoreSettings
from beatward.core.protocol.record import Kind

OVERDUE = ("web-1", "suspect", "overdue")
SILENT = ("web-1", "dead", "silent")
REFUTED = ("web-1", "alive", "refuted")
DEADLINE = 10 * SECOND + 50 * MILLISECOND
WINDOW = SECOND


def beating(settings=None, **fields):
    """A node that has beaten for ten seconds; heartbeat 10 is due at 10 s, the margin is 50 ms."""
    hand = ByHand(settings)
    assert hand.beat(*range(10), **fields) == [("web-1", "alive", "heard")]
    assert hand.deadline() == DEADLINE
    return hand


def suspected():
    hand = beating()
    hand.walk(DEADLINE, tick_ns=50 * MILLISECOND)
    assert hand.status() == "suspect"
    return hand


def reply(probe, sequence, **fields):
    return said(kind=Kind.PROBE_REPLY, sequence=sequence, echo=probe.echo, **fields)


# --- stage one ---


def test_the_deadline_itself_is_suspicion_and_not_a_nanosecond_earlier():
    hand = beating()
    assert hand.walk(DEADLINE - 1) == []
    assert hand.walk(DEADLINE) == [OVERDUE]


def test_a_suspect_is_probed_at_once_and_then_every_spacing_until_its_window_ends():
    hand = beating()
    hand.walk(DEADLINE - MILLISECOND)
    probes = []
    for at_ns in range(DEADLINE - MILLISECOND, DEADLINE + 2 * SECOND, 5 * MILLISECOND):
        output = hand.step(at_ns)
        probes += [(at_ns - DEADLINE, probe) for probe in heard(output)]
    assert [at_ns // MILLISECOND for at_ns, _ in probes] == [4, 204, 404, 604, 804]
    assert len({probe.echo for _, probe in probes}) == 1
    assert {probe.incarnation for _, probe in probes} == {LIFE}
    assert hand.status() == "dead"
    assert "5 probes over 1 s unanswered" in hand.entries[-1].explanation


def test_every_suspicion_asks_for_another_number():
    hand = beating()
    echoes = []
    for second in range(10, 16, 2):
        hand.walk(second * SECOND + 100 * MILLISECOND, tick_ns=50 * MILLISECOND)
        challenge = int(hand.snapshot().state.membership.challenge[0])
        echoes.append(challenge)
        row = said(kind=Kind.PROBE_REPLY, sequence=second, echo=challenge)
        assert changes(hand.step(hand.now, row)) == [REFUTED]
        assert hand.beat(second + 1) == []
    assert len(set(echoes)) == 3


# --- stage two ---


@pytest.mark.parametrize("window_ms", [200, 1000, 5000])
def test_dead_only_after_the_whole_window(window_ms):
    settings = CoreSettings(membership=MembershipSettings(window_ns=window_ms * MILLISECOND))
    hand = beating(settings)
    hand.walk(DEADLINE, tick_ns=50 * MILLISECOND)
    assert hand.walk(DEADLINE + window_ms * MILLISECOND - 1) == []
    assert hand.walk(DEADLINE + window_ms * MILLISECOND) == [SILENT]


def test_whoever_dies_after_a_heartbeat_is_found_within_interval_margin_and_window():
    hand = beating()
    assert hand.walk(DEADLINE + WINDOW, tick_ns=50 * MILLISECOND) == [OVERDUE, SILENT]
    assert hand.entries[-1].detail["bound_ns"] == DEADLINE + WINDOW - 9 * SECOND
    assert hand.entries[-1].at_ns == START + DEADLINE + WINDOW


def test_the_dead_stay_dead_in_silence():
    hand = beating()
    hand.walk(13 * SECOND)
    assert hand.walk(10 * MINUTE, tick_ns=200 * MILLISECOND) == []
    assert hand.status() == "dead"


def test_a_turn_that_comes_late_gives_the_window_from_the_suspicion_not_from_the_deadline():
    hand = beating()
    hand.walk(DEADLINE - MILLISECOND)
    hand.step(DEADLINE + 249 * MILLISECOND)
    assert hand.status() == "suspect"
    # Twice the window: our own turn was late.
    assert hand.walk(DEADLINE + 249 * MILLISECOND + 2 * WINDOW - 1) == []
    assert hand.walk(DEADLINE + 249 * MILLISECOND + 2 * WINDOW) == [SILENT]


# --- what refutes ---


def test_an_answer_to_the_probe_refutes():
    hand = suspected()
    challenge = int(hand.snapshot().state.membership.challenge[0])
    row = said(kind=Kind.PROBE_REPLY, sequence=10, echo=challenge)
    hand.walk(DEADLINE + 150 * MILLISECOND, tick_ns=50 * MILLISECOND)
    output = hand.step(DEADLINE + 160 * MILLISECOND, row)
    assert changes(output) == [REFUTED]
    assert output.entries[-1].explanation == (
        "web-1 is alive: the suspicion was refuted by a heartbeat or the answer to the probe"
    )
    assert hand.deadline() == DEADLINE + 160 * MILLISECOND + SECOND + 50 * MILLISECOND


def test_an_answer_leaves_its_slot_to_the_heartbeat_that_is_still_under_way():
    hand = suspected()
    challenge = int(hand.snapshot().state.membership.challenge[0])
    row = said(kind=Kind.PROBE_REPLY, sequence=10, echo=challenge)
    hand.step(DEADLINE + MILLISECOND, row)
    hand.step(DEADLINE + 2 * MILLISECOND, said(sequence=10))
    assert hand.rejected() == {}
    assert hand.snapshot().state.registry.sequence[0] == 10


@pytest.mark.parametrize("echo", [0, 1, 77, 2**31 + 77, 2**32 - 1])
def test_an_answer_to_another_question_is_ignored(echo):
    hand = suspected()
    assert echo != int(hand.snapshot().state.membership.challenge[0])
    row = said(kind=Kind.PROBE_REPLY, sequence=10, echo=echo)
    assert changes(hand.step(DEADLINE + MILLISECOND, row)) == []
    assert hand.rejected() == {"late_reply": 1}
    assert hand.status() == "suspect"


def test_the_right_answer_with_an_old_sequence_is_ignored():
    hand = suspected()
    challenge = int(hand.snapshot().state.membership.challenge[0])
    row = said(kind=Kind.PROBE_REPLY, sequence=8, echo=challenge)
    assert changes(hand.step(DEADLINE + MILLISECOND, row)) == []
    assert hand.rejected() == {"late_reply": 1}


def test_an_answer_given_twice_counts_once():
    hand = suspected()
    challenge = int(hand.snapshot().state.membership.challenge[0])
    row = said(kind=Kind.PROBE_REPLY, sequence=10, echo=challenge)
    output = hand.step(DEADLINE + MILLISECOND, row, row)
    assert changes(output) == [REFUTED]
    assert hand.rejected() == {"late_reply": 1}


def test_nobody_asked_is_nobody_answered():
    hand = beating()
    hand.step(9 * SECOND, said(kind=Kind.PROBE_REPLY, sequence=9, echo=0))
    assert hand.rejected() == {"late_reply": 1}


def test_a_newer_heartbeat_on_time_refutes():
    hand = suspected()
    hand.walk(11 * SECOND)
    output = hand.step(11 * SECOND, said(sequence=11))
    assert changes(output) == [REFUTED]


def test_a_late_heartbeat_does_not_refute():
    # Heartbeat 10 arrives when heartbeat 11 is overdue already, also by the wider margin that its
    # own lateness makes: it proves that the node lived then, and nothing of now.
    settings = CoreSettings(membership=MembershipSettings(window_ns=5 * SECOND))
    hand = beating(settings)
    hand.walk(12 * SECOND)
    assert changes(hand.step(hand.now, said(sequence=10))) == []
    assert hand.status() == "suspect"
    assert hand.snapshot().state.registry.sequence[0] == 10
    assert hand.walk(DEADLINE + 50 * MILLISECOND + 5 * SECOND) == [SILENT]


def test_a_late_answer_within_another_window_brings_the_dead_back_and_later_none_does():
    for late_ns, expected in ((500, [("web-1", "recovering", "heard")]), (1000, [])):
        hand = suspected()
        challenge = int(hand.snapshot().state.membership.challenge[0])
        hand.walk(DEADLINE + WINDOW + late_ns * MILLISECOND)
        row = said(kind=Kind.PROBE_REPLY, sequence=11, echo=challenge)
        assert changes(hand.step(hand.now, row)) == expected


# --- arrivals before silence ---


def test_what_has_arrived_is_heard_before_silence_is_judged():
    hand = beating()
    hand.walk(DEADLINE - MILLISECOND)
    assert changes(hand.step(DEADLINE + 100 * MILLISECOND, said(sequence=10))) == []


def test_the_machine_asks_to_be_woken_at_the_next_deadline():
    hand = beating()
    start = 1_000 * SECOND
    assert hand.step(hand.now).wake_ns == start + DEADLINE
    output = hand.step(hand.now, said(kind=Kind.GOODBYE, sequence=10))
    assert output.wake_ns == NEVER


# --- the way back ---


def test_a_returned_node_is_alive_after_three_good_heartbeats():
    hand = beating()
    hand.walk(20 * SECOND)
    (probe,) = heard(hand.step(20 * SECOND, said(sequence=20)))
    found = changes(hand.step(20 * SECOND + MILLISECOND, reply(probe, 20)))
    for second in (21, 22, 23):
        found += [*hand.beat(second), second]
    assert found == [
        ("web-1", "recovering", "heard"),
        21,
        22,
        ("web-1", "alive", "steady"),
        23,
    ]
    assert hand.entries[-1].explanation == (
        "web-1 is alive: it was steady for long enough after its return"
    )


def test_a_returned_node_that_falls_silent_is_suspected_and_begins_to_count_again():
    hand = beating(CoreSettings(membership=MembershipSettings(recovery_heartbeats=2)))
    hand.walk(20 * SECOND)
    (probe,) = heard(hand.step(20 * SECOND, said(sequence=20)))
    hand.step(20 * SECOND + MILLISECOND, reply(probe, 20))
    assert hand.beat(21) == []
    assert hand.walk(23 * SECOND) == [OVERDUE]
    # Refuted, it goes on recovering: a suspicion is no short cut.
    assert hand.beat(23) == [("web-1", "recovering", "heard")]
    assert hand.beat(24) == []
    assert hand.beat(25) == [("web-1", "alive", "steady")]


# --- by other doors, and many at once ---


@pytest.mark.parametrize("kind", ["chen", "fixed"])
def test_over_http_silence_is_found_in_the_same_time_without_probes(kind):
    hand = ByHand(CoreSettings(DetectorSettings(kind=kind)))
    hand.beat(*range(10), via=Via.HTTP)
    found = hand.walk(15 * SECOND)
    assert found == [OVERDUE, SILENT]
    assert "it reports over HTTP and cannot be probed" in hand.entries[-1].explanation


def test_over_http_a_late_heartbeat_counts_because_nobody_can_be_asked():
    hand = ByHand()
    hand.beat(*range(10), via=Via.HTTP)
    hand.walk(14 * SECOND)
    assert hand.status() == "dead"
    late = said(sequence=10)
    assert changes(hand.step(14 * SECOND, late, via=Via.HTTP)) == [("web-1", "recovering", "heard")]
    # Its schedule is taken anew from there: twice the interval, and three of them make it alive.
    assert hand.deadline() == 16 * SECOND
    assert hand.beat(15, 16, 17, via=Via.HTTP) == [("web-1", "alive", "steady")]


def test_a_mass_of_alarms_is_spread_over_turns():
    names = tuple(f"n{number}" for number in range(RUNG_MAX + 500))
    # By default a monitor that hears nobody judges nobody, see test_mass.
    hand = ByHand(CoreSettings(mass=MassSettings(count_min=10_000)), nodes=names)
    for second in range(9):
        hand.walk(second * SECOND)
        hand.step(second * SECOND, *(said(name, sequence=second) for name in names))
    hand.walk(9 * SECOND)
    found = [len(changes(hand.step(9 * SECOND + step * 100_000_000))) for step in range(1, 4)]
    assert found == [RUNG_MAX, 500, 0]
    assert len(hand.walk(12 * SECOND)) == len(names)
    assert hand.snapshot().status.tolist() == [3] * len(names)
