"""What a user downloads: locked and hashed dependencies, and a wheel that has everything in it."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

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
        package, version = re.match(r"([a-z0-9.-]+)==(\S+)", line).groups()
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
        assert re.match(r"[a-z0-9.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy, so that nothing is left behind in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(copy / "dist"), str(copy)]
    subprocess.run(command, check=True, timeout=110, capture_output=True)
    (path,) = (copy / "dist").glob("beatward-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_every_source_file(wheel):
    package = ROOT / "src"
    wanted = {str(path.relative_to(package)) for path in package.rglob("*.py")}
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
