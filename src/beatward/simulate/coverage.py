"""What worlds can meet, and what some of them never met: so that nothing is silently never tried.

Every name is one of a report's counts; what many reports come to together is their sum. Not here:
whether a promise held (`checkers`).
"""

from collections.abc import Mapping

from beatward.core.detect import DETECTORS
from beatward.core.membership import TABLE, Status

from .adversary import TRICKS
from .faults import FaultKind
from .links import MODELS, PLAIN

WANTED: dict[str, tuple[str, ...]] = {
    "fault": tuple(FaultKind),
    "status": tuple(status.word for status in Status),
    "detector": tuple(sorted(DETECTORS)),
    "link": (PLAIN, *MODELS),
    "adversary": TRICKS,
    "interval": ("changed",),
    "role": (
        "promotions",
        "promoted",
        "failed",
        "too_slow",
        "given_back",
        "switchover",
        "demoted",
        "silent",
        "expired",
        "stuck",
        "doubt",
        "fenced",
        "forced",
        "paused",
        "writes refused",
        "word demote",
        "said stuck",
        "another_process",
        "last words",
    ),
    "datagrams": ("lost", "withheld", "cut", "duplicated", "damaged", "unheard", "dropped"),
}
_WAYS = {(before.word, cause.word) for before, cause in TABLE}


def missing(counts: Mapping[str, int]) -> list[str]:
    """Return the names of all that can be met and was not."""
    wanted = [f"{family} {name}" for family, names in WANTED.items() for name in names]
    return [name for name in wanted if not counts.get(name)]


def ways_taken(counts: Mapping[str, int]) -> tuple[int, int]:
    """Return how many rows of the table of statuses were taken, and how many there are."""
    taken = {
        (name.partition("->")[0], name.partition("(")[2].rstrip(")"))
        for name, count in counts.items()
        if "->" in name and count
    }
    return len(taken & _WAYS), len(_WAYS)
