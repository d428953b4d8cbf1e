"""Who offers which service: declared, changed, contradicted, forgotten, and seen by readers."""

import pytest
from tests.core.by_hand import START, ByHand, said
from tests.core.roles_by_hand import ROLES, SERVICE, Roles, with_holder

from beatward.core.entry import Declaration, Event
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.intake import Via
from beatward.core.monitor import CoreSettings
from beatward.core.order_kinds import Declare, Forget, Join, PauseService
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.roles import RoleReport, State, seal_role_report, service_id
from beatward.core.services import LED_MAX

from .by_hand import LIFE, key_of

WEB = Declaration("web", address="192.0.2.1", port=80, weight=50, labels={"tier": "front"})
DB = Declaration("db", "failover", priority=200)
NODES = ("web-1", "web-2")


def offering(*offers, nodes=NODES):
    hand = ByHand(nodes=nodes)
    hand.step(MILLISECOND, orders=tuple(Declare(name, services=offers) for name in nodes))
    return hand


def declare(hand, name, *offers):
    """Declare services of a node; return the entries of the turn."""
    return hand.step(hand.now + MILLISECOND, orders=(Declare(name, services=offers),)).entries


def services(hand):
    return hand.snapshot().services


# --- declaring ---


def test_what_a_node_offers_is_written_down_with_its_row():
    hand = offering(WEB, DB, nodes=("web-1",))
    entry = hand.entries[-1]
    assert entry.event == Event.SERVICE
    assert entry.explanation == "web-1 offers web (balance, 192.0.2.1:80), db (failover)"
    assert entry.node_record.services == (WEB, DB)


def test_the_same_again_is_no_news():
    hand = offering(WEB, DB)
    assert declare(hand, "web-1", WEB, DB) == ()


def test_a_later_entry_about_the_node_keeps_what_it_offers():
    hand = offering(WEB)
    hand.step(2 * MILLISECOND, said("web-1"))
    assert hand.entries[-1].event == Event.TRANSITION
    assert hand.entries[-1].node_record.services == (WEB,)


def test_what_is_declared_takes_the_place_of_what_was():
    hand = offering(WEB, DB)
    (entry,) = declare(hand, "web-1", DB)
    assert entry.explanation == "web-1 offers db (failover)"
    assert [member.node for member in services(hand)["web"].members] == ["web-2"]
    (entry,) = declare(hand, "web-1")
    assert entry.explanation == "web-1 offers no services any more"
    declare(hand, "web-2")
    assert dict(services(hand)) == {}


def test_who_is_not_enrolled_declares_nothing():
    hand = offering(WEB)
    assert declare(hand, "web-9", WEB) == ()


def test_a_forgotten_node_offers_nothing():
    hand = offering(WEB, DB)
    hand.step(hand.now + MILLISECOND, orders=(Forget("web-1"),))
    assert [member.node for member in services(hand)["web"].members] == ["web-2"]
    assert [member.node for member in services(hand)["db"].members] == ["web-2"]
    hand.step(hand.now + MILLISECOND, orders=(Join("web-1"),))
    assert len(services(hand)["db"].members) == 1


@pytest.mark.parametrize("mode", ["balance", "failover"])
def test_a_service_has_one_mode(mode):
    other = "balance" if mode == "failover" else "failover"
    hand = offering(Declaration("x", mode))
    declare(hand, "web-1", Declaration("x", other), WEB)
    view = services(hand)["x"]
    assert (view.mode, [member.node for member in view.members]) == (mode, ["web-2"])
    assert hand.snapshot().counters["services_refused"] == 1
    declare(hand, "web-2")
    declare(hand, "web-1", Declaration("x", other))  # nobody else offers it now
    assert services(hand)["x"].mode == other


def test_two_services_with_one_name_are_none():
    hand = offering(WEB)
    declare(hand, "web-1", DB, Declaration("db", "failover", priority=1), WEB)
    assert list(services(hand)) == ["web"]
    assert hand.snapshot().counters["services_refused"] == 2


def test_two_names_of_one_identity_are_not_both_taken():
    hand = offering(DB)
    room = hand.monitor._services
    room._by_id[service_id("cache")] = room.roles["db"]
    declare(hand, "web-2", DB, Declaration("cache", "failover"))
    assert list(services(hand)) == ["db"]
    assert room.refusal(0, Declaration("cache", "failover")) == (
        "cache has the identity of the service db; choose another name"
    )


def test_a_service_in_balance_mode_has_members_and_no_role():
    hand = offering(WEB)
    hand.step(2 * MILLISECOND, said("web-1"))
    view = services(hand)["web"]
    assert (view.mode, view.phase, view.holder) == ("balance", None, "")
    first, second = view.members
    assert (first.node, first.address, first.port, first.weight) == ("web-1", "192.0.2.1", 80, 50)
    assert (first.status, first.healthy, first.labels) == ("alive", True, {"tier": "front"})
    assert (second.status, second.healthy) == ("new", False)
    assert view.explanation == "1 of 2 members of web are healthy and serve"


def test_a_service_nobody_offers_any_more_keeps_its_token():
    hand = with_holder()
    for name in hand.nodes:
        hand.turn(hand.now + MILLISECOND, orders=(Declare(name),))
    hand.run(10 * SECOND)
    again = hand.restarted()
    assert again.role == "vacant - 1"
    again.declare({name: {} for name in again.nodes})
    again.say("db-1", "standby", 1)
    again.run(4 * SECOND)
    assert again.role == "promoting db-1 2"


def test_what_nodes_offer_is_known_after_a_restart():
    hand = with_holder(offers={"db-1": {"priority": 300, "zone": "a"}})
    (first, second) = hand.restarted().view.members
    assert (first.node, first.priority, first.zone, first.state) == ("db-1", 300, "a", "")
    assert second.node == "db-2"


# --- standings that count for nothing ---


def standing(name="web-1", **fields):
    word = RoleReport(
        **{"service": service_id("db"), "counter": 1, "state": State.STANDBY, **fields}
    )
    return seal_role_report(word, node=node_id(name), incarnation=LIFE, slot=0, key=key_of(name))


def test_a_standing_proves_no_life():
    # Where a heartbeat has its echo, a standing has the half of its freshness.
    hand = offering(DB)
    session = hand.monitor._voice.session
    hand.step(2 * MILLISECOND, standing(replication_position=session << 32))
    assert hand.status("web-1") == "new"
    assert hand.rejected()["unproven"] == 1


def test_a_standing_about_a_service_that_is_not_offered_is_counted():
    hand = offering(DB)
    declare(hand, "web-2")
    hand.step(2 * MILLISECOND + hand.now, said("web-1"), said("web-2"))
    hand.rejected()
    hand.step(hand.now + MILLISECOND, standing(service=4711), standing("web-2"))
    assert hand.rejected() == {"no_member": 2}


def test_a_standing_without_a_way_back_is_refused():
    hand = offering(DB)
    hand.step(2 * MILLISECOND, said("web-1"))
    hand.rejected()
    hand.step(3 * MILLISECOND, standing(), via=Via.HTTP)
    assert hand.rejected() == {"kind": 1}


def test_a_state_that_is_none_is_refused():
    hand = offering(DB)
    hand.step(2 * MILLISECOND, said("web-1"))
    hand.rejected()
    for state in (0, 7, 255):
        hand.step(hand.now + MILLISECOND, standing(state=state))
    assert hand.rejected() == {"range": 3}


def test_a_standing_refutes_no_suspicion():
    # It is no place on the sender's schedule; that is what heartbeats are for.
    hand = with_holder()
    hand.silent.add("db-1")
    until = hand.now + 4 * SECOND
    while hand.now < until:
        row = hand.standing("db-1", "active", 1)
        hand.turn(hand.now + 100 * MILLISECOND, row, *hand.beat_all())
    assert hand.status("db-1") == "dead"
    assert hand.role == "held db-1 1"


def test_a_standing_of_before_a_restart_counts_once_its_life_is_proven():
    hand = with_holder()
    again = hand.restarted()
    row = again.standing("db-1", "standby", 1)
    again.turn(MILLISECOND, row)
    assert again.role == "held db-1 1"
    again.turn(2 * MILLISECOND, *again.beat_all(), again.standing("db-1", "standby", 1))
    assert again.role == "vacant - 1"


# --- what it costs ---


def test_a_monitor_without_roles_does_nothing_for_them():
    hand = offering(WEB)
    room = hand.monitor._services
    room.turn = None  # whoever called it would fail
    hand.beat(1, 2, 3)
    assert not room.has_roles
    assert room.next_ns() > 10**18


def test_many_roles_are_led_by_and_by():
    names = [f"db-{number}" for number in range(LED_MAX + 200)]
    hand = ByHand()
    offers = tuple(Declaration(name, "failover") for name in names)
    hand.step(MILLISECOND, said(), orders=(Declare("web-1", services=offers),))
    hand.beat(1, 2, 3)
    hand.walk(4 * SECOND - MILLISECOND)
    rows = [standing(service=service_id(name)) for name in names]
    first = hand.step(4 * SECOND, said(sequence=4), *rows)
    second = hand.step(4 * SECOND + MILLISECOND)
    assert (first.wake_ns, second.wake_ns > START) == (0, True)
    chosen = [[one for one in turn.entries if one.cause == "chosen"] for turn in (first, second)]
    assert [len(found) for found in chosen] == [LED_MAX, 200]
    assert len(first.replies.rows) + len(second.replies.rows) == 0  # nothing is in the journal


def test_a_role_that_is_held_wakes_the_wheel_only_now_and_then():
    hand = with_holder()
    wanted = {hand.turn(hand.now + MILLISECOND).wake_ns for _ in range(500)}
    assert len(wanted) < 5


def test_the_explanation_says_who_why_and_what_is_waited_for():
    hand = with_holder()
    assert hand.view.explanation.startswith("db-1 holds the role of db under token 1, since ")
    hand.order(PauseService, by="ann", reason="drill", for_ns=3600 * SECOND)
    hand.run(SECOND)
    assert "; automatic failover is paused for another 60 min by ann (drill)" in (
        hand.view.explanation
    )


def test_settings_of_a_service_are_its_own():
    assert CoreSettings().roles == ROLES
    hand = Roles()
    assert list(hand.snapshot().services) == [SERVICE]
    assert (hand.view.lease_ns, hand.view.demote_ns) == (2 * SECOND, SECOND)
