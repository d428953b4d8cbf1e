"""The way to the monitor: sealed records out, sealed records in, never waiting.

    UdpLink    a connected datagram socket: the kernel drops what is not from the monitor
    HttpLink   the same records as JSON in POST requests, for nodes behind proxies; a thread
               posts, and hands each answer back as the acknowledgement that it is

Both look the same from outside: `send`, `receive`, `reopen`, `fileno`, `close`. What the network
refuses is lost, like any datagram; the next heartbeat is the repetition. Not here: what the
records mean (`protocol`), and finding the address (`enrol`).
"""

import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from beatward.core.protocol import keys
from beatward.core.protocol.join import Credential, decoded
from beatward.core.protocol.record import (
    DATAGRAM_SIZE_MAX,
    NO_GAUGE,
    RECORD_SIZE,
    Farewell,
    Flag,
    Health,
    Kind,
    Record,
    exit_code_of,
    open_record,
    seal,
)
from beatward.errors import MonitorUnreachable

from .attempts import LogOnce
from .post import Answer, HttpClient

log = logging.getLogger("beatward.agent")

Forget = Callable[[int], None]


class Link(Protocol):
    """One node's way to one monitor; used by one thread."""

    def send(self, data: bytes) -> None:
        """Send a record or lose it; never blocks, never raises for the network."""

    def receive(self) -> bytes | None:
        """Return the next datagram that is already here, or None."""

    def take_refusal(self) -> bool:
        """Tell whether the network has said since the last call that nothing listens there."""

    def take_loss(self) -> bool:
        """Tell whether the monitor has said since the last call that it did not know this node."""

    @property
    def peer(self) -> tuple[int, Any] | None:
        """Where datagrams go to: family and address; None where there are none."""

    def reopen(self, *, stays: bool = False) -> None:
        """Begin with a fresh socket, because no answer came on this one; stays: to the same."""

    def fileno(self) -> int:
        """Return what to wait on for reading, or -1; changes when the socket does."""

    def close(self) -> None:
        """Let go of everything; what was sent is given a moment to leave."""


class UdpLink:
    """Datagrams to one of the monitor's addresses; after a `reopen` that does not stay, the next.

    forget   called with the old file descriptor before it is closed
    """

    def __init__(self, addresses: tuple[tuple[int, Any], ...], forget: Forget) -> None:
        assert addresses
        self.addresses = addresses
        self._forget = forget
        self._chosen = 0
        self._was_refused = False
        self._socket: socket.socket | None = None
        self._open()

    def send(self, data: bytes) -> None:
        """Send one datagram; a broken socket is replaced once."""
        for _ in range(2):
            if self._socket is None and not self._open():
                return
            assert self._socket is not None
            try:
                self._socket.send(data)
                return
            except ConnectionRefusedError:
                # Not about this datagram: nothing listened when an earlier one came.
                self._was_refused = True
            except BlockingIOError:
                return
            except OSError as error:
                # The network below has changed: this socket is tied to an address we lost.
                log.debug("the socket to %s failed: %s", self._address[1], error)
                self._shut()

    def receive(self) -> bytes | None:
        """Return the next datagram or None; refusals of earlier datagrams are skipped."""
        while self._socket is not None:
            try:
                return self._socket.recv(DATAGRAM_SIZE_MAX + 1)
            except ConnectionRefusedError:
                self._was_refused = True
            except BlockingIOError:
                return None
            except OSError:
                self._shut()
        return None

    def take_refusal(self) -> bool:
        """Tell whether the kernel has handed back a refusal since the last call."""
        was_refused, self._was_refused = self._was_refused, False
        return was_refused

    def take_loss(self) -> bool:
        """Return False: to datagrams of a node that it does not know a monitor is silent."""
        return False

    def reopen(self, *, stays: bool = False) -> None:
        """Go on from a new port; unless it stays, to the next address if there are several."""
        self._shut()
        self._chosen += not stays
        self._open()

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 while there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._shut()

    @property
    def peer(self) -> tuple[int, Any] | None:
        """Where it sends to: family and address."""
        return self._address

    @property
    def _address(self) -> tuple[int, Any]:
        return self.addresses[self._chosen % len(self.addresses)]

    def _open(self) -> bool:
        family, address = self._address
        try:
            fresh = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            log.debug("no socket: %s", error)
            return False
        try:
            fresh.setblocking(False)  # noqa: FBT003  its only parameter
            fresh.connect(address)
        except OSError as error:
            log.debug("no way to %s: %s", address, error)
            fresh.close()
            return False
        self._socket = fresh
        return True

    def _shut(self) -> None:
        if self._socket is not None:
            self._forget(self._socket.fileno())
            self._socket.close()
            self._socket = None


class HttpLink:
    """Records as JSON; one request at a time, and only the newest record waits for its turn."""

    def __init__(self, monitor: str, credential: Credential, forget: Forget) -> None:
        self._credential = credential
        self._bearer = keys.bearer(credential.key)
        self._path = f"/v1/nodes/{credential.name}/heartbeat"
        self._client = HttpClient(monitor)
        self._forget = forget
        self._outer, self._inner = socket.socketpair()
        self._outer.setblocking(False)  # noqa: FBT003  its only parameter
        self._inner.setblocking(False)  # noqa: FBT003  its only parameter
        self._changed = threading.Condition()
        self._next: bytes | None = None
        self._is_posting = False
        self._is_closing = False
        self._log = LogOnce("a heartbeat was not taken")
        self._was_refused = False
        self._was_unknown = False
        self._thread = threading.Thread(target=self._work, name="beatward-http", daemon=True)
        self._thread.start()

    def send(self, data: bytes) -> None:
        """Hand a record to the thread; one that was still waiting is overtaken and dropped."""
        with self._changed:
            self._next = data
            self._changed.notify_all()

    def receive(self) -> bytes | None:
        """Return the next answer as a sealed acknowledgement, or None."""
        try:
            return self._outer.recv(RECORD_SIZE)  # All that is ever written into it.
        except OSError:
            return None

    def take_refusal(self) -> bool:
        """Tell whether a request has failed since the last call."""
        was_refused, self._was_refused = self._was_refused, False
        return was_refused

    def take_loss(self) -> bool:
        """Tell whether an answer has said since the last call that the node was not known."""
        was_unknown, self._was_unknown = self._was_unknown, False
        return was_unknown

    @property
    def peer(self) -> tuple[int, Any] | None:
        """Return None: no datagrams are sent."""
        return None

    def reopen(self, *, stays: bool = False) -> None:
        """Do nothing: a failed request has closed its connection already."""

    def fileno(self) -> int:
        """Return the descriptor on which answers arrive."""
        return self._outer.fileno()

    def close(self) -> None:
        """Wait a moment for the last request and let the thread end."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is None and not self._is_posting, 1.0)
            self._is_closing = True
            self._changed.notify_all()
        self._forget(self._outer.fileno())
        self._outer.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._is_posting = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._next is not None or self._is_closing)
                if self._is_closing:
                    break
                data, self._next = self._next, None
                self._is_posting = True
            assert data is not None
            self._post(open_record(data, self._credential.key))
        self._client.close()
        self._inner.close()

    def _post(self, spoken: Record) -> None:
        try:
            answer = self._client.post(self._path, as_json(spoken), bearer=self._bearer)
            echo = _echo(answer)
            if echo not in (0, spoken.echo):
                # Not believed yet: the monitor wants its own number back, see the protocol.
                body = {**as_json(spoken), "echo": echo}
                answer = self._client.post(self._path, body, bearer=self._bearer)
                echo = _echo(answer)
        except MonitorUnreachable as error:
            self._tell(str(error))
            return
        if answer.status not in (200, 202):
            self._tell(f"{self._client.url}: {answer.reason}")
            return
        self._log.clear()
        if answer.body.get("known") is False:
            self._was_unknown = True
        self._hand_in(_newer_life(answer) or self._acknowledgement(spoken, answer, echo))

    def _acknowledgement(self, spoken: Record, answer: Answer, echo: int) -> bytes:
        heard = Record(
            kind=Kind.ACKNOWLEDGEMENT,
            node=spoken.node,
            incarnation=spoken.incarnation,
            sequence=spoken.sequence,
            interval_ms=spoken.interval_ms,
            flags=Flag.MAIL if answer.body.get("mail") is True else 0,
            echo=echo,
        )
        return seal(heard, self._credential.key)

    def _hand_in(self, data: bytes) -> None:
        try:
            self._inner.send(data)
        except OSError:
            log.debug("an answer came after the end")

    def _tell(self, trouble: str) -> None:
        self._was_refused = True
        self._log.warn(trouble)


def as_json(spoken: Record) -> dict[str, Any]:
    """Write a record as the JSON of the HTTP route; gauges that were not measured are left out."""
    body: dict[str, Any] = {
        "kind": spoken.kind.name.lower(),
        "incarnation": spoken.incarnation,
        "sequence": spoken.sequence,
        "interval_ms": spoken.interval_ms,
        "echo": spoken.echo,
    }
    if spoken.kind == Kind.GOODBYE:
        # 0xFFFF is the exit code -1 here, death by signal 1, and not a gauge that was not measured.
        if spoken.status == Farewell.EXITED:
            body["exit_code"] = exit_code_of(spoken.flags, spoken.cpu, spoken.memory, spoken.load)
        return body
    body["status"] = "failing" if spoken.status == Health.ILL else "ok"
    for name in ("cpu", "memory", "load"):
        value = getattr(spoken, name)
        if value != NO_GAUGE:
            body[name] = value / 100
    return body


def _newer_life(answer: Answer) -> bytes | None:
    """Return what the monitor has sealed to tell that it knows a newer life of this node."""
    text = answer.body.get("newer")
    try:
        data = decoded(text) if isinstance(text, str) else b""
    except ValueError:
        return None
    # Opened by the protocol, which checks the tag: a forged number would lock the name for ever.
    return data if len(data) == RECORD_SIZE else None


def _echo(answer: Answer) -> int:
    echo = answer.body.get("echo")
    return echo if isinstance(echo, int) and 0 <= echo < 2**32 else 0
