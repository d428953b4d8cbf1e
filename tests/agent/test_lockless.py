"""A program's role on a file system without locks, as NFS without its lock daemon is."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

# What such a file system answers; only a C library of another kind can be made to say it here.
ANSWER = "#include <errno.h>\nint flock(int file, int how) { errno = ENOLCK; return -1; }\n"

PROGRAM = """
import fcntl, sys
from pathlib import Path

from beatward.agent.state import StateFile
from beatward.agent.roles.role import CallbackWorkload
from beatward.agent.roles.runner import RoleRunner

try:
    fcntl.flock(0, fcntl.LOCK_EX)
except OSError as error:
    print(error.errno, flush=True)
file = StateFile(Path(sys.argv[1]), "web-1")
runner = RoleRunner({"name": "db"}, file, wake=lambda: None)
runner.start(CallbackWorkload(runner, None, None, exit_when_stuck=False))
print("stands by", runner.shared.holder is not None)
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.real
def test_a_program_stands_by_where_the_file_system_has_no_locks(tmp_path):
    (tmp_path / "locks.c").write_text(ANSWER)
    library = tmp_path / f"locks{sysconfig.get_config_var('SHLIB_SUFFIX') or '.so'}"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, tmp_path / "locks.c"], check=True, timeout=60
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "37\nstands by True\n", done.stderr
