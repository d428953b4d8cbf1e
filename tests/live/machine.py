"""A clean machine to type on: namespaces of its own, a home, default ports that are free.

Network, mounts and processes are the machine's own, so nothing of the tests' machine is seen or
changed, and what was started ends with it. It needs root, as CI has.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code of a page, and the heading above it."""

    language: str
    text: str
    heading: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = page.read_text("utf-8")
    found = []
    for block in BLOCK.finditer(text):
        headings = re.findall(r"^## (.*)$", text[: block.start()], re.MULTILINE)
        found.append(Block(block[1], block[2], headings[-1] if headings else ""))
    return found


class Shell:
    """One bash on a machine of its own; what it starts ends with it."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self._folder, self.checkout = folder, checkout
        self.home = folder / "home"
        self.etc, self.programs, self.data = folder / "etc", folder / "bin", folder / "lib"
        self._count = 0

    def __enter__(self) -> Self:
        self._log = (self._folder / "stderr").open("wb")
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
        self._process = subprocess.Popen(
            # A process namespace of its own: its first process takes all others with it.
            ["unshare", "-nmpf", "--kill-child", "--mount-proc", "bash"],
            cwd=self.checkout,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._furnish()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _furnish(self) -> None:
        """Give it a loopback, a name for the monitor, and folders that may be written to."""
        shutil.copytree("/etc", self.etc, symlinks=True, ignore_dangling_symlinks=True)
        with (self.etc / "hosts").open("a") as hosts:
            hosts.write("127.0.0.1 monitor.example\n")
        for folder in (self.programs, self.data):
            folder.mkdir()
        self.run(
            f"ip link set lo up && mount --bind {self.etc} /etc"
            f" && mount --bind {self.data} /var/lib && mount --bind {self.programs} /usr/local/bin"
            " && mount -t tmpfs none /run && mount -t tmpfs none /opt"
        )

    def install(self, program: Path, text: str) -> None:
        """Put a program into one of the machine's folders."""
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)

    def run(self, text: str, *, is_well: bool = True) -> str:
        """Type some lines as a user would; return what they print. Every line must succeed."""
        self._count += 1
        sentinel = f"-- end of {self._count} --"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{text.rstrip()}\necho "\n{sentinel} $?"\n')
        self._process.stdin.flush()
        printed = []
        for line in self._process.stdout:
            if line.startswith(sentinel):
                code = int(line.removeprefix(sentinel))
                break
            printed.append(line)
        else:
            raise AssertionError(f"the shell ended in {text!r}: {self.complaints}")
        if is_well:
            assert code == 0, f"{text!r} ended with {code}: {''.join(printed)}{self.complaints}"
        return "".join(printed).strip()

    def wait(self, question: str) -> None:
        """Wait until a command succeeds."""
        self.run(
            f"for i in $(seq 200); do {question} && break; sleep 0.1; done >/dev/null 2>&1"
            f"; {question} >/dev/null"
        )

    def is_status(self, name: str, status: str) -> str:
        """Return a command that succeeds when a node has a status."""
        return f'beatward nodes {name} --json | grep -q \'"status": *"{status}"\''

    @property
    def complaints(self) -> str:
        return (self._folder / "stderr").read_text("utf-8", "replace")[-4000:]
