"""POST /v1/records: sealed records as they are on the wire, many in one request, for relays.

A relay collects what nodes behind it have sealed and holds no key itself. A record's own tag says
who speaks, and the wheel checks it as it does those of datagrams; so no token is asked for here,
and nothing is told but the session's number, which crosses the network in clear in any case.

A node that comes by HTTP cannot be probed, so the core counts its record although it is late. That
must not help an attacker who holds a datagram back and plays it here when its node is long dead.
So a node says under its tag that a record is meant for a relay, and nothing else is taken.

Raw ASGI, as `heartbeat`. Not here: whether a record is believed (`core`).
"""

import contextlib
import hmac
from typing import Annotated

import msgspec
import numpy as np
from starlette.types import Receive, Scope, Send

from beatward.core.intake import RECORD, Via
from beatward.core.protocol.join import encoded
from beatward.core.protocol.record import BODY_SIZE, RECORD_SIZE, Flag, newer_life, tag
from beatward.errors import Busy
from beatward.web.access import Keyring
from beatward.web.backend import Backend
from beatward.web.bounds import BODY_SIZE_MAX, read_body
from beatward.web.problems import Problem, inbox_full
from beatward.web.strictness import read_flag, refuse_parameters

PATH = "/v1/records"
# What the limit on every body leaves room for. More would gain little: with 1,000 a request itself
# is a tenth of the price (`beatward bench http`, November 2026), and no relay should wait for more.
RECORDS_MAX = BODY_SIZE_MAX // RECORD_SIZE
# Each takes a key and two tags in Python, 15 us. A relay that has more behind it posts again.
NEWER_MAX = 64
_JSON_HEADERS = [(b"content-type", b"application/json")]

_Meta = msgspec.Meta
_Count = Annotated[int, _Meta(ge=0, le=RECORDS_MAX)]


class RecordsAnswer(msgspec.Struct, omit_defaults=True):
    """What became of the records of one request, and what every node behind the relay needs."""

    taken: Annotated[
        _Count,
        _Meta(description="Records in the monitor's inbox; their tags are checked later."),
    ]
    unmarked: Annotated[
        _Count,
        _Meta(description="Records left out: not sealed with the flag *relayed*."),
    ]
    echo: Annotated[
        int,
        _Meta(
            description="The number of the monitor's session, for the relay to hand on: a new life "
            "of a node is believed only after a record that carried it."
        ),
    ]
    newer: Annotated[
        list[str],
        _Meta(
            max_length=NEWER_MAX,
            description="With `?newer=true`: for nodes of which a newer life is known a sealed "
            "acknowledgement of it, base64url, for the relay to hand on.",
        ),
    ] = msgspec.field(default_factory=list)


class RecordsDoor:
    """Takes records of relays; owns nothing but counters, which count records.

    A request that is refused whole counts as one, because its records may be none.
    """

    def __init__(self, backend: Backend, keyring: Keyring) -> None:
        self._machine = backend.machine
        self._session = backend.identity.session
        self._keyring = keyring
        self._encoder = msgspec.json.Encoder()
        self.counts = {"taken": 0, "unmarked": 0, "refused": 0}

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for this door's path."""
        try:
            body, asks_for_newer = await _read(scope, receive)
            answer = self._take(body)
            if asks_for_newer:
                with contextlib.suppress(Busy):  # the records are taken all the same
                    answer.newer = self._newer(body)
        except Problem as problem:
            self.counts["refused"] += 1
            await problem.response()(scope, receive, send)
            return
        self.counts["taken"] += answer.taken
        self.counts["unmarked"] += answer.unmarked
        content = self._encoder.encode(answer)
        headers = [*_JSON_HEADERS, (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _take(self, body: bytes) -> RecordsAnswer:
        records = np.frombuffer(body, RECORD)
        marked = records["flags"] & Flag.RELAYED != 0
        taken = int(np.count_nonzero(marked))
        if taken < len(records):
            body = records[marked].tobytes()
        if taken and not self._machine.submit(body, Via.HTTP):
            raise inbox_full()
        return RecordsAnswer(taken, len(records) - taken, self._session)

    def _newer(self, body: bytes) -> list[str]:
        """Return what tells nodes with genuine records that a newer life of them is known."""
        records = np.frombuffer(body, RECORD)
        registry = self._machine.snapshot().state.registry
        slots = registry.slots_of_nodes(records["node"])
        known = slots >= 0
        life = np.zeros(len(slots), np.int64)
        life[known] = registry.incarnation[slots[known]]
        behind = np.flatnonzero(records["incarnation"].astype(np.int64) < life)[:NEWER_MAX]
        found = []
        for row in behind.tolist():
            node = int(records["node"][row])
            key = self._keyring.key_of(node)
            data = body[row * RECORD_SIZE : (row + 1) * RECORD_SIZE]
            if not hmac.compare_digest(tag(key, data[:BODY_SIZE]), data[BODY_SIZE:]):
                continue  # the number goes to the node alone, although it is no great secret
            newer = newer_life(node, key, incarnation=int(life[row]), session=self._session)
            found.append(encoded(newer))
        return found


async def _read(scope: Scope, receive: Receive) -> tuple[bytes, bool]:
    """Return the body, and whether the answer should tell of newer lives; raises Problem."""
    if scope["method"] != "POST":
        detail = f"{scope['method']} is not possible here, but POST is"
        raise Problem(405, "method-not-allowed", detail, headers={"Allow": "POST"})
    refuse_parameters(scope["query_string"], ("newer",))
    asks_for_newer = read_flag(scope["query_string"], "newer")
    body = await read_body(receive)
    if not body or len(body) % RECORD_SIZE:
        raise Problem(
            400,
            "no-records",
            f"expected 1 to {RECORDS_MAX} records of {RECORD_SIZE} bytes, one after the other and "
            f"nothing else; found {len(body)} bytes",
        )
    return body, asks_for_newer
