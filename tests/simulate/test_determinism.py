"""The same seed writes the same journal: twice in one process, and under any hash seed."""

import json
import os
import subprocess
import sys

import pytest

from beatward.simulate import draw, play, run
from beatward.simulate.run import canonical, digest

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


def test_a_world_without_checkers_writes_the_same(report):
    """They change nothing; and a fence switches its machine off without them."""
    scenario = draw(SEED, minutes=3)
    assert play(scenario, checkers=lambda _facts, _findings: ()).digest == report.digest
