"""One simulated node: killed, frozen, asleep, leaving; what it says, and what it never says."""

import pytest

from beatward.core.instants import MICROSECOND, MILLISECOND, SECOND
from beatward.core.protocol.keys import node_id, node_key
from beatward.core.protocol.record import (
    Farewell,
    Kind,
    Record,
    exit_code_from_field,
    open_record,
    seal,
)
from beatward.simulate.chance import split
from beatward.simulate.clock import HostClock
from beatward.simulate.event_queue import EventQueue
from beatward.simulate.monitor import MASTER
from beatward.simulate.network import Network, Weather
from beatward.simulate.node import NodeSettings, PlayedNode
from beatward.simulate.truth import NodeTruth, Trouble

KEY = node_key(MASTER, node_id("a"))
WALL_NS = 1_700_000_000 * SECOND


class Stage:
    """A node with a perfect network, and a monitor that only listens and acknowledges."""

    def __init__(self, *, keeps_state=True, counts_suspend=True, answers=True):
        self.event_queue = EventQueue()
        self.network = Network(self.event_queue, split(1, "net"), Weather(jitter_ns=0))
        self.said = []  # (instant, record)
        self.answers = answers
        self.network.deliver_to_monitor = self._hear
        self.clock = HostClock(boot_ns=77 * SECOND, wall_ns=WALL_NS, counts_suspend=counts_suspend)
        self.truth = NodeTruth("a", SECOND)
        self.joins = 0
        self.node = PlayedNode(
            NodeSettings("a", 1, KEY, SECOND, keeps_state=keeps_state, lateness_ns=0),
            self.event_queue,
            self.network,
            clock=self.clock,
            rng=split(1, "node"),
            truth=self.truth,
            join=self._join,
        )

    def _join(self, node, answered):
        self.joins += 1
        self.event_queue.after(MILLISECOND, lambda: answered(accepted=True))

    def _hear(self, datagram):
        record = open_record(datagram.data, KEY)
        self.said.append((self.event_queue.now_ns, record))
        if self.answers:
            fields = {"incarnation": record.incarnation, "sequence": record.sequence}
            answer = Record(Kind.ACKNOWLEDGEMENT, node_id("a"), interval_ms=1000, **fields)
            self.network.send_to_node(datagram.source, seal(answer, KEY))
        return True

    def probe(self, echo):
        ask = Record(Kind.PROBE, node_id("a"), self.node.protocol.incarnation, 0, 1000, echo=echo)
        self.network.send_to_node(self.node._address, seal(ask, KEY))

    def run(self, until_s):
        """Let time pass and return what was said meanwhile, as (second, kind, sequence)."""
        before = len(self.said)
        self.event_queue.run_until(int(until_s * SECOND))
        return [(at // SECOND, one.kind, one.sequence) for at, one in self.said[before:]]


def beats(*numbers):
    return [(second, Kind.HEARTBEAT, sequence) for second, sequence in numbers]


def test_a_node_joins_and_beats_on_its_grid():
    stage = Stage()
    stage.node.start()
    assert stage.run(3.5) == beats((0, 0), (1, 1), (2, 2), (3, 3))


def test_a_killed_node_says_nothing_more_and_its_next_life_is_a_new_one():
    stage = Stage()
    stage.node.start()
    stage.run(2.5)
    stage.node.crash()
    assert stage.run(10) == []
    stage.node.start()
    assert stage.run(10.5) == beats((10, 0))
    first, second = stage.said[0][1].incarnation, stage.said[-1][1].incarnation
    assert second > first == (WALL_NS + MILLISECOND) // MICROSECOND


@pytest.mark.parametrize(("keeps_state", "grows"), [(True, True), (False, False)])
def test_without_a_state_file_a_stepped_clock_numbers_the_next_life_lower(keeps_state, grows):
    stage = Stage(keeps_state=keeps_state)
    stage.node.start()
    stage.run(1.5)
    stage.node.crash()
    stage.clock.step_wall(-3600 * SECOND)
    stage.node.start()
    stage.run(2.5)
    assert (stage.said[-1][1].incarnation > stage.said[0][1].incarnation) is grows


def test_a_frozen_node_skips_its_slots_and_answers_what_waited_when_it_thaws():
    stage = Stage()
    stage.node.start()
    stage.run(1.5)
    assert stage.node.still(Trouble.FROZEN)
    assert not stage.node.still(Trouble.SUSPENDED)
    stage.probe(7)
    assert stage.run(5.5) == []
    stage.node.wake()
    kinds = [(kind, sequence) for _, kind, sequence in stage.run(5.6)]
    assert kinds == [(Kind.PROBE_REPLY, 5), (Kind.HEARTBEAT, 5)]


def test_a_killed_frozen_node_does_not_answer_first():
    stage = Stage()
    stage.node.start()
    stage.run(1.5)
    stage.node.still(Trouble.FROZEN)
    stage.probe(7)
    stage.run(3)
    stage.node.crash()
    assert stage.run(10) == []
    assert not stage.node.is_still


@pytest.mark.parametrize(("counts_suspend", "said"), [(True, [30, 31]), (False, [2])])
def test_what_is_sent_to_a_sleeping_machine_is_lost_and_its_clock_may_stop(counts_suspend, said):
    stage = Stage(counts_suspend=counts_suspend)
    stage.node.start()
    stage.run(1.2)
    stage.node.still(Trouble.SUSPENDED)
    stage.probe(7)
    assert stage.run(30.1) == []
    stage.node.wake()
    assert [(kind, sequence) for _, kind, sequence in stage.run(31.05)] == [
        (Kind.HEARTBEAT, sequence) for sequence in said
    ]


def test_a_goodbye_that_is_heard_ends_the_process():
    stage = Stage()
    stage.node.start()
    stage.run(1.5)
    stage.node.leave(Farewell.EXITED, -9)
    (said,) = stage.run(5)
    assert said[1] == Kind.GOODBYE
    assert exit_code_from_field(stage.said[-1][1].cpu) == -9
    assert not stage.node.is_up
    assert stage.truth.farewells == [(int(1.5 * SECOND), Farewell.EXITED, -9)]


def test_a_goodbye_that_nobody_hears_is_repeated_and_ends_the_process_all_the_same():
    stage = Stage(answers=False)
    stage.node.start()
    stage.run(0.5)
    stage.node.leave(Farewell.LEFT)
    assert len([one for one in stage.run(5) if one[1] == Kind.GOODBYE]) == 5
    assert not stage.node.is_up


def test_a_node_that_nobody_answers_takes_a_new_socket_and_joins_again():
    stage = Stage(answers=False)
    stage.node.start()
    stage.run(0.5)
    address = stage.node._address
    stage.run(30)
    assert stage.node._address != address
    assert stage.joins > 1
