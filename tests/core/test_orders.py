"""Orders of operators and drivers: join, pause, resume, forget, mail."""

import pytest
from tests.core.by_hand import LIFE, SESSION, ByHand, changes, heard, said

from beatward.core import order_kinds
from beatward.core.entry import Event
from beatward.core.instants import SECOND
from beatward.core.intake import Via
from beatward.core.order_kinds import (
    FailOver,
    Forget,
    Join,
    NodeOrder,
    NoteReport,
    NotifyAgent,
    Pause,
    PauseService,
    Readmit,
    Resume,
    ResumeService,
    ServiceOrder,
    SwitchOver,
)
from beatward.core.protocol.record import Flag, Kind
from beatward.core.protocol.report import SelfReport


def ordered(hand, kind, name="web-1", **labels):
    about = (name,) if kind in (Pause, Resume) else name
    order = kind(about, labels) if labels else kind(about)
    return hand.step(hand.now, orders=(order,))


def events(output):
    return [(str(entry.event), entry.node) for entry in output.entries]


# --- join ---


def test_a_hundred_thousand_may_join_while_others_live_and_one_dies():
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.step(0, said(sequence=0), said("web-2", sequence=0))
    found = []
    for turn in range(100):  # 6 s, through every doubling of the arrays
        if turn % 16 == 0:
            hand.step(turn * 60_000_000, said(sequence=turn // 16, interval_ms=960))
        names = range(1000 * turn, 1000 * turn + 1000)
        storm = tuple(Join(f"new-{number}") for number in names)
        found += changes(hand.step(turn * 60_000_000 + 1, orders=storm))
    assert [change for change in found if change[0] == "web-2"] == [
        ("web-2", "suspect", "overdue"),
        ("web-2", "dead", "silent"),
    ]
    assert {node for node, _, _ in found} == {"web-2"}
    snapshot = hand.snapshot()
    assert len(snapshot.rows()) == 100_002
    assert snapshot.find("new-99999") == 100_001


def test_a_joined_node_is_new_and_written_down():
    hand = ByHand(nodes=())
    (entry,) = ordered(hand, Join, zone="a").entries
    assert (entry.event, entry.node, entry.status, entry.cause) == (
        Event.JOINED,
        "web-1",
        "new",
        "enrolled",
    )
    assert entry.explanation == "web-1 was enrolled"
    assert entry.node_record.labels == {"zone": "a"}
    assert entry.node_record.via == ""
    assert entry.node_record.address == b""
    assert hand.snapshot().explain(0)[0] == "web-1 is enrolled; nothing was heard of it yet"


def test_a_node_that_joins_and_never_speaks_is_suspected_after_its_grace():
    hand = ByHand()
    assert hand.walk(10 * SECOND - 1) == []
    assert hand.walk(12 * SECOND) == [
        ("web-1", "suspect", "overdue"),
        ("web-1", "dead", "silent"),
    ]
    assert hand.entries[-1].explanation == (
        "web-1 dead: nothing was heard of it since the monitor's start or its enrolment; no "
        "address to probe, so 1 s were waited; the monitor itself never paused"
    )


def test_joining_again_changes_nothing_but_labels_and_those_are_written_down():
    hand = ByHand()
    hand.beat(0, 1, 2)
    (entry,) = ordered(hand, Join, zone="b").entries
    assert (entry.event, entry.node, entry.status) == (Event.LABELLED, "web-1", "alive")
    assert entry.explanation == "web-1 was enrolled again, with other labels"
    assert entry.node_record.labels == {"zone": "b"}
    assert hand.status() == "alive"
    assert hand.snapshot().labels == {0: {"zone": "b"}}


def test_joining_again_with_the_same_labels_or_none_is_no_news():
    hand = ByHand()
    ordered(hand, Join, zone="b")
    assert events(ordered(hand, Join, zone="b")) == []
    assert events(ordered(hand, Join)) == []
    assert hand.snapshot().labels == {0: {"zone": "b"}}


def test_of_two_joins_in_one_turn_the_last_labels_count_and_are_in_the_row():
    hand = ByHand(nodes=())
    orders = tuple(Join("web-1", {"zone": zone}) for zone in "ab")
    rows = [entry.node_record for entry in hand.step(0, orders=orders).entries]
    assert [row.labels for row in rows] == [{"zone": "b"}]


def test_two_names_of_one_identity_do_not_end_the_monitor():
    hand = ByHand()
    hand.monitor._registry._text[:] = b"its-t"  # a name of as many letters
    assert events(ordered(hand, Join)) == []
    assert hand.snapshot().counters["joins_refused"] == 1


def test_more_nodes_than_there_was_room_for():
    names = tuple(f"n{number}" for number in range(1025))
    hand = ByHand(nodes=names)
    hand.step(0, *(said(name) for name in names))
    # Not dead: a monitor that hears nobody at all judges nobody.
    assert hand.walk(4 * SECOND)[-1] == ("n1024", "suspect", "overdue")
    assert set(hand.snapshot().status.tolist()) == {2}


# --- pause and resume ---


@pytest.mark.parametrize("status", ["new", "alive", "suspect", "dead"])
def test_in_maintenance_silence_does_not_count(status):
    hand = ByHand()
    if status != "new":
        hand.beat(*range(10))
        hand.walk({"alive": 9, "suspect": 10.5, "dead": 12}[status] * SECOND)
    assert hand.status() == status
    assert changes(ordered(hand, Pause)) == [("web-1", "paused", "pause")]
    assert hand.walk(100 * SECOND) == []
    assert hand.snapshot().explain(0)[0] == (
        "web-1 is paused: maintenance was announced, silence does not count"
    )


def test_a_paused_node_may_beat_and_leave_and_stays_paused():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Pause)
    assert hand.beat(10, 11, 12) == []
    assert changes(hand.step(hand.now, said(kind=Kind.GOODBYE, sequence=13))) == []
    assert hand.status() == "paused"


def test_after_maintenance_a_node_has_a_whole_grace():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Pause)
    hand.walk(100 * SECOND)
    assert changes(ordered(hand, Resume)) == [("web-1", "new", "resume")]
    assert hand.walk(110 * SECOND - 1) == []
    assert hand.walk(112 * SECOND) == [
        ("web-1", "suspect", "overdue"),
        ("web-1", "dead", "silent"),
    ]


def test_a_node_that_beat_through_its_maintenance_is_alive_with_the_next_heartbeat():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Pause)
    hand.beat(*range(10, 20))
    ordered(hand, Resume)
    assert hand.beat(20) == [("web-1", "alive", "heard")]


def test_who_is_not_paused_cannot_be_resumed():
    hand = ByHand()
    hand.beat(*range(10))
    before = hand.deadline()
    assert changes(ordered(hand, Resume)) == []
    assert hand.deadline() == before
    assert hand.status() == "alive"


# --- forget ---


def test_a_forgotten_node_is_gone_and_unknown():
    hand = ByHand(nodes=("web-1", "web-2"))
    hand.beat(*range(3))
    (entry,) = ordered(hand, Forget).entries
    assert (entry.event, entry.node) == (Event.FORGOTTEN, "web-1")
    assert entry.explanation == "web-1 was removed on request"
    assert entry.node_record is None
    hand.step(hand.now, said(sequence=3))
    assert hand.rejected() == {"unknown_node": 1}
    assert {entry.node for entry in hand.entries if entry.sequence > 6} <= {"web-1", "web-2"}
    assert ("web-1", "suspect", "overdue") not in hand.walk(60 * SECOND)


def test_a_node_that_comes_back_after_being_forgotten_is_new():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Forget)
    assert events(ordered(hand, Join)) == [("joined", "web-1")]
    assert hand.status() == "new"
    assert hand.beat(10) == [("web-1", "alive", "heard")]
    assert hand.deadline() == 12 * SECOND


def test_what_was_recorded_before_a_node_was_forgotten_is_not_believed_after_it():
    hand = ByHand()
    hand.beat(*range(10))
    ordered(hand, Forget)
    ordered(hand, Join)
    for second in range(10):
        hand.step(hand.now, said(sequence=second))
    assert hand.rejected() == {"replay": 10}
    assert hand.status() == "new"


@pytest.mark.parametrize("kind", [Pause, Resume, Forget, NotifyAgent])
def test_an_order_for_a_node_that_is_not_there_does_nothing(kind):
    hand = ByHand()
    output = ordered(hand, kind, "web-9")
    assert output.entries == ()
    assert len(output.replies.rows) == 0


@pytest.mark.parametrize("kind", [SwitchOver, FailOver, PauseService, ResumeService])
def test_an_order_for_a_service_that_is_not_there_does_nothing(kind):
    hand = ByHand()
    assert hand.step(hand.now, orders=(kind("db"),)).entries == ()


def test_a_report_of_a_node_is_kept_and_the_next_one_takes_its_place():
    hand = ByHand()
    for reason in ("the disk is full", ""):
        report = SelfReport(1, reason)
        assert hand.step(hand.now, orders=(NoteReport("web-1", report),)).entries == ()
        assert hand.snapshot().state.reports == {0: report}


class Dance(NodeOrder):
    """An order that nothing handles."""


@pytest.mark.parametrize("order", [Dance("web-1"), Dance("web-9"), ServiceOrder("db"), "dance"])
def test_an_order_of_no_known_kind_is_an_error(order):
    hand = ByHand()
    with pytest.raises(KeyError):
        hand.step(hand.now, orders=(order,))


def test_every_kind_of_order_is_obeyed():
    orders = ByHand().monitor._orders
    handled = {*orders._for_node, *orders._for_service, *orders._for_many, Join, Readmit}
    kinds = {one for one in vars(order_kinds).values() if isinstance(one, type)}
    ours = {one for one in kinds if one.__module__ == order_kinds.__name__}
    assert handled == ours - {NodeOrder, ServiceOrder}


# --- mail ---


def test_mail_is_announced_to_where_the_node_was_heard_from():
    hand = ByHand()
    hand.beat(0)
    (probe,) = heard(ordered(hand, NotifyAgent))
    assert (probe.kind, probe.flags, probe.incarnation, probe.echo) == (
        Kind.PROBE,
        Flag.MAIL,
        LIFE,
        SESSION,
    )


@pytest.mark.parametrize("via", [None, Via.HTTP, Via.PING])
def test_mail_for_who_has_no_address_waits_until_it_asks(via):
    hand = ByHand()
    if via is not None:
        hand.step(0, said(), via=via)
    assert len(ordered(hand, NotifyAgent).replies.rows) == 0
