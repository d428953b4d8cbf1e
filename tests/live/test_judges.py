"""The examples' judges are tried on what they must find: a lost row, two holders, two answers."""

import copy
import json
from pathlib import Path

import pytest
from examples.ground.arp import Claim, overlaps, spells
from examples.postgresql.client import Write, doubles, lost
from examples.postgresql.soak import PICTURE, RESULTS, is_broken, picture, summary

PAGE = Path(__file__).resolve().parents[2] / "docs" / "failover.md"


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


def test_the_page_shows_what_the_soak_has_found() -> None:
    results = json.loads(RESULTS.read_text())
    assert sum(len(series["reports"]) for series in results["series"]) >= 100
    assert not is_broken(results)
    assert f"```text\n{summary(results)}\n```" in PAGE.read_text()
    assert picture(results) == PICTURE.read_text()


@pytest.mark.parametrize("key", ["lost", "doubles", "stuck"])
def test_a_soak_that_broke_a_promise_says_so(key) -> None:
    results = copy.deepcopy(json.loads(RESULTS.read_text()))
    series = next(one for one in results["series"] if one["is_synchronous"])
    (series if key == "stuck" else series["reports"][0])[key] = 1
    assert is_broken(results)
