"""What a measurement hands back, and how lists of times are boiled down."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from beatward.errors import BeatwardError

# Told what is being done now and how much of all is done, 0 to 1.
Tell = Callable[[str, float], None]


class BenchFailed(BeatwardError):
    """The measurement itself could not be carried out; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BenchCheck:
    """Something that has to hold for the figures to count. `found` is what was seen."""

    promise: str
    kept: bool
    found: str


@dataclass(frozen=True, slots=True)
class BenchTable:
    """Figures for people; rows hold as many texts as there are columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """One measurement. `figures` is for programs and keeps its keys."""

    bench: str
    machine: dict[str, Any]
    figures: dict[str, Any]
    tables: tuple[BenchTable, ...]
    promises: tuple[BenchCheck, ...] = ()
    remarks: tuple[str, ...] = field(default=())

    @property
    def kept(self) -> bool:
        """Whether every promise held."""
        return all(promise.kept for promise in self.promises)


def quantiles_ms(times_ns: Sequence[float]) -> dict[str, float | int | None]:
    """Return count, p50, p99 and max of times in nanoseconds, as milliseconds; None without any."""
    if not len(times_ns):
        return {"count": 0, "p50": None, "p99": None, "max": None}
    # The higher neighbour: of 50 times the p99 is the largest, never something in between.
    p50, p99 = np.quantile(np.asarray(times_ns, np.float64), (0.5, 0.99), method="higher")
    found = {"p50": p50, "p99": p99, "max": max(times_ns)}
    return {"count": len(times_ns), **{key: round(at / 1e6, 3) for key, at in found.items()}}


def number(value: float | None, digits: int = 0) -> str:
    """Write a number for a table; a dash where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"
