"""What a type checker makes of a program that uses beatward, as `py.typed` promises."""

import subprocess
import sys

import beatward

RIGHT = """
from beatward import AsyncHeart, Heart, Service, __version__

heart: Heart = Heart("web-1", services=[Service("web", port=80)]).start()
heart.report("failing", {"load": 0.5})
with heart.role("db", promote=lambda token: print(token + 1)) as role:
    held: bool = role.is_held

async def work() -> int:
    async with AsyncHeart("web-2") as beating, beating.role("scheduler") as token:
        return token
"""
WRONG = """
from beatward import Hart
import beatward

beatward.hart("web-1")
beatward.Heart(5)
beatward.Heart("web-1").report(state="ok")
beatward.Service("web", port="80")
"""


def test_a_type_checker_knows_every_public_name_and_no_other(tmp_path):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n")
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "right.py", "wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [
        line.partition(": error: ") for line in found.stdout.splitlines() if ": error: " in line
    ]
    assert [where for where, _, _ in lines] == [f"wrong.py:{line}" for line in (2, 5, 6, 7, 8)]
    assert '"beatward" has no attribute "Hart"' in lines[0][2]
    assert found.returncode == 1, found.stdout


def test_the_public_names_are_there_and_no_other_is():
    assert set(beatward.__all__) <= set(dir(beatward))
    for name in beatward.__all__:
        assert getattr(beatward, name)
    assert not hasattr(beatward, "Hart")
