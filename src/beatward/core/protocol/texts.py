"""Texts from outside: what one may be, and how one is shown.

A node's labels, version, zone and address reach other nodes' hooks, terminals and logs. The monitor
refuses a text that is no line, and an address that is no host. The agent refuses them too, because
the monitor may have been broken into. `shown` is for every place that prints a text from outside.
Standard library only, because agents use it.
"""

import re
from ipaddress import IPv6Address

# No control characters, no other ends of lines, and none that turn the direction of writing.
LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]*"
LINE_WORDS = "one line of text without control characters"
# A host name (RFC 1123, and the `_` of containers) or an IP address, with the zone of a local one.
HOST = r"[A-Za-z0-9:][A-Za-z0-9._:-]*(%[A-Za-z0-9._-]+)?"
HOST_LENGTH_MAX = 253
HOST_WORDS = "a host name or an IP address such as db-1.example.org, 10.0.0.5 or fd00::5"
_line, _host = re.compile(LINE), re.compile(HOST)


def is_line(text: str) -> bool:
    """Tell whether a text is one line, without anything that steers a terminal."""
    return _line.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Tell whether a text is a host name or an IP address, so that no shell can misread it."""
    if len(text) > HOST_LENGTH_MAX or _host.fullmatch(text) is None:
        return False
    return ":" not in text or _is_ipv6(text)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def shown(text: str) -> str:
    """Return a text from outside on one line, and without what would steer a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def check_line(text: str) -> str:
    """Return a text that is one line, or raise ValueError."""
    if not is_line(text):
        raise ValueError(LINE_WORDS)
    return text


def check_host(text: str) -> str:
    """Return a host, or the empty text for none; else raise ValueError."""
    if text and not is_host(text):
        raise ValueError(HOST_WORDS)
    return text
