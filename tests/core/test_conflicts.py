"""Two processes under one name are told by both addresses; late datagrams and replays are not."""

import numpy as np
import pytest
from tests.core.by_hand import LIFE, PEER, SESSION, START, ByHand, datagrams, key_of, said

from beatward.core.conflicts import ANSWERS_MIN, KNOWN_ASK_NS, QUIET_NS, WATCHED_MAX
from beatward.core.entry import Event, Recovered
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Forget
from beatward.core.policy import ActionRules, Rule
from beatward.core.protocol.record import Kind, open_record

OLD = LIFE - 5
ELSEWHERE = bytes([2, 0, 0x1C, 0x3B, 10, 0, 0, 6]).ljust(28, b"\0")
TICK_NS = 100 * MILLISECOND


def told(entries):
    return [entry for entry in entries if entry.event == Event.CONFLICT]


class Two:
    """web-1 beats once a second at PEER; another process speaks under its name.

    incarnation, peer   of the other one; answers: whether it answers to questions
    """

    def __init__(self, settings=None, *, incarnation=OLD, peer=ELSEWHERE, answers=True):
        self.hand = ByHand(settings)
        self.incarnation, self.peer, self.answers = incarnation, peer, answers
        self.questions = 0
        self.now = 0

    def run(self, duration_ns, *, beats=True, other_beats=True):
        """Let time pass; both beat at whole seconds, the other one behind the first."""
        end, entries = self.now + duration_ns, []
        while self.now < end:
            rows = []
            if self.now % SECOND == 0:
                sequence = self.now // SECOND
                if beats:
                    rows.append((said(sequence=sequence), PEER))
                if other_beats:
                    rows.append((self._other(sequence=sequence), self.peer))
            entries += self._step(rows)
            self.now += TICK_NS
        return entries

    def _other(self, **fields):
        return said(**{"incarnation": self.incarnation, **fields})

    def _step(self, rows):
        batches = tuple(datagrams([row], START + self.now, peer=peer) for row, peer in rows)
        output = self.hand.step(self.now, batches=batches)
        entries = list(output.entries)
        for row, peer in zip(output.replies.rows, output.replies.peers, strict=True):
            if peer.tobytes() == self.peer and self._asks(row):
                self.questions += 1
                if self.answers:
                    entries += self._answer(row)
        return entries

    def _asks(self, row):
        return self._open(row).kind == Kind.PROBE

    def _open(self, row):
        return open_record(row.tobytes(), key_of("web-1"))

    def _answer(self, row):
        asked = self._open(row)
        reply = self._other(kind=Kind.PROBE_REPLY, sequence=self.now // SECOND, echo=asked.echo)
        batch = datagrams([reply], START + self.now, peer=self.peer)
        return self.hand.step(self.now, batches=(batch,)).entries

    @property
    def known(self):
        return self.hand.snapshot().state.conflicts.get(0)


@pytest.mark.parametrize("incarnation", [OLD, LIFE])
def test_two_processes_that_both_answer_are_told_with_both_addresses(incarnation):
    two = Two(incarnation=incarnation)
    (entry,) = told(two.run(6 * SECOND))
    assert (entry.node, entry.status, entry.cause) == ("web-1", "alive", "two_processes")
    assert "one at 127.0.0.1:7227 and another at 10.0.0.6:7227" in entry.explanation
    assert entry.detail["believed_address"] == "127.0.0.1:7227"
    assert entry.detail["other_address"] == "10.0.0.6:7227"
    assert entry.detail["other_incarnation"] == incarnation
    assert "another at 10.0.0.6:7227" in two.hand.snapshot().explain(0)[0]
    assert two.hand.status() == "alive"


def test_a_late_datagram_of_a_process_that_has_ended_is_asked_after_and_forgotten():
    two = Two(answers=False)
    assert not told(two.run(1 * SECOND))
    assert not told(two.run(5 * SECOND, other_beats=False))
    assert two.questions == 3
    assert two.known is None


def test_heartbeats_that_somebody_plays_again_never_make_a_conflict():
    two = Two(answers=False, incarnation=LIFE)
    assert not told(two.run(30 * SECOND))
    # One question a second at most, whatever is played.
    assert two.questions <= 31


def test_an_answer_of_another_life_or_from_another_address_counts_for_nothing():
    two = Two(incarnation=OLD)
    two._other = lambda **fields: said(
        **{
            "incarnation": LIFE if fields.get("kind") == Kind.PROBE_REPLY else OLD,
            **{name: value for name, value in fields.items() if name != "incarnation"},
        }
    )
    assert not told(two.run(10 * SECOND))


def test_a_node_whose_address_has_changed_is_one_process():
    two = Two(incarnation=LIFE)
    two.run(3 * SECOND, other_beats=False)
    # From here on it speaks from elsewhere only, and its first heartbeat there comes twice.
    entries = list(two._step([(said(sequence=2), ELSEWHERE)]))
    for second in range(3, 20):
        two.now = second * SECOND
        entries += two._step([(said(sequence=second), ELSEWHERE)])
        entries += two._step([(said(sequence=second), ELSEWHERE)])
    assert not told(entries)
    assert two.known is None


def test_a_heartbeat_said_again_from_a_new_socket_is_one_process():
    two = Two(incarnation=LIFE)
    two._step([(said(sequence=0, interval_ms=3_600_000), PEER)])
    entries = []
    for tick in range(1, 100):
        # Its old socket is closed, and its one heartbeat of this hour is repeated from the new one.
        two.now = tick * TICK_NS
        entries += two._step([(said(sequence=0, interval_ms=3_600_000), ELSEWHERE)])
    assert two.questions >= 1
    assert not told(entries)


def test_it_is_over_when_three_questions_were_not_answered():
    two = Two()
    two.run(6 * SECOND)
    assert two.known is not None
    two.answers = False
    entries = told(two.run(4 * KNOWN_ASK_NS, other_beats=False))
    assert [(entry.cause, entry.node) for entry in entries] == [("one_process", "web-1")]
    assert two.known is None


def test_a_conflict_outlives_a_restart_and_is_told_once():
    two = Two()
    entries = two.run(6 * SECOND)
    rows = {entry.node: entry.node_record for entry in two.hand.entries if entry.node_record}
    assert rows["web-1"].conflict is not None
    recovered = Recovered(two.hand.entries[-1].sequence, tuple(rows.values()))
    two.hand = ByHand(nodes=(), recovered=recovered)
    two.now = 0
    assert two.known == rows["web-1"].conflict
    assert not told(two.run(15 * SECOND))
    two.answers = False
    (entry,) = told(two.run(4 * KNOWN_ASK_NS, other_beats=False))
    assert entry.cause == "one_process"
    assert entry.node_record.conflict is None
    assert len(told(entries)) == 1


def test_a_rule_tells_people_of_a_conflict_once():
    settings = CoreSettings(
        rules=(Rule(("conflict",), ("alarm",)),),
        actions={"alarm": ActionRules("alarm", "webhook")},
    )
    two = Two(settings)
    entries = two.run(30 * SECOND)
    (decided,) = [entry for entry in entries if entry.event == Event.ACTION]
    assert decided.explanation == "alarm for web-1, because two processes speak under its name"
    assert decided.action_record.event["event"] == "conflict"
    assert decided.action_record.event["detail"]["other_address"] == "10.0.0.6:7227"


def test_who_is_forgotten_is_not_asked_after_any_more():
    two = Two()
    two.run(6 * SECOND)
    two.hand.step(two.now, orders=(Forget("web-1"),))
    asked = two.questions
    assert not told(two.run(2 * KNOWN_ASK_NS))
    assert two.questions == asked
    assert two.known is None


def test_over_http_heartbeats_that_go_on_with_this_sessions_number_count():
    hand = ByHand()
    entries = []

    def post(second, incarnation, host, echo=SESSION):
        row = said(sequence=second, incarnation=incarnation, echo=echo)
        batch = datagrams([row], START + second * SECOND, via=Via.HTTP)
        peers = np.frombuffer(bytes([2, 0, 0, 80, 10, 0, 0, host]).ljust(28, b"\0"), np.uint8)
        batch = type(batch)(
            batch.rows, batch.sizes, peers.reshape(1, -1), batch.arrived_ns, batch.via
        )
        return told(hand.step(second * SECOND, batches=(batch,)).entries)

    for second in range(6):
        entries += post(second, LIFE, 5)
        entries += post(second, OLD, 6, echo=SESSION + 1)
    assert not entries  # the number of another session: recorded
    for second in range(6, 10):
        entries += post(second, LIFE, 5)
        entries += post(second, OLD, 6)
    (entry,) = entries
    assert "one at 10.0.0.5:80 and another at 10.0.0.6:80" in entry.explanation
    assert entry.detail["other_via"] == "http"
    found = []
    for second in range(10, 10 + QUIET_NS // SECOND):
        found += post(second, LIFE, 5)
    assert [entry.cause for entry in found] == ["one_process"]


def test_so_many_names_are_watched_and_the_others_counted():
    names = [f"node-{number}" for number in range(WATCHED_MAX + 2)]
    hand = ByHand(nodes=names)
    for turn, name in enumerate(names, 1):
        hand.step(turn, said(name))
        late = datagrams([said(name, incarnation=OLD)], START + turn, peer=ELSEWHERE)
        hand.step(turn, batches=(late,))
    assert hand.snapshot().counters["conflicts_overflow"] == 2


class Moved:
    """web-1 moves after second 5. A word said before comes from there once more, so it is asked
    there who it is; all heartbeats from there are lost, and all probes go to where it was.
    """

    def __init__(self):
        self.two = Two(incarnation=LIFE, answers=False)
        self.two.run(6 * SECOND, other_beats=False)
        self.two._step([(said(sequence=5), ELSEWHERE)])

    def changes_until(self, end_ns):
        """Return the changes until an instant, as (status, cause)."""
        entries = self.two.run(end_ns - self.two.now, beats=False, other_beats=False)
        return [(one.status, one.cause) for one in entries if one.event == Event.TRANSITION]


def test_an_answer_to_who_speaks_there_refutes_a_suspicion_that_began_before_the_question():
    """Restless world 1: a node that had moved answered from its new address, and was found dead."""
    moved = Moved()
    moved.two.answers = True
    found = moved.changes_until(20 * SECOND)
    assert ("suspect", "overdue") in found
    assert ("alive", "refuted") in found
    assert ("dead", "silent") not in found
    # It is probed from now on where it answered.
    assert moved.two.hand.peer() == ELSEWHERE


def test_a_node_that_moved_and_answers_no_question_is_found_dead():
    found = Moved().changes_until(20 * SECOND)
    assert found == [("suspect", "overdue"), ("dead", "silent")]


def test_a_suspect_is_probed_also_where_its_life_spoke_unbelieved():
    """Restless world 4: the next question was due only after the probing window."""
    two = Two(incarnation=LIFE)
    entries = []
    for sequence in range(4):
        two.now = 4 * sequence * SECOND
        entries += two._step([(said(sequence=sequence, interval_ms=4000), PEER)])
    two.run(3 * SECOND, beats=False, other_beats=False)
    # It has moved, and its next heartbeat, from there, is lost.
    two._step([(said(sequence=3, interval_ms=4000), ELSEWHERE)])
    entries += two.run(10 * SECOND, beats=False, other_beats=False)
    found = [(one.status, one.cause) for one in entries if one.event == Event.TRANSITION]
    assert found[-2:] == [("suspect", "overdue"), ("alive", "refuted")]
    assert two.hand.peer() == ELSEWHERE


def test_an_answer_to_a_question_of_before_the_suspicion_refutes_nothing():
    two = Two(incarnation=LIFE, answers=False)
    two.run(6 * SECOND - 5 * TICK_NS, other_beats=False)
    asked = []
    two._answer = lambda row: asked.append(two._open(row).echo) or []
    two.answers = True
    two._step([(said(sequence=5), ELSEWHERE)])
    while two.hand.status() != "suspect":
        question = asked[-1]
        two.run(TICK_NS, beats=False, other_beats=False)
    reply = two._other(kind=Kind.PROBE_REPLY, sequence=6, echo=question)
    two._step([(reply, ELSEWHERE)])
    assert two.hand.status() == "suspect"
    assert two.hand.peer() == PEER


def test_an_answer_that_comes_twice_at_once_counts_once():
    two = Two(incarnation=OLD)

    def answer_twice(row):
        reply = two._other(kind=Kind.PROBE_REPLY, echo=two._open(row).echo)
        batch = datagrams([reply] * ANSWERS_MIN, START + two.now, peer=ELSEWHERE)
        return two.hand.step(two.now, batches=(batch,)).entries

    two._answer = answer_twice
    assert not told(two.run(1 * SECOND))
    assert two.questions == 1
