"""Enrolment: how a node that holds a join token learns its key, over HTTP without fear.

The token is `bwj1.PAYLOAD.SECRET`. The payload says until when it is valid and for which names;
the secret is derived from the master key and the payload, so the monitor keeps no list. Neither
the secret nor the key crosses the network: the node proves that it knows the secret, and the key
comes back masked with a pad that only the secret and both sides' nonces yield. Who listens learns
nothing; who answers in the monitor's place cannot make the proof of the answer.

The proof covers the whole request, as the bytes that were sent, and a challenge that the monitor
gave out a moment before: a recorded join can neither be changed nor played again.

A node that has its key already needs no token: it declares itself with that key, and `vouch` is the
monitor's proof of the address that it answers with.

Not here: HTTP itself, the clock (callers hand in the wall clock in seconds) and chance (callers
hand in nonces).
"""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from beatward.core.protocol.keys import KEY_SIZE, is_name, node_id, same
from beatward.errors import JoinRefused

NONCE_SIZE = 16
_PREFIX = "bwj1"
_KNOWN = "beatward v1 known"
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """What a node sends; `name` and `nonce` are inside the text and do not travel beside it.

    text       base64url of JSON: who the node wants to be, and what it says of itself
    payload    the middle part of the join token
    challenge  the monitor's, as text
    proof      that the node holds the token, over text and challenge
    known      the same with the name's key, from a node that has it; else empty
    """

    name: str
    nonce: str
    text: str
    payload: str
    challenge: str
    proof: str
    known: str = ""

    def body(self) -> dict[str, str]:
        """Return the object that is posted."""
        sent = {
            "request": self.text,
            "payload": self.payload,
            "challenge": self.challenge,
            "proof": self.proof,
        }
        return {**sent, "known": self.known} if self.known else sent


@dataclass(frozen=True, slots=True)
class JoinTerms:
    """What a token's payload says.

    expires   wall-clock second after which it is refused; 0: never
    replaces  it enrols a name that is taken without a proof of its key
    """

    expires: int
    names: str
    serial: str
    replaces: bool


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


def new_token(
    master: bytes, *, serial: str, expires: int = 0, names: str = "*", replaces: bool = False
) -> str:
    """Make a join token; its terms are those of `JoinTerms`.

    serial   chance, so that two tokens differ
    names    the one name, or a pattern such as `web-*`, that it may enrol
    """
    terms = {"expires": expires, "names": names, "serial": serial}
    if replaces:
        terms["replace"] = True
    payload = encoded(json.dumps(terms, sort_keys=True).encode())
    return f"{_PREFIX}.{payload}.{encoded(_secret(master, payload))}"


def request(
    token: str,
    name: str,
    nonce: bytes,
    challenge: str,
    *,
    more: Mapping[str, Any] = _NOTHING,
    key: bytes | None = None,
) -> JoinRequest:
    """Make the request with which a node enrols under a name. Raises JoinRefused on a bad token.

    more   labels and job, as `POST /v1/join` has them
    key    of the name, from a node that has it
    """
    payload, secret = _split(token)
    shown = encoded(nonce)
    said = {"name": name, "nonce": shown, **more}
    text = encoded(json.dumps(said, ensure_ascii=False).encode())
    return JoinRequest(
        name,
        shown,
        text,
        payload,
        challenge,
        proof=_prove(secret, "join", challenge, text),
        known="" if key is None else _prove(key, _KNOWN, challenge, text),
    )


def check_proof(master: bytes, asked: JoinRequest) -> None:
    """Raise JoinRefused unless a token of this monitor made the request as it is."""
    proof = _prove(_secret(master, asked.payload), "join", asked.challenge, asked.text)
    if not same(proof, asked.proof):
        raise JoinRefused("this join token was not made by this monitor")


def check_terms(asked: JoinRequest, now: int) -> JoinTerms:
    """Return a token's terms if they allow the request's name; raises JoinRefused and says why.

    now   wall-clock second
    """
    try:
        said = json.loads(decoded(asked.payload))
        expires, names, serial = int(said["expires"]), str(said["names"]), str(said["serial"])
        terms = JoinTerms(expires, names, serial, replaces=bool(said.get("replace")))
    except (ValueError, KeyError, TypeError) as error:
        raise JoinRefused("the join token's payload cannot be read") from error
    if not is_name(asked.name):
        raise JoinRefused(f"{asked.name!r} is not a name: letters, digits and ._:@-, at most 128")
    if terms.expires and now > terms.expires:
        raise JoinRefused(
            "this join token has expired; make another with: beatward token new --node "
            f"{asked.name}"
        )
    if not fnmatchcase(asked.name, names):
        raise JoinRefused(f"this join token is for {names!r}, not for {asked.name!r}")
    return terms


def has_key(asked: JoinRequest, key: bytes) -> bool:
    """Tell whether who asks has shown to have the name's key."""
    return same(_prove(key, _KNOWN, asked.challenge, asked.text), asked.known)


def answer(master: bytes, asked: JoinRequest, key: bytes, *, nonce: bytes, udp: str) -> JoinAnswer:
    """Make the monitor's answer to a request that was checked; `key` is that of the name."""
    secret, node = _secret(master, asked.payload), node_id(asked.name)
    shown = encoded(nonce)
    sealed = _mask(key, secret, asked, shown)
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
