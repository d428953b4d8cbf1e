"""What is said about roles: standings by members, grants by the monitor; records of 64 bytes.

A member of a service in failover mode says again and again where it stands, and each word is
answered by a grant. Both have the shape of `record`, so that the monitor opens them in the same
batches; between the head and the tag they hold other fields:

    offset size field       meaning
    0      8                magic, version, kind, slot as in `record`
    8      4    counter     standing: counts this life's standings, from 1; grant: the one answered
    12     4    service     identity of the service, see `service_id`
    16     16               node and incarnation as in `record`
    32     8    claim       token * 256 + `State` or `RoleOrder`; tokens are below 2^54
    40     8    freshness   standing: how far its copy of the data has come; all ones: not known
    40     4    lease_ms    grant: the lease, counted from the instant when the standing was sent
    44     4    demote_ms   grant: how long after the lease's end the member has given the role up
    48     16   tag

A standing proves no life: it counts only from a life that a heartbeat has proved. A grant counts
from the instant at which the standing it answers was *sent*, because that is the only instant
which both sides can bound: the monitor has heard of it later, whatever the network did.
"""

import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

from beatward.errors import MalformedRecord

from .record import BODY_SIZE, MAGIC, RECORD_SIZE, VERSION, Kind, tag

# Beyond what its monitor has given, a member is believed so far and not further. A journal that was
# lost or restored lacks one token for each time that the role has moved: never that many in
# practice. Without this one claim of 2^54-1 would use all tokens up: the one after it cannot be
# said.
TOKEN_AHEAD_MAX = 2**32
COUNTER_MAX = 2**32 - 1
# The counter of a last word, which says in a life's name, perhaps after it, that it holds nothing
# any more under a token. It is true for ever, so it needs no proof that the life still speaks.
LAST_WORD = 0
NO_FRESHNESS = 2**64 - 1
# What a quartz may be wrong by; both sides count with it, see `lease_end_ns` and `term_ns`.
DRIFT_PPM = 200
# What a term has beyond that, for the scheduling of the process that ends a workload.
TERM_SPARE_NS = 100_000_000

_STANDING = struct.Struct("<2sBBIIIQQQQ")
_GRANT = struct.Struct("<2sBBIIIQQQII")
assert _STANDING.size == _GRANT.size == BODY_SIZE


class State(IntEnum):
    """Where a member stands, in its own words."""

    STANDBY = 1  # it does not hold the role, and could be promoted
    UNABLE = 2  # it does not hold the role, and could not be promoted now
    PROMOTING = 3  # it takes the role under the token: its promote hook runs
    ACTIVE = 4  # it holds the role
    DEMOTING = 5  # it is giving the role up: its demote hook runs
    STUCK = 6  # it should have given the role up and could not be made to


class RoleOrder(IntEnum):
    """What the monitor answers to a standing."""

    HOLD = 1  # who takes or holds the role under this token keeps it for another lease
    PROMOTE = 2  # take the role under this token
    DEMOTE = 3  # give the role up; until then the lease goes on
    STAND_BY = 4  # you do not hold the role; the token is the service's newest


@dataclass(frozen=True, slots=True)
class RoleReport:
    """One word of a member. `token`: the one it holds; of who holds none, the highest it has seen.

    replication_position   grows with the data of the member; None: not known
    """

    service: int
    counter: int
    state: State
    token: int = 0
    replication_position: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """One answer of the monitor; times in milliseconds."""

    service: int
    counter: int
    order: RoleOrder
    token: int
    lease_ms: int = 0
    demote_ms: int = 0


def service_id(name: str) -> int:
    """Return the identity that stands for a service's name on the wire: 32 bits, never 0.

    Two names of one identity are met once in 10^5 pairs of a thousand services; the monitor
    refuses the second one.
    """
    return int.from_bytes(sha256(b"service\0" + name.encode()).digest()[:4], "little") or 1


def lease_end_ns(sent_ns: int, lease_ms: int) -> int:
    """Return when a holder stops believing in a lease, on its clock that counts suspension.

    sent_ns   when it sent the standing that the grant answers, on the same clock
    Earlier than the lease by what two clocks may drift apart (Gray and Cheriton, 1989).
    """
    return sent_ns + lease_ms * (1_000_000 - 2 * DRIFT_PPM)


def takeover_wait_ns(lease_ns: int, demote_ns: int) -> int:
    """Return how long after a grant its holder may still hold, on the monitor's clock.

    Counted from an instant at which the standing that it answers had arrived for certain.
    """
    whole_ns = lease_ns + demote_ns
    return whole_ns + whole_ns * 2 * DRIFT_PPM // 1_000_000 + TERM_SPARE_NS


def seal_role_report(
    standing: RoleReport, *, node: int, incarnation: int, slot: int, key: bytes
) -> bytes:
    """Write a standing and its tag: 64 bytes."""
    fresh = NO_FRESHNESS if standing.replication_position is None else standing.replication_position
    body = _STANDING.pack(
        MAGIC,
        VERSION,
        Kind.STANDING,
        slot,
        standing.counter,
        standing.service,
        node,
        incarnation,
        standing.token << 8 | standing.state,
        min(fresh, NO_FRESHNESS),
    )
    return body + tag(key, body)


def open_grant(data: bytes, *, node: int, incarnation: int, key: bytes) -> Grant | None:
    """Return a grant for this life of a node; None for what is none, or is not for it."""
    if len(data) != RECORD_SIZE or data[:4] != MAGIC + bytes((VERSION, Kind.GRANT)):
        return None
    body = data[:BODY_SIZE]
    if not hmac.compare_digest(tag(key, body), data[BODY_SIZE:]):
        return None
    _, _, _, _, counter, service, to, life, claim, lease_ms, demote_ms = _GRANT.unpack(body)
    token, order = divmod(claim, 256)
    if (to, life) != (node, incarnation) or order not in RoleOrder.__members__.values():
        return None
    return Grant(service, counter, RoleOrder(order), token, lease_ms, demote_ms)


def open_role_report(data: bytes, key: bytes) -> RoleReport:
    """Read a standing; for tests and other clients: the monitor works on batches.

    Raises MalformedRecord when it is none.
    """
    body = data[:BODY_SIZE]
    if len(data) != RECORD_SIZE or data[:4] != MAGIC + bytes((VERSION, Kind.STANDING)):
        raise MalformedRecord("this is not a standing")
    if not hmac.compare_digest(tag(key, body), data[BODY_SIZE:]):
        raise MalformedRecord("the tag does not fit the node's key")
    _, _, _, _, counter, service, _, _, claim, replication_position = _STANDING.unpack(body)
    token, state = divmod(claim, 256)
    known = None if replication_position == NO_FRESHNESS else replication_position
    return RoleReport(service, counter, State(state), token, known)
