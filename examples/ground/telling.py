"""What the examples tell while they run: a line an occurrence, with the seconds since the start."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

from examples.ground.network import what_is_missing


def teller(*, is_quiet: bool = False) -> Callable[[str], None]:
    """Return what prints a line; quiet: to stderr, where stdout is for JSON."""
    began = time.monotonic()

    def say(text: str) -> None:
        out = sys.stderr if is_quiet else sys.stdout
        print(f"{time.monotonic() - began:7.2f} s  {text}", file=out, flush=True)

    return say


def end_in_order() -> None:
    """Let SIGTERM and SIGINT end the program by SystemExit, so that every `with` is left.

    Also where a shell has started it in the background, which is without SIGINT.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def leave_if_missing(*programs: str) -> None:
    """End the program with 2 and one sentence where no hosts can be made."""
    missing = what_is_missing(*programs)
    if missing:
        print(f"cannot run here: {missing}", file=sys.stderr)
        sys.exit(2)


def _end(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows under their heads; the first column to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((first, *rest)))
    return "\n".join(lines)
