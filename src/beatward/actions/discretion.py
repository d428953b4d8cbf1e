"""What may be said about a receiver aloud: its host, and nothing that opens its door.

The secret of a webhook can be in the url's user, its path (Slack, Discord), its query, or a
header. Outcomes are shown to everybody who may look at the monitor, so a receiver is named by
scheme and host only, and what it answers is searched for the secrets that we sent it. A receiver
that disguises a secret before it echoes it is beyond us.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote, urlsplit

HIDDEN = "***"
# Shorter words ("on", "1", "v2", "json") are no secrets, and hiding them would garble the rest.
SECRET_LENGTH_MIN = 6
_HARMLESS = frozenset(
    {"application", "application/json", "basic", "bearer", "charset=utf-8", "webhook", "webhooks"}
)


class Discretion:
    """Knows what of one receiver may be said.

    place        scheme, host and port; or, when `is_readable` is False, what is wrong with the url
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.place, self.is_readable = _place(url)
        found = {form for secret in _secrets(url, headers) for form in _forms(secret)}
        # Longest first: a part that is hidden first would leave the rest of the whole visible.
        self._hidden = sorted(found, key=lambda form: (-len(form), form))

    def hide(self, text: str) -> str:
        """Return the text without any secret of this receiver."""
        for form in self._hidden:
            text = text.replace(form, HIDDEN)
        return text


def _place(url: str) -> tuple[str, bool]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an address that cannot be read", False
    if not host:
        return "an address without a host", False
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else ""), True


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    login = unquote(parts.netloc.rpartition("@")[0])
    secrets = [login, *login.split(":"), base64.b64encode(login.encode()).decode()]
    secrets += [parts.path, *parts.path.split("/"), parts.query]
    secrets += [pair.partition("=")[2] for pair in parts.query.split("&")]
    for value in headers.values():
        secrets += [value, *value.split()]
    for word in secrets:
        if len(word) >= SECRET_LENGTH_MIN and word.lower().rstrip(";") not in _HARMLESS:
            yield word


def _forms(secret: str) -> set[str]:
    return {
        secret,
        json.dumps(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        unquote(secret),
    }
