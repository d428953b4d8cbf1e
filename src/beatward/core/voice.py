"""What the monitor says to nodes in one turn: probes and acknowledgements, sealed.

Never longer than what it answers, and only to addresses that an authenticated record came from,
so that nobody can use a monitor to shout at a third party. Not here: sending (`transport`).
"""

import numpy as np

from beatward.core.instants import MILLISECOND
from beatward.core.intake import PEER_SIZE, Replies
from beatward.core.protocol import record
from beatward.core.protocol.record import Flag, Kind, Record
from beatward.core.registry import Registry

EMPTY = Replies(
    np.zeros((0, record.RECORD_SIZE), np.uint8),
    np.zeros((0, PEER_SIZE), np.uint8),
)


class Voice:
    """Collects the replies of one turn; `session` is the number every life has to echo."""

    def __init__(self, registry: Registry, session: int) -> None:
        assert 0 < session <= record.SESSION_MAX
        self._registry = registry
        self.session = session
        self._challenge = session
        self._bodies: list[bytes] = []
        self._secrets: list[bytes] = []
        self._peers: list[bytes] = []

    def challenge(self) -> int:
        """Return a number not asked for before in this session, above those of sessions."""
        self._challenge = (self._challenge + 1) & record.SESSION_MAX
        return self._challenge + record.SESSION_MAX + 1

    def acknowledge(self, slot: int, sequence: int, peer: bytes) -> None:
        """Answer a heartbeat or goodbye that asked for it."""
        self._say(slot, Kind.ACKNOWLEDGEMENT, sequence=sequence, echo=self.session, peer=peer)

    def probe(self, slot: int, echo: int, *, peer: bytes | None = None, mail: bool = False) -> bool:
        """Ask a node whether it lives; returns False where there is no address to ask at."""
        peers = [peer] if peer is not None else self._addresses(slot)
        flags = Flag.MAIL if mail else Flag(0)
        for one in peers:
            self._say(slot, Kind.PROBE, sequence=0, echo=echo, peer=one, flags=flags)
        return bool(peers)

    def _addresses(self, slot: int) -> list[bytes]:
        rows = (self._registry.peer[slot], self._registry.peer_before[slot])
        return [row.tobytes() for row in rows if row.any()]

    def take(self) -> Replies:
        """Hand over what was said since the last call."""
        count = len(self._bodies)
        if not count:
            return EMPTY
        bodies = np.frombuffer(b"".join(self._bodies), np.uint8).reshape(count, -1)
        secrets = np.frombuffer(b"".join(self._secrets), np.uint8).reshape(count, -1)
        tags = self._registry.tags.seal(bodies, np.arange(count), secrets)
        peers = np.frombuffer(b"".join(self._peers), np.uint8).reshape(count, -1)
        self._bodies, self._secrets, self._peers = [], [], []
        return Replies(np.hstack((bodies, tags)), peers)

    def _say(
        self,
        slot: int,
        kind: Kind,
        *,
        sequence: int,
        echo: int,
        peer: bytes,
        flags: Flag = Flag(0),  # noqa: B008  a constant
    ) -> None:
        registry = self._registry
        said = Record(
            kind=kind,
            node=int(registry.node[slot]),
            incarnation=int(registry.incarnation[slot]),
            sequence=sequence,
            interval_ms=int(registry.interval_ns[slot]) // MILLISECOND,
            slot=slot,
            flags=flags,
            echo=echo,
        )
        self._bodies.append(record.pack(said))
        # Taken now: when the turn ends, somebody else may have the slot.
        self._secrets.append(registry.secret[slot].tobytes())
        self._peers.append(peer)
