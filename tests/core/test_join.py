"""Enrolment: who holds a token gets the key, whoever listens or lies gets nothing."""

from dataclasses import astuple, replace

import pytest

from beatward.core.protocol import join
from beatward.core.protocol.keys import node_id, node_key
from beatward.errors import JoinRefused

MASTER = bytes(range(32))
NONCE = b"n" * join.NONCE_SIZE
ANSWER_NONCE = b"a" * join.NONCE_SIZE
UDP = "192.0.2.1:7227"
CHALLENGE = join.encoded(b"c" * 32)
NOW = 1_800_000_000


def token(master=MASTER, **terms):
    return join.new_token(master, **{"serial": "1", **terms})


def ask(chosen=None, name="web-1", **more):
    return join.request(chosen or token(), name, NONCE, CHALLENGE, **more)


def answer(asked, master=MASTER, now=NOW, nonce=ANSWER_NONCE):
    """Answer as the monitor does."""
    join.check_proof(master, asked)
    join.check_terms(asked, now)
    key = node_key(master, node_id(asked.name))
    return join.answer(master, asked, key, nonce=nonce, udp=UDP)


def test_who_holds_a_token_gets_the_key_of_its_name():
    chosen = token()
    asked = ask(chosen)
    credential = join.accept(chosen, asked, answer(asked))
    assert credential == join.Credential("web-1", node_key(MASTER, node_id("web-1")), UDP)


def test_the_answer_names_the_identity_and_the_address():
    answered = answer(ask())
    assert answered.node == f"{node_id('web-1'):016x}"
    assert answered.udp == UDP


def test_neither_key_nor_secret_crosses_the_network():
    chosen = token()
    asked = ask(chosen)
    answered = answer(asked)
    key = node_key(MASTER, node_id("web-1"))
    secret = chosen.rpartition(".")[2]
    crossed = "".join((*astuple(asked), *astuple(answered)))
    for hidden in (key.hex(), join.encoded(key), secret, MASTER.hex(), join.encoded(MASTER)):
        assert hidden not in crossed
    assert join.decoded(answered.sealed_key) != key


def test_the_same_question_twice_is_answered_under_another_pad():
    asked = ask()
    first = answer(asked)
    second = answer(asked, nonce=b"b" * join.NONCE_SIZE)
    assert first.sealed_key != second.sealed_key


@pytest.mark.parametrize(
    ("terms", "name", "now"),
    [
        ({}, "web-1", NOW),
        ({"names": "web-*"}, "web-17", NOW),
        ({"names": "web-1"}, "web-1", NOW),
        ({"expires": NOW}, "web-1", NOW),
        ({"expires": 0}, "web-1", 2**40),
    ],
)
def test_a_token_enrols_the_names_it_is_for_until_it_expires(terms, name, now):
    assert answer(ask(token(**terms), name), now=now).udp == UDP


@pytest.mark.parametrize(
    ("terms", "name", "reason"),
    [
        (
            {"expires": NOW - 1},
            "web-1",
            "has expired; make another with: .* --node web-1",
        ),
        ({"names": "web-*"}, "db-1", "is for 'web-\\*', not for 'db-1'"),
        ({"names": "web-1"}, "Web-1", "is for 'web-1', not for 'Web-1'"),
        ({}, "no name", "'no name' is not a name"),
        ({}, "", "'' is not a name"),
        ({}, "web\0-1", "is not a name"),
        ({}, "x" * 129, "is not a name"),
    ],
)
def test_the_monitor_says_why_it_refuses(terms, name, reason):
    with pytest.raises(JoinRefused, match=reason):
        answer(ask(token(**terms), name))


def test_another_monitors_token_is_refused():
    with pytest.raises(JoinRefused, match="not made by this monitor"):
        answer(ask(token(master=bytes(32))))


@pytest.mark.parametrize("more", [{}, {"labels": {"zone": "b"}}, {"job": {"every": "1h"}}])
def test_other_words_have_another_proof(more):
    said = {"labels": {"zone": "a"}}
    assert ask(more=said).proof != ask(more=more).proof


def test_the_key_is_proved_for_this_request_alone():
    key, other = node_key(MASTER, 1), node_key(MASTER, 2)
    asked = ask(key=key)
    assert join.has_key(asked, key)
    assert not join.has_key(asked, other)
    assert not join.has_key(ask(), key)
    assert not join.has_key(replace(asked, challenge=join.encoded(b"d" * 32)), key)
    assert not join.has_key(replace(asked, text=ask(name="web-2").text), key)
    assert "known" not in ask().body()


@pytest.mark.parametrize("replaces", [False, True])
def test_a_token_may_replace_only_where_it_says_so(replaces):
    assert join.check_terms(ask(token(replaces=replaces)), NOW).replaces is replaces


@pytest.mark.parametrize("field", ["text", "payload", "challenge", "proof"])
def test_a_request_changed_on_its_way_is_refused(field):
    asked = ask(token(names="*"))
    with pytest.raises(JoinRefused, match="not made by this monitor"):
        answer(replace(asked, **{field: getattr(asked, field) + "x"}))


@pytest.mark.parametrize("field", ["udp", "nonce", "sealed_key", "proof"])
def test_an_answer_changed_on_its_way_is_refused(field):
    chosen = token()
    asked = ask(chosen)
    answered = answer(asked)
    forged = replace(answered, **{field: getattr(answered, field) + "x"})
    with pytest.raises(JoinRefused, match="does not come from the monitor"):
        join.accept(chosen, asked, forged)


def test_an_answer_to_another_question_is_refused():
    chosen = token()
    with pytest.raises(JoinRefused, match="does not come from the monitor"):
        join.accept(chosen, ask(chosen), answer(ask(chosen, "web-2")))


def test_an_answer_by_another_monitor_is_refused():
    asked = ask()
    secret = token(master=bytes(32))
    imposter = answer(ask(secret), master=bytes(32))
    with pytest.raises(JoinRefused, match="does not come from the monitor"):
        join.accept(token(), asked, imposter)


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        ("", "it has the form bwj1.PAYLOAD.SECRET"),
        ("bwj1", "it has the form"),
        ("bwj1..secret", "it has the form"),
        ("bwj1.payload.", "it has the form"),
        ("bwj2.payload.secret", "it has the form"),
        ("bwj1.payload.x", "is damaged; copy it again as a whole"),
        ("bwj1.payload.é", "is damaged"),
    ],
)
def test_a_damaged_token_is_refused_before_anything_is_sent(damaged, reason):
    with pytest.raises(JoinRefused, match=reason):
        join.request(damaged, "web-1", NONCE, CHALLENGE)


def test_a_token_may_be_pasted_with_white_space():
    assert ask(f" {token()}\n") == ask()


@pytest.mark.parametrize(
    "terms", ["not json", "[]", "{}", '{"expires": "soon", "names": "*", "serial": "1"}']
)
def test_terms_that_cannot_be_read_are_refused(terms):
    # Only the monitor can make such a token; it may have been a later version of ours.
    payload = join.encoded(terms.encode())
    secret = join.encoded(join._secret(MASTER, payload))
    with pytest.raises(JoinRefused, match="payload cannot be read"):
        answer(ask(f"bwj1.{payload}.{secret}"))


def test_a_key_of_the_wrong_size_is_refused():
    chosen = token()
    asked = ask(chosen)
    secret = join._split(chosen)[1]
    short = join.encoded(b"short")
    proof = join._prove(secret, "answer", asked.nonce, "nonce", short, UDP, asked.name)
    answered = join.JoinAnswer("0", UDP, "nonce", short, proof)
    with pytest.raises(JoinRefused, match="5 bytes, not 32"):
        join.accept(chosen, asked, answered)
