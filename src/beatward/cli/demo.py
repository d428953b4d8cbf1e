"""`beatward demo`: the main job on real processes, told as it happens.

A monitor on its embedded store and some nodes are started; one node is killed; the monitor finds
it out, says why, restarts it and takes it back. Then it goes on until Ctrl-C or `--for`.
"""

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from beatward.cli.client import Client, Place
from beatward.cli.following import Follower
from beatward.cli.screen import (
    COLOURS,
    ago,
    console,
    duration,
    is_screen,
    print_json_line,
    status_text,
)
from beatward.cli.stage import Stage
from beatward.core.instants import MILLISECOND, SECOND, format_duration, parse_duration
from beatward.core.protocol.texts import shown
from beatward.errors import BeatwardError

# Enough heartbeats that the detector has learnt the schedule and dropped its first, wide margin.
_LEARNT_HEARTBEATS = 12
# The sweep finds a passed deadline, and later the end of the window, up to one tick late each.
_TICKS_NS = 2 * 5 * MILLISECOND
_REFRESH_SECONDS = 0.25


@dataclass(slots=True)
class _Story:
    """What has happened so far to the node that is killed."""

    victim: str
    killed_at: datetime | None = None
    detection_ns: int | None = None
    bound_ns: int | None = None
    heartbeats_ns: int = 0
    alive: set[str] = field(default_factory=set)
    is_back: bool = False
    missing: list[str] = field(default_factory=list)


@click.command("demo")
@click.option("--for", "length", default=None, help="End after this long, such as 20s.")
@click.option(
    "--nodes",
    "node_count",
    default=5,
    show_default=True,
    type=click.IntRange(1, 50),
    help="How many nodes there are; each is a process.",
)
@click.option("--interval", default="500ms", show_default=True, help="Between two heartbeats.")
@click.option("--json", "as_json", is_flag=True, help="Print one event a line.")
def demo_command(length: str | None, node_count: int, interval: str, *, as_json: bool) -> None:
    """Start a monitor and five nodes, kill one, and watch it being found and brought back."""
    ends_ns = _read_duration(length, "--for") if length else None
    interval_ns = _read_duration(interval, "--interval")
    if not 50 * MILLISECOND <= interval_ns <= 10 * SECOND:
        raise click.BadParameter("between 50ms and 10s, so that the story can be watched")
    names = [f"web-{number}" for number in range(1, node_count + 1)]
    story = _Story(names[min(2, node_count - 1)], heartbeats_ns=_LEARNT_HEARTBEATS * interval_ns)
    # Ctrl-C, SIGTERM and a closed terminal end the story at the same place, with everything put
    # away.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    teller = _JsonTeller() if as_json else _Teller(console())
    with contextlib.suppress(KeyboardInterrupt), Stage(interval) as stage:
        _play(stage, names, story, teller, ends_ns)
        story.missing = sorted(set(names) - story.alive)
    teller.end(story)
    is_unfound = story.killed_at is not None and story.detection_ns is None
    sys.exit(1 if story.missing or is_unfound else 0)


def _read_duration(text: str, option: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _play(
    stage: Stage, names: list[str], story: _Story, teller: "_Teller", ends_ns: int | None
) -> None:
    begun = time.monotonic()
    teller.begin(stage, names, story)
    client = Client(Place(stage.url, found="the demo's own"))
    for name in names:
        stage.start_node(name)
    events = _follow(client)
    kill_at: float | None = None
    try:
        with teller.screen():
            while ends_ns is None or time.monotonic() - begun < ends_ns / SECOND:
                for event in _waiting(events):
                    teller.tell(event)
                    _note(event, story, teller)
                stage.check()
                if kill_at is None and story.alive == set(names):
                    kill_at = time.monotonic() + story.heartbeats_ns / SECOND
                if kill_at is not None and story.killed_at is None and time.monotonic() >= kill_at:
                    _kill(stage, story, teller)
                teller.show(client)
    finally:
        client.close()


def _follow(client: Client) -> "queue.SimpleQueue[dict[str, Any]]":
    """Read the stream of events in a thread of its own."""
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        # When the stage is put away the stream ends, and with it this thread.
        with contextlib.suppress(BeatwardError, RuntimeError):
            for event in Follower(client, tell=lambda _: None).events(0):
                events.put(event)

    threading.Thread(target=read, name="events", daemon=True).start()
    return events


def _waiting(events: "queue.SimpleQueue[dict[str, Any]]") -> Iterator[dict[str, Any]]:
    """Yield what has come, waiting a moment for the first."""
    with contextlib.suppress(queue.Empty):
        yield events.get(timeout=_REFRESH_SECONDS)
        while True:
            yield events.get_nowait()


def _kill(stage: Stage, story: _Story, teller: "_Teller") -> None:
    story.killed_at = datetime.now(UTC)
    pid = stage.kill_node(story.victim)
    teller.tell(
        _own_event("killed", story, f"{story.victim} is killed: SIGKILL to process {pid}", pid=pid)
    )


def _note(event: Mapping[str, Any], story: _Story, teller: "_Teller") -> None:
    if event["event"] != "transition":
        return
    if event["status"] == "alive":
        story.alive.add(event["node"])
    if story.killed_at is None or event["node"] != story.victim:
        return
    if event["status"] == "dead" and story.detection_ns is None:
        found_at = datetime.fromisoformat(event["at"])
        story.detection_ns = round((found_at - story.killed_at).total_seconds() * SECOND)
        story.bound_ns = int(event["detail"]["bound_ns"]) + _TICKS_NS
        teller.tell(_own_event("detected", story, _measured(story)))
    elif event["status"] == "alive" and story.detection_ns is not None:
        story.is_back = True


def _measured(story: _Story) -> str:
    assert story.detection_ns is not None
    assert story.bound_ns is not None
    return (
        f"found {format_duration(story.detection_ns)} after its death; "
        f"promised within {format_duration(story.bound_ns)}"
    )


def _own_event(kind: str, story: _Story, explanation: str, **detail: Any) -> dict[str, Any]:
    """Return something the demo itself did or measured, in the form of the monitor's events."""
    if story.detection_ns is not None:
        detail |= {"detection_ns": story.detection_ns, "bound_ns": story.bound_ns}
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "id": None,
        "event": kind,
        "at": at,
        "node": story.victim,
        "status": None,
        "cause": "demo",
        "explanation": explanation,
        "action": None,
        "outcome": None,
        "detail": detail,
    }


class _Teller:
    """Tells the story to a person."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._is_screen = is_screen(out)
        self._live: Live | None = None
        self._begun = time.monotonic()

    def begin(self, stage: Stage, names: list[str], story: _Story) -> None:
        count = len(names)
        text = f": a monitor at {stage.url} and {count} nodes, each a process. "
        text += f"{story.victim} will be killed. Ctrl-C ends it."
        self._out.print(Text.assemble(("beatward demo", "bold"), text))

    @contextlib.contextmanager
    def screen(self) -> Iterator[None]:
        if not self._is_screen:
            yield
            return
        with Live(console=self._out, refresh_per_second=8, transient=True) as self._live:
            yield
        self._live = None

    def tell(self, event: Mapping[str, Any]) -> None:
        seconds = time.monotonic() - self._begun
        word = (event["status"] if event["event"] == "transition" else event["event"]) or ""
        style = COLOURS.get(word, "bold" if event["id"] is None else "dim")
        text = shown(event["explanation"] or "")
        if not self._is_screen:
            # A pipe or a file gets one line an event, whatever its width.
            self._out.print(f"{seconds:6.2f} s  {word:<10}  {text}", soft_wrap=True)
            return
        line = Table.grid(padding=(0, 1))
        line.add_column(width=7, justify="right")
        line.add_column(width=11)
        line.add_column(ratio=1, overflow="fold")
        line.add_row(f"{seconds:.2f} s", Text(word, style), text)
        self._out.print(line)

    def show(self, client: Client) -> None:
        if self._live is not None:
            with contextlib.suppress(BeatwardError):
                nodes = client.get("/v1/nodes")["nodes"]
                self._live.update(_table(nodes, rows_max=max(self._out.height // 2 - 4, 1)))

    def end(self, story: _Story) -> None:
        self._out.print(_verdict(story), style="bold")


class _JsonTeller(_Teller):
    """Tells it to a program: one event a line, nothing else."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))

    def tell(self, event: Mapping[str, Any]) -> None:
        print_json_line(event)


def _verdict(story: _Story) -> str:
    if story.missing:
        return f"In the time that was given {', '.join(story.missing)} did not come alive."
    if story.killed_at is None:
        return "Ended before the story began; give it 15 s."
    if story.detection_ns is None:
        return f"{story.victim} was killed and not found in the time that was given."
    back = "was restarted and is alive again" if story.is_back else "had not come back yet"
    return f"{story.victim} was {_measured(story)}; it {back}."


def _table(nodes: list[dict[str, Any]], rows_max: int) -> Table:
    """Return a table of at most `rows_max` nodes; where there are more, trouble is shown first."""
    picked = nodes
    if len(nodes) > rows_max:
        picked = sorted(nodes, key=lambda node: bool(node["status"] == "alive"))[:rows_max]
    table = Table(expand=False, border_style="dim")
    for title in ("node", "status", "silent for", "interval", "margin", "heartbeat"):
        table.add_column(title, justify="left" if title in ("node", "status") else "right")
    for node in picked:
        table.add_row(
            node["name"],
            status_text(node["status"]),
            ago(node["silent_ns"]),
            duration(node["interval_ns"]),
            duration(node["margin_ns"]),
            "-" if node["sequence"] is None else str(node["sequence"]),
        )
    if len(nodes) > rows_max:
        table.caption = f"and {len(nodes) - rows_max} more"
    return table
