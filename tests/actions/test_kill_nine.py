"""A monitor that is killed at any instant around a deed does it once, and once only."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.slow]

KILLS_COUNT = 40


class DoomedMonitors:
    """One monitor after the other, each killed after a while unless it ends before."""

    def __init__(self, folder):
        self.deeds, self.journal = folder / "deeds", folder / "journal"
        self.deeds.touch()
        self.journal.touch()
        self.folder = folder / "actions"
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("doomed_monitors.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def live(self, key, attempt, *, pause_ms, kill_after_seconds):
        told = f"{self.folder} {self.deeds} {self.journal} {key} {attempt} {pause_ms}\n"
        self.process.stdin.write(told)
        monitor = int(self.process.stdout.readline())
        if kill_after_seconds is not None:
            time.sleep(kill_after_seconds)  # A random instant is the point.
            os.kill(monitor, signal.SIGKILL)
        self.process.stdin.write("bury\n")
        assert self.process.stdout.readline() == "buried\n"

    def deeds_of(self, key):
        return self.deeds.read_text().split().count(key)

    def outcomes_of(self, key):
        lines = [line.split("|") for line in self.journal.read_text().splitlines()]
        return [line[1:] for line in lines if line[0] == key]

    def end(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture
def monitors(tmp_path):
    made = DoomedMonitors(tmp_path)
    yield made
    made.end()


def live_until_success(monitors, key, chance, counts):
    """Do what the outbox does: ask under one key, again after each kill, until it has succeeded."""
    attempt, kills_left = 1, chance.randint(1, 4)
    while not [outcome for outcome in monitors.outcomes_of(key) if outcome[1] == "success"]:
        heard_count = len(monitors.outcomes_of(key))
        kill_after_seconds = chance.uniform(0, 0.12) if kills_left else None
        pause_ms = chance.choice((0, 0, 5, 30))
        monitors.live(key, attempt, pause_ms=pause_ms, kill_after_seconds=kill_after_seconds)
        was_heard = len(monitors.outcomes_of(key)) > heard_count
        attempt += was_heard
        if kills_left and not was_heard:
            kills_left -= 1
            counts["kills"] += 1
            counts["after the deed, before the journal"] += monitors.deeds_of(key)
        elif kills_left:
            kills_left -= 1


def test_a_deed_is_done_exactly_once_however_often_the_monitor_is_killed_around_it(monitors):
    seed = random.randrange(2**32)
    chance, counts = random.Random(seed), Counter()
    keys = []
    while counts["kills"] < KILLS_COUNT:
        keys.append(f"{len(keys)}/revive:web-3")
        live_until_success(monitors, keys[-1], chance, counts)
    print(f"seed {seed}: {len(keys)} keys, {dict(counts)}")
    done = Counter(monitors.deeds.read_text().split())
    assert done == dict.fromkeys(keys, 1), f"seed {seed}"
    # Otherwise the test has not been where it wants to be.
    assert counts["after the deed, before the journal"] >= 5


@pytest.mark.parametrize("kill_after_seconds", [0, 0.002, 0.005, 0.01])
def test_a_restart_at_once_never_runs_beside_the_run_that_the_killed_one_began(
    monitors, kill_after_seconds
):
    for i in range(6):
        key = f"{i}/revive:web-3"
        for _ in range(3):
            monitors.live(key, 1, pause_ms=0, kill_after_seconds=kill_after_seconds)
        monitors.live(key, 1, pause_ms=0, kill_after_seconds=None)
        assert monitors.outcomes_of(key)[-1][1] == "success"
        assert monitors.deeds_of(key) == 1
