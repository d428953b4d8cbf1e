"""What the tests of the store share: engines, children, waiting."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.waiting import wait_for

from beatward.simulate.disk import FlakyStore
from beatward.store.journal import JournalWriter
from beatward.store.memory import MemoryStore
from beatward.store.reader import JournalReader
from beatward.store.sqlite import SqliteStore

HERE = Path(__file__).parent
# 2023-11-14T22:13:20Z, in nanoseconds: what a monitor adds to its own clock.
OFFSET = 1_700_000_000_000_000_000


@pytest.fixture
def until():
    return wait_for


@pytest.fixture
def offset():
    return OFFSET


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite3"


@pytest.fixture
def store(path):
    """A journal in a file."""
    opened = SqliteStore(path)
    yield opened
    opened.close()


@pytest.fixture
def reader(path):
    opened = JournalReader(path)
    yield opened
    opened.close()


@pytest.fixture(params=["memory", "sqlite", "simulated"])
def engine(request, path):
    """Every engine of the room, and the simulated world's disk, one after the other."""
    makers = {"memory": MemoryStore, "simulated": FlakyStore}
    maker = makers.get(request.param)
    opened = SqliteStore(path) if maker is None else maker()
    yield opened
    opened.close()


@pytest.fixture
def start():
    """Start journals that end with the test, and give them a clock that stands at 42."""
    journals = []

    def begin(store, **settings):
        receipts = []
        journal = JournalWriter(store, receipts.append, now_ns=lambda: 42, **settings)
        journals.append(journal)
        return journal, receipts

    yield begin
    for journal in journals:
        journal.close(0)


@pytest.fixture(scope="session")
def entry_for():
    """Sequence -> entry of an endless story; the children tell the same one."""
    return runpy.run_path(str(HERE / "story.py"))["entry_for"]


class Child:
    """A Python process that we talk to in lines: one order in, one line of JSON out."""

    def __init__(self, script, *arguments, prefix=()):
        command = [*prefix, sys.executable, str(HERE / script), *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, order):
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        return self.hear()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, f"the child ended with {self.process.wait(timeout=10)}"
        return json.loads(line)

    def end(self):
        self.process.kill()
        self.process.wait(timeout=10)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def child():
    """Start children that end with the test."""
    children = []

    def begin(script, *arguments, **settings):
        children.append(Child(script, *arguments, **settings))
        return children[-1]

    yield begin
    for started in children:
        started.end()
