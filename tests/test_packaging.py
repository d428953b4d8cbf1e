"""What a user downloads: locked and hashed dependencies, and a wheel that has everything in it."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements/run.txt", "requirements/dev.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def requirements(name: str) -> list[str]:
    """Return a lock file's requirements, each with its hashes, as one line each."""
    joined = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def pinned(name: str) -> dict[str, set[str]]:
    """Return package -> pinned versions; one package may have several, under markers."""
    versions: dict[str, set[str]] = {}
    for line in requirements(name):
        package, version = re.match(r"([a-z0-9.-]+)(?:\[[a-z,]+\])?==(\S+)", line).groups()
        versions.setdefault(package, set()).add(version)
    return versions


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_names_no_host_and_no_place(name):
    for line in (ROOT / name).read_text("utf-8").splitlines():
        assert re.match(r"    --hash=sha256:|[a-z0-9]", line), line
        assert not re.search(r"://|@|/", line), line


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_and_hashed(name):
    lines = requirements(name)
    assert len(lines) > 20
    for line in lines:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("name", LOCKS)
def test_every_extra_that_a_locked_package_asks_for_is_pinned_as_that_extra(name):
    """Debian's pip 23.0.1 takes `x==1` for no pin of `x[extra]`: it then chooses the newest x."""
    text = (ROOT / name).read_text("utf-8")
    asked = {
        f"{asked.name}[{extra}]"
        for package in pinned(name)
        for line in distribution_requires(package)
        if (asked := Requirement(line)).extras
        and (asked.marker is None or asked.marker.evaluate({"extra": ""}))
        for extra in asked.extras
    }
    if name.endswith("dev.txt"):
        assert "coverage[toml]" in asked  # pytest-cov asks for it: the test sees what it is about
    for one in asked:
        assert re.search(rf"^{re.escape(one)}==", text, re.MULTILINE), one


def distribution_requires(package: str) -> list[str]:
    """Return what an installed package asks for; of packages for other systems nothing is known."""
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def test_what_is_tested_is_what_runs():
    run, dev = (pinned(name) for name in LOCKS)
    assert {package: dev.get(package) for package in run} == run


def test_the_lock_covers_what_the_project_asks_for():
    asked = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["monitor"]
    names = {re.match(r"[A-Za-z0-9.-]+", line).group().lower() for line in asked}
    assert names <= pinned("requirements/run.txt").keys()


def test_nothing_we_ask_for_has_an_upper_cap():
    extras = PROJECT["optional-dependencies"].values()
    for line in (*PROJECT["dependencies"], *(line for extra in extras for line in extra)):
        version = line.partition(";")[0]
        assert not re.search(r"<|==|~=", version), line


def test_a_node_installs_click_and_nothing_else():
    assert [re.match(r"\w+", line).group() for line in PROJECT["dependencies"]] == ["click"]


def test_the_version_is_said_once():
    text = (ROOT / "src" / "beatward" / "__init__.py").read_text("utf-8")
    assert f'__version__ = "{PROJECT["version"]}"' in text


def copy_source(copy):
    """Copy what is built from: building leaves things behind, which a second build would take."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    return copy


def pip(*arguments, **environment):
    """Run pip as somebody without a network would."""
    command = [sys.executable, "-m", "pip", *map(str, arguments)]
    command += ["--no-deps", "--no-index", "--no-build-isolation"]
    return subprocess.run(
        command,
        check=True,
        timeout=110,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


@pytest.fixture(scope="module")
def wheel_path(tmp_path_factory):
    source = copy_source(tmp_path_factory.mktemp("source"))
    pip("wheel", "--quiet", "--wheel-dir", source / "dist", source)
    (path,) = (source / "dist").glob("beatward-*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_path):
    with zipfile.ZipFile(wheel_path) as archive:
        yield archive


def test_the_wheel_holds_every_source_file(wheel):
    package = ROOT / "src"
    wanted = {str(path.relative_to(package)) for path in package.rglob("*.py*")}
    wanted = {name for name in wanted if name.endswith((".py", ".pyi"))}
    wanted |= {"beatward/py.typed"}
    migrations = ROOT / "src" / "beatward" / "store" / "migrations"
    for path in migrations.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            wanted.add(str(path.relative_to(package)))
    assert wanted <= set(wheel.namelist())


def test_the_wheel_holds_nothing_but_the_package(wheel):
    version = PROJECT["version"]
    for name in wheel.namelist():
        assert name.startswith(("beatward/", f"beatward-{version}.dist-info/")), name
        assert "__pycache__" not in name
        assert not name.endswith(".c")


def test_the_wheel_asks_for_click_unless_an_extra_is_named(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = message_from_string(wheel.read(name).decode())
    always = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert always == PROJECT["dependencies"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == {"monitor", "facts"}
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_wheel_installs_the_command(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "beatward = beatward.cli:main" in wheel.read(name).decode()


# --- the optional extension ------------------------------------------------------------------

EXTENSION = "beatward/core/_tags.abi3.so"
# What a program finds when it imports an installed copy and not the checkout.
ASK = """
import beatward
from beatward.core.tags import FASTEST, IMPLEMENTATIONS
print(beatward.__file__, FASTEST.name, *IMPLEMENTATIONS)
"""


def ask(folder):
    """Return where beatward came from, its fastest implementation, and the names of all."""
    answer = subprocess.run(
        [sys.executable, "-c", ASK],
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    where, fastest, *names = answer.split()
    return Path(where).parents[1], fastest, names


def can_compile():
    header = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which("cc") is not None and header.exists()


needs_compiler = pytest.mark.skipif(
    not can_compile() and os.environ.get("CI") != "true",
    reason="no C compiler, or no Python.h (python3-dev)",
)


@needs_compiler
def test_one_wheel_serves_every_python(wheel, wheel_path):
    assert re.fullmatch(rf"beatward-{PROJECT['version']}-cp311-abi3-\w+\.whl", wheel_path.name)
    shared = [name for name in wheel.namelist() if re.search(r"\.(so|pyd|dylib)$", name)]
    assert shared == [EXTENSION]


@needs_compiler
def test_the_extension_asks_python_for_nothing_outside_the_limited_api(wheel):
    # Private names (but for the three that the limited API's own macros use) differ from one
    # Python to the next; so do functions that only some have, which this cannot see.
    names = set(re.findall(rb"\b_Py\w+", wheel.read(EXTENSION)))
    assert names <= {b"_PyArg_ParseTuple_SizeT", b"_Py_Dealloc", b"_Py_NoneStruct"}


@needs_compiler
def test_an_installed_wheel_uses_the_extension(wheel_path, tmp_path):
    pip("install", "--quiet", "--target", tmp_path, wheel_path)
    where, fastest, names = ask(tmp_path)
    assert where == tmp_path
    assert fastest != "python"
    assert names[-2:] == ["scalar", "python"]


@pytest.mark.slow
def test_without_a_compiler_it_installs_and_says_so_in_one_line(tmp_path_factory, tmp_path):
    source = copy_source(tmp_path_factory.mktemp("source"))
    said = pip("install", "--verbose", "--target", tmp_path, source, CC="/bin/false")
    lines = [line for line in said.splitlines() if 'extension "beatward.core._tags" failed' in line]
    assert len(lines) == 1, said
    assert "warning" in lines[0]
    assert not list(tmp_path.rglob("*.so"))
    assert ask(tmp_path) == (tmp_path, "python", ["python"])
