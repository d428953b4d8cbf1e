"""No answer that the API's shapes allow ends a command in a traceback: null is said as a dash."""

import io

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console
from tests.cli.answers import SHAPES, Drawn, Place, Plain, answer

from beatward.cli import demo, watch
from beatward.cli.client import Client
from beatward.cli.client import Place as MonitorPlace

# A node and a service alone are asked for with the same members as in their lists.
_ASKED_ALONE = ("/v1/nodes/web-1", "/v1/services/db")
DRAWN = ("/v1/status", "/v1/nodes", "/v1/events", "/v1/services")
COMMANDS = {
    ("status",): "/v1/status",
    ("nodes",): "/v1/nodes",
    ("nodes", "web-1"): "/v1/nodes/web-1",
    ("explain", "web-1"): "/v1/nodes/web-1/explain",
    ("events",): "/v1/events",
    ("services",): "/v1/services",
    ("services", "db"): "/v1/services/db",
    ("job", "list"): "/v1/jobs",
    ("silences",): "/v1/silences",
    ("guard",): "/v1/guard",
    ("quality",): "/v1/quality",
    ("quality", "--by", "zone"): "/v1/quality",
}


def nullable():
    """Return every member of every answer that may be null, with its path."""
    for path in SHAPES:
        if path not in _ASKED_ALONE:
            maker = Plain()
            answer(path, maker)
            yield from ((path, member) for member in dict.fromkeys(maker.nullable))


@pytest.fixture(scope="module")
def place():
    found = Place()
    yield found
    found.end()


@pytest.fixture
def all_said(place):
    place.answers = {path: answer(path, Plain()) for path in SHAPES}
    return place


def run(beatward, place, command):
    done = beatward(*command, "--monitor", place.url)
    assert done.code in (0, 1), done.err
    assert done.out
    return done


def draw_screens(place, width=80):
    """Draw what `watch` and `demo` show of these answers."""
    screen = Console(file=io.StringIO(), width=width, height=24, force_terminal=True, markup=False)
    client = Client(MonitorPlace(place.url))
    try:
        view = watch.View(client, screen, place.answers["/v1/events"]["events"])
        view._ask()
        screen.print(view._draw())
    finally:
        client.close()
    screen.print(demo._table(place.answers["/v1/nodes"]["nodes"], 5))
    teller = demo._Teller(screen)
    for event in place.answers["/v1/events"]["events"]:
        teller.tell(event)
    return screen.file.getvalue()


def test_each_member_that_may_be_null_is_printed_where_it_is(beatward, all_said):
    found = list(nullable())
    # A node that is enrolled and was not heard yet: this one ended the demo.
    assert ("/v1/nodes", ("nodes", "interval_ns")) in found
    for path, member in found:
        all_said.answers[path] = answer(path, Plain(null=member))
        for command in (command for command, asked in COMMANDS.items() if asked == path):
            run(beatward, all_said, command)
        if path in DRAWN:
            draw_screens(all_said)
        all_said.answers[path] = answer(path, Plain())


@settings(suppress_health_check=list(HealthCheck), max_examples=20, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_any_answer_that_the_shapes_allow_is_printed(beatward, place, seed):
    maker = Drawn(seed)
    place.answers = {path: answer(path, maker) for path in SHAPES}
    for command in COMMANDS:
        done = run(beatward, place, command)
        # What comes from nodes and people must not steer the terminal that it is shown on.
        assert "\x1b" not in done.out + done.err
    draw_screens(place, width=40)
