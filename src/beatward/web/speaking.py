"""Who speaks and is not watched, as `GET /v1/status` shows it: datagrams and requests, together.

A datagram holds the identity of its node and not its name. The name is known where the node is
enrolled (and the key is another one), or where it has asked over HTTP as well.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import Field

from beatward.core.peers import shown_address
from beatward.core.protocol.keys import node_id
from beatward.core.snapshot import Snapshot
from beatward.core.speakers import Speaker
from beatward.store.rows import timestamp
from beatward.web.shape import Shape
from beatward.web.strangers import Stranger, Strangers

_AT = "RFC 3339, UTC, milliseconds."
_NAMED_MAX = 3


class UnknownSpeaker(Shape):
    """One that speaks and is not watched."""

    node: str | None = Field(description="Its name; null: only its identity is known.")
    id: str = Field(description="The identity on the wire, 16 hexadecimal digits.")
    address: str | None = Field(description="host:port that it spoke from last; null: a relay's.")
    via: str = Field(description="`udp`, `http`, or `ping` for the bare URL.")
    key: str = Field(
        description="`ours`: it has the key that this monitor gives to that name; `other`: "
        "another key or none, so the sender may be anything."
    )
    forgotten: bool = Field(description="An operator has forgotten it, and it asked to come back.")
    heard: str = Field(description=f"When it spoke last. {_AT}")
    heard_ns: int = Field(description="How long ago that was, nanoseconds.")
    count: int = Field(description="How often it was noticed.")
    sentence: str = Field(description="What it is and what to do, in one sentence.")


class ConflictShape(Shape):
    """Two processes under one name: the one that is believed, and the other."""

    since: str = Field(description=f"Since when it is known of. {_AT}")
    since_ns: int = Field(description="How long ago that was, nanoseconds.")
    believed_address: str | None = Field(description="host:port of the one that is believed.")
    believed_incarnation: int = Field(description="Its life.")
    other_address: str | None = Field(description="host:port of the other; a proxy's over HTTP.")
    other_incarnation: int = Field(description="Its life; the same for a copied machine.")
    other_via: str = Field(description="How the other speaks: `udp` or `http`.")


class Unknown(Shape):
    """Nodes that speak and are not watched, those with a key of ours first."""

    count: int = Field(description="How many are known of.")
    ours: int = Field(description="How many of them have a key of this monitor.")
    overflow: int = Field(description="How often one was noticed for whom the list had no room.")
    speakers: list[UnknownSpeaker] = Field(description="At most 384.")


def unknown_object(snapshot: Snapshot, strangers: Strangers) -> dict[str, Any]:
    """Return them as `Unknown` describes it."""
    asked = strangers.heard()
    names = {node_id(one.name): one for one in asked}
    seen = {one.node for one in snapshot.speakers}
    speakers = [_of_datagrams(snapshot, one, names.get(one.node)) for one in snapshot.speakers]
    speakers += [_of_requests(snapshot, one) for one in asked if node_id(one.name) not in seen]
    speakers.sort(key=lambda one: (one["key"] != "ours", one["node"] or "", one["id"]))
    return {
        "count": len(speakers),
        "ours": sum(one["key"] == "ours" for one in speakers),
        "overflow": snapshot.counters["speakers_overflow"] + strangers.overflow_count,
        "speakers": speakers,
    }


def unwatched(speakers: Iterable[Speaker], strangers: Strangers) -> list[str]:
    """Say that nodes with a key of ours speak and are not watched: one sentence, or none."""
    asked = {node_id(one.name): one for one in strangers.heard() if one.is_forgotten}
    places = {node: _place(one.name, one.address) for node, one in asked.items()}
    for speaker in speakers:
        known = asked.get(speaker.node)
        name = f"identity {speaker.node:016x}" if known is None else known.name
        places[speaker.node] = _place(name, shown_address(speaker.address))
    if not places:
        return []
    shown = ", ".join(list(places.values())[:_NAMED_MAX])
    more = f" and {len(places) - _NAMED_MAX} more" if len(places) > _NAMED_MAX else ""
    nodes = "1 node speaks" if len(places) == 1 else f"{len(places)} nodes speak"
    verb, who = ("is", "it is") if len(places) == 1 else ("are", "they are")
    why = f"{verb} not watched, because {who} not enrolled"
    return [f"{nodes} with a key of this monitor and {why}: {shown}{more}"]


def _place(name: str, address: str) -> str:
    return f"{name} at {address}" if address else name


def _of_datagrams(snapshot: Snapshot, one: Speaker, asked: Stranger | None) -> dict[str, Any]:
    registry = snapshot.state.registry
    slot = registry.slot_of_node(one.node)
    name = registry.names[slot] if slot >= 0 else None if asked is None else asked.name
    is_forgotten = one.is_ours and asked is not None and asked.is_forgotten
    address = shown_address(one.address)
    who, where = name or "a node", address or "a relay"
    if is_forgotten:
        sentence = (
            f"{who} at {where} was forgotten and still speaks: end it, or enrol it again with a "
            "join token"
        )
    elif one.is_ours:
        sentence = (
            f"{who} at {where} has a key of this monitor and is not enrolled; it enrols itself "
            "when it reaches the monitor over HTTP, or with a join token"
        )
    elif slot >= 0:
        sentence = f"datagrams in the name of {who} come from {where} with another key"
    else:
        sentence = f"datagrams from {where} name a node that is not enrolled, with another key"
    return {
        **_common(snapshot, name, one.node, is_ours=one.is_ours, heard_ns=one.heard_ns),
        "address": address or None,
        "via": "udp" if address else "http",
        "forgotten": is_forgotten,
        "count": one.count,
        "sentence": sentence,
    }


def _of_requests(snapshot: Snapshot, one: Stranger) -> dict[str, Any]:
    if one.is_forgotten:
        sentence = f"{one.name} at {one.address} was forgotten and asked to come back"
    else:
        sentence = f"{one.address} spoke as {one.name} with a key that is not of this monitor"
    return {
        **_common(
            snapshot,
            one.name,
            node_id(one.name),
            is_ours=one.is_forgotten,
            heard_ns=one.heard_ns,
        ),
        "address": one.address,
        "via": one.via,
        "forgotten": one.is_forgotten,
        "count": one.count,
        "sentence": sentence,
    }


def _common(
    snapshot: Snapshot, name: str | None, node: int, *, is_ours: bool, heard_ns: int
) -> dict[str, Any]:
    return {
        "node": name,
        "id": f"{node:016x}",
        "key": "ours" if is_ours else "other",
        "heard": timestamp(heard_ns + snapshot.wall_offset_ns),
        "heard_ns": max(snapshot.taken_ns - heard_ns, 0),
    }
