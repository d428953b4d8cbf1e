"""Who may ask and who may command: nothing is looked up, everything is derived.

    reads     open on a listener that only this machine reaches, asked for by a local name;
              else the API token
    commands  the API token, always
    a node    its own bearer token, for its own name
    metrics   as reads; `/healthz` is open, because what asks for it holds no secrets

A web page in a user's browser could ask a local listener under a name that it made resolve to
127.0.0.1, and a proxy could carry strangers to it; so a local read needs a local `Host` and no
trace of a proxy.
"""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import Scope

from beatward.core.protocol.keys import (
    api_token,
    bearer,
    is_name,
    node_id,
    node_key,
    ping_key,
    same,
)
from beatward.web.backend import Backend, KeyRecords, MonitorIdentity
from beatward.web.problems import Problem, shown
from beatward.web.strangers import Strangers

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", "ip6-localhost"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
# Four hashes a name, 9 us together; the keys of this many nodes fit in about 40 MB.
_KNOWN_MAX = 100_000


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The secrets of one name in one epoch."""

    node: int
    epoch: int
    key: bytes = field(repr=False)
    bearer: str = field(repr=False)
    ping_key: str = field(repr=False)


class Keyring:
    """Derives the secrets of names, and remembers those of nodes that proved to know theirs."""

    def __init__(self, master: bytes, records: KeyRecords) -> None:
        self._master = master
        self._records = records
        self._known: dict[str, NodeKeys] = {}

    def admit_bearer(self, name: str, shown: str) -> NodeKeys | None:
        """Return the secrets of a name to who shows its bearer token, else None."""
        keys = self._of(name)
        return self._admit(name, keys, is_right=keys is not None and same(keys.bearer, shown))

    def admit_ping(self, name: str, shown: str) -> NodeKeys | None:
        """Return the secrets of a name to who shows its ping key, else None."""
        keys = self._of(name)
        return self._admit(name, keys, is_right=keys is not None and same(keys.ping_key, shown))

    def key_of(self, node: int) -> bytes:
        """Return the key that an identity has now."""
        return node_key(self._master, node, self._records.epoch(node))

    def _of(self, name: str) -> NodeKeys | None:
        known = self._known.get(name)
        if known is not None and known.epoch == self._records.epoch(known.node):
            return known
        return self._derive(name) if is_name(name) else None

    def _derive(self, name: str) -> NodeKeys:
        node = node_id(name)
        epoch = self._records.epoch(node)
        key = node_key(self._master, node, epoch)
        return NodeKeys(node, epoch, key, bearer(key), ping_key(key))

    def _admit(self, name: str, keys: NodeKeys | None, *, is_right: bool) -> NodeKeys | None:
        if keys is None or not is_right:
            return None
        if name not in self._known and len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[name] = keys
        return keys


def shown_token(scope: Scope) -> str:
    """Return the token of `Authorization: Bearer TOKEN`, or the empty string."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = bytes(value).partition(b" ")
            if scheme.lower() == b"bearer":
                return token.strip().decode("latin-1")
    return ""


def backend_of(request: Request) -> Backend:
    """Return what the application was made with."""
    backend: Backend = request.app.state.backend
    return backend


Served = Annotated[Backend, Depends(backend_of)]
_API_TOKEN = HTTPBearer(
    scheme_name="apiToken",
    description="`Authorization: Bearer bwa1_...`; `beatward token api` prints it, and the local "
    "user's `local.json` holds it.",
    auto_error=False,
)
NODE_BEARER = HTTPBearer(
    scheme_name="nodeBearer",
    description="`Authorization: Bearer bwn1_...`, derived from the node's key; it speaks for that "
    "node only. `beatward token node NAME` prints it.",
    auto_error=False,
)
_Shown = Annotated[HTTPAuthorizationCredentials | None, Depends(_API_TOKEN)]


def may_read(request: Request, backend: Served, shown: _Shown) -> None:
    """Raise Problem 401 unless this request may see the fleet."""
    identity = backend.identity
    if shown is None and identity.loopback and _is_local(request):
        return
    _check(identity, shown)


def may_command(backend: Served, shown: _Shown) -> None:
    """Raise Problem 401 unless this request may change something."""
    _check(backend.identity, shown)


def admit_node(request: Request, name: str) -> NodeKeys:
    """Return a node's secrets to a request that shows its bearer token, or raise Problem 401."""
    keyring: Keyring = request.app.state.keyring
    found = keyring.admit_bearer(name, shown_token(request.scope))
    if found is None:
        strangers: Strangers = request.app.state.strangers
        strangers.note(name, request.scope, "http")
        raise no_bearer_of(name)
    return found


def no_bearer_of(name: str) -> Problem:
    """Return the answer to a request in a node's name that has not its bearer token."""
    return unauthorized(
        f"expected the bearer token of the node {shown(name)}, bwn1_...; it is derived from the "
        "node's key, and `beatward token node NAME` prints it. A key that was revoked, or is of "
        "another monitor, opens nothing: enrol the node again with a join token, which `beatward "
        "token new --node NAME` makes"
    )


def unauthorized(detail: str) -> Problem:
    """Return the answer to who did not prove who it is."""
    return Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _check(identity: MonitorIdentity, shown: HTTPAuthorizationCredentials | None) -> None:
    if shown is None:
        raise unauthorized(
            "this needs the API token as `Authorization: Bearer bwa1_...`; on the monitor's "
            "machine `beatward token api` prints it"
        )
    if not same(api_token(identity.master), shown.credentials):
        raise unauthorized(
            "this is not the API token of this monitor; on its machine `beatward token api` "
            "prints the right one"
        )


def _is_local(request: Request) -> bool:
    host = request.headers.get("host", "")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name in _LOCAL_HOSTS and not any(name in request.headers for name in _FORWARDED)
