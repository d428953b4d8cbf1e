"""Write the signatures of the SDK into docs/sdk.md, as the code has them; --check only compares.

Taken from the sources by `ast`, so the page has the very words of the code.
"""

import ast
import inspect
import sys
from pathlib import Path

from written_page import settle

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "sdk.md"
AGENT = ROOT / "src" / "beatward" / "agent"
BEGIN, END = "<!-- signatures: scripts/sdk_page.py -->\n", "<!-- end of signatures -->\n"
WIDTH = 100
# A heart of either kind is what `AbstractHeart` is, and more; that is told once.
CLASSES = (
    ("Heart", (("abstract_heart.py", "AbstractHeart"), ("heart.py", "Heart"))),
    ("AsyncHeart", (("heart.py", "AsyncHeart"),)),
    ("Service", (("services.py", "Service"),)),
    ("Role", (("roles/role.py", "Role"),)),
    ("AsyncRole", (("roles/async_role.py", "AsyncRole"),)),
)
SHOWN = {"__init__", "__aenter__"}
# What the agent's own commands need of a heart, and programs do not.
INNER = {"state_file", "credential", "monitor", "incarnation", "wake"}


def members(path: Path, name: str) -> list[ast.stmt]:
    """Return what a class has, its docstring first, in its own order."""
    tree = ast.parse(path.read_text("utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return found[0].body


def is_shown(node: ast.stmt) -> bool:
    """Tell whether a member is a public function, and not repeated in the class below."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    is_public = not node.name.startswith("_") or node.name in SHOWN
    has_words = ast.get_docstring(node) is not None or node.name == "__aenter__"
    is_abstract = isinstance(node.body[-1], ast.Raise)
    return is_public and has_words and not is_abstract and node.name not in INNER


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return the head of a function, one parameter a line where it is long."""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    arguments = ast.unparse(node.args)
    arguments = arguments.removeprefix("self, ").removeprefix("self")
    returns = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    line = f"{word} {node.name}({arguments}){returns}"
    if len(line) <= WIDTH - 4:
        return line
    parts = [one for one in split(arguments) if one]
    return "\n".join([f"{word} {node.name}(", *(f"    {part}," for part in parts), f"){returns}"])


def split(arguments: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for sign in arguments:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


def told(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return a function as the page shows it."""
    names = [one.id for one in node.decorator_list if isinstance(one, ast.Name)]
    head = f"@property\n{signature(node)}" if "property" in names else signature(node)
    words = ast.get_docstring(node)
    return head if words is None else head + "\n" + indent(f'"""{words}"""', 4)


def indent(text: str, by: int) -> str:
    """Move a text to the right, but not its empty lines."""
    return "\n".join(" " * by + line if line else "" for line in text.splitlines())


def shown(name: str, sources: tuple[tuple[str, str], ...]) -> str:
    """Return one class as a block of code."""
    rows = []
    for file, inner in sources:
        for node in members(AGENT / file, inner):
            if isinstance(node, ast.AnnAssign):
                rows.append(indent(ast.unparse(node), 4))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                words = inspect.cleandoc(str(node.value.value))
                rows.append(indent(f'"""{words}"""', 4))
            elif is_shown(node):
                rows.append("\n" + indent(told(node), 4))  # type: ignore[arg-type]
    body = "\n".join(rows).lstrip("\n")
    return f"### `{name}`\n\n```text\nclass {name}:\n{body}\n```\n\n"


def main() -> int:
    """Write the page anew, or say that it should be."""
    page = PAGE.read_text("utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    wanted = head + BEGIN + "\n" + "".join(shown(*one) for one in CLASSES) + END + tail
    return settle(PAGE, wanted)


sys.exit(main())
