"""On a terminal: demo, watch and tables as a person sees them, at any size, and how they end."""

import re
from pathlib import Path

import pytest
from tests.terminal import Terminal

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


def processes_of(folder):
    """Return the pids of processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if bytes(folder) in words:
            found.append(int(path.parent.name))
    return found


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
