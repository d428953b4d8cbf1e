"""Two processes of the holder's name: whose word frees the role, and what else the other may do.

docs/decisions/014-whose-word-frees-a-role.md has the table that these tests follow.
"""

from dataclasses import replace

import pytest
from tests.core.by_hand import LIFE, PEER, START, datagrams
from tests.core.roles_by_hand import ROLES, Roles, with_holder
from tests.core.test_roles_fenced import OFF, STRICT, Fences

from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.protocol.roles import LAST_WORD, RoleOrder

# The same machine from another port, and another machine.
OTHER_PORT = PEER[:2] + bytes((0x99, 0x99)) + PEER[4:]
ELSEWHERE = PEER[:7] + bytes((9,)) + PEER[8:]
# The same machine, as the monitor may see it after its own restart: its door was another of our
# addresses (`transport.homes`), or takes IPv6, too.
ANOTHER_HOME = PEER[:16] + bytes((2, 0, 0, 0)) + PEER[20:]
MAPPED = bytes((10, 0)) + PEER[2:4] + bytes((3, 0, 0, 0)) + bytes(10) + b"\xff\xff" + PEER[4:8]
MAPPED = MAPPED.ljust(len(PEER), b"\0")
# A lease of 2 s was renewed half a second ago at most, and 1.1 s follow it.
FIRST_NS, LAST_NS = 2500 * MILLISECOND, 3200 * MILLISECOND
THREE = ("db-1", "db-2", "db-3")


def begin_again(hand, name="db-1", *, life=1):
    """Let the node speak in another life from now on, of which nothing but heartbeats is heard."""
    hand.lives[name] += life
    hand.counters[name] = 0
    hand.hush(name)


def from_peer(hand, row, peer):
    """Let a datagram come from an address."""
    arrived = hand.now + MILLISECOND
    hand.turn(arrived, batches=(datagrams([row], START + arrived, peer=peer),))


def moves_after(hand):
    """Return how long the role stays with db-1."""
    began = hand.now
    while hand.view.holder == "db-1" and hand.view.token == 1:
        hand.run(50 * MILLISECOND)
        assert hand.now < began + 60 * SECOND
    return hand.now - began


@pytest.mark.parametrize("state", ["standby", "unable"])
def test_another_life_that_says_given_up_frees_the_role_only_when_its_time_is_over(state):
    hand = with_holder()
    begin_again(hand)
    hand.say("db-1", state, 1)
    assert FIRST_NS < moves_after(hand) < LAST_NS
    assert hand.view.holder == ("db-2" if state == "unable" else hand.view.holder)


def test_that_another_process_speaks_is_told_once_for_each_of_its_lives():
    hand = with_holder()
    begin_again(hand)
    hand.say("db-1", "standby", 1)
    hand.run(SECOND)
    assert hand.facts().count("another_process") == 1
    assert hand.words() == (
        "db: another process named db-1 reports that it released token 1; this frees nothing: "
        "the role stays with the process that it was lent to, until that one releases it or its "
        "lease expires"
    )
    begin_again(hand)
    hand.say("db-1", "demoting", 1)
    hand.run(SECOND)
    assert hand.facts().count("another_process") == 2


def test_that_another_process_answers_is_why_the_holder_is_waited_for():
    hand = with_holder()
    begin_again(hand)
    hand.say("db-1", "unable", 1)
    hand.run(2500 * MILLISECOND)
    assert hand.role == "waiting db-1 1"
    assert hand.view.reason == (
        "another process answers as db-1, and knows nothing of the one that has it"
    )


def stuck_and_replaced(peer, token=1, *, restarts=False):
    """Return a role whose holder is stuck; the next life of its name, at an address, has nothing.

    token      that the next life knows of
    restarts   the monitor, meanwhile
    """
    hand = with_holder()
    hand.say("db-1", "stuck", 1)
    hand.run(5 * SECOND)
    hand.hush("db-1")
    last = hand.standing("db-1", "unable", 1, counter=LAST_WORD)
    hand = hand.restarted() if restarts else hand
    begin_again(hand)
    for _ in range(4):
        hand.run(SECOND)
        from_peer(hand, hand.standing("db-1", "unable", token), peer)
    return hand, last


@pytest.mark.parametrize(
    ("peer", "token", "restarts"),
    [(ELSEWHERE, 1, False), (ELSEWHERE, 1, True), (OTHER_PORT, 0, False)],
    ids=["another machine", "another machine, restart", "an older folder"],
)
def test_who_cannot_have_demoted_a_stuck_holder_does_not_free_its_role(peer, token, restarts):
    hand, last = stuck_and_replaced(peer, token, restarts=restarts)
    hand.run(60 * SECOND)
    assert hand.role == "refused db-1 1"
    assert hand.view.reason == "db-1 could not be demoted"
    hand.turn(hand.now + MILLISECOND, last)
    assert hand.role == "promoting db-2 2"


def test_the_next_life_on_the_machine_of_a_stuck_holder_frees_its_role():
    hand, _ = stuck_and_replaced(OTHER_PORT)
    assert hand.role == "promoting db-2 2"


@pytest.mark.parametrize("state", ["demoting", "stuck"])
def test_another_life_that_has_something_to_end_holds_the_role_back(state):
    hand = with_holder()
    begin_again(hand)
    hand.say("db-1", state, 1)
    hand.run(20 * SECOND)
    assert (hand.view.holder, hand.view.token) == ("db-1", 1)
    hand.say("db-1", "unable", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_the_first_process_frees_the_role_at_once():
    hand = with_holder()
    hand.say("db-1", "unable", 1)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_a_last_word_of_the_life_that_was_lent_it_frees_the_role_although_another_one_speaks():
    hand = with_holder()
    last = hand.standing("db-1", "unable", 1, counter=LAST_WORD)
    begin_again(hand)
    hand.say("db-1", "unable", 1)
    hand.run(SECOND)
    assert hand.view.holder == "db-1"
    hand.turn(hand.now + MILLISECOND, last)
    assert hand.role == "promoting db-2 2"
    assert hand.facts()[-2:] == ["given_back", "chosen"]


@pytest.mark.parametrize(
    ("state", "token", "life"), [("unable", 1, 1), ("unable", 0, 0), ("active", 1, 0)]
)
def test_a_last_word_of_another_life_or_token_or_of_no_end_frees_nothing(state, token, life):
    hand = with_holder()
    last = hand.standing("db-1", state, token, counter=LAST_WORD, life=LIFE + life)
    hand.turn(hand.now + MILLISECOND, last)
    assert hand.role == "held db-1 1"


def test_a_last_word_in_one_batch_with_a_word_of_the_next_life_is_heard():
    hand = with_holder()
    last = hand.standing("db-1", "unable", 1, counter=LAST_WORD)
    begin_again(hand)
    hand.run(SECOND)
    hand.turn(hand.now + MILLISECOND, hand.standing("db-1", "unable", 1), last)
    assert hand.role == "promoting db-2 2"


# --- a machine that was restored: the same life at another address ---


def test_the_same_life_at_another_address_frees_nothing_and_is_told_to_demote():
    hand = with_holder()
    hand.hush("db-1")
    hand.grants.clear()
    row = hand.standing("db-1", "active", 1)
    from_peer(hand, row, ELSEWHERE)
    assert [(grant.order, grant.lease_ms) for _, _, grant in hand.grants] == [(RoleOrder.DEMOTE, 0)]
    row = hand.standing("db-1", "unable", 1)
    from_peer(hand, row, ELSEWHERE)
    assert hand.view.holder == "db-1"
    assert FIRST_NS < moves_after(hand) < LAST_NS


def test_the_same_life_from_another_port_is_the_same_process():
    hand = with_holder()
    row = hand.standing("db-1", "active", 1)
    hand.grants.clear()
    from_peer(hand, row, OTHER_PORT)
    assert [grant.order for _, _, grant in hand.grants] == [RoleOrder.HOLD]
    row = hand.standing("db-1", "unable", 1)
    from_peer(hand, row, OTHER_PORT)
    assert hand.role == "promoting db-2 2"


def test_after_a_restart_of_the_monitor_the_role_is_lent_on_to_the_first_process_alone():
    again = with_holder().restarted()
    again.run(SECOND // 2)
    again.grants.clear()
    again.hush("db-1")
    row = again.standing("db-1", "active", 1)
    from_peer(again, row, ELSEWHERE)
    assert [grant.order for _, to, grant in again.grants if to == "db-1"] == [RoleOrder.DEMOTE]
    again.grants.clear()
    again.tell("db-1", "active", 1)
    assert [grant.order for _, to, grant in again.grants if to == "db-1"] == [RoleOrder.HOLD]


@pytest.mark.parametrize("peer", [ANOTHER_HOME, MAPPED], ids=["another home", "mapped"])
def test_the_same_machine_is_known_through_whichever_door_of_the_monitor_it_speaks(peer):
    again = with_holder().restarted()
    again.hush("db-1")
    row = again.standing("db-1", "active", 1)
    again.run(SECOND // 2)
    again.grants.clear()
    from_peer(again, row, peer)
    assert [grant.order for _, to, grant in again.grants if to == "db-1"] == [RoleOrder.HOLD]


# --- a candidate ---


def test_a_token_that_was_offered_to_one_life_is_not_offered_to_the_next():
    hand = with_holder(nodes=THREE)
    hand.say("db-1", "unable", 1)
    hand.say("db-2", "standby")
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"
    begin_again(hand, "db-2")
    hand.say("db-2", "standby", 0)
    hand.run(SECOND)
    hand.grants.clear()
    hand.run(SECOND)
    assert [grant for _, to, grant in hand.grants if to == "db-2" and grant.lease_ms] == []
    hand.run(3 * SECOND)
    assert hand.view.token > 2


# --- positions, and fences ---


def test_another_life_does_not_lower_how_far_the_holders_data_had_come():
    hand = Roles(replace(ROLES, max_lag=10), nodes=THREE)
    for name in THREE:
        hand.say(name, "standby", freshness=500)
    hand.run(4 * SECOND)
    hand.say("db-1", "active", 1, freshness=1000)
    hand.say("db-2", "standby", freshness=520)
    hand.say("db-3", "standby", freshness=510)
    hand.run(SECOND)
    begin_again(hand)
    hand.say("db-1", "standby", 1, freshness=500)
    hand.run(6 * SECOND)
    assert hand.role == "vacant - 1"
    assert "db-2 lags too far behind" in hand.view.reason
    assert "db-1 lags too far behind" in hand.view.reason
    # Also after a restart: the journal has it.
    again = hand.restarted()
    again.run(6 * SECOND)
    assert again.role == "vacant - 1"
    hand.say("db-2", "standby", freshness=995)
    hand.run(SECOND)
    assert hand.role == "promoting db-2 2"


def test_another_life_does_not_call_a_fence_off_that_the_role_waits_for():
    hand = with_holder(STRICT, make=Fences, nodes=(*THREE, "db-4"), actions=OFF)
    hand.silent.add("db-1")
    hand.run(4 * SECOND)
    assert hand.role == "waiting db-1 1"
    hand.silent.clear()
    begin_again(hand)
    hand.say("db-1", "unable", 1)
    hand.run(5 * SECOND)
    assert hand.role == "waiting db-1 1"
    hand.report("success")
    assert hand.role == "promoting db-2 2"


@pytest.mark.parametrize("token", [0, 1])
def test_where_time_is_not_trusted_a_node_that_answers_in_another_life_is_isolated(token):
    hand = with_holder(STRICT, make=Fences, nodes=(*THREE, "db-4"), actions=OFF)
    begin_again(hand)
    hand.say("db-1", "unable", token)
    hand.run(2 * SECOND)
    assert hand.deeds == []
    hand.run(3 * SECOND)
    (deed,) = hand.deeds
    assert (deed.name, deed.node) == ("off", "db-1")
    hand.report("success")
    assert hand.role == "promoting db-2 2"


def test_a_node_that_was_cut_off_is_no_candidate_before_it_speaks_again():
    """Seeds 1142 and 1262 of the clones: it was lent the role again and isolated, without end."""
    best = {"db-1": {"priority": 200}}
    hand = with_holder(STRICT, make=Fences, nodes=(*THREE, "db-4"), actions=OFF, offers=best)
    begin_again(hand)
    hand.say("db-1", "standby", 1)
    hand.run(5 * SECOND)
    (deed,) = hand.deeds
    assert (deed.name, deed.node) == ("off", "db-1")
    # The power is cut: what it said last, that it stands by, is half a second old.
    hand.hush("db-1")
    hand.report("success")
    assert hand.role == "promoting db-2 2"
    hand.say("db-2", "unable", 2)
    hand.say("db-1", "standby", 1, life=LIFE + 2)
    hand.lives["db-1"] = LIFE + 2
    hand.run(2 * SECOND)
    assert hand.role == "promoting db-1 3"
