"""A UDP relay between agents and a monitor that remembers what passed, for replays."""

import select
import socket
import threading
from typing import Self


class Relay:
    """Forwards datagrams both ways; `recorded` holds what agents said, in order."""

    def __init__(self, monitor: str) -> None:
        host, port = monitor.rsplit(":", 1)
        self._monitor = (host, int(port))
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._is_stopped = threading.Event()
        self.recorded: list[bytes] = []
        self.address = f"127.0.0.1:{self._front.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        self._thread.join()
        for opened in (self._front, *self._backs.values()):
            opened.close()

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            readable, _, _ = select.select([self._front, *self._backs.values()], [], [], 0.05)
            for ready in readable:
                self._forward(ready)

    def _forward(self, ready: socket.socket) -> None:
        try:
            data, sender = ready.recvfrom(2048)
        except ConnectionError:
            return  # the monitor is away; UDP says so on the next read
        if ready is self._front:
            self.recorded.append(data)
            back = self._backs.get(sender)
            if back is None:
                back = self._backs[sender] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.sendto(data, self._monitor)
            return
        for agent, back in self._backs.items():
            if back is ready:
                self._front.sendto(data, agent)
