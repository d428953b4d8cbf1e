"""What people read: links that lead somewhere, outputs that agree, no trace of a workplace.

What the documents say of settings and rooms is held by test_settings_documented.py and
test_architecture.py; that every command is mentioned, by test_house.py.
"""

import re
import tomllib
from pathlib import Path

import pytest

from beatward import config
from beatward.agent import settings as agent_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]+))?\)")
BLOCK = re.compile(r"^ *```(?:text|sh|python|toml|crontab)\n.*?^ *```", re.MULTILINE | re.DOTALL)
DECISION_LINES_MAX = 60
README_LINES_MAX = 150


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in LINK.finditer(page.read_text("utf-8")):
        target = (page.parent / link["path"]) if link["path"] else page
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_is_about_one_machine(page):
    assert not re.search(r"/(work|root)/|/tmp/(?!beatward)", page.read_text("utf-8"))


def code(page: Path) -> list[str]:
    """Return the blocks of a page without the comments, which are in its language."""
    blocks = BLOCK.findall(page.read_text("utf-8"))
    return [re.sub(r" *# .*", "", block) for block in blocks]


def test_the_chinese_page_shows_what_the_english_page_shows():
    assert code(CHINESE) == code(README)
    assert len(code(README)) >= 9


def figures(page: Path) -> list[list[str]]:
    rows = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    cells = [row.partition("|")[2].partition("|")[2] for row in rows]
    # A row says the same in another order in another language.
    return [sorted(re.findall(r"\d[\d,.]*", cell)) for cell in cells]


def test_the_chinese_tables_have_the_same_figures():
    assert figures(CHINESE) == figures(README)


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda page: page.name
)
def test_a_decision_fits_on_a_page_and_says_what_was_given_up(page):
    text = page.read_text("utf-8")
    assert len(text.splitlines()) <= DECISION_LINES_MAX
    for heading in ("## Context", "## Choice", "## What we gave up"):
        assert heading in text


def test_the_settings_on_the_front_page_can_be_used():
    blocks = re.findall(r"^```toml\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    opened, rule, member = (tomllib.loads(block) for block in blocks)
    assert config.parse({**opened, **rule}, "README.md").monitor.udp == "0.0.0.0:7227"
    assert len(config.parse(rule, "README.md").rule) == 1
    (service,) = agent_settings.parse(member, "README.md").services.values()
    assert service.hooks.keys() >= {"promote", "demote", "start", "stop", "state"}


def test_the_readme_is_short_enough_to_be_read():
    """A stranger decides in some minutes; what is longer has a page of its own."""
    for page in (README, CHINESE):
        assert len(page.read_text("utf-8").splitlines()) <= README_LINES_MAX, page.name
