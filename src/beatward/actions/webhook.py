"""kind = "webhook": POST the event as JSON and believe the status of the answer.

    2xx                                    success; of a fence 202 is not: it is only under way
    408, 425, 429, 5xx, and no answer      temporary; Retry-After is honoured
    3xx                                    permanent: the settings should name the final address
    other 4xx                              permanent

A webhook is delivered at least once: when the monitor dies between the answer and the journal, it
is sent again. The header `Idempotency-Key` is the same in all attempts, so a receiver can tell.
Not here: retries (`core.outbox`), and other people's message formats.
"""

import asyncio
import contextlib
import logging
import os
import re
import ssl
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import httpx2

from beatward import __version__
from beatward.action_settings import ActionSettings
from beatward.actions.driver import Surroundings, nodes_of
from beatward.core.instants import HOUR, SECOND, format_duration
from beatward.core.outbox import Action, fenced_by
from beatward.errors import PermanentError, TemporaryError

from .discretion import Discretion

RUNNING_MAX = 64
BODY_SIZE_MAX = 4096
EXCERPT_LENGTH_MAX = 200
# A receiver that says "tomorrow" is not asked to keep an alarm for itself that long.
RETRY_AFTER_MAX_NS = HOUR

_UNSENDABLE = "the url or a header cannot be sent; mend the settings"
_TEMPORARY = frozenset({408, 425, 429})
_SECONDS = re.compile(r"[0-9]{1,9}")
# What we say for httpx2's exceptions; their own text can quote a header, and so a secret.
_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (httpx2.RemoteProtocolError, "the answer broke off or is not HTTP"),
    (httpx2.ProxyError, "the proxy refused"),
    (httpx2.ConnectError, "no connection"),
    (httpx2.NetworkError, "the connection broke"),
)


class Webhook:
    """The driver; one client for all webhooks, and a new connection for each attempt.

    Deeds are rare. A connection kept since the last one is most likely dead by now, and a POST
    that fails on a dead one cannot be told from one that was heard.
    """

    running_max = RUNNING_MAX
    # The driver keeps the limit itself and can say who was late; this is for saying it.
    grace_ns = SECOND // 4

    def __init__(self, surroundings: Surroundings) -> None:
        self._wall_ns = surroundings.wall_ns
        self._client: httpx2.AsyncClient | None = None

    async def do(self, action: Action, settings: ActionSettings) -> str:
        """POST once; see `Driver.do`."""
        discretion = Discretion(settings.url or "", settings.headers)
        if not discretion.is_readable:
            raise PermanentError(f"{discretion.place}: {_UNSENDABLE}")
        bounds = asyncio.timeout(settings.timeout / SECOND)
        try:
            async with bounds, self._stream(action, settings) as response:
                is_fence = fenced_by(action.key) is not None
                return await self._judge(response, discretion, is_fence=is_fence)
        except TimeoutError:
            limit = format_duration(settings.timeout)
            raise TemporaryError(f"{discretion.place}: no answer within {limit}") from None
        except httpx2.TransportError as error:
            raise _failure(error, discretion) from None
        except (httpx2.InvalidURL, UnicodeError):
            # Not chained: both quote what they choke on.
            raise PermanentError(f"{discretion.place}: {_UNSENDABLE}") from None

    async def forget(self, keys: Collection[str]) -> None:
        """Do nothing: nothing is kept."""

    async def retain(self, keys: Collection[str]) -> None:
        """Do nothing: nothing is kept."""

    async def end(self) -> None:
        """Do nothing: a request does not outlive the monitor."""

    async def close(self) -> None:
        """Close the client."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _stream(
        self, action: Action, settings: ActionSettings
    ) -> contextlib.AbstractAsyncContextManager[httpx2.Response]:
        if self._client is None:
            self._client = _client()
        headers = httpx2.Headers(
            {
                "Accept-Encoding": "identity",
                "User-Agent": f"beatward/{__version__}",
                **settings.headers,
                "Idempotency-Key": quote(action.key, safe="/:@!$&'()*+,;=~"),
            }
        )
        return self._client.stream(
            "POST",
            settings.url or "",
            json=payload(action),
            headers=headers,
            timeout=None,  # `do` bounds the whole; httpx2 would bound only its parts.
        )

    async def _judge(
        self, response: httpx2.Response, discretion: Discretion, *, is_fence: bool
    ) -> str:
        status = response.status_code
        outcome = f"{discretion.place} answered {status} {response.reason_phrase}".rstrip()
        if status == 202 and is_fence:
            raise TemporaryError(
                f"{discretion.hide(outcome)}, which says that the wish was taken and not that it "
                "is done: of a fence that is no confirmation"
            )
        if 200 <= status < 300:
            # The body is not waited for: with the status the event was taken.
            return discretion.hide(outcome)
        if 300 <= status < 400:
            target = Discretion(response.headers.get("Location", ""), {}).place
            raise PermanentError(
                f"{outcome}, a redirection to {target}; it is not followed, because the event and "
                "its headers were meant for the first address: put the final one into url"
            )
        excerpt = discretion.hide(await _excerpt(response))[:EXCERPT_LENGTH_MAX]
        message = discretion.hide(outcome) + (f": {excerpt}" if excerpt else "")
        if status in _TEMPORARY or status >= 500:
            retry_after_ns = retry_after(response.headers, self._wall_ns())
            raise TemporaryError(message, retry_after_ns=retry_after_ns)
        raise PermanentError(message)


def payload(action: Action) -> dict[str, Any]:
    """Return the JSON that a webhook receives."""
    event = action.event
    at_wall_ns = event.get("at_wall_ns")
    role = fenced_by(action.key)
    of_role = {} if role is None else {"service": role[0], "token": role[1]}
    names, count = nodes_of(action)
    of_many = {} if action.node or not count else {"nodes": names, "count": count}
    return {
        "event": event.get("event"),
        "id": event.get("id"),
        "node": action.node,
        "status": event.get("status"),
        "cause": event.get("cause"),
        "explanation": event.get("explanation"),
        "at": None if at_wall_ns is None else _rfc3339(at_wall_ns),
        "action": action.name,
        "key": action.key,
        "attempt": action.attempt,
        **of_role,
        **of_many,
    }


def retry_after(headers: Mapping[str, str], wall_ns: int) -> int:
    """Read Retry-After, in seconds or as a date, and return nanoseconds; 0 where there is none.

    A date is compared with the answer's own Date where there is one, so our clock need not agree
    with the receiver's.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        wait_ns = int(text) * SECOND
    else:
        until_ns, said_ns = _date_ns(text), _date_ns(headers.get("Date", ""))
        if until_ns is None:
            return 0
        wait_ns = until_ns - (wall_ns if said_ns is None else said_ns)
    return min(max(wait_ns, 0), RETRY_AFTER_MAX_NS)


def _date_ns(text: str) -> int | None:
    try:
        date = parsedate_to_datetime(text)
        # RFC 9110 dates are GMT; one that names no zone is taken so too.
        return int(date.replace(tzinfo=date.tzinfo or UTC).timestamp()) * SECOND
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _rfc3339(wall_ns: int) -> str:
    seconds, fraction_ns = divmod(wall_ns, SECOND)
    date = datetime.fromtimestamp(seconds, UTC)
    return f"{date:%Y-%m-%dT%H:%M:%S}.{fraction_ns // 1000:06d}Z"


def _client() -> httpx2.AsyncClient:
    # At INFO httpx2 logs whole urls and at DEBUG httpcore2 logs headers: a Slack url is a secret.
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        follow_redirects=False,
        # No limit of its own: a receiver that hangs must not keep the others' connections. How many
        # there are is bounded for each action, by `RUNNING_MAX`.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
    )


async def _excerpt(response: httpx2.Response) -> str:
    """Read the beginning of a refusal; what cannot be read in time or as text is left out."""
    if "Content-Encoding" in response.headers:
        return ""  # We asked for none. To unpack a stranger's archive is to invite a bomb.
    body = b""
    with contextlib.suppress(httpx2.TransportError, TimeoutError):
        async with asyncio.timeout(1), contextlib.aclosing(response.aiter_raw()) as chunks:
            async for chunk in chunks:
                body += chunk[: BODY_SIZE_MAX - len(body)]
                if len(body) >= BODY_SIZE_MAX:
                    break
    return body.decode("utf-8", "replace")


def _failure(error: httpx2.TransportError, discretion: Discretion) -> Exception:
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return PermanentError(f"{discretion.place}: {_UNSENDABLE}")
    detail = _detail(error)
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return TemporaryError(f"{discretion.place}: {sentence}{detail}")
    return TemporaryError(f"{discretion.place}: {type(error).__name__}")


def _detail(error: BaseException) -> str:
    """Return what the operating system or the TLS library said, from below httpx2's own words."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"; TLS: the certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "handshake failed").replace("_", " ").lower()
            return f"; TLS: {reason}"
        if isinstance(cause, OSError) and cause.strerror:
            # asyncio puts the address into strerror; a failed look-up of a name has no errno.
            known = cause.errno is not None and cause.errno > 0
            return f"; {os.strerror(cause.errno or 0) if known else cause.strerror}"
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]  # One a tried address; the first is as good as any.
        else:
            cause = cause.__cause__ or cause.__context__
    return ""
