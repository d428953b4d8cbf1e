"""How programs with a heart end, and what the monitor is told: the table of docs/sdk.md."""

import asyncio
import signal
import sys

import pytest

from beatward import Heart
from beatward.agent.ending import Terminated, exit_code_of
from beatward.core.protocol.record import Farewell, Kind, exit_code_from_field
from beatward.core.protocol.roles import State

pytestmark = pytest.mark.real

STARTED = """
import os, signal, sys, threading, time
from beatward import Heart
heart = Heart("web-1", interval="20ms"{more}).start()
assert heart.wait_acknowledged("20s")
"""
WITH = """
import os, signal, sys
from beatward import Heart
with Heart("web-1", interval="20ms"{more}) as heart:
    assert heart.wait_acknowledged("20s")
    {ending}
"""
LOOP = """
import asyncio, os, signal, sys
from beatward import AsyncHeart
async def acknowledged(heart):
    while not heart.is_acknowledged:
        await asyncio.sleep(0.01)
"""
LOOP_STARTED = (
    LOOP
    + """
async def main():
    heart = await AsyncHeart("web-1", interval="20ms"{more}).start()
    await acknowledged(heart)
    {ending}
asyncio.run(main())
"""
)
LOOP_WITH = (
    LOOP
    + """
async def main():
    async with AsyncHeart("web-1", interval="20ms"{more}) as heart:
        await acknowledged(heart)
        {ending}
asyncio.run(main())
"""
)
FORMS = {
    "start": STARTED + "{ending}",
    "with": WITH,
    "async start": LOOP_STARTED,
    "async with": LOOP_WITH,
}
# What the program does last, the exit status that its parent sees, and what the monitor is told:
# None for an orderly leave, else the exit code.
ENDINGS = {
    "its end": ("pass", 0, None),
    "sys.exit(0)": ("sys.exit(0)", 0, None),
    "sys.exit(3)": ("sys.exit(3)", 3, 3),
    "sys.exit(text)": ("sys.exit('no settings')", 1, 1),
    "asked to end, as a shell says it": ("sys.exit(128 + signal.SIGTERM)", 143, None),
    "an exception": ("raise ValueError", 1, 1),
    "ctrl-c": ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", -2, None),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); signal.sigwait([])", -15, None),
}


def farewell(said):
    """Return None for an orderly leave, or the exit code that was told."""
    if said.status == Farewell.LEFT:
        return None
    return exit_code_from_field(said.cpu)


def ended(process):
    """Wait for the end of a program and return its exit status, without its complaints."""
    process.communicate(timeout=30)
    return process.returncode


def lend(monitor, role):
    """Lend a role to web-1, once that could take it."""
    monitor.roles[role] = (0, "", False)
    monitor.wait_stood("web-1", State.STANDBY)
    monitor.roles[role] = (1, "web-1", False)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ENDINGS)
def test_both_forms_of_both_hearts_tell_the_same_of_an_end(monitor, start, form, ending):
    code, status, told = ENDINGS[ending]
    if "async" in form:
        # The loop turns on while a signal is on its way.
        code = code.replace("signal.sigwait([])", "await asyncio.sleep(60)")
        code = code.replace("signal.pause()", "await asyncio.sleep(60)")
    else:
        code = code.replace("signal.sigwait([])", "signal.sigtimedwait([], 60)")
    process = start("-c", FORMS[form].format(more="", ending=code))
    assert ended(process) == status
    assert farewell(monitor.wait_goodbye("web-1")) == told


def test_a_caught_sys_exit_and_one_of_another_thread_are_no_end(monitor, start):
    text = """
try:
    sys.exit(2)
except SystemExit as error:
    assert error.code == 2
thread = threading.Thread(target=sys.exit, args=(4,))
thread.start()
thread.join()
"""
    assert ended(start("-c", STARTED.format(more="") + text)) == 0
    assert farewell(monitor.wait_goodbye("web-1")) is None


def test_a_program_gets_sys_exit_and_sigterm_back_when_its_last_heart_stops(told):
    before = sys.exit, signal.getsignal(signal.SIGTERM)
    first, second = Heart("web-1", **told).start(), Heart("web-2", **told).start()
    assert signal.getsignal(signal.SIGTERM) != before[1]
    first.stop()
    with pytest.raises(SystemExit) as found:
        sys.exit("text")
    assert found.value.code == "text"
    second.stop()
    assert (sys.exit, signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    ("handler", "status", "told"),
    [
        # Its own handler decides, and its exit code says what it was.
        ("lambda *_: sys.exit(0)", 0, None),
        ("lambda *_: sys.exit(7)", 7, 7),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_handler_of_the_programs_own_stays(monitor, start, handler, status, told, is_first):
    own = f"signal.signal(signal.SIGTERM, {handler})\n"
    begun = STARTED.format(more="")
    begun = "import signal, sys\n" + own + begun if is_first else begun + own
    wait = "os.kill(os.getpid(), signal.SIGTERM)\nsignal.sigtimedwait([], 60)\n"
    assert ended(start("-c", begun + wait)) == status
    assert farewell(monitor.wait_goodbye("web-1")) == told


@pytest.mark.parametrize(
    ("more", "before"),
    [
        (", handle_sigterm=False", ""),
        ("", "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"),
    ],
)
def test_sigterm_is_left_alone_where_it_is_asked_for_or_ignored(start, more, before):
    text = "print(signal.getsignal(signal.SIGTERM).name)"
    process = start("-c", before + STARTED.format(more=more) + text)
    assert process.communicate(timeout=30)[0] == ("SIG_IGN\n" if before else "SIG_DFL\n")


def test_a_heart_that_another_thread_starts_leaves_sigterm_alone(monitor, start):
    text = """
import signal, threading
from beatward import Heart
def begin():
    assert Heart("web-1", interval="20ms").start().wait_acknowledged("20s")
thread = threading.Thread(target=begin)
thread.start()
thread.join()
print(signal.getsignal(signal.SIGTERM).name)
"""
    process = start("-c", text)
    assert process.communicate(timeout=30)[0] == "SIG_DFL\n"
    assert farewell(monitor.wait_goodbye("web-1")) is None


def test_a_second_sigterm_does_not_wait_for_the_goodbye(monitor, start):
    text = """
def demote():
    print("asked", flush=True)
    threading.Event().wait()
role = heart.role("db", demote=demote)
assert role.wait("20s")
print("held", flush=True)
while True:
    signal.sigtimedwait([], 60)
"""
    process = start("-c", STARTED.format(more="") + text)
    lend(monitor, "db")
    for line in ("held\n", "asked\n"):
        assert process.stdout.readline() == line
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    assert monitor.said("web-1", Kind.GOODBYE) == []


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("pass", None),
        ("sys.exit(3)", 3),
        ("raise SystemExit(4)", 4),
        ("raise ValueError", 1),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.sigtimedwait([], 60)", None),
    ],
)
def test_a_process_of_multiprocessing_ends_like_any_other(
    monitor, start, tmp_path, method, ending, told
):
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, os, signal, sys
from beatward import Heart
def work():
    assert Heart("web-2", interval="20ms").start().wait_acknowledged("20s")
    {ending}
if __name__ == "__main__":
    # The parent's heart must neither answer for its child nor be ended by it.
    heart = Heart("web-1", interval="20ms").start()
    assert heart.wait_acknowledged("20s")
    context = multiprocessing.get_context("{method}")
    child = context.Process(target=work)
    child.start()
    child.join()
    sys.exit(5)
""")
    assert ended(start("-W", "ignore", str(program))) == 5
    assert farewell(monitor.wait_goodbye("web-2")) == told
    assert farewell(monitor.wait_goodbye("web-1")) == 5


def test_a_forked_child_dies_of_sigterm_as_if_there_were_no_heart(monitor, start):
    text = """
child = os.fork()
if child == 0:
    print(signal.getsignal(signal.SIGTERM).name, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    process = start("-W", "ignore", "-c", STARTED.format(more="") + text)
    assert process.communicate(timeout=30)[0].split() == ["SIG_DFL", "-15"]
    assert len(monitor.said("web-1", Kind.GOODBYE)) == 1


def test_a_started_child_process_has_the_default_action(monitor, start):
    text = """
import subprocess
print(subprocess.check_output([sys.executable, "-c",
    "import signal; print(signal.getsignal(signal.SIGTERM).name)"], text=True))
"""
    process = start("-c", STARTED.format(more="") + text)
    assert process.communicate(timeout=30)[0].split() == ["SIG_DFL"]


def test_a_role_is_given_up_before_the_goodbye_of_a_sigterm(monitor, start):
    text = """
with heart.role("db", demote=lambda: print("demoted", flush=True)) as role:
    assert role.wait("20s")
    os.kill(os.getpid(), signal.SIGTERM)
    signal.sigtimedwait([], 60)
"""
    process = start("-c", STARTED.format(more="") + text)
    lend(monitor, "db")
    assert process.communicate(timeout=30)[0] == "demoted\n"
    assert process.returncode == -signal.SIGTERM
    assert farewell(monitor.wait_goodbye("web-1")) is None


SERVED = """
from beatward import AsyncHeart, Heart
async def application(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    {begin}
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    {end}
    await send({{"type": "lifespan.shutdown.complete"}})
"""


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ('heart = Heart("web-1", interval="20ms").start()', "heart.stop()"),
        ('heart = await AsyncHeart("web-1", interval="20ms").start()', "await heart.stop()"),
    ],
)
def test_a_web_server_with_handlers_of_its_own_says_goodbye_in_its_lifespan(
    monitor, start, tmp_path, begin, end
):
    (tmp_path / "served.py").write_text(SERVED.format(begin=begin, end=end))
    process = start(
        *("-m", "uvicorn", "--app-dir", str(tmp_path), "served:application", "--port", "0"),
        *("--log-level", "error"),
    )
    monitor.wait_beats("web-1", 2)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == -signal.SIGTERM
    assert farewell(monitor.wait_goodbye("web-1")) is None


def test_a_heart_started_before_a_web_server_says_goodbye_when_that_is_done(monitor, start):
    text = """
import uvicorn
async def application(scope, receive, send):
    while True:
        said = (await receive())["type"]
        print(said, flush=True)
        await send({"type": said + ".complete"})
uvicorn.run(application, port=0, log_level="error")
"""
    process = start("-c", STARTED.format(more="") + text)
    assert process.stdout.readline() == "lifespan.startup\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == "lifespan.shutdown\n"
    assert process.returncode == -signal.SIGTERM
    assert farewell(monitor.wait_goodbye("web-1")) is None


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ("pass", None),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.sigtimedwait([], 60)", -15),
        ("os.kill(os.getpid(), signal.SIGINT); signal.sigtimedwait([], 60)", -2),
        ("sys.exit(143)", 143),
    ],
)
def test_a_run_that_was_ended_from_outside_has_not_done_its_work(monitor, start, ending, told):
    form = STARTED.format(more=', job={"every": "1h"}')
    ended(start("-c", form + ending))
    assert farewell(monitor.wait_goodbye("web-1")) == told


@pytest.mark.parametrize(
    ("error", "code", "code_of_job"),
    [
        (None, None, None),
        (KeyboardInterrupt(), None, -2),
        (Terminated(), None, -15),
        (asyncio.CancelledError(), None, 1),
        (GeneratorExit(), None, None),
        (SystemExit(), None, None),
        (SystemExit(0), 0, 0),
        (SystemExit(4), 4, 4),
        (SystemExit(-1), 255, 255),
        (SystemExit(256), 0, 0),
        (SystemExit(143), None, 143),
        (SystemExit(130), None, 130),
        (SystemExit("a message"), 1, 1),
        (ValueError(), 1, 1),
    ],
)
def test_the_exit_code_follows_from_what_ended_the_program(error, code, code_of_job):
    assert exit_code_of(error) == code
    assert exit_code_of(error, is_job=True) == code_of_job
