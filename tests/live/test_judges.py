"""The examples' judges are tried on what they must find: a lost row, two holders, two answers."""

import pytest
from examples.ground.arp import Claim, overlaps, spells
from examples.postgresql.client import Write, doubles, lost


def writes(text: str) -> list[Write]:
    """Read `a1 b2`: servers with their tokens, a tenth of a second apart."""
    return [Write(row, row / 10, word[0], int(word[1:])) for row, word in enumerate(text.split())]


def claims(text: str) -> list[Claim]:
    """Read one letter a claim, a second apart."""
    return [Claim(float(at), card) for at, card in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a1 a1 a1", []),
        ("a1 a1 b2 b2 a3", []),
        ("a1 b2 a1 b2", [2]),
        ("a1 b2 a1 a3 b2 a3", [2, 4]),
        # Who has got the token again by right is no second holder.
        ("a1 b2 a3 a3", []),
    ],
)
def test_a_write_of_an_older_holder_after_a_newer_ones_first_is_found(text, expected) -> None:
    assert [write.row for write in doubles(writes(text))] == expected


def test_an_acknowledged_row_that_is_not_there_is_found() -> None:
    assert lost(writes("a1 a1 b2"), {0, 2, 3}) == writes("a1 a1 b2")[1:2]
    assert lost(writes("a1 a1 b2"), {0, 1, 2}) == []


@pytest.mark.parametrize(
    ("text", "moves", "wrong"),
    [
        ("aaaa", [], ""),
        ("aabb", [1.0], ""),
        ("aabbaa", [1.0, 3.0], ""),
        ("aabb", [], "b"),  # it moved although nothing had happened
        ("aabb", [3.0], "b"),  # or before it happened
        ("aababb", [1.0], "ab"),  # the old host answered once more
        ("aabab", [1.0, 3.0], "b"),  # and the next move does not excuse that
    ],
)
def test_an_answer_by_who_has_lost_the_address_is_found(text, moves, wrong) -> None:
    assert "".join(spell.card for spell in overlaps(claims(text), moves)) == wrong


def test_claims_in_a_row_are_one_spell() -> None:
    assert [(spell.card, spell.count) for spell in spells(claims("aaba"))] == [
        ("a", 2),
        ("b", 1),
        ("a", 1),
    ]
