"""The stream of events for a person who looks on: it comes back by itself when it breaks.

The first connection must succeed, so that a wrong address is told at once; after that the monitor
may restart, and the stream goes on behind the last event seen: none is lost, none comes twice. A
monitor that comes back with another journal (restored from a backup) is noticed by the mark of that
event; its journal is then shown from the beginning, and this is told.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from beatward.cli.client import Client, Refused
from beatward.core.protocol.texts import shown
from beatward.errors import MonitorUnreachable

_WAIT_SECONDS = 0.5
_WAIT_MAX_SECONDS = 10.0


def _tell(message: str) -> None:
    click.echo(f"beatward: {message}", err=True)


class Follower:
    """Follows one monitor's events without end.

    tell    hears, in a sentence, that the stream broke and that it goes on
    """

    def __init__(self, client: Client, *, tell: Callable[[str], None] = _tell) -> None:
        self._client = client
        self._tell = tell
        self._was_open = False
        self._is_broken = False
        self._wait_seconds = _WAIT_SECONDS

    def events(
        self, after: int, *, mark: str | None = None, node: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield events behind an id; raises only when the very first connection fails.

        mark   of the event with that id, where it is known
        """
        while True:
            try:
                place = str(after) if mark is None else f"{after}-{mark}"
                for frame in self._client.follow(place, node=node, on_open=self._open):
                    data = json.loads(frame["data"])
                    if frame.get("event") == "anew":
                        after, mark = 0, None
                        self._tell(f"{shown(data['reason'])} Its events follow from the beginning")
                        continue
                    # A monitor of an older version gives no marks.
                    after, mark = data["id"], frame.get("mark")
                    yield data
                reason = "the monitor ended the stream"
            except (MonitorUnreachable, Refused) as error:
                if not self._was_open:
                    raise
                reason = str(error)
            self._break(f"{reason}; trying again behind event {after}")
            time.sleep(self._wait_seconds)
            self._wait_seconds = min(2 * self._wait_seconds, _WAIT_MAX_SECONDS)

    def _open(self) -> None:
        if self._is_broken:
            self._tell("the stream goes on")
        self._was_open, self._is_broken, self._wait_seconds = True, False, _WAIT_SECONDS

    def _break(self, message: str) -> None:
        if not self._is_broken:
            self._tell(message)
        self._is_broken = True
