"""Challenges for joins: short-lived, made without keeping a list, and good for one join each.

A challenge is the instant at which it was made, chance, and a MAC of both under a key of this
start; so nothing is kept of those that are given out, and none survives the monitor. What a join
has used is remembered until it would have expired anyway.
"""

import hmac
import secrets
import threading
from collections.abc import Callable

from beatward.core.instants import SECOND
from beatward.core.protocol.join import decoded, encoded
from beatward.errors import JoinRefused, TemporaryError

VALID_NS = 60 * SECOND
# More joins than the inbox takes orders, at 200 bytes each.
USED_MAX = 1 << 18
_INSTANT_SIZE = 8
_BODY_SIZE = _INSTANT_SIZE + 8
_MAC_SIZE = 16


class Challenges:
    """Makes and checks them; any thread may ask."""

    def __init__(self, now_ns: Callable[[], int], *, used_max: int = USED_MAX) -> None:
        self._now_ns = now_ns
        self._used_max = used_max
        self._key = secrets.token_bytes(32)
        # By text, when each was used: in this order they may be dropped.
        self._used: dict[str, int] = {}
        self._using = threading.Lock()

    def make(self) -> str:
        """Return a new challenge."""
        instant = self._now_ns().to_bytes(_INSTANT_SIZE, "big")
        body = instant + secrets.token_bytes(_BODY_SIZE - _INSTANT_SIZE)
        return encoded(body + self._mac(body))

    def check(self, challenge: str) -> None:
        """Raise JoinRefused unless the challenge was made here a short while ago."""
        try:
            data = decoded(challenge)
        except ValueError:
            data = b""
        body, mac = data[:_BODY_SIZE], data[_BODY_SIZE:]
        made_ns = int.from_bytes(body[:_INSTANT_SIZE], "big")
        # Written anew, because base64 has several texts for the same bytes.
        is_ours = hmac.compare_digest(self._mac(body), mac) and encoded(data) == challenge
        if not is_ours or self._now_ns() > made_ns + VALID_NS:
            raise JoinRefused(
                "the challenge of this join is older than 60 s, or not of this monitor's present "
                "run: ask for another and join again"
            )

    def use(self, challenge: str) -> None:
        """Take a challenge that was checked; raises JoinRefused where it was used before.

        Raises TemporaryError while too many are remembered.
        """
        now_ns = self._now_ns()
        with self._using:
            while self._used and next(iter(self._used.values())) + VALID_NS < now_ns:
                del self._used[next(iter(self._used))]
            if challenge in self._used:
                raise JoinRefused("the challenge of this join was used before: ask for another")
            if len(self._used) >= self._used_max:
                raise TemporaryError("too many nodes have joined within a minute")
            self._used[challenge] = now_ns

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_SIZE]
