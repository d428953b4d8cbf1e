"""The core is a pure machine and the agent is light: what import contracts cannot see.

`.importlinter` holds who imports whom. Here is the rest: a purity that is lost by a builtin, by
numpy's own generator or by the order of a set, and what a process really loads.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "beatward"

# The core may have the whole standard library but these: clocks, chance, the network, files,
# threads, logs. What merely reads or changes the process (signal, sys, gc) is no better.
FORBIDDEN_MODULES = {
    *("asyncio", "datetime", "logging", "multiprocessing", "os", "pathlib", "random", "secrets"),
    *("select", "selectors", "socket", "sqlite3", "ssl", "subprocess", "threading", "time"),
    *("uuid", "_thread", "concurrent", "contextvars", "ctypes", "gc", "importlib", "io", "locale"),
    *("signal", "sys", "tempfile", "urllib", "warnings", "weakref"),
}
# hash() of a str and id() differ between two runs; the rest is input, output or code from afar.
FORBIDDEN_BUILTINS = {
    *("__import__", "breakpoint", "eval", "exec", "hash", "id", "input", "open", "print"),
}
# These take a set whole, and give the same whatever its order.
ORDERLESS = {"all", "any", "bool", "frozenset", "len", "max", "min", "set", "sorted", "sum"}
# These hand on the order of the set that they are given.
ORDERED = {"deque", "dict", "dict.fromkeys", "enumerate", "iter", "list", "map", "next", "tuple"}
ORDERED |= {"filter", "np.array", "np.asarray", "np.fromiter", "reversed", "str.join", "zip"}


def dotted_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value)}.{node.attr}"
    return "?"


def foreign_imports(tree: ast.Module) -> Iterator[str]:
    """Find imports of anything but the allowed standard library, numpy and our own rooms."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            allowed = top in {"beatward", "numpy"} or top in sys.stdlib_module_names
            if top in FORBIDDEN_MODULES or not allowed:
                yield f"line {node.lineno}: imports {name}"
            if name.startswith("numpy.random"):
                yield f"line {node.lineno}: imports {name}; chance is handed in"


def hidden_inputs(tree: ast.Module) -> Iterator[str]:
    """Find builtins that let the world in, and numpy's generator."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and dotted_name(node.func) in FORBIDDEN_BUILTINS:
            yield f"line {node.lineno}: calls {dotted_name(node.func)}"
        if isinstance(node, ast.Attribute) and dotted_name(node) in {"np.random", "numpy.random"}:
            yield f"line {node.lineno}: uses {dotted_name(node)}; chance is handed in"
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: global {', '.join(node.names)}; state belongs to an object"


def _is_set_hint(hint: ast.expr) -> bool:
    outer = hint.value if isinstance(hint, ast.Subscript) else hint
    last = dotted_name(outer).rpartition(".")[2]
    return last in {"set", "frozenset", "Set", "AbstractSet", "MutableSet"}


class SetOrder(ast.NodeVisitor):
    """Find places where the order of a set becomes the order of something else.

    A name counts as a set when the file anywhere assigns or annotates it as one. That is cruder
    than types and errs on the side of a complaint; `sorted(...)` silences it and is the cure.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.found: list[str] = []
        self.names: set[str] = set()
        self.harmless: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.AnnAssign) and _is_set_hint(node.annotation):
                self.names.add(dotted_name(node.target).removeprefix("self."))
            elif isinstance(node, ast.arg) and node.annotation and _is_set_hint(node.annotation):
                self.names.add(node.arg)
            elif isinstance(node, ast.Assign) and self.is_set(node.value):
                self.names |= {dotted_name(to).removeprefix("self.") for to in node.targets}
        self.visit(tree)

    def is_set(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                named = {"union", "intersection", "difference", "symmetric_difference"}
                return node.func.attr in named and self.is_set(node.func.value)
            return dotted_name(node.func) in {"set", "frozenset"}
        if isinstance(node, ast.BinOp):
            operators = ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor
            return isinstance(node.op, operators) and self.is_set(node.left)
        return dotted_name(node).rpartition(".")[2] in self.names

    def complain(self, node: ast.AST) -> None:
        self.found.append(f"line {getattr(node, 'lineno', 0)}: takes the order of a set; sort it")

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted_name(node.func)
        if name in ORDERLESS:
            self.harmless |= {id(argument) for argument in node.args}
        spread = any(isinstance(to, ast.Starred) and self.is_set(to.value) for to in node.args)
        handed_on = any(self.is_set(argument) for argument in node.args)
        if spread or (handed_on and (name in ORDERED or name.endswith(".join"))):
            self.complain(node)
        # set.pop() takes an arbitrary member.
        method = node.func if isinstance(node.func, ast.Attribute) and not node.args else None
        if method and method.attr == "pop" and self.is_set(method.value):
            self.complain(node)
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        if self.is_set(node.iter):
            self.complain(node)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        iterates = any(self.is_set(clause.iter) for clause in node.generators)
        if iterates and id(node) not in self.harmless:
            self.complain(node)
        self.generic_visit(node)

    visit_GeneratorExp = visit_ListComp  # noqa: N815  ast.NodeVisitor wants the node's own name
    visit_DictComp = visit_ListComp  # noqa: N815  as above


def set_order(tree: ast.Module) -> Iterator[str]:
    yield from SetOrder(tree).found


def shared_chance(tree: ast.Module) -> Iterator[str]:
    """Find chance that is not drawn from a generator somebody seeded."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = dotted_name(node.func)
        seeded = bool(node.args or node.keywords)
        if name.startswith(("random.", "np.random.", "numpy.random.")):
            maker = name.rpartition(".")[2] in {"Random", "default_rng", "PCG64", "Generator"}
            if not (maker and seeded):
                yield f"line {node.lineno}: {name} is not seeded by the world's one seed"
        if name in {"os.urandom", "uuid.uuid4", "uuid.uuid1"} or name.startswith("secrets."):
            yield f"line {node.lineno}: {name} cannot be repeated"


# The simulated world must be as repeatable as the core, but may draw chance from its seed.
CORE_RULES = (foreign_imports, hidden_inputs, set_order)
RULES_OF_ROOMS = {"core": CORE_RULES, "simulate": (set_order, shared_chance)}
CASES = [(room, rule) for room, rules in RULES_OF_ROOMS.items() for rule in rules]

PLANTED = [
    (foreign_imports, "import time"),
    (foreign_imports, "import os.path"),
    (foreign_imports, "from datetime import UTC"),
    (foreign_imports, "import pydantic"),
    (foreign_imports, "def f():\n    from random import Random"),
    (foreign_imports, "from numpy.random import default_rng"),
    (hidden_inputs, "x = np.random.default_rng(1)"),
    (hidden_inputs, "x = hash(name) % 8"),
    (hidden_inputs, "print(1)"),
    (hidden_inputs, "def f():\n    global x\n    x = 1"),
    (set_order, "for x in {1, 2}: ..."),
    (set_order, "def f(names: set[str]):\n    return [n for n in names]"),
    (set_order, "def f(names: frozenset[str]):\n    return ', '.join(names)"),
    (set_order, "self.slots: set[int] = set()\nx = list(self.slots)"),
    (set_order, "s = set(a) | set(b)\nx = tuple(s - other)"),
    (set_order, "s = set(a)\nfirst = s.pop()"),
    (set_order, "s = {1}\nf(*s)"),
    (set_order, "x = np.array(set(a))"),
    (set_order, "x = {n: 0 for n in set(a)}"),
    (shared_chance, "x = random.random()"),
    (shared_chance, "x = random.Random()"),
    (shared_chance, "x = np.random.normal(0, 1)"),
    (shared_chance, "x = secrets.token_bytes(8)"),
]
INNOCENT = [
    (foreign_imports, "import numpy as np\nimport hmac\nfrom beatward.errors import ConfigError"),
    (set_order, "s = set(a)\nfor x in sorted(s): ..."),
    (set_order, "s = set(a)\nx = any(n > 1 for n in s)"),
    (set_order, "s = set(a)\nt = {n + 1 for n in s}"),
    (set_order, "for x in [1, 2]: ..."),
    (shared_chance, "x = random.Random(seed)\ny = x.random()"),
]


def trees(room: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((PACKAGE / room).rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text("utf-8"))


@pytest.mark.parametrize(("room", "rule"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_a_room_is_repeatable(room, rule):
    if not (PACKAGE / room).is_dir():
        pytest.skip(f"no room {room} yet")
    files = list(trees(room))
    assert files
    wrong = [f"{name}: {found}" for name, tree in files for found in rule(tree)]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(("rule", "text"), PLANTED, ids=range(len(PLANTED)))
def test_a_planted_impurity_is_found(rule, text):
    assert list(rule(ast.parse(text)))


@pytest.mark.parametrize(("rule", "text"), INNOCENT, ids=range(len(INNOCENT)))
def test_pure_code_is_let_through(rule, text):
    assert not list(rule(ast.parse(text)))


def modules_loaded_by(statement: str) -> set[str]:
    """Run a statement in a fresh interpreter and return the names of all modules it loaded."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        # -I: neither the caller's environment nor the current folder may add modules.
        [sys.executable, "-I", "-W", "error", "-c", program],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    return set(json.loads(done.stdout))


HEAVY = {
    *("alembic", "fastapi", "httpx2", "msgspec", "numpy", "prometheus_client", "pydantic"),
    *("rich", "sqlalchemy", "starlette", "uvicorn"),
}
MONITOR_ROOMS = {
    f"beatward.{room}"
    for room in ("actions", "cycle", "ports", "server", "simulate", "store", "transport", "web")
}
AGENT_STATEMENTS = [
    "import beatward",
    "import beatward.agent",
    "from beatward import Heart",
    "import beatward.cli",
]


@pytest.mark.parametrize("statement", AGENT_STATEMENTS)
def test_what_runs_on_every_node_loads_nothing_heavy(statement):
    room = "cli" if "cli" in statement else "agent"
    if not (PACKAGE / room / "__init__.py").exists():
        pytest.skip(f"no room {room} yet")
    loaded = modules_loaded_by(statement)
    assert "beatward" in loaded
    tops = {name.partition(".")[0] for name in loaded}
    rooms = {".".join(name.split(".")[:2]) for name in loaded}
    assert not tops & HEAVY
    assert not rooms & MONITOR_ROOMS


@pytest.mark.parametrize("command", ["--help", "agent --help", "exec --help"])
def test_an_agents_machine_needs_click_only(command):
    if not (PACKAGE / "cli" / "__init__.py").exists():
        pytest.skip("no room cli yet")
    # None in sys.modules makes an import fail as if the package were not installed.
    blocked = dict.fromkeys(sorted(HEAVY | {"psutil"}))
    program = (
        f"import sys\nsys.modules.update({blocked})\nsys.argv[1:] = {command.split()}\n"
        "from beatward.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage:" in done.stdout


def test_the_probe_sees_what_a_process_loads():
    assert {"numpy", "beatward.core.instants"} <= modules_loaded_by(
        "import numpy, beatward.core.instants"
    )
