"""What all tests share: how long hypothesis looks, and system programs that may be missing."""

import itertools
import os
import shutil
import signal
import socket
import sys
import traceback

import hypothesis
import pytest

# A deadline measures the machine, not the code; with a busy neighbour it fails at random.
hypothesis.settings.register_profile("house", deadline=None)
# `make fuzz`: as many examples as fit in a coffee break on two cores.
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=20_000,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
# In CI hypothesis chooses its own profile, which is the same in every run.
if os.environ.get("CI") != "true":
    hypothesis.settings.load_profile("house")


def name_the_makers_of_sockets():
    """Let the warning of an unclosed socket say where it was made: 30 us for each socket.

    A run that asks tracemalloc for it takes several times as long, and then no socket is left open.
    """
    makers = {}
    begin, show = socket.socket.__init__, socket.socket.__repr__

    def begin_and_note(self, *arguments, **options):
        begin(self, *arguments, **options)
        frames = itertools.islice(traceback.walk_stack(sys._getframe(1)), 12)
        makers[id(self)] = " < ".join(f"{one.f_code.co_filename}:{line}" for one, line in frames)

    def show_maker(self):
        return f"{show(self)} made at {makers.get(id(self), 'an unknown place')}"

    socket.socket.__init__, socket.socket.__repr__ = begin_and_note, show_maker


def pytest_configure(config):
    name_the_makers_of_sockets()
    config.addinivalue_line(
        "markers", "needs(program, ...): skips, naming it, when a system program is missing"
    )
    # A shell without job control lets those ignore SIGINT whom it starts with `&`, and with them
    # all their children; here programs are stopped by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Under nohup all programs that the tests start would ignore a hang-up, as they should; behind a
    # shell's `&` they would ignore SIGQUIT as well.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


# Rooms whose tests start programs and wait for them; their files are few and long.
WAITING = {"agent", "bench", "cli", "live", "simulate", "upgrade"}


def pytest_collection_modifyitems(items):
    """Begin with the long files, so that the last workers of a parallel run end at one time."""
    items.sort(key=lambda item: item.path.parent.name not in WAITING)


# What our own tests are told by, and not the program under test.
OURS = {f"BEATWARD_{word}" for word in ("FUZZ", "MISSING", "REWRITE", "SEED")}


@pytest.fixture(scope="session", autouse=True)
def isolation(tmp_path_factory):
    """Let no test see this machine's own monitor, its user's settings, or their data folder."""
    home = tmp_path_factory.mktemp("nobody")
    state = home / "state"
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith("BEATWARD_") and key not in OURS]:
            patch.delenv(key)
        patch.setenv("HOME", str(home))
        for key in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
            patch.setenv(key, str(state))
        yield home


def pytest_runtest_setup(item):
    """Skip a test whose program is missing; in CI let it fail, for a skip looks like a pass."""
    wanted = [name for marker in item.iter_markers("needs") for name in marker.args]
    told = os.environ.get("BEATWARD_MISSING", "").split()
    missing = [name for name in wanted if name in told or shutil.which(name) is None]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"system programs missing: {', '.join(missing)}; `make test` gets them")
