"""The README as a new user meets it: its blocks, in their order, on a clean machine.

beatward is installed there as the README says, by the system's own Python and pip.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from .machine import Block, Shell, blocks

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(300),
    pytest.mark.needs("ip", "curl", "unshare"),
]

HOOK = """#!/bin/sh
role=/run/role-$BEATWARD_NODE
case $(basename "$0") in
promote) echo primary > "$role" ;;
demote | stop | start) echo standby > "$role" ;;
state) cat "$role" 2>/dev/null || echo standby ;;
esac
"""


class Story:
    """What a new user does with each block, and what has to be true after it."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self._played: Counter[tuple[str, str]] = Counter()
        self._explained = ""
        self._joining = ""

    def _start_four_nodes(self, text: str) -> None:
        first, *others = text.splitlines(keepends=True)
        self.shell.run(first)
        self.shell.wait("curl -fsS http://127.0.0.1:7227/healthz")
        assert self.shell.run("".join(others)) == "ok"
        for name in ("host-1", "web-1", "backup"):
            self.shell.wait(self.shell.is_status(name, "alive"))

    def _run_a_program(self, text: str) -> None:
        (self.shell.home / "app.py").write_text(f"{text}import time\n\ntime.sleep(600)\n")
        self.shell.run("python ~/app.py &")
        self.shell.wait(self.shell.is_status("worker-1", "alive"))

    def _kill_one(self, text: str) -> None:
        kill, *questions = text.splitlines(keepends=True)
        self.shell.run(kill)
        self.shell.wait(self.shell.is_status("web-1", "dead"))
        printed = self.shell.run("".join(questions))
        self._explained = printed[printed.index("web-1 dead:") :]
        assert re.search(r"^worker-1 +alive ", printed, re.MULTILINE)
        self.shell.wait("! curl -s http://127.0.0.1:8000/")

    def _compare_with_what_is_printed(self, text: str) -> None:
        """The numbers on the page are of another run, with another margin; the sentence is this."""

        def sentence(printed: str) -> str:
            return re.sub(r"\(.*?\) *|\d[\d.,]* (ms|s)\b|\d+", "", printed.splitlines()[0])

        assert sentence(self._explained).startswith(sentence(text))

    def _run_a_crontab(self, text: str) -> None:
        self.shell.install(self.shell.programs / "backup", "#!/bin/sh\nexit 0\n")
        *_, command = text.strip().split(maxsplit=5)
        # What cron gives: a home, its own short PATH, and sh.
        self.shell.run(f"env -i HOME=$HOME PATH=/usr/bin:/bin SHELL=/bin/sh sh -c '{command}'")
        job = json.loads(self.shell.run("beatward explain nightly --json"))
        assert job["status"] == "alive"

    def _write_settings(self, text: str) -> None:
        (self.shell.checkout / "beatward.toml").write_text(text)

    def _add_a_second_machine(self, text: str) -> None:
        printed = self.shell.run(text.replace("\nbeatward token", "\nsleep 1; beatward token"))
        lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
        exports = [line for line in lines if line.startswith("export BEATWARD_")]
        exports = [re.sub("NAME=.*", "NAME=db-1", line) for line in exports]
        assert [line.split("=")[0][16:] for line in exports] == ["MONITOR", "TOKEN", "NAME"]
        assert lines[3] == "beatward agent"
        self._joining = " && ".join(exports)
        self.shell.run(f"(export HOME=~/second && {self._joining} && beatward agent) & second=$!")
        self.shell.wait(self.shell.is_status("db-1", "alive"))

    def _add_a_rule(self, text: str) -> None:
        with (self.shell.checkout / "beatward.toml").open("a") as settings:
            settings.write(text)
        self.shell.run("beatward config check beatward.toml")

    def _offer_a_service(self, text: str) -> None:
        (self.shell.home / "db.toml").write_text(text)
        for name in ("promote", "demote", "stop", "start", "state"):
            self.shell.install(self.shell.etc / "beatward" / "db" / name, HOOK)
        self.shell.run("kill $second; wait $second")
        for number in (1, 2):
            self.shell.run(
                f"(export HOME=~/db-{number} && {self._joining} && export BEATWARD_NAME=db-{number}"
                f" && mkdir -p $HOME && beatward agent -c {self.shell.home}/db.toml) &"
            )
        self.shell.wait('beatward services db --json | grep -q \'"phase": *"held"\'')

    def _move_the_role(self, text: str) -> None:
        def ready() -> str:
            return "test $(beatward services db --json | grep -c '\"healthy\": *true') = 2"

        self.shell.wait(ready())
        printed = self.shell.run(text)
        assert re.search(r"db-[12] holds db under token 2 after ", printed)

    def play(self, block: Block) -> None:
        """Do with a block what its place on the page asks for."""
        steps = {
            ("Quick start", "sh"): [self._start_four_nodes, self._kill_one],
            ("Quick start", "python"): [self._run_a_program],
            ("Quick start", "text"): [self._compare_with_what_is_printed],
            ("Quick start", "crontab"): [self._run_a_crontab],
            ("A second machine", "toml"): [self._write_settings],
            ("A second machine", "sh"): [self._add_a_second_machine],
            ("A rule", "toml"): [self._add_a_rule],
            ("A standby that takes over", "toml"): [self._offer_a_service],
            ("A standby that takes over", "sh"): [self._move_the_role],
        }[block.heading, block.language]
        steps[self._played[block.heading, block.language]](block.text)
        self._played[block.heading, block.language] += 1


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what is under version control, as a clone has it."""
    copy = tmp_path_factory.mktemp("checkout")
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def test_what_the_readme_shows_works_as_printed(checkout: Path, tmp_path: Path) -> None:
    commands, install, *story = blocks(README)
    assert [line.split("#")[0].strip() for line in commands.text.splitlines()] == [
        "make run",  # the next test
        "make test",  # this one
    ]
    home = tmp_path / "home"
    home.mkdir()
    # With the network of the machine: pip fetches what beatward needs.
    subprocess.run(
        ["bash", "-e", "-c", install.text],
        cwd=checkout,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        check=True,
        timeout=200,
    )
    with Shell(tmp_path, checkout) as shell:
        shell.run(install.text.splitlines()[-1])
        played = Story(shell)
        for block in story:
            played.play(block)


def test_make_run_shows_the_demo_on_a_clean_clone(checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "run", "ARGS=--for 12s --interval 100ms"],
        cwd=checkout,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "restarted and is alive again" in done.stdout
