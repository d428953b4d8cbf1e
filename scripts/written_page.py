"""What scripts that write a part of a page share: write it anew, or say that it should be."""

import sys
from pathlib import Path


def settle(page: Path, wanted: str) -> int:
    """Write the text; with --check only compare, and return 1 where it differs."""
    if "--check" not in sys.argv:
        page.write_text(wanted, "utf-8")
        return 0
    differs = page.read_text("utf-8") != wanted
    if differs:
        script = f"python scripts/{Path(sys.argv[0]).name}"
        sys.stderr.write(f"docs/{page.name} is not as the code: {script}\n")
    return int(differs)
