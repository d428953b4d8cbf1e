"""What the simulated world found: each seed is told again as a short scene with a name."""

from dataclasses import replace

import pytest
from tests.core.by_hand import LIFE, PEER, SESSION, START, ByHand, changes, datagrams, heard, said

from beatward.core.detect import DetectorSettings
from beatward.core.entry import Event, Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.monitor import CoreSettings, Inputs
from beatward.core.order_kinds import Forget
from beatward.core.protocol.record import Health, Kind

WINDOW = CoreSettings().membership.window_ns


def dead_after(world, *beats):
    """Let a node beat at these seconds and then be silent until it is found dead; return when."""
    world.beat(*beats)
    found = world.walk((beats[-1] + 10) * SECOND)
    assert ("web-1", "dead", "silent") in found
    return world.now


def one_drain(world, at_ns, *rows):
    """Let several datagrams come in with one drain."""
    watermark = START + at_ns
    world.now = at_ns
    return world.monitor.step(Inputs(watermark, watermark, (datagrams(rows, watermark),)))


@pytest.mark.parametrize("kind", ["chen", "fixed"])
def test_a_heartbeat_held_back_until_its_sender_was_dead_does_not_revive_it(kind):
    """Seeds 9 and 95: heartbeat 5 was recorded and swallowed, and said after the verdict."""
    world = ByHand(CoreSettings(detector=DetectorSettings(kind=kind)))
    dead = dead_after(world, *range(5))
    output = world.step(dead + SECOND, said(sequence=5))
    assert world.status() == "dead"
    assert [reply.kind for reply in heard(output)] == [Kind.PROBE]


def test_the_dead_come_back_by_answering_a_probe():
    world = ByHand()
    dead = dead_after(world, *range(5))
    asked = heard(world.step(dead + SECOND, said(sequence=20)))[0]
    answer = said(kind=Kind.PROBE_REPLY, sequence=20, echo=asked.echo)
    assert changes(world.step(dead + 2 * SECOND, answer)) == [("web-1", "recovering", "heard")]


def test_the_dead_come_back_by_a_heartbeat_that_echoes_the_probe():
    """The answer itself was lost; the next heartbeat carries the number as well."""
    world = ByHand()
    dead = dead_after(world, *range(5))
    asked = heard(world.step(dead + SECOND, said(sequence=20)))[0]
    later = world.step(dead + SECOND + WINDOW, said(sequence=21, echo=asked.echo))
    assert changes(later) == [("web-1", "recovering", "heard")]


def test_a_probe_of_the_dead_keeps_its_number_while_an_answer_may_be_under_way():
    """An interval shorter than the way there and back would otherwise void every answer."""
    world = ByHand()
    dead = dead_after(world, *range(5))
    first = heard(world.step(dead + SECOND, said(sequence=20)))[0]
    second = heard(world.step(dead + SECOND + WINDOW, said(sequence=21)))[0]
    third = heard(world.step(dead + SECOND + 2 * WINDOW, said(sequence=22)))[0]
    assert first.echo == second.echo != third.echo


def test_an_answer_held_back_for_longer_than_a_window_revives_nobody():
    """Seed 9, later: the probe of the verdict was answered, the answer swallowed and kept."""
    world = ByHand()
    world.beat(*range(5))
    asked = None
    while world.status() != "dead":
        replies = heard(world.step(world.now + 100 * MILLISECOND))
        asked = next((reply for reply in replies if reply.kind == Kind.PROBE), asked)
    answer = said(kind=Kind.PROBE_REPLY, sequence=6, echo=asked.echo)
    assert not changes(world.step(world.now + WINDOW, answer))
    assert world.rejected() == {"late_reply": 1}


def test_the_answer_that_began_a_life_cannot_be_said_again():
    """Seed 9: the answer stood for heartbeat 0, so nothing had a higher number than it."""
    world = ByHand()
    answer = said(kind=Kind.PROBE_REPLY, sequence=0)
    assert changes(world.step(SECOND, answer)) == [("web-1", "alive", "heard")]
    world.walk(30 * SECOND)
    assert world.status() == "dead"
    assert not changes(world.step(31 * SECOND, answer))


@pytest.mark.parametrize("kind", [Kind.PROBE_REPLY, Kind.HEARTBEAT])
@pytest.mark.parametrize("farewell", [True, False])
def test_the_proof_of_a_life_held_back_until_that_life_was_over_brings_nobody_back(kind, farewell):
    """Seed 54: the answer to the session's number was lost; its node died, and it was played."""
    world = ByHand()
    world.beat(*range(5))
    if farewell:
        world.step(world.now, said(kind=Kind.GOODBYE, sequence=5))
    world.walk(20 * SECOND)
    gone = world.status()
    output = world.step(21 * SECOND, said(kind=kind, incarnation=LIFE + 1, sequence=9))
    assert not changes(output)
    assert world.status() == gone == ("left" if farewell else "dead")
    (asked,) = heard(output)
    assert (asked.kind, asked.incarnation) == (Kind.PROBE, LIFE + 1)
    assert asked.echo != SESSION


@pytest.mark.parametrize("kind", [Kind.PROBE_REPLY, Kind.HEARTBEAT])
def test_who_is_gone_proves_a_life_and_comes_back_with_one_answer(kind):
    world = ByHand()
    dead = dead_after(world, *range(5))
    output = world.come_back(dead + SECOND, kind=kind, incarnation=LIFE + 1)
    assert [str(entry.event) for entry in output.entries] == ["life", "transition"]
    assert world.status() == "recovering"


OTHER = bytes([2, 0, 0x1C, 0x3B, 10, 9, 8, 7]).ljust(len(PEER), b"\0")


def probed_at(world, to_ns):
    """Walk on and return the addresses that probes go to."""
    found = set()
    while world.now < to_ns:
        output = world.step(world.now + 50 * MILLISECOND)
        found |= {row.tobytes() for row in output.replies.peers}
    return found


def test_probes_go_also_to_the_address_before_the_last():
    """Seed 49: a heartbeat that the network had lost was played from another address."""
    world = ByHand()
    world.beat(*range(5))
    watermark = START + world.now
    played = datagrams([said(sequence=5)], watermark, peer=OTHER)
    world.step(world.now, batches=(played,))
    assert probed_at(world, world.now + 5 * SECOND) == {PEER, OTHER}


def test_an_answer_settles_where_a_node_is():
    """It has moved: nothing more is sent to where it was."""
    world = ByHand()
    world.beat(*range(5))
    moved = datagrams([said(sequence=5)], START + world.now, peer=OTHER)
    world.step(world.now, batches=(moved,))
    while not (probes := heard(world.step(world.now + 50 * MILLISECOND))):
        pass
    answer = said(kind=Kind.PROBE_REPLY, sequence=6, echo=probes[0].echo)
    output = world.step(world.now, batches=(datagrams([answer], START + world.now, peer=OTHER),))
    assert changes(output) == [("web-1", "alive", "refuted")]
    assert probed_at(world, world.now + 5 * SECOND) == {OTHER}


def test_a_life_that_proves_itself_vouches_for_no_other_row_of_its_batch():
    """Seed 47: after the monitor's restart, a recorded heartbeat stood beside the first answer."""
    world = ByHand()
    recorded = said(sequence=3, echo=SESSION - 1, status=Health.ILL)
    answer = said(kind=Kind.PROBE_REPLY, sequence=40)
    for rows in ((recorded, answer), (answer, recorded)):
        world = ByHand()
        assert changes(one_drain(world, SECOND, *rows)) == [("web-1", "alive", "heard")]
        assert world.rejected() == {"unproven": 1}


def test_two_changes_in_one_batch_are_each_told_as_they_were():
    """Seed 35: the rows and words of both spoke of the second, so a crash could lose the first."""
    world = ByHand()
    batch = (said(sequence=0), said(sequence=1, status=Health.ILL))
    output = one_drain(world, SECOND, *batch)
    assert changes(output) == [("web-1", "alive", "heard"), ("web-1", "failing", "ill")]
    told = [entry for entry in output.entries if entry.event == Event.TRANSITION]
    assert [entry.node_record.status for entry in told] == ["alive", "failing"]
    assert [entry.node_record.cause for entry in told] == ["heard", "ill"]
    assert told[0].explanation.startswith("web-1 is alive")


def test_a_new_life_is_told_with_the_status_before_it():
    """Seed 1: its row already held what the next entry, and the actions behind it, came to."""
    world = ByHand()
    dead_after(world, *range(3))
    later = world.now + SECOND
    output = world.come_back(later, sequence=0, incarnation=LIFE + 1)
    life, change = output.entries[:2]
    assert (life.event, life.status, life.node_record) == (Event.LIFE, "dead", None)
    assert (change.status, change.node_record.incarnation) == ("recovering", LIFE + 1)
    assert world.peer() == PEER


def test_a_pause_of_the_monitor_does_not_use_up_the_windows_that_its_drops_are_worth():
    """Seed 7: suspected long before the pause, so it was judged in spite of the drop after it."""
    world = ByHand()
    world.beat(*range(10))
    world.walk(10 * SECOND + 100 * MILLISECOND)
    assert world.status() == "suspect"
    back = 20 * SECOND
    world.step(back)  # the monitor itself was away for ten seconds
    world.walk(back + WINDOW - 1, dropped=1)
    assert world.walk(back + 2 * WINDOW - 1) == []
    assert world.walk(back + 2 * WINDOW + 100 * MILLISECOND) == [("web-1", "dead", "silent")]


def test_nor_does_the_time_before_its_own_restart():
    world = ByHand()
    world.beat(*range(10))
    world.walk(10 * SECOND + 100 * MILLISECOND)
    row = replace(world.entries[-1].node_record, since_ns=START - 20 * SECOND)
    later = ByHand(nodes=(), session=SESSION + 1, recovered=Recovered(9, (row,)))
    assert later.status() == "suspect"
    grace = CoreSettings().start_grace_ns
    later.walk(grace + WINDOW - 1, dropped=1)
    assert later.walk(grace + 2 * WINDOW - 1) == []
    assert later.walk(grace + 2 * WINDOW + 100 * MILLISECOND) == [("web-1", "dead", "silent")]


@pytest.mark.parametrize("last_word", ["goodbye", "forget", "life"])
def test_more_nodes_may_end_than_there_was_room_for_in_the_table_of_quality(last_word):
    """Seeds 8 and 19: the seventeenth was counted in the table that had just been replaced."""
    names = tuple(f"web-{i}" for i in range(40))
    world = ByHand(nodes=names)
    for i, name in enumerate(names):
        world.step(i * MILLISECOND, said(name, sequence=0))
        match last_word:
            case "goodbye":
                world.step(i * MILLISECOND, said(name, kind=Kind.GOODBYE, sequence=1))
                assert world.status(name) == "left"
            case "forget":
                world.step(i * MILLISECOND, orders=(Forget(name),))
            case "life":
                world.step(i * MILLISECOND, said(name, sequence=0, incarnation=LIFE + 1))
    known = 0 if last_word == "forget" else len(names)
    assert len(list(world.snapshot().rows())) == known


def test_who_was_never_heard_because_of_our_own_drops_is_asked_for_more_windows():
    """Seed 273: enrolled in a flood that took its first words, and dead right after its grace."""
    world = ByHand()
    grace = CoreSettings().start_grace_ns
    assert world.walk(grace + WINDOW, dropped=1) == [("web-1", "suspect", "overdue")]
    assert world.walk(grace + 2 * WINDOW - 1) == []
    assert changes(world.step(world.now + 1, said(sequence=12))) == [("web-1", "alive", "refuted")]
