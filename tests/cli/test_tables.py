"""Tables: what they cost, a line a row in a pipe, and nothing left out on a narrow terminal."""

import pstats
import subprocess
import sys

import pytest
from tests.harness import Monitor
from tests.terminal import Terminal

COUNT = 1000
MANY = "".join(f'[[job]]\nname = "n-{index:03}"\nevery = "1h"\n' for index in range(COUNT))
# Twice what rich takes for one line with three styles.
CALLS_OF_AN_EVENT = 1000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A monitor with a thousand nodes."""
    running = Monitor(tmp_path_factory.mktemp("many"), settings=MANY).start()
    yield running
    running.end()


@pytest.fixture
def count_calls(tmp_path, environment, many):
    """Return how many calls of functions a command takes, whatever the machine is doing."""

    def count(*arguments):
        profile = tmp_path / "profile"
        words = [sys.executable, "-m", "cProfile", "-o", profile, "-m", "beatward"]
        done = subprocess.run(
            [*words, *arguments, "--monitor", many.url],
            env=environment(),
            capture_output=True,
            timeout=100,
            check=True,
        )
        return pstats.Stats(str(profile)).total_calls, len(done.stdout.splitlines())

    return count


def test_a_row_of_a_table_costs_less_than_the_same_row_as_json(count_calls):
    few_calls, _ = count_calls("nodes", "n-00?")
    calls, line_count = count_calls("nodes")
    json_calls, _ = count_calls("nodes", "--json")
    assert line_count == COUNT + 1
    # A table of rich took ten times as much as the JSON, and 17 s for 10,000 nodes.
    assert calls - few_calls < json_calls - few_calls


def test_an_event_more_takes_few_calls(count_calls):
    few_calls, _ = count_calls("events", "--limit", "10")
    calls, line_count = count_calls("events", "--limit", str(COUNT))
    assert line_count == COUNT
    assert (calls - few_calls) / (COUNT - 10) < CALLS_OF_AN_EVENT


LONG = "the switch of rack seven is changed, " * 8


def test_in_a_pipe_a_row_is_a_line_however_long_it_is(beatward, monitor):
    asked = ("--data", monitor.data)
    beatward("silence", "long-*", "--for", "1h", "--reason", LONG, *asked)
    lines = beatward("silences", *asked).out.splitlines()
    (row,) = [line for line in lines if "long-*" in line]
    assert row.endswith(LONG.strip())
    beatward("unsilence", row.split()[0], *asked)


def test_on_a_narrow_terminal_what_does_not_fit_stands_below_its_row(
    served, members, held, run, environment
):
    members("narrow", "narrow-1", "narrow-2")
    held("narrow", "narrow-1")
    ask = ["services", "narrow", "--data", served.data]
    narrow = Terminal(ask, environment(), 80, 24)
    assert narrow.end() == 0
    lines = narrow.lines
    first = next(index for index, line in enumerate(lines) if line.startswith("narrow-1 "))
    assert lines[first].split()[:4] == ["narrow-1", "alive", "active", "1"]
    assert lines[first + 1].startswith("    ")
    assert "address 10.0.0.1:5432; why not holds the role" in " ".join(
        " ".join(lines[first + 1 : first + 3]).split()
    )
    wide = Terminal(ask, environment(), 200, 50)
    assert wide.end() == 0
    for shown in (wide.lines, run("services", "narrow").out.splitlines()):
        (row,) = [line for line in shown if line.startswith("narrow-1 ")]
        assert row.endswith("10.0.0.1:5432  holds the role")
