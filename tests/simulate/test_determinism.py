"""The same seed writes the same journal: twice in one process, and under any hash seed."""

import json
import os
import subprocess
import sys

import pytest
from tests.simulate.role_worlds import contested

from beatward.simulate import draw, play, run
from beatward.simulate.faults import FaultKind
from beatward.simulate.run import canonical, digest
from beatward.simulate.services import FENCE

SEED = 14


def digest_in_a_process(hash_seed):
    command = [sys.executable, "-m", "beatward", "simulate", "--seed", str(SEED)]
    done = subprocess.run(
        [*command, "--minutes", "2", "--json"],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        check=True,
        text=True,
        timeout=100,
    )
    return json.loads(done.stdout)["digest"]


@pytest.fixture(scope="module")
def report():
    return run(SEED, minutes=2)


def test_twice_in_one_process_a_seed_writes_the_same(report):
    again = run(SEED, minutes=2)
    assert [canonical(entry) for entry in again.journal] == [
        canonical(entry) for entry in report.journal
    ]
    assert (again.digest, again.counts, again.log) == (report.digest, report.counts, report.log)


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_the_digest_does_not_hang_on_the_hash_seed(report, hash_seed):
    assert digest_in_a_process(hash_seed) == report.digest


def test_another_seed_writes_something_else(report):
    assert run(SEED + 1, minutes=2).digest != report.digest
    assert draw(SEED) != draw(SEED + 1)


def test_the_digest_sees_every_entry_and_their_order(report):
    journal = report.journal
    assert digest(journal) == report.digest
    assert digest(journal[:-1]) != report.digest
    assert digest((journal[1], journal[0], *journal[2:])) != report.digest


def alone(scenario):
    """Play a world that nothing looks at."""
    return play(scenario, checkers=lambda _facts, _findings: ())


def test_a_world_without_checkers_writes_the_same(report):
    assert alone(draw(SEED, minutes=2)).digest == report.digest


def test_a_fence_switches_its_machine_off_although_no_checker_looks():
    """A holder sleeps for longer than its lease, which is longer than its fence takes."""
    asleep = ((FaultKind.SUSPEND, 9, 30),)
    world = contested(1, faults=asleep, lease_ms=20_000, demote_ms=10_000, fence=FENCE)
    looked_at, found = play(world), alone(world)
    assert looked_at.counts["role fenced"] == 1
    off = [line for line in found.log if line.text == "fenced: its machine is off"]
    assert len(off) == 1
    assert found.digest == looked_at.digest
