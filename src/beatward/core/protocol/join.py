"""Enrolment: how a node that holds a join token learns its key, over HTTP without fear.

The token is `bwj1.PAYLOAD.SECRET`. The payload says until when it is valid and for which names;
the secret is derived from the master key and the payload, so the monitor keeps no list. Neither
the secret nor the key crosses the network: the node proves that it knows the secret, and the key
comes back masked with a pad that only the secret and both sides' nonces yield. Who listens learns
nothing; who answers in the monitor's place cannot make the proof of the answer.

A node that has its key already needs no token: it declares itself with that key, and `vouch` is the
monitor's proof of the address that it answers with.

Not here: HTTP itself, the clock (callers hand in the wall clock in seconds) and chance (callers
hand in nonces).
"""

import base64
import hmac
import json
from dataclasses import dataclass
from fnmatch import fnmatchcase

from beatward.core.protocol.keys import KEY_SIZE, is_name, node_id, node_key
from beatward.errors import JoinRefused

NONCE_SIZE = 16
_PREFIX = "bwj1"


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What a node sends: who it wants to be, and the proof that it holds a token."""

    name: str
    payload: str
    nonce: str
    proof: str


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """What the monitor answers; `udp` is the host:port that takes the node's datagrams."""

    node: str
    udp: str
    nonce: str
    sealed_key: str
    proof: str


@dataclass(frozen=True, slots=True)
class Credential:
    """What a node needs to speak: its name, its key and where to send."""

    name: str
    key: bytes
    udp: str


def new_token(master: bytes, *, serial: str, expires: int = 0, names: str = "*") -> str:
    """Make a join token.

    serial   chance, so that two tokens differ
    expires  wall-clock second after which it is refused; 0: never
    names    the one name, or a pattern such as `web-*`, that it may enrol
    """
    payload = encoded(
        json.dumps({"expires": expires, "names": names, "serial": serial}, sort_keys=True).encode()
    )
    return f"{_PREFIX}.{payload}.{encoded(_secret(master, payload))}"


def request(token: str, name: str, nonce: bytes) -> JoinRequest:
    """Make the request with which a node enrols under a name. Raises JoinRefused on a bad token."""
    payload, secret = _split(token)
    shown = encoded(nonce)
    return JoinRequest(name, payload, shown, _prove(secret, "request", shown, name))


def answer(
    master: bytes, asked: JoinRequest, *, nonce: bytes, udp: str, now: int, epoch: int = 0
) -> JoinAnswer:
    """Check a request and make the monitor's answer; raises JoinRefused and says why.

    now     wall-clock second
    epoch   of the name's key
    """
    secret = _secret(master, asked.payload)
    proof = _prove(secret, "request", asked.nonce, asked.name)
    if not hmac.compare_digest(proof.encode(), asked.proof.encode()):
        raise JoinRefused("this join token was not made by this monitor")
    try:
        terms = json.loads(decoded(asked.payload))
        expires, names = int(terms["expires"]), str(terms["names"])
    except (ValueError, KeyError, TypeError) as error:
        raise JoinRefused("the join token's payload cannot be read") from error
    if not is_name(asked.name):
        raise JoinRefused(f"{asked.name!r} is not a name: letters, digits and ._:@-, at most 128")
    if expires and now > expires:
        raise JoinRefused("this join token has expired; make another with: beatward token new")
    if not fnmatchcase(asked.name, names):
        raise JoinRefused(f"this join token is for {names!r}, not for {asked.name!r}")
    node = node_id(asked.name)
    shown = encoded(nonce)
    sealed = _mask(node_key(master, node, epoch), secret, asked, shown)
    sealed_text = encoded(sealed)
    proof = _prove(secret, "answer", asked.nonce, shown, sealed_text, udp, asked.name)
    return JoinAnswer(f"{node:016x}", udp, shown, sealed_text, proof)


def accept(token: str, asked: JoinRequest, answered: JoinAnswer) -> Credential:
    """Check the monitor's answer and take the key out; raises JoinRefused on a forged one."""
    _, secret = _split(token)
    proof = _prove(
        secret, "answer", asked.nonce, answered.nonce, answered.sealed_key, answered.udp, asked.name
    )
    if not hmac.compare_digest(proof.encode(), answered.proof.encode()):
        raise JoinRefused("the answer does not come from the monitor that made this join token")
    key = _mask(decoded(answered.sealed_key), secret, asked, answered.nonce)
    return Credential(asked.name, key, answered.udp)


def vouch(key: bytes, nonce: str, udp: str, name: str) -> str:
    """Prove to a node, by its own key, that datagrams go to `udp`.

    nonce   the node's own chance of this request, base64url, so that no old answer fits
    """
    return _prove(key, "beatward v1 declared", nonce, udp, name)


def _secret(master: bytes, payload: str) -> bytes:
    return hmac.digest(master, b"beatward v1 join token\0" + payload.encode(), "sha256")


def _split(token: str) -> tuple[str, bytes]:
    prefix, _, rest = token.strip().partition(".")
    payload, _, secret = rest.partition(".")
    if prefix != _PREFIX or not payload or not secret:
        raise JoinRefused("this is not a join token; it has the form bwj1.PAYLOAD.SECRET")
    try:
        return payload, decoded(secret)
    except ValueError as error:
        raise JoinRefused("the join token is damaged; copy it again as a whole") from error


def _prove(secret: bytes, role: str, *parts: str) -> str:
    # Parts are joined by NUL, which none of them can hold: no two lists read the same.
    return encoded(hmac.digest(secret, "\0".join((role, *parts)).encode(), "sha256")[:16])


def _mask(data: bytes, secret: bytes, asked: JoinRequest, nonce: str) -> bytes:
    pad = hmac.digest(secret, "\0".join(("pad", asked.nonce, nonce, asked.name)).encode(), "sha256")
    if len(data) != KEY_SIZE:
        raise JoinRefused(f"the answer's key has {len(data)} bytes, not {KEY_SIZE}")
    return bytes(a ^ b for a, b in zip(data, pad, strict=True))


def encoded(data: bytes) -> str:
    """Write bytes as base64url without padding, as all of this protocol's JSON has them."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Read what `encoded` wrote; raises ValueError."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
