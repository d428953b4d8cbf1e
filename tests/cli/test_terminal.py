"""On a terminal: demo, watch and tables as a person sees them, at any size, and how they end."""

import re

import pytest
from tests.harness import Monitor
from tests.terminal import Terminal, processes_of

pytestmark = pytest.mark.real

SIZES = [(80, 24), (200, 50)]


@pytest.fixture
def terminal(environment):
    """Start a command on a terminal; it is ended with the test."""
    started = []

    def start(*arguments, size=(80, 24), **more):
        started.append(Terminal(arguments, environment(**more), *size))
        return started[-1]

    yield start
    for one in started:
        one.kill()


# --- demo ---


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_demo_tells_its_story_on_a_terminal_and_leaves_nothing(terminal, tmp_path, size):
    started = terminal("demo", "--interval", "100ms", size=size, TMPDIR=str(tmp_path))
    # Nodes that are enrolled and not heard yet have no interval; the table is drawn meanwhile.
    started.wait_for(re.compile(r"web-5 +│ alive .* 100 ms"))
    started.wait_for("web-3 is alive: it was steady", where=lambda it: "\n".join(it.history))
    columns, _ = size
    assert all(len(line) <= columns for line in started.history)
    started.press("\x03")
    assert started.end() == 0
    assert "Traceback" not in started.raw
    story = " ".join(" ".join(started.history).split())
    assert "web-3 will be killed. Ctrl-C ends it." in story
    assert "web-3 is killed: SIGKILL to process" in story
    assert re.search(r"web-3 was found .* after its death; .* and is alive again\.", story)
    assert "\x1b[?25h" in started.raw  # the cursor is back
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_middle_of_the_demos_start_and_again_ends_all_of_it(terminal, tmp_path):
    started = terminal("demo", "--nodes", "8", TMPDIR=str(tmp_path))
    started.wait_for("was enrolled")
    started.press("\x03\x03\x03")
    assert started.end() == 0
    assert "Traceback" not in started.raw
    assert processes_of(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_demo_on_a_dumb_terminal_without_utf_8_is_plain_lines(terminal, tmp_path):
    started = terminal(
        *("demo", "--nodes", "2", "--interval", "100ms", "--for", "4s"),
        TMPDIR=str(tmp_path),
        TERM="dumb",
        PYTHONIOENCODING="ascii",
        NO_COLOR="1",
    )
    assert started.end() in (0, 1)
    assert "\x1b" not in started.raw
    assert "Traceback" not in started.raw
    assert "web-1 is alive" in started.raw
    assert "heartbeat │" not in started.raw


def test_the_demo_goes_on_when_its_terminal_is_resized_and_small(terminal, tmp_path):
    started = terminal("demo", "--nodes", "9", "--for", "5s", TMPDIR=str(tmp_path))
    started.wait_for(re.compile(r"web-1 +│"))
    started.resize(40, 10)
    started.wait_for(re.compile("and [0-9]+ more"))
    started.resize(120, 40)
    started.wait_for(re.compile(r"web-9 +│ alive +│"))
    started.end()
    assert "Traceback" not in started.raw


# --- watch ---


@pytest.fixture(scope="module")
def one_dead(tmp_path_factory):
    """A monitor of which one node is dead and eight more are failing."""
    running = Monitor(tmp_path_factory.mktemp("one-dead")).start()
    try:
        yield with_one_dead(running)
    finally:
        running.end()


def with_one_dead(running):
    running.exits("web-3", 3)
    running.ping("web-1", "?interval=1d")
    for index in range(8):
        running.ping(f"ill-{index}", "/fail?interval=1d")
    running.wait_status("ill-7", "failing")
    return running


def down(terminal):
    """Return the lines above the first rule but for the head's three."""
    lines = terminal.lines
    rule = next(index for index, line in enumerate(lines) if line.startswith("────"))
    return lines[3:rule]


@pytest.mark.parametrize("size", [(80, 24), (200, 50), (30, 8)], ids=str)
def test_watch_names_the_nodes_that_are_down_the_dead_first(terminal, one_dead, size):
    started = terminal("watch", "--monitor", one_dead.url, size=size)
    started.wait_for(re.compile("^dead +web-3 +for ", re.MULTILINE))
    started.wait_for(re.compile("^─+$", re.MULTILINE))
    lines = down(started)
    assert len(lines) == min(size[1] // 4, 9)
    assert all(line.startswith("failing ill-") for line in lines[1:-1])
    if len(lines) < 9:
        assert lines[-1] == f"and {9 - (len(lines) - 1)} more"
    started.press("\x03")
    assert started.end() == 0
    assert "Traceback" not in started.raw


def test_watch_takes_the_size_that_its_terminal_gets(terminal, one_dead):
    started = terminal("watch", "--monitor", one_dead.url, PYTHONIOENCODING="ascii")
    started.wait_for("and 4 more")
    started.resize(20, 4)
    started.wait_for("web-3 dead, ill-0 f")
    started.resize(100, 60)
    started.wait_for(re.compile("^failing +ill-7 +for ", re.MULTILINE))
    started.press("\x03")
    assert started.end() == 0
    assert "Traceback" not in started.raw


def test_watch_on_a_dumb_terminal_is_one_event_a_line(terminal, one_dead):
    started = terminal("watch", "--after", "0", "--monitor", one_dead.url, TERM="dumb")
    # The monitor is shared: what other tests have it say may have pushed the line off the screen.
    started.wait_for("web-3 was enrolled", where=lambda it: "\n".join(it.history))
    started.press("\x03")
    assert started.end() == 0
    assert "\x1b" not in started.raw


# --- status ---


def test_status_is_1_and_names_the_node_when_one_is_dead(beatward, make_monitor):
    running = make_monitor()
    ask = ("status", "--monitor", running.url)
    running.ping("web-1", "?interval=1d")
    running.wait_status("web-1", "alive")
    done = beatward(*ask, "--json")
    assert (done.code, done.json["well"], done.json["down"]) == (0, True, [])
    running.exits("web-2", 3)
    done = beatward(*ask)
    assert done.code == 1
    assert re.search("^  dead +web-2 +for ", done.out, re.MULTILINE)
    assert done.out.index("dead    web-2") < done.out.index("heartbeats")
    done = beatward(*ask, "--json")
    assert (done.code, done.json["well"]) == (1, False)
    # The monitor itself is well, and so says its own health.
    assert done.json["health"]["status"] == "ok"
    (node,) = done.json["down"]
    assert (node["name"], node["status"]) == ("web-2", "dead")
    assert node["since_ns"] >= 0
    assert beatward("forget", "web-2", "--data", running.data).code == 0
    assert beatward(*ask).code == 0
