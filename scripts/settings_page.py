"""Write the monitor's tables of docs/configuration.md from its settings; --check only compares.

Key, default and unit come from the fields, the words from the text below each field. The page's own
words stay: its introduction, and what stands above and below a table.
"""

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from written_page import settle

from beatward.cli.config import Setting, head_of, settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
HEADER = (
    "| key | default | unit | what it does, and what it costs either way |\n|---|---|---|---|\n"
)
# A page beside this one is a link on it.
LINK = re.compile(r"\bdocs/(\w+\.md)")


def rows(found: Iterator[Setting]) -> str:
    """Return the rows of one table."""
    return "".join(map(row, found))


def row(one: Setting) -> str:
    """Return the row of one key."""
    key, reason = one.key.rpartition(".")[2], LINK.sub(r"[\1](\1)", one.reason)
    return f"| `{key}` | {default(one)} | {one.unit} | {reason} |\n"


def default(one: Setting) -> str:
    """Return a default as TOML in backticks, or in a word."""
    if one.default is None:
        return "required"
    return "none" if one.default == "none" else f"`{one.toml}`"


def main() -> int:
    """Write the page anew, or say that it should be."""
    wanted = PAGE.read_text("utf-8")
    for head, found in groupby(settings(), key=lambda one: head_of(one.key)):
        before, heading, rest = wanted.partition(f"\n## {head}\n")
        words, _, table = rest.partition(HEADER)
        after = table[re.search(r"^(?!\|)|\Z", table, re.MULTILINE).start() :]
        wanted = before + heading + words + HEADER + rows(found) + after
    return settle(PAGE, wanted)


sys.exit(main())
