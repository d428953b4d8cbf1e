"""/dev/watchdog: a timer in the machine that resets it, unless it is fed again and again.

What no process can promise when all of them are frozen or killed at once, this can: that a node
which holds a role and does not renew its lease does nothing any more. It is fed only while the
loops that hold roles turn, and while no lease would be over when it bites. See Linux'
Documentation/watchdog/watchdog-api.rst.

Whole seconds are the finest a watchdog knows, so the lease and the time to demote should be three
seconds together, or more. Where they are a second or less it bites too late, and says so.
"""

import contextlib
import logging
import os
import struct
from pathlib import Path

from beatward.core.instants import SECOND, format_duration

log = logging.getLogger("beatward.agent")

# _IOWR('W', 6, int), set; it returns what the driver has made of it.
_SETTIMEOUT = 0xC0045706
# Of the lease and the time to demote: what is left of them when a renewal is half a lease late.
_SHARE_OF_LEASE = 2 / 3
_FEEDS_PER_TIMEOUT = 4
# What most drivers have until they are told something else.
_DEFAULT_S = 60


class Watchdog:
    """One watchdog; used by one thread.

    promise_ns   how long after a feed it bites at the latest; 0: that cannot be promised in time
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._timeout_s = _DEFAULT_S
        self._lease_ns = 0
        self.promise_ns = 0

    @property
    def spacing_ns(self) -> int:
        """How often it is to be fed: a few times before it bites, and once a second at least."""
        return min(self._timeout_s * SECOND // _FEEDS_PER_TIMEOUT, SECOND)

    def open(self) -> None:
        """Start it. A machine without one is not kept from working, but says so."""
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            log.error("no watchdog: %s: %s", self._path, error.strerror)  # noqa: TRY400  not ours

    def suit(self, lease_ns: int) -> None:
        """Let it bite before a lease and the time to demote are over; 0: nothing is known yet."""
        if lease_ns == self._lease_ns or self._file < 0:
            return
        self._lease_ns = lease_ns
        wanted_s = max(int(lease_ns * _SHARE_OF_LEASE) // SECOND, 1) if lease_ns else _DEFAULT_S
        self._timeout_s = self._set(wanted_s)
        is_in_time = 0 < self._timeout_s * SECOND < lease_ns
        self.promise_ns = self._timeout_s * SECOND if is_in_time else 0
        if lease_ns and not is_in_time:
            log.warning(
                "%s bites after %d s, and a lease with its time to demote has only %s",
                self._path,
                self._timeout_s,
                format_duration(lease_ns),
            )

    def feed(self) -> None:
        """Keep it from biting for another while."""
        self._write(b"\0")

    def close(self) -> None:
        """Stop it: nothing is held any more. Drivers that are told never to stop do not."""
        self._write(b"V")
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, data: bytes) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.write(self._file, data)

    def _set(self, timeout_s: int) -> int:
        import fcntl  # noqa: PLC0415  not there where there are no watchdogs either

        try:
            found = fcntl.ioctl(self._file, _SETTIMEOUT, struct.pack("i", timeout_s))
        except OSError as error:
            log.warning("%s takes no time limit: %s", self._path, error.strerror)
            return _DEFAULT_S
        return int(struct.unpack("i", found)[0])
