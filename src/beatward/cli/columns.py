"""Tables of the asking commands: plain columns, one line a row.

    node   status  since   labels          on a terminal that is wide enough, and in any pipe
    web-1  alive   18.5 s  zone=a

    node   status  since                   on a narrow one: what does not fit stands below its row
    web-1  alive   18.5 s
        labels zone=a

Nothing is ever left out, and a pipe gets one line a row. Columns are in order of importance. Cells
are measured once and put together as text, because a table of rich measures and renders each cell
several times: 10,000 nodes took it 17 s.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console

from beatward.cli.screen import has_width
from beatward.core.protocol.texts import shown

# A text, or a text and its style.
Cell = str | tuple[str, str]
_GAP = "  "
_INDENT = "    "
_EMPTY = ("", "-")


@dataclass(frozen=True, slots=True)
class Column:
    """One column; numbers stand at its right end."""

    heading: str
    is_number: bool = False


def print_table(screen: Console, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows (each as many cells as there are columns) below their headings."""
    texts = [[shown(cell if isinstance(cell, str) else cell[0]) for cell in row] for row in rows]
    widths = [cell_len(column.heading) for column in columns]
    for row in texts:
        widths = [max(width, _width(text)) for width, text in zip(widths, row, strict=True)]
    limit = screen.width if has_width() else None
    count = len(columns) if limit is None else _fitting(widths, limit)
    painter = _Painter(screen)
    headings = _padded([column.heading for column in columns[:count]], columns, widths)
    lines = [painter.paint(_GAP.join(headings).rstrip(), "bold")]
    for row, cells in zip(texts, rows, strict=True):
        padded = _padded(row[:count], columns, widths)
        painted = (
            text if isinstance(cell, str) else painter.paint(text, cell[1])
            for text, cell in zip(padded, cells, strict=False)
        )
        lines.append(_GAP.join(painted).rstrip())
        if limit is not None and count < len(columns):
            lines += (painter.paint(line, "dim") for line in _below(columns, row, count, limit))
    screen.out("\n".join(lines), highlight=False)


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _fitting(widths: Sequence[int], limit: int) -> int:
    """Return how many columns fit beside each other, at least the first."""
    end = widths[0]
    for count, width in enumerate(widths[1:], start=1):
        end += len(_GAP) + width
        if end > limit:
            return count
    return len(widths)


def _padded(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    """Return texts as wide as their columns, but for the last when its end is the line's."""
    found = []
    for text, column, width in zip(texts, columns, widths, strict=False):
        blanks = " " * (width - _width(text))
        found.append(blanks + text if column.is_number else text + blanks)
    if texts and not columns[len(texts) - 1].is_number:
        found[-1] = texts[-1]
    return found


def _below(
    columns: Sequence[Column], texts: Sequence[str], count: int, limit: int
) -> Iterator[str]:
    """Yield the lines with what does not fit beside the first columns."""
    pairs = zip(columns[count:], texts[count:], strict=True)
    cells = "; ".join(f"{column.heading} {text}" for column, text in pairs if text not in _EMPTY)
    yield from textwrap.wrap(
        cells,
        max(limit, 2 * len(_INDENT)),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
    )


class _Painter:
    """Puts a style around texts; what that takes on this terminal is asked for once a style."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._codes: dict[str, tuple[str, str]] = {}

    def paint(self, text: str, style: str) -> str:
        """Return a text in a style, padding included."""
        if style not in self._codes:
            with self._screen.capture() as captured:
                self._screen.print(".", style=style, end="")
            before, _, after = captured.get().partition(".")
            self._codes[style] = before, after
        before, after = self._codes[style]
        return f"{before}{text}{after}"
