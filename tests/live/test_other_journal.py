"""A journal restored from a backup: whoever read on in the other one is told, and begins anew."""

import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from tests.harness import Monitor
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def _frames(monitor: Monitor, place: str, count: int) -> list[dict[str, str]]:
    """Return the first frames of the stream behind a place."""
    request = urllib.request.Request(
        f"{monitor.url}/v1/events/stream", headers={"Last-Event-ID": place}
    )
    frames: list[dict[str, str]] = []
    frame: dict[str, str] = {}
    with urllib.request.urlopen(request, timeout=8) as answer:
        for line in answer:
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key:
                frame[key] = value
                continue
            if "data" in frame:
                frames.append(frame)
            frame = {}
            if len(frames) == count:
                break
    return frames


def _toggle(monitor: Monitor, until_id: int) -> None:
    """Pause and resume a node until the journal has so many events."""
    words = ("pause", "resume")
    turn = 0
    while (last := monitor.get("/v1/events?limit=1")["last"]) < until_id:
        monitor.post(f"/v1/nodes/backup/{words[turn % 2]}")
        wait_for(
            lambda last=last: monitor.get("/v1/events?limit=1")["last"] > last, what="a change"
        )
        turn += 1


class _Follower:
    """`beatward events --follow --json` as a process, and what it has printed so far."""

    def __init__(self, monitor: Monitor, *arguments: str) -> None:
        self.ids: list[int] = []
        self.errors = ""
        command = [sys.executable, "-m", "beatward", "events", "--follow", "--json", *arguments]
        self._process = subprocess.Popen(
            [*command, "--data", str(monitor.data)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._threads = [threading.Thread(target=self._read), threading.Thread(target=self._hear)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.ids.append(json.loads(line)["id"])

    def _hear(self) -> None:
        for line in self._process.stderr or ():
            self.errors += line

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A monitor at event 16 and more, whose journal is put back to three events."""
    folder = tmp_path_factory.mktemp("story")
    monitor = Monitor(folder / "monitor")
    journal, backup = monitor.data / "journal.sqlite3", folder / "backup.sqlite3"
    monitor.start()
    follower = None
    try:
        monitor.post("/v1/jobs/backup", {"every": "1h"}, method="PUT")
        wait_for(lambda: "backup" in monitor.statuses(), what="the job")
        wait_for(lambda: len(monitor.events()) >= 3, what="three events")
        monitor.end()
        shutil.copy(journal, backup)
        monitor.start()
        _toggle(monitor, 16)
        follower = _Follower(monitor, "--limit", "1000")
        wait_for(lambda: 16 in follower.ids, what="event 16 on the command line")
        early, late = (_frames(monitor, str(place - 1), 1)[0] for place in (2, 16))
        monitor.end()
        shutil.copy(backup, journal)
        for name in ("journal.sqlite3-wal", "journal.sqlite3-shm"):
            (monitor.data / name).unlink(missing_ok=True)
        monitor.start()
        yield {"monitor": monitor, "early": early, "late": late, "follower": follower}
    finally:
        if follower is not None:
            follower.end()
        monitor.end()


def test_a_place_behind_the_end_is_told_and_the_stream_begins_anew(story: dict[str, Any]) -> None:
    told, first = _frames(story["monitor"], "16", 2)
    assert told["event"] == "anew"
    assert told["id"] == "0"
    assert "read in another journal: this one ends with" in json.loads(told["data"])["reason"]
    assert first["id"] == "1"


def test_a_page_behind_the_end_is_told_and_begins_anew(story: dict[str, Any]) -> None:
    page = story["monitor"].get("/v1/events?after=16")
    assert "another journal" in page["anew"]
    assert page["events"][0]["id"] == 1
    page = story["monitor"].get(f"/v1/events?after={page['last']}&mark={page['mark']}")
    assert (page["anew"], page["events"]) == (None, [])


def test_a_command_behind_the_end_is_told_and_begins_anew(story: dict[str, Any]) -> None:
    follower = _Follower(story["monitor"], "--after", "16")
    try:
        wait_for(lambda: follower.ids, what="an event")
        assert follower.ids[0] == 1
        assert "another journal" in follower.errors
    finally:
        follower.end()


def test_a_journal_that_has_grown_past_the_place_is_known_by_the_mark(
    story: dict[str, Any],
) -> None:
    monitor, early, late = (story[key] for key in ("monitor", "early", "late"))
    _toggle(monitor, 20)
    told, first = _frames(monitor, f"16-{late['mark']}", 2)
    assert (told["event"], first["id"]) == ("anew", "1")
    assert "that id is another event" in json.loads(told["data"])["reason"]
    page = monitor.get(f"/v1/events?after=16&mark={late['mark']}")
    assert "another journal" in page["anew"]
    # What both journals have is no other journal; an id alone is taken as it is.
    (again,) = _frames(monitor, f"2-{early['mark']}", 1)
    assert again["id"] == "3"
    (plain,) = _frames(monitor, "16", 1)
    assert plain["id"] == "17"


def test_a_command_that_followed_all_along_says_so_and_shows_the_other_journal(
    story: dict[str, Any],
) -> None:
    follower = story["follower"]
    wait_for(lambda: "another journal" in follower.errors, what="a word about it")
    wait_for(lambda: follower.ids.count(1) == 2, what="the first event of the other journal")
