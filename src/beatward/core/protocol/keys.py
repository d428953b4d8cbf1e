"""Every secret, derived from the monitor's master key, so that none has to be stored.

    master ──► node key      authenticates the records of one node
                 ├──► bearer   authenticates its HTTP heartbeats
                 └──► ping key the capability inside its bare URL
           ──► join token    lets a new node enrol (see `join`)
           ──► API token     lets an operator ask and command over HTTP

A stolen node key speaks for that node only, and until it is revoked: the name's epoch is raised,
and the key of the next epoch has nothing to do with the one before. HMAC-SHA256 everywhere: it is
in the standard library of every language an agent may be written in, and has no nonce to misuse.
"""

import base64
import hashlib
import hmac
import re

KEY_SIZE = 32
NAME_LENGTH_MAX = 128
_WILDCARDS = frozenset("*?[")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


def is_name(name: str) -> bool:
    """Tell whether a node may be called that: letters, digits and `._:@-`, at most 128."""
    return _NAME.fullmatch(name) is not None


def is_pattern(names: str) -> bool:
    """Tell whether it stands for several names: no name can hold the signs of a pattern."""
    return not _WILDCARDS.isdisjoint(names)


def node_id(name: str) -> int:
    """Return the identity that stands for a name on the wire: 64 bits, never 0.

    It is a hash and not a number we hand out, so every monitor gives a name the same identity,
    also after losing its store. Two of a million names collide with probability 3e-8; the
    registry refuses the second.
    """
    digest = hashlib.sha256(b"beatward node\0" + name.encode()).digest()
    return int.from_bytes(digest[:8], "little") or 1


def node_key(master: bytes, node: int, epoch: int = 0) -> bytes:
    """Derive the 32-byte key of a node from the monitor's master key.

    epoch   how often the name's key was revoked, below 2^32
    """
    # Epoch 0 adds nothing, so nodes of versions without epochs keep their keys.
    later = epoch.to_bytes(4, "little") if epoch else b""
    return _derive(master, b"node key\0" + node.to_bytes(8, "little") + later)


def bearer(key: bytes) -> str:
    """Derive the bearer token of a node's HTTP heartbeats from its key."""
    return "bwn1_" + _text(_derive(key, b"http bearer")[:20])


def ping_key(key: bytes) -> str:
    """Derive the secret part of a node's bare heartbeat URL from its key."""
    return _text(_derive(key, b"ping url")[:20])


def api_token(master: bytes) -> str:
    """Derive the token with which an operator asks and commands over HTTP."""
    return "bwa1_" + _text(_derive(master, b"api token")[:20])


def same(left: str, right: str) -> bool:
    """Compare two secrets without telling by time how far they agree."""
    return hmac.compare_digest(left.encode(), right.encode())


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(key, b"beatward v1 " + purpose, "sha256")


def _text(secret: bytes) -> str:
    return base64.b32encode(secret).decode().rstrip("=").lower()
