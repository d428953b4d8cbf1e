"""docs/deploy.md as root types it: the services, their user, a backup and how it is restored."""

import shlex
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from .machine import Shell, blocks

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deploy.md"
UNITS = ROOT / "examples" / "systemd"

pytestmark = [
    pytest.mark.real,
    pytest.mark.needs("ip", "curl", "unshare", "setpriv", "systemd-analyze"),
]


def lines(number: int) -> list[str]:
    """Return the lines of a block that is typed, without those that fetch from the network."""
    text = [block.text for block in blocks(PAGE) if block.language == "sh"][number]
    return [line for line in text.splitlines() if "/pip install" not in line]


def test_the_units_on_the_page_are_the_units_in_the_folder():
    shown = [block.text for block in blocks(PAGE) if block.language == "ini"]
    assert shown == [
        (UNITS / f"beatward-{name}.service").read_text("utf-8") for name in ("monitor", "agent")
    ]


@pytest.fixture
def server(tmp_path):
    """Return a machine on which the program is at /opt/beatward, as after the page's pip line."""
    (tmp_path / "home").mkdir()
    with Shell(tmp_path, ROOT) as shell:
        shell.run("mkdir -p /opt/beatward/bin")
        shell.run(f"ln -s {Path(sys.executable).parent / 'beatward'} /opt/beatward/bin/beatward")
        shell.run("export PATH=/opt/beatward/bin:$PATH")
        yield shell


def type_page(shell: Shell, number: int) -> None:
    """Type a block of the page; no systemd runs here, so its last line is left to other tests."""
    *typed, enable = [line for line in lines(number) if "-m venv" not in line]
    assert enable.startswith("systemctl enable --now beatward-")
    shell.run("mkdir -p /etc/systemd/system")
    shell.run("\n".join(typed))


def service(shell: Shell, name: str) -> ConfigParser:
    """Return an installed unit that systemd takes without a remark."""
    unit = f"/etc/systemd/system/beatward-{name}.service"
    assert shell.run(f"systemd-analyze verify {unit} 2>&1") == ""
    parsed = ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str
    parsed.read_string(shell.run(f"cat {unit}"))
    return parsed


def test_the_services_start_as_the_page_installs_them(server):
    type_page(server, 0)
    monitor = service(server, "monitor")["Service"]
    # What systemd does before it starts the command.
    server.run(f"install -d -o {monitor['User']} -m 700 /var/lib/{monitor['StateDirectory']}")
    server.run(f"setpriv --reuid={monitor['User']} --clear-groups {monitor['ExecStart']} &")
    server.wait("curl -fsS http://127.0.0.1:7227/healthz")
    token = server.run("beatward token new --node '*' | head -1")
    server.run(f"export BEATWARD_TOKEN={shlex.quote(token)}")
    type_page(server, 1)
    agent = service(server, "agent")["Service"]
    server.run(f"{agent['ExecStart']} &")
    server.wait(server.is_status("", "alive"))


def test_a_copy_of_a_running_journal_can_be_restored(server):
    server.run("mkdir -p /var/lib/beatward /var/backups; beatward monitor & monitor=$!")
    server.wait("curl -fsS http://127.0.0.1:7227/healthz")
    server.run("beatward exec web-1 -- true")
    folder = server.etc.parent / "backups"
    folder.mkdir()
    server.run(f"mount --bind {folder} /var/backups")
    server.run("\n".join(lines(2)))
    server.run("beatward exec web-2 -- true; kill $monitor; wait $monitor")
    server.run("mv /var/lib/beatward /var/lib/lost; mkdir -m 700 /var/lib/beatward")
    server.run("cp /var/backups/beatward-*.sqlite3 /var/lib/beatward/journal.sqlite3")
    server.run("cp /var/lib/lost/master.key /var/lib/beatward/; beatward monitor &")
    server.wait("curl -fsS http://127.0.0.1:7227/healthz")
    known = server.run("beatward nodes")
    assert "web-1" in known
    assert "web-2" not in known


def test_the_image_is_made_of_files_that_exist():
    kept = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = {line[1:] for line in kept if line.startswith("!")}
    copied = [
        word
        for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("COPY") and "--from" not in line
        for word in shlex.split(line)[1:-1]
    ]
    assert kept == set(copied)
    tracked = subprocess.run(
        ["git", "ls-files", *copied], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in copied:
        assert any(path == name or path.startswith(f"{name}/") for path in tracked), name
