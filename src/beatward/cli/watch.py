"""`beatward watch`: what happens, as it happens, on one screen that keeps itself up to date.

    stream ─(thread)─► queue ─► screen ◄─ status, asked for every two seconds

Where the output is no terminal it is one event a line instead, so a pipe gets what a person sees.
"""

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from beatward.cli.client import Client, Refused, asking
from beatward.cli.following import Follower
from beatward.cli.screen import COLOURS, console, event_line, print_event, print_json_line
from beatward.errors import BeatwardError, MonitorUnreachable

_STATUS_SECONDS = 2.0
_EVENTS_MAX = 500
# Lines that are not events: the head and the two rules.
_HEAD_HEIGHT = 5


@click.command("watch")
@click.option("--after", type=click.IntRange(min=0), help="Begin behind this id, not with now.")
@click.option("--node", metavar="NAME", help="Only events of this node.")
@asking
def watch_command(client: Client, as_json: bool, after: int | None, node: str | None) -> None:
    """Follow events until Ctrl-C; a break in the connection loses none and doubles none.

    With --json one event a line, with the keys id, event, at, node, status, cause, explanation,
    action, outcome and detail.
    """
    # To ask first tells a wrong address or token at once, before any screen is drawn.
    last = client.get("/v1/events", limit=1)["last"]
    screen = console()
    with contextlib.suppress(KeyboardInterrupt):
        if screen.is_terminal and not as_json:
            shown = client.get("/v1/events", limit=20, node=node)["events"] if after is None else []
            start = shown[-1]["id"] if shown else last
            view = View(client, screen, shown)
            view.run(start if after is None else after, node)
            return
        for event in Follower(client).events(last if after is None else after, node=node):
            if as_json:
                print_json_line(event)
            else:
                print_event(screen, event)


class View:
    """The screen: counts above, the newest events below."""

    def __init__(self, client: Client, screen: Console, shown: list[dict[str, Any]]) -> None:
        self._client = client
        self._screen = screen
        self._events: deque[Mapping[str, Any]] = deque(shown, maxlen=_EVENTS_MAX)
        self._news: queue.Queue[dict[str, Any] | BaseException] = queue.Queue(_EVENTS_MAX)
        self._status: dict[str, Any] = {}
        self._trouble = ""

    def run(self, after: int, node: str | None) -> None:
        """Draw until interrupted; raises what ended the stream for good."""
        threading.Thread(target=self._follow, args=(after, node), daemon=True).start()
        with Live(console=self._screen, screen=True, auto_refresh=False) as live:
            while True:
                self._ask_status()
                live.update(self._draw(), refresh=True)
                with contextlib.suppress(queue.Empty):
                    self._take(self._news.get(timeout=_STATUS_SECONDS))
                    while True:
                        self._take(self._news.get_nowait())

    def _follow(self, after: int, node: str | None) -> None:
        client = Client(self._client.place)
        try:
            for event in Follower(client, tell=self._tell).events(after, node=node):
                self._news.put(event)
        except BeatwardError as error:
            self._news.put(error)
        finally:
            client.close()

    def _tell(self, message: str) -> None:
        self._trouble = "" if message == "the stream goes on" else message

    def _take(self, news: dict[str, Any] | BaseException) -> None:
        if isinstance(news, BaseException):
            raise news
        self._events.append(news)

    def _ask_status(self) -> None:
        try:
            self._status = self._client.get("/v1/status")
        except (MonitorUnreachable, Refused):
            # The follower says so; the counts shown are then those last known.
            self._status = {**self._status, "stale": True}

    def _draw(self) -> RenderableType:
        room = max(self._screen.height - _HEAD_HEIGHT, 1)
        lines = [event_line(event) for event in list(self._events)[-room:]]
        for line in lines:
            line.truncate(self._screen.width, overflow="ellipsis")
        return Group(*self._head(), Rule(style="dim"), *lines)

    def _head(self) -> list[Text]:
        status = self._status
        health = status.get("health", {"status": "unknown", "reasons": []})
        colour = {"ok": "green", "degraded": "yellow"}.get(health["status"], "bold red")
        first = Text.assemble(
            (str(status.get("name", "")), "bold"), f" at {self._client.place.url}: "
        )
        first.append(health["status"], colour)
        counts = Text()
        for word, count in status.get("nodes", {}).items():
            if word == "total" or count:
                counts.append(f"{count} {word}   ", style=COLOURS.get(word, "bold"))
        if status.get("stale"):
            counts.stylize("dim")
        trouble = Text(self._trouble or "; ".join(health["reasons"]), style="bold red")
        trouble.truncate(self._screen.width, overflow="ellipsis")
        return [first, counts, trouble]
