"""In which time zone a job is due, whatever /etc/localtime is: a link, a copy, a mount, nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ZONES = Path("/usr/share/zoneinfo")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ZONES / "Asia/Kathmandu").exists(), reason="no time zones here"),
]
# An /etc of its own, in which only /etc/localtime is, made by the line in place of `{}`.
PRIVATE = 'mount -t tmpfs none /etc && cp "$1" /etc/passwd && {} && shift && exec "$@"'
COPY = f"cp {ZONES}/Asia/Kathmandu /etc/localtime"
MOUNT = f"touch /etc/localtime && mount --bind {ZONES}/Asia/Kathmandu /etc/localtime"


@pytest.fixture
def privately(environment, tmp_path):
    """Run the command line with an /etc made by a line of shell."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root may mount, and needs unshare")
    shutil.copy("/etc/passwd", tmp_path / "passwd")
    beatward = (sys.executable, "-m", "beatward")
    prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]

    def run(line, *arguments, **variables):
        wanted = {key: value for key, value in environment.items() if key != "TZ"}
        return subprocess.run(
            [*prefix, PRIVATE.format(line), "sh", str(tmp_path / "passwd"), *beatward, *arguments],
            env={**wanted, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("line", "zone"),
    [
        (COPY, "Asia/Kathmandu"),
        (MOUNT, "Asia/Kathmandu"),
        # A file of other names, too: what the machine's own note says goes before.
        (
            f"cp {ZONES}/Europe/Berlin /etc/localtime && echo Europe/Berlin > /etc/timezone",
            "Europe/Berlin",
        ),
        # A note that is out of date, which the C library does not read either.
        (f"{COPY} && echo Europe/Berlin > /etc/timezone", "Asia/Kathmandu"),
        (f"ln -s {ZONES}/America/New_York /etc/localtime", "America/New_York"),
        ("true", "UTC"),
    ],
)
def test_a_job_is_due_in_the_zone_of_this_machines_clock(privately, monitor, line, zone):
    done = privately(line, "exec", "job", "--schedule", "0 3 * * *", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
    assert monitor.joins[0]["job"]["timezone"] == zone


def test_a_zone_that_cannot_be_told_is_asked_for_and_the_command_runs(privately, monitor):
    line = f"head -c 100 {ZONES}/Asia/Kathmandu > /etc/localtime"
    done = privately(line, "exec", "job", "--schedule", "0 3 * * *", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert (
        "job: not watched: this machine: its time zone: found '/etc/localtime is a" in done.stderr
    )
    assert "--timezone says it" in done.stderr
    assert monitor.joins == []


@pytest.mark.parametrize(
    ("told", "zone"),
    [
        ("Asia/Kathmandu", "Asia/Kathmandu"),
        (":America/New_York", "America/New_York"),
        (f":{ZONES}/Europe/Berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
    ],
)
def test_the_variable_tz_goes_before_the_file(beatward, environment, monitor, told, zone):
    arguments = ("exec", "job", "--schedule", "0 3 * * *", "--", "true")
    assert beatward(*arguments, env={**environment, "TZ": told}).wait(30) == 0
    assert monitor.joins[0]["job"]["timezone"] == zone


def test_rules_in_the_variable_tz_are_no_name(beatward, environment):
    arguments = ("exec", "job", "--schedule", "0 3 * * *", "--", "echo", "ran")
    process = beatward(*arguments, env={**environment, "TZ": "NPT-5:45"})
    output, error = process.communicate(timeout=30)
    assert (process.returncode, output) == (0, "ran\n")
    assert "TZ is 'NPT-5:45', which is not the name of a time zone" in error
