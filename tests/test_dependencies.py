"""What is declared is imported, and what is imported is declared: nothing is carried along."""

import ast
import functools
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# Declared and never imported, with the reason.
ONLY_RUN = {
    "alembic": "imported by the migrations, which Alembic loads by their path",
    "coverage": "`make test` measures with it",
    "httptools": "uvicorn parses HTTP with it, when it is there",
    "import-linter": "`make lint` runs it",
    "mypy": "`make lint` runs it",
    "pytest-asyncio": "a plugin of pytest's",
    "pytest-cov": "a plugin of pytest's",
    "pytest-timeout": "a plugin of pytest's",
    "pytest-xdist": "a plugin of pytest's",
    "ruff": "`make lint` runs it",
    "types-psutil": "mypy reads it",
    "tzdata": "the time zones of machines that have none; zoneinfo reads it",
}
OURS = ("beatward", "tests", "examples")
DEV_FOLDERS = ("tests", "benchmarks", "scripts", "examples")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(lines):
    """Return the distributions that requirements name."""
    return {normal(re.split(r"[\[<>=;~! ]", line)[0]) for line in lines if isinstance(line, str)}


@functools.cache
def imported(*folders):
    """Return the distributions that the sources of folders import, each with one who does."""
    owners = packages_distributions()
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = []
                if isinstance(node, ast.Import):
                    names = [one.name for one in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                for name in names:
                    top = name.partition(".")[0]
                    is_ours = top in OURS or (path.parent / f"{top}.py").exists()
                    if top in sys.stdlib_module_names or is_ours:
                        continue
                    for owner in owners.get(top, [top]):
                        found.setdefault(normal(owner), str(path.relative_to(ROOT)))
    return found


EXTRAS = PROJECT["project"]["optional-dependencies"]
RUN = declared(PROJECT["project"]["dependencies"]).union(*map(declared, EXTRAS.values()))
DEV = declared([*PROJECT["dependency-groups"]["dev"], *PROJECT["dependency-groups"]["build"]])


def test_what_the_program_imports_is_declared():
    missing = {name: path for name, path in imported("src").items() if name not in RUN}
    assert not missing


def test_what_the_program_declares_is_imported():
    assert RUN - imported("src").keys() - ONLY_RUN.keys() == set()


def test_what_the_tests_and_tools_import_is_declared():
    found = imported(*DEV_FOLDERS)
    missing = {name: path for name, path in found.items() if name not in DEV | RUN}
    assert not missing


def test_what_the_tests_and_tools_declare_is_imported():
    own = {"setuptools"}  # setup.py
    assert DEV - imported(*DEV_FOLDERS).keys() - ONLY_RUN.keys() - own == set()


@pytest.mark.parametrize("name", sorted(ONLY_RUN))
def test_every_exception_is_declared_and_one(name):
    assert name in RUN | DEV
    assert name not in imported("src", *DEV_FOLDERS) or name == "alembic"
