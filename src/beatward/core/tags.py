"""Tags of whole batches: checked and made by the compiled extension, or in Python without it.

What a tag is, `core.protocol.record` says. Here it is made for many nodes in one call, from a row
of `secret` bytes that each node's key was prepared to: with the extension the midstates of its two
hashes, in Python the key itself. All implementations give the same answers, which
`tests/core/test_tags.py` holds them to; only their `secret` rows cannot be exchanged.

    ns a record, 20,000 nodes (benchmarks/tags.py, November 2026, Zen 5)
    sha-ni 80 · scalar 385 · python 1,490 · python, one record after the other 1,590
"""

from collections.abc import Mapping
from hmac import digest
from typing import Protocol

import numpy as np
import numpy.typing as npt

from beatward.core.arrays import BoolArray, ByteArray, IntArray
from beatward.core.protocol.keys import KEY_SIZE
from beatward.core.protocol.record import BODY_SIZE, RECORD_SIZE, TAG_SIZE, tag

try:
    from beatward.core import _tags
except ImportError:  # there was no compiler when beatward was installed
    _NAMES: tuple[str, ...] = ()
else:
    _NAMES = _tags.implementations()

# Records as rows of bytes or as a structured array; only their 64 bytes each count.
Records = npt.NDArray[np.uint8] | npt.NDArray[np.void]


class Tags(Protocol):
    """One way to check and make tags. Pure; any thread may call it."""

    @property
    def name(self) -> str:
        """How it is called in `beatward doctor`, /metrics and /v1/status."""

    @property
    def secret_size(self) -> int:
        """How many bytes a node it needs."""

    def prepare(self, keys: ByteArray) -> ByteArray:
        """Return what is kept of keys (k, KEY_SIZE): (k, secret_size)."""

    def verify(self, records: Records, slots: IntArray, secret: ByteArray) -> BoolArray:
        """Return which of m records bear the tag of the node in their slot.

        slots   (m,) rows of `secret`; what is no row of it verifies nothing
        secret  (n, secret_size)
        Raises ValueError when the shapes do not fit each other.
        """

    def seal(self, bodies: ByteArray, slots: IntArray, secret: ByteArray) -> ByteArray:
        """Return the tags (m, TAG_SIZE) of bodies (m, BODY_SIZE).

        Raises ValueError when the shapes do not fit, or a slot is no row of `secret`.
        """


class Compiled:
    """The extension, by one of the ways this processor can do it."""

    secret_size = 64

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self, keys: ByteArray) -> ByteArray:
        """See `Tags.prepare`."""
        made = _tags.midstates(np.ascontiguousarray(keys))
        return np.frombuffer(made, np.uint8).reshape(-1, self.secret_size)

    def verify(self, records: Records, slots: IntArray, secret: ByteArray) -> BoolArray:
        """See `Tags.verify`."""
        block = np.ascontiguousarray(records)
        return np.frombuffer(_tags.verify(block, slots, secret, self.name), np.bool_)

    def seal(self, bodies: ByteArray, slots: IntArray, secret: ByteArray) -> ByteArray:
        """See `Tags.seal`."""
        made = _tags.seal(np.ascontiguousarray(bodies), slots, secret, self.name)
        return np.frombuffer(made, np.uint8).reshape(-1, TAG_SIZE)


class InPython:
    """The standard library's HMAC, record by record; nearly all of its time is spent there."""

    name = "python"
    secret_size = KEY_SIZE

    def prepare(self, keys: ByteArray) -> ByteArray:
        """See `Tags.prepare`."""
        return keys

    def verify(self, records: Records, slots: IntArray, secret: ByteArray) -> BoolArray:
        """See `Tags.verify`."""
        block = np.ascontiguousarray(records).view(_SAID).reshape(-1)
        _check_one_each(len(block), slots)
        genuine = (slots >= 0) & (slots < len(secret))
        block, slots = block[genuine], slots[genuine]
        expected = _made(block["body"].tolist(), secret[slots]).view(np.uint64)
        # All words of all rows: how long it takes does not tell how many bytes were right.
        genuine[genuine] = (expected == block["tag"]).all(axis=1)
        return genuine

    def seal(self, bodies: ByteArray, slots: IntArray, secret: ByteArray) -> ByteArray:
        """See `Tags.seal`."""
        rows = _rows(bodies, BODY_SIZE)
        _check_one_each(len(rows), slots)
        unknown_count = np.count_nonzero((slots < 0) | (slots >= len(secret)))
        if unknown_count:
            raise ValueError(f"slots: {unknown_count} of {len(slots)} are outside of secret")
        return _made(rows, secret[slots])


_SAID = np.dtype([("body", f"V{BODY_SIZE}"), ("tag", "u8", (TAG_SIZE // 8,))])
assert _SAID.itemsize == RECORD_SIZE


def _check_one_each(count: int, slots: IntArray) -> None:
    if len(slots) != count:
        raise ValueError(f"slots: expected {count}, one a row, found {len(slots)}")


def _rows(block: ByteArray, size: int) -> list[bytes]:
    # All at once: slicing them out one by one makes the whole a sixth slower.
    rows: list[bytes] = np.ascontiguousarray(block).view(f"V{size}").reshape(-1).tolist()
    return rows


def _made(bodies: list[bytes], keys: ByteArray) -> ByteArray:
    """Return the tags (m, TAG_SIZE) of bodies under a key each, (m, KEY_SIZE)."""
    pairs = zip(_rows(keys, KEY_SIZE), bodies, strict=True)
    digests = b"".join([digest(key, body, "sha256")[:TAG_SIZE] for key, body in pairs])
    return np.frombuffer(digests, np.uint8).reshape(-1, TAG_SIZE)


def _is_right(tags: Tags) -> bool:
    """Try an implementation on one record.

    A processor, an emulator or a compiler that gets it wrong would have all heartbeats refused,
    and a whole fleet called dead; better slow.
    """
    key, body = bytes(range(KEY_SIZE)), bytes(range(BODY_SIZE))
    secret = tags.prepare(np.frombuffer(key, np.uint8).reshape(1, -1))
    made = tags.seal(np.frombuffer(body, np.uint8).reshape(1, -1), np.array([0]), secret)
    return made.tobytes() == tag(key, body)


_KNOWN: tuple[Tags, ...] = (*map(Compiled, _NAMES), InPython())
# By name, the fastest first; the one in Python is always there.
IMPLEMENTATIONS: Mapping[str, Tags] = {tags.name: tags for tags in _KNOWN if _is_right(tags)}
FASTEST = next(iter(IMPLEMENTATIONS.values()))
