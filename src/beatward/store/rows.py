"""Entries and records as rows of the tables, and back; pure.

What the core says must never make the journal stumble: one line that cannot be written would hold
back all that follow. So text that is no UTF-8 and numbers that JSON does not know are written as
nearly as they can be, instead of being refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from beatward.core.columns import NodeColumns, Words
from beatward.core.entry import (
    Acknowledgement,
    ActionRecord,
    ActionState,
    Conflict,
    Declaration,
    Entry,
    Event,
    JobRecord,
    Maintenance,
    NodeRecord,
    ServiceRecord,
    Silence,
    public,
)
from beatward.core.instants import MILLISECOND, SECOND
from beatward.core.peers import PEER_SIZE
from beatward.store.projection import ActionChange, ServiceChange, SilenceChange

Row = dict[str, Any]
NODE_COLUMNS = (
    *("name", "node", "status", "cause", "since", "incarnation", "interval_ns", "address", "via"),
    *("labels", "maintenance", "acknowledgement", "job", "services", "conflict"),
)
_NO_LABELS = "{}"
_PART = 20_000
Stored = Mapping[Any, Any]  # a row as SQLAlchemy hands it back, its keys are names and columns


def entry_row(entry: Entry, wall_offset_ns: int) -> Row:
    """Return the row of the journal for an entry."""
    return {
        "sequence": entry.sequence,
        "event": str(entry.event),
        "at": entry.at_ns + wall_offset_ns,
        "node": _text(entry.node),
        "status": _text(entry.status),
        "cause": _text(entry.cause),
        "explanation": _text(entry.explanation),
        "action": _text(entry.action),
        "outcome": _text(entry.outcome),
        "detail": _json(entry.detail),
    }


def entry_object(row: Stored) -> dict[str, Any]:
    """Return a row of the journal in the form of `core.entry.public`."""
    entry = Entry(
        sequence=row["sequence"],
        event=Event(row["event"]),
        at_ns=row["at"],
        node=row["node"],
        status=row["status"],
        cause=row["cause"],
        explanation=row["explanation"],
        action=row["action"],
        outcome=row["outcome"],
        detail=msgspec.json.decode(row["detail"]),
    )
    return public(entry, timestamp(row["at"]))


def outcome_of(row: Sequence[Any], wall_offset_ns: int) -> tuple[str, str, int, str]:
    """Return the outcome of an attempt, from the columns action, outcome, at and detail."""
    action, outcome, at, detail = row
    return action, outcome, at - wall_offset_ns, msgspec.json.decode(detail).get("message") or ""


def node_row(record: NodeRecord, sequence: int, wall_offset_ns: int) -> Row:
    """Return the row of a node as it is after the entry with that sequence."""
    return {
        "name": record.name,
        "sequence": sequence,
        "node": _signed(record.node),
        "status": record.status,
        "cause": _text(record.cause),
        "since": record.since_ns + wall_offset_ns,
        "incarnation": record.incarnation,
        "interval_ns": record.interval_ns,
        "address": record.address,
        "via": record.via,
        "labels": _json(record.labels),
        "maintenance": _moved_json(record.maintenance, wall_offset_ns),
        "acknowledgement": _moved_json(record.acknowledgement, wall_offset_ns),
        "job": _moved_json(record.job, wall_offset_ns),
        "services": _offered(record.services),
        "conflict": _moved_json(record.conflict, wall_offset_ns),
    }


def node_columns(rows: Iterable[Sequence[Any]], wall_offset_ns: int) -> NodeColumns:
    """Return rows of nodes, in the order of NODE_COLUMNS, with their instants on the clock of the
    one who asks.

    They are turned into arrays a part at a time: a row as Python has it takes 800 bytes.
    """
    source = iter(rows)
    parts = []
    while part := list(islice(source, _PART)):
        parts.append(_part(part, wall_offset_ns))
    return NodeColumns.joined(parts)


def _part(rows: Sequence[Sequence[Any]], wall_offset_ns: int) -> NodeColumns:
    columns = zip(*rows, strict=True)
    names, nodes, status, cause, since, incarnation, interval, address, via, *rest = columns
    labels, maintenance, known, jobs, services, conflicts = rest
    no_address = bytes(PEER_SIZE)
    addresses = b"".join([one or no_address for one in address])
    return NodeColumns(
        names=names,
        node=np.array(nodes, np.int64).view(np.uint64),
        status=Words.of(status),
        cause=Words.of(cause),
        since_ns=np.array(since, np.int64) - wall_offset_ns,
        incarnation=np.array(incarnation, np.int64),
        interval_ns=np.array(interval, np.int64),
        address=np.frombuffer(addresses, np.uint8).reshape(-1, PEER_SIZE),
        via=Words.of(via),
        labels={
            row: msgspec.json.decode(text) for row, text in enumerate(labels) if text != _NO_LABELS
        },
        maintenance={
            row: msgspec.json.decode(text, type=Maintenance).moved(-wall_offset_ns)
            for row, text in enumerate(maintenance)
            if text is not None
        },
        known={
            row: msgspec.json.decode(text, type=Acknowledgement).moved(-wall_offset_ns)
            for row, text in enumerate(known)
            if text is not None
        },
        jobs={
            row: msgspec.json.decode(text, type=JobRecord).moved(-wall_offset_ns)
            for row, text in enumerate(jobs)
            if text is not None
        },
        services={
            row: msgspec.json.decode(text, type=tuple[Declaration, ...])
            for row, text in enumerate(services)
            if text is not None
        },
        conflicts={
            row: msgspec.json.decode(text, type=Conflict).moved(-wall_offset_ns)
            for row, text in enumerate(conflicts)
            if text is not None
        },
    )


def action_row(change: ActionChange, wall_offset_ns: int) -> Row:
    """Return the row of an action after its last change."""
    record = change.record
    return {
        "key": record.key,
        "sequence": change.sequence,
        "at": change.at_ns + wall_offset_ns,
        "name": record.name,
        "kind": record.kind,
        "node": record.node,
        "state": record.state,
        "attempt": record.attempt,
        "event": _json(record.event),
    }


def action_record(row: Stored) -> ActionRecord:
    """Return an action as it was last written down."""
    return ActionRecord(
        key=row["key"],
        name=row["name"],
        kind=row["kind"],
        node=row["node"],
        state=ActionState(row["state"]),
        attempt=row["attempt"],
        event=msgspec.json.decode(row["event"]),
    )


def silence_row(name: str, change: SilenceChange, wall_offset_ns: int) -> Row:
    """Return the row of a silence that begins."""
    return {
        "id": name,
        "sequence": change.sequence,
        "said": _moved_json(change.silence, wall_offset_ns),
    }


def silence_of(text: str, wall_offset_ns: int) -> Silence:
    """Return a silence as it was written down, on the clock of the one who asks."""
    return msgspec.json.decode(text, type=Silence).moved(-wall_offset_ns)


def service_row(change: ServiceChange, wall_offset_ns: int) -> Row:
    """Return the row of a service after its last change."""
    return {
        "name": change.record.name,
        "sequence": change.sequence,
        "said": _moved_json(change.record, wall_offset_ns),
    }


def service_of(text: str, wall_offset_ns: int) -> ServiceRecord:
    """Return a service as it was written down, on the clock of the one who asks."""
    return msgspec.json.decode(text, type=ServiceRecord).moved(-wall_offset_ns)


def action_object(row: Stored) -> dict[str, Any]:
    """Return an action for the API; `id` and `at` are those of the entry that changed it last."""
    return {
        "id": row["sequence"],
        "at": timestamp(row["at"]),
        "key": row["key"],
        "action": row["name"],
        "kind": row["kind"],
        "node": row["node"],
        "state": row["state"],
        "attempt": row["attempt"],
        "event": msgspec.json.decode(row["event"]),
    }


def timestamp(wall_ns: int) -> str:
    """Write nanoseconds since 1970 as `2026-11-23T07:15:02.123Z`."""
    seconds, rest_ns = divmod(wall_ns, SECOND)
    whole = datetime.fromtimestamp(seconds, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest_ns // MILLISECOND:03d}Z"


_Note = Maintenance | Acknowledgement | Silence | JobRecord | ServiceRecord | Conflict


def _moved_json(value: _Note | None, wall_offset_ns: int) -> str | None:
    if value is None:
        return None
    return _json(_written(msgspec.to_builtins(value.moved(wall_offset_ns))))


def _offered(offers: Sequence[Declaration]) -> str | None:
    return _json(_written(msgspec.to_builtins(offers))) if offers else None


def _written(value: Any) -> Any:
    """Return builtins without what UTF-8 cannot write: what people say comes from terminals too."""
    if isinstance(value, Mapping):
        return {_text(key): _written(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_written(item) for item in value]
    return _text(value) if isinstance(value, str) else value


def _signed(node: int) -> int:
    # An identity has 64 bits and no sign, SQLite's integers have one.
    return node - 2**64 if node >= 2**63 else node


def _text(value: str | None) -> str | None:
    # A lone surrogate comes from output of a command that was not UTF-8, decoded leniently.
    if value is None or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    # msgspec: a tenth of the time of json.dumps, and NaN becomes null instead of broken JSON.
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except (UnicodeEncodeError, ValueError, TypeError, RecursionError) as error:
        unwritable = {"unwritable": ascii(value)[:10_000], "why": ascii(error)}
        return msgspec.json.encode(unwritable).decode()


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    item = getattr(value, "item", None)  # a number of numpy's
    return str(value) if item is None else item()
