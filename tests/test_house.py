"""The house's own rules, held by ratchets: sizes, names, clocks, and everything documented.

Each rule is a function from one file to the sentences that say what is wrong in it. The rules are
tried twice: on every file of the project, where they must find nothing, and on the planted
mistakes in `PLANTED`, where they must find something; so a rule that has gone blind fails too.

A waiver is a comment `# waiver: reason` within a function's signature, or in the first ten lines
of a file.
"""

import ast
import importlib
import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import click
import pytest
from pydantic import BaseModel
from tests.owners import foreign_writes

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "beatward"

FUNCTION_LINES_MAX = 80
FUNCTION_LINES_USUAL = 50
LINE_SIZE_MAX = 100
POSITIONAL_COUNT_MAX = 5
# Of "nobody", "so many" and their kin: they hide a noun.
HIDDEN_NOUNS_MAX = 150
# `said`, `told` and `words` as names hide a report, a text or a value. Lower it with each that
# goes.
HIDDEN_NAMES_MAX = 50
# One class name is one thing, but for these.
SHARED_CLASS_NAMES = {
    "Role": "a role as a program holds it (agent.roles), and as the monitor leads it (core.roles)",
    "Speaker": "an unknown node that speaks, and the process that speaks for a role",
    "State": "what the machine holds to be true, and a member's state on the wire",
}
WAIVER = re.compile(r"# waiver: \S.{8,}")

VAGUE_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

# Whoever is not here gets `now_ns` handed in. transport stamps arrivals as close to the wire as
# can be; bench is there to measure time.
CLOCK_ROOMS = ("agent/", "bench/", "cli/", "server/", "transport/")
CLOCK_CALLS = re.compile(
    r"time\.(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?"
    r"|time\.(localtime|gmtime|ctime|strftime)"
    r"|(datetime\.)*(datetime|date)\.(now|utcnow|today)"
    r"|(asyncio\.get_(running|event)_loop\(\)|(self\.)?_?loop)\.time"
)


@dataclass(frozen=True)
class Source:
    """One Python file. `name` is its path below the project's root."""

    name: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def room_path(self) -> str | None:
        """The path below src/beatward, or None for what is not part of the package."""
        prefix = "src/beatward/"
        return self.name.removeprefix(prefix) if self.name.startswith(prefix) else None

    def walk(self) -> Iterator[ast.AST]:
        return ast.walk(_parsed(self.text))

    def comments(self) -> Iterator[tuple[int, str]]:
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file that we keep, in a fixed order."""
    folders = ("src", "tests", "benchmarks", "examples", "scripts")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(Source(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in paths)


def dotted_name(node: ast.expr) -> str:
    """Return `a.b.c` for an attribute chain; a call in the chain keeps its parentheses."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return f"{dotted_name(node.func)}()"
    return "?"


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in source.walk():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def function_is_waived(source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    # A decorated function's signature still begins at `def`; the waiver stands there.
    signature = source.lines[node.lineno - 1 : node.body[0].lineno]
    return any(WAIVER.search(line) for line in signature)


# --- the rules -------------------------------------------------------------------------------


def function_size(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has without its docstring."""
    first, doc_lines = node.body[0], 0
    if ast.get_docstring(node, clean=False) is not None:
        doc_lines = (first.end_lineno or first.lineno) - first.lineno + 1
    return (node.end_lineno or node.lineno) - node.lineno + 1 - doc_lines


def functions_are_short(source: Source) -> Iterator[str]:
    for node in functions(source):
        size = function_size(node)
        if size > FUNCTION_LINES_MAX and not function_is_waived(source, node):
            yield f"line {node.lineno}: {node.name} has {size} lines, {FUNCTION_LINES_MAX} is all"


def few_arguments_are_positional(source: Source) -> Iterator[str]:
    if source.room_path is None:
        return  # A test's arguments are fixtures and columns of a table.
    for node in functions(source):
        positional = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        if positional[:1] in (["self"], ["cls"]):
            positional = positional[1:]
        if len(positional) > POSITIONAL_COUNT_MAX and not function_is_waived(source, node):
            yield (
                f"line {node.lineno}: {node.name} takes {len(positional)} arguments by position; "
                f"after {POSITIONAL_COUNT_MAX} put a `*`"
            )


def lines_are_narrow(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, 1):
        # A link cannot be broken; a line that is hardly more than one is let through.
        if len(line) > LINE_SIZE_MAX and not re.match(r"\s*(# |\")?\S*https?://\S+$", line):
            yield f"line {number}: {len(line)} characters, {LINE_SIZE_MAX} is all"


def modules_are_nouns(source: Source) -> Iterator[str]:
    path = Path(source.name)
    words = {word for part in (*path.parts[:-1], path.stem) for word in part.split("_")}
    if words & VAGUE_NAMES and source.room_path != "core/detect/base.py":
        yield f"{words & VAGUE_NAMES}: name it by what it knows, not by being of use"


def modules_say_what_they_are(source: Source) -> Iterator[str]:
    if source.room_path is not None and ast.get_docstring(_parsed(source.text)) is None:
        yield "no docstring: one sentence of purpose, what is not here, the route in and out"


def todos_have_an_issue(source: Source) -> Iterator[str]:
    for number, comment in source.comments():
        if re.search(r"\b(FIXME|XXX|HACK)\b", comment):
            yield f"line {number}: mend it before it merges: {comment}"
        if re.search(r"\bTODO\b(?!\(#\d+\))", comment):
            yield f"line {number}: write TODO(#issue): {comment}"


def time_is_handed_in(source: Source) -> Iterator[str]:
    if source.room_path is None or source.room_path.startswith(CLOCK_ROOMS):
        return
    for node in source.walk():
        if isinstance(node, ast.Call) and CLOCK_CALLS.fullmatch(dotted_name(node.func)):
            yield f"line {node.lineno}: {dotted_name(node.func)} reads a clock; take now_ns"
        # `from time import monotonic` would hide the call above.
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield f"line {node.lineno}: import from time; only the rooms of the clock may"


def production_does_not_know_it_is_tested(source: Source) -> Iterator[str]:
    if source.room_path is None:
        return
    for node in source.walk():
        names = [node.id] if isinstance(node, ast.Name) else []
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.append(node.value)
        for name in names:
            if re.search(r"^(unittest|pytest)\b|^testing$|^MOCK_|PYTEST_", name):
                yield f"line {getattr(node, 'lineno', 0)}: {name} has no business in src"


def real_sleep_says_why(source: Source) -> Iterator[str]:
    if not source.name.startswith("tests/"):
        return
    for node in source.walk():
        if not isinstance(node, ast.Call) or not dotted_name(node.func).endswith(".sleep"):
            continue
        if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0:
            continue  # A sleep of nothing only lets the other tasks run.
        around = source.lines[max(0, node.lineno - 2) : node.end_lineno]
        if not any("#" in line for line in around):
            yield f"line {node.lineno}: wait for a condition, or say in a comment why it sleeps"


def what_a_room_holds_it_writes(source: Source) -> Iterator[str]:
    if source.room_path is not None and source.room_path.startswith("core/"):
        for number, what in foreign_writes(_parsed(source.text)):
            yield f"line {number}: {what} is another room's; call a verb of that room"


RULES: tuple[Callable[[Source], Iterator[str]], ...] = (
    functions_are_short,
    few_arguments_are_positional,
    lines_are_narrow,
    modules_are_nouns,
    modules_say_what_they_are,
    todos_have_an_issue,
    time_is_handed_in,
    production_does_not_know_it_is_tested,
    real_sleep_says_why,
    what_a_room_holds_it_writes,
)


def _room(line: str) -> str:
    """Return a room that has handed itself what belongs to others, with one line in it."""
    return (
        "class Record:\n    own: int\n\n"
        "class Room:\n    def __init__(self, state: State, registry: Registry) -> None:\n"
        "        self._registry = registry\n        self._offers = state.offers\n"
        "        self.own = {}\n        self._record = Record()\n\n"
        f"    def f(self, watch: Record) -> None:\n        {line}\n"
    )


LONG = "def f():\n" + "    x = 1\n" * 80
PLANTED = [
    (functions_are_short, "src/beatward/a.py", LONG),
    (functions_are_short, "tests/test_a.py", LONG.replace("def", "async def")),
    (few_arguments_are_positional, "src/beatward/a.py", "def f(a, b, c, d, e, f): ..."),
    (few_arguments_are_positional, "src/beatward/a.py", "def f(self, a, b, /, c, d, e, f): ..."),
    (lines_are_narrow, "src/beatward/a.py", "x = " + "1" * 97),
    (modules_are_nouns, "src/beatward/web/utils.py", ""),
    (modules_are_nouns, "src/beatward/helpers/text.py", ""),
    (modules_are_nouns, "src/beatward/web/session_manager.py", ""),
    (modules_are_nouns, "src/beatward/store/base.py", ""),
    (modules_say_what_they_are, "src/beatward/a.py", "x = 1\n"),
    (todos_have_an_issue, "src/beatward/a.py", "x = 1  # " + "TO" + "DO later\n"),
    (todos_have_an_issue, "tests/test_a.py", "# " + "FIX" + "ME(#3) now\n"),
    (time_is_handed_in, "src/beatward/core/a.py", "import time\nx = time.monotonic_ns()\n"),
    (time_is_handed_in, "src/beatward/web/a.py", "from time import time\n"),
    (time_is_handed_in, "src/beatward/store/a.py", "x = datetime.datetime.now(UTC)\n"),
    (time_is_handed_in, "src/beatward/simulate/a.py", "x = self.loop.time()\n"),
    (time_is_handed_in, "src/beatward/cycle.py", "x = asyncio.get_running_loop().time()\n"),
    (production_does_not_know_it_is_tested, "src/beatward/a.py", "if settings.testing: ...\n"),
    (production_does_not_know_it_is_tested, "src/beatward/a.py", "import unittest.mock\n"),
    (real_sleep_says_why, "tests/test_a.py", "import time\n\ntime.sleep(1)\n"),
    *(
        (what_a_room_holds_it_writes, "src/beatward/core/a.py", text)
        for text in (
            "def f(registry: Registry):\n    registry.sequence[0] = 1\n",
            "def f(role: Role):\n    role.fence = ''\n",
            "def f(room: Room):\n    setattr(room, 'status', 1)\n",
            _room("self._registry.sequence[0] = 1"),
            _room("self._registry.via[0], own = 1, 2"),
            _room("self._role.own = ''"),
            _room("del self._upkeep.silences['a']"),
            _room("self._upkeep.silences.pop('a')"),
            _room("self._offers['a'] = 1"),
            _room("silences = self._upkeep.silences\n        silences['a'] = 1"),
            _room("due_ns = self._membership.due_ns[:5]\n        due_ns += 1"),
            _room("np.add.at(self._quality.counts, 1, 1)"),
            _room("np.maximum(1, 2, out=self._quality.counts)"),
        )
    ),
]
INNOCENT = [
    (
        functions_are_short,
        "src/beatward/a.py",
        LONG.replace(":", ":  # waiver: one long table"),
    ),
    (functions_are_short, "src/beatward/a.py", 'def f():\n    """A\n' + "\n" * 60 + '    """\n'),
    (few_arguments_are_positional, "src/beatward/a.py", "def f(self, a, b, c, d, e, *, f): ..."),
    (modules_are_nouns, "src/beatward/core/detect/base.py", ""),
    (todos_have_an_issue, "src/beatward/a.py", "# TODO(#12): when the relay speaks version 2.\n"),
    (time_is_handed_in, "src/beatward/server/clock.py", "x = time.monotonic_ns()\n"),
    (
        real_sleep_says_why,
        "tests/test_a.py",
        "# The kernel's timer is what we test.\nt.sleep(1)",
    ),
    *(
        (what_a_room_holds_it_writes, "src/beatward/core/a.py", text)
        for text in (
            _room("self.own['a'] = 1"),
            _room("self._record.own += 1"),
            _room("watch.own = 1"),
            _room("self._registry.note_heard(1)"),
            _room("twin = copy.copy(self)\n        twin.own = {}"),
            _room("since_ns = self._registry.since_ns[slots]\n        since_ns[0] = 1"),
        )
    ),
]


def test_sentences_name_the_node_the_operator_or_the_count():
    """Messages that users have known for long may keep their words; new text has a noun."""
    hidden = re.compile(r"\b(so (many|long|much)|nobody|somebody|whoever|anybody)\b")
    count = sum(len(hidden.findall(path.read_text("utf-8"))) for path in PACKAGE.rglob("*.py"))
    assert count < HIDDEN_NOUNS_MAX


def test_few_names_hide_what_they_hold():
    fields = {ast.Name: "id", ast.Attribute: "attr", ast.arg: "arg", ast.FunctionDef: "name"}
    names = [
        getattr(node, fields[type(node)])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if type(node) in fields
    ]
    assert sum(name.lstrip("_") in ("said", "told", "words") for name in names) < HIDDEN_NAMES_MAX


def test_a_class_name_stands_for_one_thing():
    names = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    shared = {name for name, count in names.items() if count > 1}
    assert shared <= SHARED_CLASS_NAMES.keys(), "name the edge in the class's name"


def test_of_a_hundred_functions_ninety_eight_are_short():
    sizes = [function_size(node) for source in sources() for node in functions(source)]
    assert sum(size <= FUNCTION_LINES_USUAL for size in sizes) >= 0.98 * len(sizes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rule(rule):
    wrong = [f"{source.name}: {found}" for source in sources() for found in rule(source)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(("rule", "name", "text"), PLANTED, ids=range(len(PLANTED)))
def test_a_planted_mistake_is_found(rule, name, text):
    assert list(rule(Source(name, text)))


@pytest.mark.parametrize(("rule", "name", "text"), INNOCENT, ids=range(len(INNOCENT)))
def test_a_good_file_is_let_through(rule, name, text):
    assert not list(rule(Source(name, text)))


def test_every_rule_has_a_planted_mistake():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_the_rules_see_the_sources():
    seen = {source.name for source in sources()}
    assert {"src/beatward/__init__.py", "src/beatward/errors.py", "tests/test_house.py"} <= seen
    assert len([name for name in seen if name.startswith("src/beatward/core/")]) >= 5


# --- everything is documented ----------------------------------------------------------------


def documentation() -> str:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    # A decision record says why; a user must find it where things are explained.
    return "\n".join(page.read_text("utf-8") for page in pages if "decisions" not in page.parts)


def commands() -> dict[str, click.Command]:
    """Return every command of the CLI by its full name, groups included."""
    if not (PACKAGE / "cli" / "__init__.py").exists():
        pytest.skip("no room cli yet")
    cli = importlib.import_module("beatward.cli")
    (root,) = (thing for thing in vars(cli).values() if isinstance(thing, click.Group))
    found = {}
    rest = [("beatward", root)]
    while rest:
        name, command = rest.pop()
        found[name] = command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for word in command.list_commands(context):
                below = command.get_command(context, word)
                assert below is not None, f"{name} {word} is listed and cannot be had"
                rest.append((f"{name} {word}", below))
    return found


def test_every_command_is_documented():
    text = documentation()
    names = commands().keys() - {"beatward"}
    assert len(names) >= 5
    missing = [name for name in sorted(names) if not re.search(rf"{name}\b", text)]
    assert not missing, f"README.md and docs/ do not say: {', '.join(missing)}"


def test_every_command_and_option_says_what_it_does():
    silent = []
    for name, command in commands().items():
        if not command.help:
            silent.append(name)
        options = (param for param in command.params if isinstance(param, click.Option))
        silent += [f"{name} {option.opts[0]}" for option in options if not option.help]
    assert not silent, f"no help text: {', '.join(sorted(silent))}"


def settings_models() -> dict[str, type[BaseModel]]:
    """Return every model that is reachable from the whole file's, by the path to it."""
    config = importlib.import_module("beatward.config")
    found = {}
    rest = [("", config.Settings)]
    while rest:
        path, model = rest.pop()
        found[path] = model
        for name, field in model.model_fields.items():
            # dict[str, X], tuple[X, ...] and X | None all lead to X.
            hints = [field.annotation]
            while hints:
                hint = hints.pop()
                hints += get_args(hint)
                if isinstance(hint, type) and issubclass(hint, BaseModel):
                    rest.append((f"{path}.{name}".lstrip("."), hint))
    return found


def test_every_setting_says_what_it_costs():
    models = settings_models()
    assert {"monitor", "detector", "probe", "action", "rule"} <= models.keys()
    silent = []
    for path, model in models.items():
        for name, field in model.model_fields.items():
            # A table explains itself; of the file as a whole only the tables can be asked for.
            if path and not field.description:
                silent.append(f"[{path}] {name}")
    assert not silent, f"there is no text below the field: {', '.join(silent)}"


def test_every_setting_is_documented():
    text = documentation()
    missing = [
        f"[{path}] {name}"
        for path, model in settings_models().items()
        for name in model.model_fields
        if path and not re.search(rf"`{name}`|^{name} *=", text, re.MULTILINE)
    ]
    assert not missing, f"README.md and docs/ do not say: {', '.join(missing)}"


# --- every detector is registered and cited ---------------------------------------------------

CITATION = re.compile(r"\b(19|20)\d\d\b|docs/decisions/\d{3}|\bours\b")


def detector_files() -> list[Path]:
    paths = sorted((PACKAGE / "core" / "detect").glob("*.py"))
    return [path for path in paths if path.stem not in {"__init__", "base"}]


def test_every_detector_is_registered():
    detect = importlib.import_module("beatward.core.detect")
    registered = {maker.__module__.rpartition(".")[2] for maker in detect.DETECTORS.values()}
    assert detector_files()
    assert {path.stem for path in detector_files()} <= registered


def test_every_detector_can_be_chosen():
    detect = importlib.import_module("beatward.core.detect")
    kind = settings_models()["detector"].model_fields["kind"]
    assert set(get_args(kind.annotation)) == detect.DETECTORS.keys()


def test_every_detector_says_where_it_comes_from():
    assert detector_files()
    for path in detector_files():
        theory = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        assert CITATION.search(theory), f"{path.name}: name the paper and its year, or say `ours`"


def test_only_documents_of_this_repository_are_cited():
    cited = re.compile(r"\b[A-Z]{3,}\.md\b")
    folders = (PACKAGE, ROOT / "tests", ROOT / "docs", ROOT / "benchmarks")
    texts = [
        path for folder in folders for end in ("py", "md") for path in folder.rglob(f"*.{end}")
    ]
    names = {name for path in texts for name in cited.findall(path.read_text("utf-8"))}
    assert names <= {path.name for path in ROOT.glob("*.md")}


def test_the_types_of_arrays_are_defined_once():
    alias = re.compile(r"^(\w+Array) *= *npt\.", re.MULTILINE)
    found = [
        name for path in PACKAGE.rglob("*.py") for name in alias.findall(path.read_text("utf-8"))
    ]
    assert len(found) == len(set(found))
