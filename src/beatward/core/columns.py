"""Many nodes as the journal knows them, column by column: what a restart of a large fleet reads.

A million `NodeRecord`s are a million objects of ten fields; as columns they are ten arrays. To
everybody else `NodeColumns` is what it stands for, a sequence of `NodeRecord`s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import IntArray
from beatward.core.entry import (
    Acknowledgement,
    Conflict,
    Declaration,
    JobRecord,
    Maintenance,
    NodeRecord,
)
from beatward.core.peers import PEER_SIZE

Said = TypeVar("Said")


@dataclass(frozen=True, slots=True)
class Words:
    """A column of few different words: row i has the word `known[codes[i]]`."""

    known: tuple[str, ...]
    codes: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, words: Iterable[str]) -> "Words":
        """Return a column of words, at most 256 different ones."""
        met: dict[str, int] = {}
        codes = [met.setdefault(word, len(met)) for word in words]
        return cls(tuple(met), np.array(codes, np.uint8))

    def numbered(self, numbers: Mapping[str, int]) -> npt.NDArray[np.uint8]:
        """Return the number of each row's word; raises KeyError for a word that has none."""
        chosen = np.array([numbers[word] for word in self.known], np.uint8)
        return chosen[self.codes] if len(chosen) else chosen

    @classmethod
    def joined(cls, columns: "Sequence[Words]") -> "Words":
        """Put columns one below the other."""
        known = tuple(dict.fromkeys(word for column in columns for word in column.known))
        numbers = {word: number for number, word in enumerate(known)}
        codes = [column.numbered(numbers) for column in columns]
        return cls(known, np.concatenate([np.zeros(0, np.uint8), *codes]))

    def __getitem__(self, row: int) -> str:
        """Return the word of a row."""
        return self.known[int(self.codes[row])]


@dataclass(frozen=True, slots=True, eq=False)
class NodeColumns(Sequence[NodeRecord]):
    """Row i of every column is one node; see `entry.NodeRecord` for what the fields are.

    address   (n, PEER_SIZE), zeros where there is none
    labels    of the rows that have any; so are `maintenance`, `known` (the acknowledgements),
              `jobs`, `services` and `conflicts`
    """

    names: Sequence[str]
    node: npt.NDArray[np.uint64]
    status: Words
    cause: Words
    since_ns: IntArray
    incarnation: IntArray
    interval_ns: IntArray
    address: npt.NDArray[np.uint8]
    via: Words
    labels: Mapping[int, Mapping[str, str]]
    maintenance: Mapping[int, Maintenance] = field(default_factory=dict)
    known: Mapping[int, Acknowledgement] = field(default_factory=dict)
    jobs: Mapping[int, JobRecord] = field(default_factory=dict)
    services: Mapping[int, tuple[Declaration, ...]] = field(default_factory=dict)
    conflicts: Mapping[int, Conflict] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[NodeRecord]) -> "NodeColumns":
        """Turn records into columns; columns stay as they are."""
        if isinstance(records, NodeColumns):
            return records
        no_address = bytes(PEER_SIZE)
        address = b"".join([record.address or no_address for record in records])
        return cls(
            names=[record.name for record in records],
            node=np.array([record.node for record in records], np.uint64),
            status=Words.of(record.status for record in records),
            cause=Words.of(record.cause for record in records),
            since_ns=np.array([record.since_ns for record in records], np.int64),
            incarnation=np.array([record.incarnation for record in records], np.int64),
            interval_ns=np.array([record.interval_ns for record in records], np.int64),
            address=np.frombuffer(address, np.uint8).reshape(-1, PEER_SIZE),
            via=Words.of(record.via for record in records),
            labels={row: record.labels for row, record in enumerate(records) if record.labels},
            maintenance={
                row: record.maintenance for row, record in enumerate(records) if record.maintenance
            },
            known={
                row: record.acknowledgement
                for row, record in enumerate(records)
                if record.acknowledgement
            },
            jobs={row: record.job for row, record in enumerate(records) if record.job},
            services={
                row: tuple(record.services) for row, record in enumerate(records) if record.services
            },
            conflicts={
                row: record.conflict for row, record in enumerate(records) if record.conflict
            },
        )

    @classmethod
    def joined(cls, parts: "Sequence[NodeColumns]") -> "NodeColumns":
        """Put columns one below the other."""
        parts = [cls.of(()), *parts]
        begins = np.cumsum([0, *map(len, parts)]).tolist()
        return cls(
            names=[name for part in parts for name in part.names],
            node=np.concatenate([part.node for part in parts]),
            status=Words.joined([part.status for part in parts]),
            cause=Words.joined([part.cause for part in parts]),
            since_ns=np.concatenate([part.since_ns for part in parts]),
            incarnation=np.concatenate([part.incarnation for part in parts]),
            interval_ns=np.concatenate([part.interval_ns for part in parts]),
            address=np.concatenate([part.address for part in parts]),
            via=Words.joined([part.via for part in parts]),
            labels=_below(begins, [part.labels for part in parts]),
            maintenance=_below(begins, [part.maintenance for part in parts]),
            known=_below(begins, [part.known for part in parts]),
            jobs=_below(begins, [part.jobs for part in parts]),
            services=_below(begins, [part.services for part in parts]),
            conflicts=_below(begins, [part.conflicts for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> NodeRecord: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[NodeRecord]: ...

    def __getitem__(self, index: int | slice) -> NodeRecord | Sequence[NodeRecord]:
        """Return one row as a record, or several."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        address = self.address[row]
        return NodeRecord(
            name=self.names[row],
            node=int(self.node[row]),
            status=self.status[row],
            cause=self.cause[row],
            since_ns=int(self.since_ns[row]),
            incarnation=int(self.incarnation[row]),
            interval_ns=int(self.interval_ns[row]),
            address=address.tobytes() if address.any() else b"",
            via=self.via[row],
            labels=self.labels.get(row, {}),
            maintenance=self.maintenance.get(row),
            acknowledgement=self.known.get(row),
            job=self.jobs.get(row),
            services=self.services.get(row, ()),
            conflict=self.conflicts.get(row),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __hash__(self) -> int:
        return len(self)


def _below(begins: Sequence[int], parts: Sequence[Mapping[int, Said]]) -> dict[int, Said]:
    """Return what is said of single rows, of columns that are put one below the other."""
    return {
        begin + row: said
        for begin, part in zip(begins, parts, strict=False)
        for row, said in part.items()
    }
