"""What the monitor says to nodes in one turn: probes, acknowledgements and grants, sealed.

Never longer than what it answers, and only to addresses that an authenticated record came from,
so that a monitor cannot be used to shout at a third party. Not here: sending (`transport`).
"""

from collections.abc import Sequence

import numpy as np

from beatward.core.arrays import BoolArray, ByteArray, IntArray
from beatward.core.intake import GRANT, RECORD, Heartbeats, Replies
from beatward.core.peers import PEER_SIZE
from beatward.core.protocol import record
from beatward.core.protocol.record import Flag, Kind
from beatward.core.protocol.roles import Grant
from beatward.core.registry import Registry

# Records (k,) of 64 bytes, one after the other.
Records = np.ndarray[tuple[int], np.dtype[np.void]]
EMPTY = Replies(
    np.zeros((0, record.RECORD_SIZE), np.uint8),
    np.zeros((0, PEER_SIZE), np.uint8),
    np.zeros(0, np.bool_),
)


class Voice:
    """Collects the replies of one turn; `session` is the number every life has to echo.

    is_pacing   acknowledgements carry the wishes of `core.pace`
    """

    def __init__(self, registry: Registry, session: int, *, is_pacing: bool = False) -> None:
        assert 0 < session <= record.SESSION_MAX
        self._registry = registry
        self.session = session
        self._is_pacing = is_pacing
        self._asked_count = session
        self._rows: list[ByteArray] = []
        self._peers: list[ByteArray] = []
        self._begins: list[BoolArray] = []

    def challenges(self, count: int) -> IntArray:
        """Return numbers (count,) not asked for before in this session, above those of sessions."""
        numbers = (self._asked_count + 1 + np.arange(count)) & record.SESSION_MAX
        self._asked_count = (self._asked_count + count) & record.SESSION_MAX
        return numbers + record.SESSION_MAX + 1

    def acknowledge(self, beats: Heartbeats, sequence: IntArray) -> None:
        """Answer heartbeats or goodbyes (k,) that asked for it, where they came from.

        What came in one datagram is answered in one: a relay's hundred thousand nodes would cost
        as much to answer as to hear otherwise.
        """
        records = self._new_records(beats.slots, Kind.ACKNOWLEDGEMENT)
        records["sequence"], records["echo"] = sequence, self.session
        if self._is_pacing:
            # No wish would mean that the node's own interval holds; so who was not thought about
            # yet is asked to stay as it is. It may have been slowed down in an earlier session.
            wish_ms = self._registry.wish_ms[beats.slots]
            records["gauges"] = np.where(wish_ms > 0, wish_ms, records["interval_ms"])
        begins = np.ones(len(records), np.bool_)
        begins[1:] = beats.source[1:] != beats.source[:-1]
        self._say(beats.slots, records, beats.peers, begins)

    def probe(self, slots: IntArray, echo: IntArray, *, mail: bool = False) -> BoolArray:
        """Ask nodes (k,) whether they live; returns which of them have an address to ask at.

        echo   (k,) the number that each has to answer with
        """
        sent = np.zeros(len(slots), np.bool_)
        registry = self._registry
        for peers in (registry.peers.of(slots), registry.peers.before(slots)):
            there = peers.any(axis=1)
            if there.any():
                self._probe_at(slots[there], echo[there], peers[there], mail=mail)
                sent |= there
        return sent

    def probe_lives(
        self, slots: IntArray, echo: IntArray, incarnation: IntArray, peers: ByteArray
    ) -> None:
        """Ask lives (k,) that the registry does not know yet, where they spoke from."""
        self._probe_at(slots, echo, peers, incarnation=incarnation)

    def grant(
        self, slots: IntArray, incarnation: IntArray, grants: Sequence[Grant], peers: ByteArray
    ) -> None:
        """Answer standings of members (k,), where they came from.

        incarnation   (k,) of the lives that said them: the next life counts from 1 again, and must
                      not take an answer to another one's words for its own
        """
        records = self._new_records(slots, Kind.GRANT)
        fields = records.view(GRANT)
        fields["incarnation"] = incarnation
        fields["counter"] = [grant.counter for grant in grants]
        fields["service"] = [grant.service for grant in grants]
        fields["claim"] = [grant.token << 8 | grant.order for grant in grants]
        fields["lease_ms"] = [grant.lease_ms for grant in grants]
        fields["demote_ms"] = [grant.demote_ms for grant in grants]
        self._say(slots, records, peers, np.ones(len(records), np.bool_))

    def take(self) -> Replies:
        """Hand over what was said since the last call."""
        if not self._rows:
            return EMPTY
        replies = Replies(
            np.concatenate(self._rows), np.concatenate(self._peers), np.concatenate(self._begins)
        )
        self._rows, self._peers, self._begins = [], [], []
        return replies

    def _probe_at(
        self,
        slots: IntArray,
        echo: IntArray,
        peers: ByteArray,
        *,
        incarnation: IntArray | None = None,
        mail: bool = False,
    ) -> None:
        records = self._new_records(slots, Kind.PROBE)
        records["echo"], records["flags"] = echo, Flag.MAIL if mail else 0
        if incarnation is not None:
            records["incarnation"] = incarnation
        self._say(slots, records, peers, np.ones(len(records), np.bool_))

    def _new_records(self, slots: IntArray, kind: Kind) -> Records:
        registry = self._registry
        records = np.zeros(len(slots), RECORD)
        records["head"] = _HEADS[kind]
        records["slot"] = slots
        records["interval_ms"] = registry.interval_ms[slots]
        records["cpu"] = records["memory"] = records["load"] = record.NO_GAUGE
        records["node"] = registry.node[slots]
        records["incarnation"] = registry.incarnation[slots]
        return records

    def _say(
        self,
        slots: IntArray,
        records: Records,
        peers: ByteArray,
        begins: BoolArray,
    ) -> None:
        # Sealed now: when the turn ends, another node may have the slot.
        rows = records.view(np.uint8).reshape(-1, record.RECORD_SIZE)
        bodies = rows[:, : record.BODY_SIZE]
        rows[:, record.BODY_SIZE :] = self._registry.tags.seal(bodies, slots, self._registry.secret)
        self._rows.append(rows)
        self._peers.append(peers)
        self._begins.append(begins)


_HEADS = {
    kind: int.from_bytes(record.MAGIC + bytes((record.VERSION, kind)), "little") for kind in Kind
}
