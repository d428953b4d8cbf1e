"""Draw docs/images/watch.svg: a real `beatward watch` on a terminal, while a node dies.

    .venv/bin/python scripts/picture.py

A monitor and six nodes run on this machine for half a minute; one of them is killed.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.terminal import Terminal  # noqa: E402  the path above leads to it

PICTURE = ROOT / "docs" / "images" / "watch.svg"
COLUMNS, ROWS = 118, 24
NODES = ("db-1", "db-2", "host-1", "web-1", "web-2", "web-3")
SETTINGS = """\
[monitor]
udp = "127.0.0.1:0"
http = "127.0.0.1:0"

[action.page]
kind = "notify"
command = ["true"]

[[rule]]
on = ["dead", "recovering"]
actions = ["page"]
"""


def main() -> None:
    """Play the story, and write the screen as a picture."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "beatward.toml"
        settings.write_text(SETTINGS)
        environment = {**os.environ, "BEATWARD_DATA": str(Path(folder) / "data")}
        command = [sys.executable, "-m", "beatward"]
        monitor = subprocess.Popen([*command, "monitor", "-c", settings], env=environment)
        nodes = {}
        try:
            while not (Path(folder) / "data" / "local.json").exists():
                time.sleep(0.1)
            for name in NODES:
                nodes[name] = subprocess.Popen(
                    [*command, "exec", name, "--", "sleep", "600"], env=environment
                )
            screen = Terminal(["watch"], environment, COLUMNS, ROWS)
            screen.wait_for(f"{len(NODES)} alive")
            time.sleep(15)
            nodes.pop("web-2").kill()
            screen.wait_for("outcome")
            screen.wait_for(re.compile(r"^dead +web-2", re.MULTILINE))
            draw(screen)
            screen.press("\x03")
            screen.end()
        finally:
            for process in (*nodes.values(), monitor):
                process.terminate()
                process.wait(15)


def draw(screen: Terminal) -> None:
    """Write what stands on the screen, with its colours."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        for row in range(ROWS):
            cells = [screen.cell(row, column) for column in range(COLUMNS)]
            line = Text(no_wrap=True, overflow="crop")
            for style, run in groupby(cells, key=style_of):
                line.append("".join(cell.data for cell in run), style)
            console.print(line)
        console.save_svg(str(PICTURE), title="beatward watch")


def style_of(cell: Any) -> str:
    """Return a character's style in rich's words; pyte calls yellow brown."""
    colour = {"default": "", "brown": "yellow"}.get(cell.fg, cell.fg)
    return " ".join(["bold"] * cell.bold + [colour] * bool(colour))


if __name__ == "__main__":
    main()
