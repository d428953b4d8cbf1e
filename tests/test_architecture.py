"""ARCHITECTURE.md against the house as it stands: rooms, floors, and the table of statuses.

What can be made from the code is made here and compared; a failure prints what to paste.
"""

import ast
import configparser
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from beatward.core.membership import TABLE, WATCHED, Cause, Status
from beatward.core.roles.phases import TABLE as ROLE_TABLE
from beatward.core.roles.phases import Phase, RoleCause

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "beatward"
PAGE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
# Orders and direct evidence lead from nearly every status to the same one: thirty arrows that hide
# the others. They stand below the diagram, in words.
IN_WORDS = (Cause.EXITED, Cause.GOODBYE, Cause.PAUSE)
ROLES_IN_WORDS = (
    RoleCause.FORCED,
    RoleCause.FAILED,
    RoleCause.DEMOTED,
    RoleCause.GIVEN_BACK,
    RoleCause.EXPIRED,
    RoleCause.FENCED,
    RoleCause.UNFENCED,
    RoleCause.FENCE_FAILED,
    RoleCause.STUCK,
    RoleCause.DOUBT,
)
TREE_LINE = re.compile(r"^(?P<indent> *)(?P<names>[\w./]+(?:, [\w./]+)*)(?: {2,}\S.*)?$")
PLANNED = re.compile(r"\((\w+)\)")


# --- rooms ---------------------------------------------------------------------------------------


def rooms() -> set[str]:
    """Return every package, every module of the package itself, and every module of the core."""
    found = set()
    for path in PACKAGE.rglob("*"):
        if "__pycache__" in path.parts or path.name in ("__init__.py", "py.typed"):
            continue
        name = path.relative_to(PACKAGE).as_posix()
        is_open = path.parent in (PACKAGE, PACKAGE / "core")
        if path.is_dir() and any(path.glob("*.*")):
            found.add(f"{name}/")
        elif path.suffix == ".py" and is_open:
            found.add(name)
    return found


def named_rooms() -> set[str]:
    """Read the tree of the page: names two spaces deeper are inside the folder above."""
    tree = PAGE.partition("```\nsrc/beatward/\n")[2].partition("```")[0]
    assert tree, "ARCHITECTURE.md has no tree that begins with src/beatward/"
    found: set[str] = set()
    folders: dict[int, str] = {}
    for line in tree.splitlines():
        match = TREE_LINE.match(line)
        if match is None or len(match["indent"]) > 6:
            continue  # the text of the line above goes on
        depth = len(match["indent"])
        above = "".join(folders[level] for level in sorted(folders) if level < depth)
        for name in match["names"].split(", "):
            found.add(above + name)
        if name.endswith("/"):
            folders = {level: at for level, at in folders.items() if level < depth} | {depth: name}
    return found


def test_every_room_is_named_and_every_room_named_exists():
    assert named_rooms() == rooms()


def test_every_file_named_exists():
    for name in re.findall(r"`([\w./-]+\.(?:py|md|toml|service))`", PAGE):
        places = (PACKAGE / name, ROOT / name)
        assert any(place.exists() for place in places), name


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / target).exists(), target


# --- floors --------------------------------------------------------------------------------------


def floors(contract: str, folder: Path) -> list[str]:
    """Return the layers of .importlinter, top first, without rooms that are only planned."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    lines = parser[f"importlinter:contract:{contract}"]["layers"].split("\n")
    found = []
    for line in filter(None, lines):
        names = [name.strip(" ()") for name in line.split("|")]
        there = [n for n in names if (folder / n).is_dir() or (folder / f"{n}.py").exists()]
        if there:
            found.append(" | ".join(there))
    return found


@pytest.mark.parametrize(
    ("contract", "folder"), [("floors", PACKAGE), ("core-floors", PACKAGE / "core")]
)
def test_the_floors_are_those_that_are_held(contract, folder):
    wanted = "\n".join(floors(contract, folder))
    assert f"```\n{wanted}\n```" in PAGE, f"paste this:\n{wanted}"


# --- circles -------------------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Return every module of the package by its full name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def imported(name: str, text: str, known: set[str], *, is_package: bool = False) -> Iterator[str]:
    """Yield the known modules that a module imports: at its top, for types, and in functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: len(name.split(".")) + is_package - node.level]
            base = ".".join((*(above if node.level else ()), *filter(None, [node.module])))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if inner in known or base in known:
                    yield inner if inner in known else base


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules each of which imports the one before it, and the first the last; or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_leads_back_to_where_it_began():
    known = modules()
    graph = {
        name: {
            *imported(name, path.read_text("utf-8"), {*known}, is_package=path.stem == "__init__")
        }
        for name, path in known.items()
    }
    assert "beatward.core.intake" in graph["beatward.core.hearing"]
    assert "beatward.simulate.checker" in graph["beatward.simulate.checkers"]
    assert "beatward.bench.detectors" in graph["beatward.cli.bench"]
    assert circle({name: found - {name} for name, found in graph.items()}) == []


@pytest.mark.parametrize(
    "text",
    [
        "import b.one",
        "from b import one",
        "from .one import x",
        "from . import one",
        "if TYPE_CHECKING:\n    from .one import x",
        "def f():\n    from b.one import x",
    ],
)
def test_a_planted_circle_is_found(text):
    known = {"b", "b.one", "b.two"}
    graph = {"b.one": {*imported("b.one", "from .two import y", known)}}
    assert circle(graph) == []
    graph["b.two"] = {*imported("b.two", text, known)}
    assert set(circle(graph)) == {"b.one", "b.two"}


# --- the tables of statuses and of roles ----------------------------------------------------------


Table = Mapping[tuple[str, str], str]


def as_words(table) -> Table:
    """Return a table with the words of statuses and causes in place of their codes."""
    return {(before.word, cause.word): after.word for (before, cause), after in table.items()}


def diagram(table: Table, first: str, in_words: Collection[str]) -> str:
    """Draw a table as Mermaid; causes that lead the same way share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (before, cause), after in table.items():
        if cause not in in_words:
            arrows[before, after].append(cause)
    lines = ["stateDiagram-v2", f"    [*] --> {first}"]
    lines += [
        f"    {before} --> {after}: {', '.join(causes)}"
        for (before, after), causes in arrows.items()
    ]
    return "\n".join(lines)


def words(table: Table, in_words: Collection[str]) -> str:
    """Say in a line each where the remaining causes lead."""
    lines = []
    for cause in in_words:
        (after,) = {after for (_, by), after in table.items() if by == cause}
        before = [status for status, by in table if by == cause]
        lines.append(f"- `{cause}` leads to `{after}` from {', '.join(before)}.")
    return "\n".join(lines)


STATUSES = (
    as_words(TABLE),
    f"{Status.NEW.word}: {Cause.ENROLLED.word}",
    [cause.word for cause in IN_WORDS],
)
ROLES = (ROLE_TABLE, Phase.VACANT, ROLES_IN_WORDS)
PAGES = [(PAGE, STATUSES), ((ROOT / "docs" / "roles.md").read_text("utf-8"), ROLES)]


@pytest.mark.parametrize(("page", "drawn"), PAGES, ids=["statuses", "roles"])
def test_the_diagram_is_what_the_table_gives(page, drawn):
    table, first, in_words = drawn
    picture, lines = diagram(table, first, in_words), words(table, in_words)
    assert f"```mermaid\n{picture}\n```" in page, f"paste this:\n{picture}"
    assert lines in page, f"paste this:\n{lines}"


@pytest.mark.parametrize(("table", "first", "in_words"), [STATUSES, ROLES])
def test_no_transition_is_missing_from_diagram_and_words(table, first, in_words):
    drawn = sum(len(line.split(",")) for line in diagram(table, first, in_words).splitlines()[2:])
    lines = words(table, in_words).splitlines()
    assert drawn + sum(len(line.partition(" from ")[2].split(",")) for line in lines) == len(table)


def test_the_page_of_roles_says_what_every_phase_and_cause_means():
    page = (ROOT / "docs" / "roles.md").read_text("utf-8")
    for one in (*Phase, *RoleCause):
        assert re.search(rf"^\| `{one}` \| \S", page, re.MULTILINE), one


def test_the_page_says_whose_silence_counts():
    names = ", ".join(status.word for status in Status if WATCHED[status])
    assert f"Silence counts for: {names}." in PAGE
