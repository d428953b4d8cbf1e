"""A join as an agent makes it, by hand: a challenge, and the request that proves itself by it."""

from typing import Any

import httpx2

from beatward.core.protocol import join

NONCE = b"0123456789abcdef"


def challenged(http: httpx2.Client, token: str, name: str, **more: Any) -> join.JoinRequest:
    """Return a request that has a fresh challenge; `key` and what the node says may be given."""
    key = more.pop("key", None)
    challenge = http.post("/v1/join/challenge").json()["challenge"]
    return join.request(token, name, NONCE, challenge, more=more, key=key)


def ask_to_join(
    http: httpx2.Client, token: str, name: str, **more: Any
) -> tuple[join.JoinRequest, httpx2.Response]:
    """Join, and return what was asked and the answer, whatever it is."""
    asked = challenged(http, token, name, **more)
    return asked, http.post("/v1/join", json=asked.body())


def joined(http: httpx2.Client, token: str, name: str, **more: Any) -> join.Credential:
    """Join and return the credential."""
    asked, answer = ask_to_join(http, token, name, **more)
    assert answer.status_code == 200, answer.text
    return join.accept(token, asked, join.JoinAnswer(**answer.json()))
