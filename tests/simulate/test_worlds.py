"""Whole worlds: every promise holds, a seed says it all, and a broken rule does not go unseen."""

import json
import os
import subprocess
import sys

import pytest
from tests.simulate.broken import BROKEN

from beatward.simulate.run import run

# Shorter than `make simulate` plays them: many small worlds find more than a few long ones.
MINUTES = 3.0
# A fault needs its occasion, and not every world has it.
SEEDS_MAX = 8
# Caught only in longer worlds than fit here (`make simulate` plays such), or not yet at all.
NOT_HERE = {
    "believes a life without proof of this session",
    "lets a heartbeat revive the dead",
    "does not notice its own pause",
    "filters no replays",
}


@pytest.mark.parametrize("seed", range(1, 13))
def test_every_promise_holds_in_the_world_of_a_seed(seed):
    report = run(seed, minutes=MINUTES)
    assert report.violations == ()
    assert report.counts["event transition"] > 0


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - NOT_HERE))
def test_a_monitor_that_breaks_a_rule_is_caught(name):
    build, rules = BROKEN[name]
    for seed in range(1, SEEDS_MAX + 1):
        report = run(seed, minutes=MINUTES, build=build)
        if rules & {violation.rule for violation in report.violations}:
            return
    pytest.fail(f"{name}: no checker has seen it in {SEEDS_MAX} worlds")


def _told(seed, hash_seed):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "beatward",
            "simulate",
            "--seed",
            str(seed),
            "--json",
            "--minutes",
            str(MINUTES),
        ],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return json.loads(done.stdout)


def test_one_seed_is_one_journal_whatever_the_order_of_hashes():
    first, second = _told(7, "1"), _told(7, "2")
    assert first["digest"] == second["digest"] == run(7, minutes=MINUTES).digest
    assert first["violations"] == []
    assert run(8, minutes=MINUTES).digest != first["digest"]
