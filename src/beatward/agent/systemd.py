"""systemd's notify protocol: one datagram a word, sent to the socket that it names.

READY=1 when the first heartbeat is on its way, STOPPING=1 at the end, WATCHDOG=1 while the heart
turns; without systemd nothing happens.
"""

import os
import socket
from collections.abc import Mapping

from beatward.core.instants import MICROSECOND, NEVER


def notify(word: str, environment: Mapping[str, str] = os.environ) -> None:
    """Tell systemd, if it asked to be told."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an address in Linux's abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(word.encode(), address)
        except OSError:
            return  # systemd is restarting; the next word will reach it


def watchdog_ns(environment: Mapping[str, str] = os.environ) -> int:
    """Return how often WATCHDOG=1 is due: half of what systemd allows, or NEVER."""
    text, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdigit() or process not in ("", str(os.getpid())):
        return NEVER
    return max(int(text) * MICROSECOND // 2, 1)
