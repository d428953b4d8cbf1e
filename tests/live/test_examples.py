"""The examples, each by its one command, on hosts made of network namespaces."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from examples.ground.network import sweep, what_is_missing

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.quiet, pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def ground() -> None:
    """Skip where no hosts can be made; in CI that is a failure, for a skip looks like a pass."""
    missing = what_is_missing()
    if missing and os.environ.get("CI") != "true":
        pytest.skip(missing)


def run(*command: str) -> Any:
    """Run an example to its end and return the JSON that it printed."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.needs("ip", "nft")
def test_what_a_killed_example_left_is_taken_away_by_the_next(ground) -> None:
    code = (
        "import os, signal, sys\nfrom examples.ground.network import Network\n"
        "network = Network().__enter__()\nhost = network.host('a')\n"
        "sleep = host.start('sleep', '60')\nprint(host.space, sleep.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    left = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    space, pid = left.stdout.split()
    assert space in spaces()
    sweep()
    assert space not in spaces()
    assert not Path(f"/proc/{pid}/exe").exists()


def spaces() -> set[str]:
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.needs("ip", "nft", "arping", "postgres")
def test_postgresql_loses_no_acknowledged_write_and_never_has_two_primaries(ground) -> None:
    before = spaces()
    faults = ["frozen", "cut-from-monitor"]
    reports = run("examples/postgresql/run", "--tuned", "--json", *faults)
    assert [report["fault"] for report in reports] == faults
    assert [report["token"] for report in reports] == [2, 3]
    for report in reports:
        assert report["acknowledged"] > 100
        assert (report["lost"], report["doubles"]) == (0, 0)
        # What is aimed at is 3 s, on a machine that does nothing else beside.
        assert report["writable"] < 15
    assert spaces() <= before


@pytest.mark.needs("ip", "nft", "arping")
def test_an_address_moves_and_is_never_answered_by_two_hosts(ground) -> None:
    told = run("examples/virtual-ip/run", "--json", "frozen", "cut-from-all")
    assert [report["fault"] for report in told["reports"]] == ["frozen", "cut-from-all"]
    assert told["claims"] > 100
    assert told["wrong"] == 0


def test_one_worker_schedules_at_a_time_and_its_store_refuses_who_did_before() -> None:
    told = run("examples/leader/run", "--json")
    assert told["tokens"] == sorted(told["tokens"])
    assert told["jobs"] > 10
    assert told["out_of_order"] == 0
    assert told["refused"] > 0
