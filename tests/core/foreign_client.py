"""A client written from docs/protocol.md alone: nothing of beatward is imported here.

If this needed to know more than the page says, the page would not be complete.
"""

import base64
import hashlib
import hmac
import json
import struct

BODY = struct.Struct("<2sBBIIBBHQQQHHI")
HEARTBEAT, ACKNOWLEDGEMENT, PROBE, PROBE_REPLY, GOODBYE = 1, 2, 3, 4, 5
ASKS = 1
NOT_MEASURED = 0xFFFF
NO_SLOT = 0xFFFFFFFF


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def base32(data):
    return base64.b32encode(data).decode().rstrip("=").lower()


# --- section 1 ---


def identity(name):
    digest = hashlib.sha256(b"beatward node\0" + name.encode()).digest()
    return int.from_bytes(digest[:8], "little") or 1


def node_key(master, name, epoch=0):
    later = epoch.to_bytes(4, "little") if epoch else b""
    return mac(master, b"beatward v1 node key\0" + identity(name).to_bytes(8, "little") + later)


def bearer(key):
    return "bwn1_" + base32(mac(key, b"beatward v1 http bearer")[:20])


def ping_key(key):
    return base32(mac(key, b"beatward v1 ping url")[:20])


def api_token(master):
    return "bwa1_" + base32(mac(master, b"beatward v1 api token")[:20])


# --- section 6 ---


def new_token(master, terms):
    payload = base64url(json.dumps(terms, sort_keys=True).encode())
    secret = mac(master, b"beatward v1 join token\0" + payload.encode())
    return f"bwj1.{payload}.{base64url(secret)}"


def prove(secret, *parts):
    return base64url(mac(secret, "\0".join(parts).encode())[:16])


def join_text(name, nonce, more):
    return base64url(json.dumps({"name": name, "nonce": base64url(nonce), **more}).encode())


def join_request(token, text, challenge, key=None):
    _, payload, secret = token.split(".")
    proof = prove(unbase64url(secret), "join", challenge, text)
    body = {"request": text, "payload": payload, "challenge": challenge, "proof": proof}
    if key is not None:
        body["known"] = prove(key, "beatward v1 known", challenge, text)
    return body


def join_accept(token, name, nonce, answer):
    """Return the key; None when the answer does not come from the maker of the token."""
    secret = unbase64url(token.split(".")[2])
    mine = base64url(nonce)
    parts = (mine, answer["nonce"], answer["sealed_key"], answer["udp"], name)
    if not hmac.compare_digest(prove(secret, "answer", *parts), answer["proof"]):
        return None
    pad = mac(secret, "\0".join(("pad", mine, answer["nonce"], name)).encode())
    return bytes(a ^ b for a, b in zip(unbase64url(answer["sealed_key"]), pad, strict=True))


# --- sections 2 to 5 and 8 ---


class ForeignClient:
    """One node; instants are its own, in milliseconds after its start."""

    def __init__(self, name, key, *, incarnation, interval_ms):
        self.key = key
        self.node = identity(name)
        self.incarnation = incarnation
        self.interval_ms = interval_ms
        self.slot = NO_SLOT
        self.echo = 0
        self.sent = -1
        self.acknowledged = -1
        self.farewell = None

    def beat(self, now_ms):
        self.sent = now_ms // self.interval_ms
        asks = 0 if self.acknowledged >= 0 else ASKS
        return self.record(HEARTBEAT, self.sent, flags=asks)

    def goodbye(self, now_ms, exit_code=None):
        sequence = max(self.sent + 1, now_ms // self.interval_ms)
        status, field = (0, NOT_MEASURED) if exit_code is None else (1, exit_code & 0xFFFF)
        self.farewell = {"sequence": sequence, "status": status, "flags": ASKS, "cpu": field}
        return self.record(GOODBYE, **self.farewell)

    def receive(self, data, now_ms):
        """Return the answer to a record of the monitor, or None."""
        if len(data) != 64 or not hmac.compare_digest(mac(self.key, data[:48])[:16], data[48:]):
            return None
        magic, version, kind, slot, _, _, _, _, node, incarnation, sequence, _, _, echo = (
            BODY.unpack(data[:48])
        )
        if (magic, version, node) != (b"BW", 1, self.node):
            return None
        if kind == PROBE and incarnation <= self.incarnation:
            self.slot, self.echo = slot, echo
            if self.farewell is not None:
                return self.record(GOODBYE, **self.farewell)
            return self.record(PROBE_REPLY, now_ms // self.interval_ms) if self.sent >= 0 else None
        if kind == ACKNOWLEDGEMENT and incarnation > self.incarnation and self.acknowledged < 0:
            self.incarnation = incarnation + 1
            self.slot, self.echo = slot, echo
        elif kind == ACKNOWLEDGEMENT and incarnation == self.incarnation:
            self.slot, self.echo, self.acknowledged = slot, echo, sequence
        return None

    def record(self, kind, sequence, *, status=0, flags=0, cpu=NOT_MEASURED):
        body = BODY.pack(
            b"BW",
            1,
            kind,
            self.slot,
            self.interval_ms,
            status,
            flags,
            cpu,
            self.node,
            self.incarnation,
            sequence,
            NOT_MEASURED,
            NOT_MEASURED,
            self.echo,
        )
        return body + mac(self.key, body)[:16]
