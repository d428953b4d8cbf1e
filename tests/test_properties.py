"""docs/properties.md names all 36 properties, and tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "properties.md").read_text("utf-8")
ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<words>[^|]+) \| (?P<held>[^|]+) \|$", re.MULTILINE)
TEST = re.compile(r"`(?P<file>[a-z_/]+\.py)::(?P<name>test_[a-z0-9_]+)`")


def test_every_property_has_its_row():
    assert [int(row["number"]) for row in ROW.finditer(PAGE)] == list(range(1, 37))


def test_every_property_is_held_by_a_test_or_says_what_it_comes_with():
    for row in ROW.finditer(PAGE):
        assert TEST.search(row["held"]) or "comes with " in row["held"], row["number"]


def test_every_test_that_is_named_is_there():
    named = list(TEST.finditer(PAGE))
    assert len(named) > 40
    for test in named:
        source = (TESTS / test["file"]).read_text("utf-8")
        assert f"\ndef {test['name']}(" in source, test[0]
