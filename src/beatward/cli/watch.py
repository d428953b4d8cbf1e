"""`beatward watch`: what happens, as it happens, on one screen that keeps itself up to date.

    stream ─(thread)─► queue ─► screen ◄─ status and services, asked for every second, and
                                          more often while a role moves

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

from beatward.cli.client import Client, Refused, asking, node_path
from beatward.cli.down import ask_down, by_trouble, down_lines
from beatward.cli.following import Follower
from beatward.cli.screen import (
    COLOURS,
    cleaned,
    console,
    event_line,
    is_screen,
    print_event,
    print_json_line,
)
from beatward.cli.services import brief
from beatward.errors import BeatwardError, MonitorUnreachable

_STATUS_SECONDS = 1.0
# An event is there before the snapshot that shows what it has changed; those come every 200 ms.
_SOON_SECONDS = 0.25
_MOVING = ("promoting", "demoting", "waiting")
_EVENTS_MAX = 500
_DOWN_LEAST = 3
# Below this an event's day and id would leave too little room for what it says.
_WIDE = 100
# Lines that are not events: the head and the two rules.
_HEAD_HEIGHT = 5


@click.command("watch")
@click.option("--after", type=click.IntRange(min=0), help="Begin behind this id, not with now.")
@click.option("--node", metavar="NAME", help="Only events of this node.")
@asking
def watch_command(client: Client, as_json: bool, after: int | None, node: str | None) -> None:
    """Follow events until Ctrl-C; a break in the connection loses none and doubles none.

    On a terminal with nodes counted, those that are down named, and services above the events;
    otherwise one event a line.

    With --json one event a line, with the keys id, event, at, node, status, cause, explanation,
    action, outcome and detail.
    """
    # To ask first tells a wrong address or token at once, before any screen is drawn.
    newest = client.get("/v1/events", limit=1)
    last, mark = newest["last"], newest.get("mark") if after is None else None
    if node is not None and not client.get("/v1/events", limit=1, node=node)["events"]:
        client.get(node_path(node))  # raises, with the names that are alike
    screen = console()
    with contextlib.suppress(KeyboardInterrupt):
        if is_screen(screen) and not as_json:
            shown = []
            if after is None:
                page = client.get("/v1/events", limit=20, node=node)
                shown = page["events"]
                if shown:
                    last, mark = shown[-1]["id"], page.get("mark")
            view = View(client, screen, shown)
            view.run(last if after is None else after, mark, node)
            return
        start = last if after is None else after
        for event in Follower(client).events(start, mark=mark, node=node):
            if as_json:
                print_json_line(event)
            else:
                print_event(screen, event)


class View:
    """The screen: counts and who is down above, services if any, the newest events below."""

    def __init__(self, client: Client, screen: Console, shown: list[dict[str, Any]]) -> None:
        self._client = client
        self._screen = screen
        self._events: deque[Mapping[str, Any]] = deque(shown, maxlen=_EVENTS_MAX)
        self._news: queue.Queue[dict[str, Any] | BaseException] = queue.Queue(_EVENTS_MAX)
        self._status: dict[str, Any] = {}
        self._services: list[dict[str, Any]] = []
        self._down: list[dict[str, Any]] = []
        self._trouble = ""

    def run(self, after: int, mark: str | None, node: str | None) -> None:
        """Draw until interrupted; raises what ended the stream for good."""
        threading.Thread(target=self._follow, args=(after, mark, node), daemon=True).start()
        has_news = False
        with Live(console=self._screen, screen=True, auto_refresh=False) as live:
            while True:
                self._ask()
                live.update(self._draw(), refresh=True)
                is_moving = any(service["phase"] in _MOVING for service in self._services)
                has_news = self._wait(_SOON_SECONDS if has_news or is_moving else _STATUS_SECONDS)

    def _wait(self, timeout_seconds: float) -> bool:
        """Take what has happened, or wait for it; returns whether anything has."""
        has_news = False
        with contextlib.suppress(queue.Empty):
            self._take(self._news.get(timeout=timeout_seconds))
            has_news = True
            while True:
                self._take(self._news.get_nowait())
        return has_news

    def _follow(self, after: int, mark: str | None, node: str | None) -> None:
        client = Client(self._client.place)
        try:
            for event in Follower(client, tell=self._tell).events(after, mark=mark, node=node):
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

    def _ask(self) -> None:
        try:
            status = cleaned(self._client.get("/v1/status"))
            has_services = status["services"]["counts"]["total"] > 0
            services = self._client.get("/v1/services")["services"] if has_services else []
            # On a screen with room for one line only, that line has several names.
            limit = max(self._down_count(), _DOWN_LEAST)
            self._down = ask_down(self._client, status["nodes"], limit)
            self._services = cleaned(services)
            self._status = status
        except (MonitorUnreachable, Refused):
            # The follower says so; what is shown is then what was known last.
            self._status = {**self._status, "stale": True}

    def _down_count(self) -> int:
        """Return how many lines of the screen name the nodes that are down."""
        return max(self._screen.height // 4, 1)

    def _draw(self) -> RenderableType:
        room = self._screen.height - _HEAD_HEIGHT
        down = down_lines(self._down, self._status.get("nodes", {}), self._down_count())
        for line in down:
            line.truncate(self._screen.width, overflow="ellipsis")
        room -= len(down)
        parts: list[RenderableType] = [*self._head(), *down, Rule(style="dim")]
        if self._services:
            # A third of the screen: what has become of services is read among the events.
            line_count = min(len(self._services) + 1, max(self._screen.height // 3, 3))
            style = "dim" if self._status.get("stale") else ""
            parts += [brief(self._services, line_count, style), Rule(style="dim")]
            room -= line_count + 1
        room = max(room, 1)
        is_wide = self._screen.width >= _WIDE
        lines = [event_line(event, in_full=is_wide) for event in list(self._events)[-room:]]
        for line in lines:
            line.truncate(self._screen.width, overflow="ellipsis")
        return Group(*parts, *lines)

    def _head(self) -> list[Text]:
        status = self._status
        health = status.get("health", {"status": "unknown", "reasons": []})
        colour = {"ok": "green", "degraded": "yellow"}.get(health["status"], "bold red")
        first = Text.assemble(
            (str(status.get("name", "")), "bold"), f" at {self._client.place.url}: "
        )
        first.append(health["status"], colour)
        counts = Text()
        for word, count in by_trouble(status.get("nodes", {})):
            counts.append(f"{count} {word}   ", style=COLOURS.get(word, "bold"))
        if status.get("stale"):
            counts.stylize("dim")
        trouble = Text(self._trouble or "; ".join(health["reasons"]), style="bold red")
        lines = [first, counts, trouble]
        for line in lines:
            line.truncate(self._screen.width, overflow="ellipsis")
        return lines
