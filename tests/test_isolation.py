"""Tests see nothing of the machine that they run on: no monitor, no settings, no data folder."""

import os
from pathlib import Path


def test_a_test_has_a_home_of_its_own_and_nothing_is_said_to_it(isolation):
    assert os.environ["HOME"] == str(isolation)
    assert Path.home() == isolation
    told = {key for key in os.environ if key.startswith("BEATWARD_")}
    assert told <= {f"BEATWARD_{word}" for word in ("FUZZ", "MISSING", "REWRITE", "SEED")}
