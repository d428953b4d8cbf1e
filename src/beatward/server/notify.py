"""One datagram to systemd: `READY=1`, `STOPPING=1`. Nothing happens where nobody asked for it."""

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Tell the service manager named by NOTIFY_SOCKET; a failure is no reason to stop working."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    # A name that begins with @ lies in the abstract namespace, which begins with a NUL.
    address = "\0" + place[1:] if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(state.encode(), address)
