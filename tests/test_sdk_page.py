"""docs/sdk.md: its signatures are the code's, and its examples run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.harness import Monitor
from tests.waiting import wait_for

import beatward

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "sdk.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def run(text, environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_page_has_the_signatures_of_the_code():
    command = [sys.executable, str(ROOT / "scripts" / "sdk_page.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_page_names_every_public_name():
    for name in beatward.__all__:
        assert f"`{name}`" in PAGE or f"beatward.{name}" in PAGE


def test_the_whole_story_ends_with_a_death_that_is_found_and_told(tmp_path):
    settings = tmp_path / "beatward.toml"
    settings.write_text('[monitor]\nudp = "127.0.0.1:0"\nhttp = "127.0.0.1:0"\n')
    # On ports of its own, and in a folder that goes away; nothing else is changed.
    text = EXAMPLES[0].replace('"monitor"]', f'"monitor", "-c", {str(settings)!r}]')
    text = text.replace("tempfile.mkdtemp()", repr(str(tmp_path)))
    assert len([line for line in text.splitlines() if line]) <= 25
    found = run(text, {})
    assert found.returncode == 0, found.stderr
    assert re.fullmatch(r"web-3 dead: .* probes over .*\n", found.stdout), found.stdout


def test_every_other_example_runs(tmp_path):
    assert len(EXAMPLES) >= 6
    with Monitor(tmp_path / "monitor") as monitor:
        for text in EXAMPLES[1:]:
            found = run(text, {"BEATWARD_DATA": str(monitor.data)})
            assert (found.returncode, found.stderr) == (0, ""), text
        names = {"web-1", "web-2", "web-3", "web-4", "backup"}
        wait_for(lambda: names <= monitor.statuses().keys(), what="every example's node")
