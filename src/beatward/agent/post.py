"""JSON over HTTP to the monitor: one connection that is kept open, and clear failures.

http.client and not urllib.request, because that opens a connection for each request; and loaded
late, because it costs 3 MB which an agent that is enrolled already and speaks UDP never needs.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from beatward.core.protocol import keys
from beatward.core.protocol.join import Credential
from beatward.errors import MonitorUnreachable

if TYPE_CHECKING:
    from http.client import HTTPConnection

# The largest answer is an inbox of some dozens of actions; a sender of more is no monitor.
ANSWER_SIZE_MAX = 256 * 1024
TIMEOUT_S = 5.0

# The node's credential and its monitor's address, as soon as there are any.
Access = Callable[[], tuple[Credential | None, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is empty when the answer was not a JSON object."""

    status: int
    body: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """The monitor's own words for a refusal, or the bare status."""
        for key in ("reason", "detail", "error", "message"):
            if isinstance(self.body.get(key), str):
                return str(self.body[key])
        return f"HTTP status {self.status}"


def check_url(url: object) -> str:
    """Return a monitor's address without a trailing slash; raises ValueError if it is none."""
    expected = f"expected the monitor's address as http://host:port, found {url!r}"
    if not isinstance(url, str):
        raise ValueError(expected)  # noqa: TRY004  one kind of error for all told wrongly
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(expected) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(expected)
    if parts.query or parts.fragment or parts.username:
        raise ValueError(expected)
    return url.rstrip("/")


class HttpClient:
    """One keep-alive connection to one monitor; used by one thread at a time."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = check_url(url)
        self._parts = urlsplit(self.url)
        self._timeout_s = timeout_s
        self._connection: HTTPConnection | None = None
        self._prefix = self._parts.path

    def post(self, path: str, body: Mapping[str, Any] | None, *, bearer: str = "") -> Answer:
        """Send an object, or no body, and return the answer, whatever its status.

        Raises MonitorUnreachable when nothing that speaks HTTP answered in time.
        """
        from http.client import HTTPException  # noqa: PLC0415  see the module's docstring

        is_fresh = self._connection is None
        try:
            return self._exchange(path, body, bearer)
        except (OSError, HTTPException) as error:
            self.close()
            if is_fresh or isinstance(error, TimeoutError):
                raise MonitorUnreachable(
                    f"{self.url}: {str(error) or type(error).__name__}"
                ) from error
        # The connection had been idle and the other side had closed it: that is no failure yet.
        return self.post(path, body, bearer=bearer)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, path: str, body: Mapping[str, Any] | None, bearer: str) -> Answer:
        if self._connection is None:
            self._connection, self._prefix = _connect(self._parts, self._timeout_s)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        content = None if body is None else json.dumps(body)
        self._connection.request("POST", self._prefix + path, content, headers)
        response = self._connection.getresponse()
        data = response.read(ANSWER_SIZE_MAX + 1)
        if len(data) > ANSWER_SIZE_MAX:
            self.close()  # the rest of it would be taken for the next answer
            raise MonitorUnreachable(f"{self.url}: the answer is larger than a monitor's would be")
        try:
            found = json.loads(data)
        except ValueError:
            found = None
        return Answer(response.status, found if isinstance(found, dict) else {})


def post_once(
    url: str,
    path: str,
    body: Mapping[str, Any] | None,
    *,
    bearer: str = "",
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send one object over a connection of its own, see `HttpClient.post`."""
    client = HttpClient(url, timeout_s=timeout_s)
    try:
        return client.post(path, body, bearer=bearer)
    finally:
        client.close()


def post_as(
    credential: Credential,
    url: str,
    path: str,
    body: Mapping[str, Any],
    *,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send one object in a node's name and with its key, see `post_once`."""
    body, bearer = {"name": credential.name, **body}, keys.bearer(credential.key)
    return post_once(url, path, body, bearer=bearer, timeout_s=timeout_s)


def _connect(parts: SplitResult, timeout_s: float) -> "tuple[HTTPConnection, str]":
    """Return a connection, through the environment's proxy if need be, and the path's prefix."""
    from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415  as above

    host = parts.hostname or ""
    is_secure = parts.scheme == "https"
    port = parts.port or (443 if is_secure else 80)
    kind = HTTPSConnection if is_secure else HTTPConnection
    proxy = _proxy(parts.scheme, host)
    if proxy is None:
        return kind(host, port, timeout=timeout_s), parts.path
    connection = kind(proxy.hostname or "", proxy.port or 3128, timeout=timeout_s)
    if is_secure:
        connection.set_tunnel(host, port)
        return connection, parts.path
    return connection, f"{parts.scheme}://{parts.netloc}{parts.path}"


def _proxy(scheme: str, host: str) -> SplitResult | None:
    """Find the proxy that `http_proxy`, `https_proxy` and `no_proxy` ask for, as curl would."""
    # Only the lower-case http_proxy, because a CGI client can set HTTP_PROXY by a header.
    names = ["http_proxy"] if scheme == "http" else ["https_proxy", "HTTPS_PROXY"]
    url = next((os.environ[name] for name in names if os.environ.get(name)), "")
    if not url or host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    if is_exempt(host):
        return None
    return urlsplit(url if "://" in url else f"http://{url}")


def is_exempt(host: str) -> bool:
    """Tell whether `no_proxy` names a host: itself, a domain above it, or its network."""
    exempt = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    host = host.lower()
    for pattern in (part.strip().strip("[]").lower().lstrip(".") for part in exempt.split(",")):
        if pattern == "*" or (pattern and (host == pattern or host.endswith("." + pattern))):
            return True
        if "/" in pattern and _is_within(host, pattern):
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    import ipaddress  # noqa: PLC0415  1 MB, for those who have such a network

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # A name, whose address is not looked up, or no network.
        return False
