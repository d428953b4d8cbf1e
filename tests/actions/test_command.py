"""kind = "exec" with real processes: what is run, what its end means, and what it may leave."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from beatward.actions import Command, Surroundings
from beatward.actions.command import RUNNING_MAX, folder_name

pytestmark = pytest.mark.real


def shell(script, *arguments, **more):
    """Run a script by a shell of the user's own; the driver itself never offers one."""
    return {"kind": "exec", "command": ["sh", "-c", script, "sh", *map(str, arguments)]} | more


def python(script, *arguments, **more):
    return {"kind": "exec", "command": [sys.executable, "-c", script, *map(str, arguments)]} | more


def number_in(path):
    return int(path.read_text()) if path.exists() and path.read_text().endswith("\n") else 0


def is_alive(process_id):
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    # A zombie has ended; where nobody buries orphans, it stays.
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def quick(surroundings):
    """Give drivers whose TERM grace is short."""
    return {"exec": Command(surroundings, term_grace_ns=1_000_000_000)}


TELL = """
import json, os, sys
files = sorted(os.listdir("/proc/self/fd"))
told = {k: v for k, v in os.environ.items() if k.startswith("BEATWARD_") or k == "NOTIFY_SOCKET"}
open(sys.argv[1], "w").write(json.dumps([sys.argv[2:], told, os.getsid(0), os.getpid(),
    sys.stdin.read(), files]))
"""


async def test_a_command_is_told_about_the_node_in_arguments_and_environment(
    hands, tmp_path, monkeypatch
):
    monkeypatch.setenv("BEATWARD_TOKEN", "the monitor's own secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    seen = tmp_path / "seen"
    words = ["{node}", "--is={status}", "{key}{node}", "{cause}", "{", "$HOME `id`; * 'x'"]
    one = hands(revive=python(TELL, seen, *words))
    outcome = await one.do("revive", "9/{node}", attempt=4)
    assert (outcome.result, outcome.message) == ("success", "exit status 0")
    arguments, environment, session, process_id, stdin, files = json.loads(seen.read_text())
    assert arguments == [
        *("web-3", "--is=dead", "9/{node}web-3", "{cause}", "{", "$HOME `id`; * 'x'")
    ]
    assert environment == {
        "BEATWARD_NODE": "web-3",
        "BEATWARD_NODES": "web-3",
        "BEATWARD_COUNT": "1",
        "BEATWARD_EXPLANATION": "web-3 suspected: silent 2.31 s",
        "BEATWARD_STATUS": "dead",
        "BEATWARD_CAUSE": "silence",
        "BEATWARD_ACTION": "revive",
        "BEATWARD_ACTION_KEY": "9/{node}",
        "BEATWARD_ATTEMPT": "4",
    }
    assert session not in (os.getsid(0), process_id)
    assert stdin == ""
    # Its own three and the folder that it lists: neither the lock nor an end of the pipe.
    assert files == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("script", "result", "message"),
    [
        ("exit 0", "success", "exit status 0"),
        ("echo done; echo well >&2", "success", "exit status 0; it said: done well"),
        ("echo no; exit 1", "temporary", "exit status 1; it said: no"),
        ("exit 75", "temporary", "exit status 75"),
        ("exit 126", "permanent", "exit status 126: the command cannot be executed"),
        ("exit 127", "permanent", "exit status 127: the command was not found"),
        ("kill -SEGV $$", "temporary", "exit status 139 (SIGSEGV)"),
        ("kill -KILL $$", "temporary", "exit status 137 (SIGKILL)"),
        ("exit 255", "temporary", "exit status 255"),
    ],
    ids=range(9),
)
async def test_the_exit_status_decides_what_became_of_it(hands, script, result, message):
    outcome = await hands(revive=shell(script)).do("revive")
    assert (outcome.result, outcome.message) == (result, message)


@pytest.mark.parametrize("program", ["no-such-program-here", "/etc/passwd", "/", "exit", "eval"])
async def test_a_program_that_cannot_be_run_is_permanent(hands, program):
    one = hands(revive={"kind": "exec", "command": [program, "0"]})
    outcome = await one.do("revive")
    assert outcome.result == "permanent"
    assert outcome.message == f"'{program}' was not found or cannot be executed"


async def test_a_program_that_its_interpreter_is_missing_for_is_permanent(hands, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    outcome = await hands(revive={"kind": "exec", "command": [str(program)]}).do("revive")
    assert outcome.result == "permanent"
    assert outcome.message.startswith("exit status 127: the command was not found; it said: ")


async def test_a_nul_character_in_an_argument_is_permanent(hands):
    outcome = await hands(revive=shell("exit 0", "a\0b")).do("revive")
    assert outcome.result == "permanent"
    assert outcome.message == "the command or its environment holds a NUL character"


async def test_huge_output_is_bounded_to_its_end(hands):
    script = "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo the end"
    outcome = await hands(revive=shell(script, timeout="20s")).do("revive")
    assert outcome.result == "success"
    assert outcome.message.startswith("exit status 0; it said: ...xxxx")
    assert outcome.message.endswith("x the end")
    assert len(outcome.message) < 400


async def test_output_that_is_no_text_does_no_harm(hands):
    outcome = await hands(revive=shell("printf 'a\\377\\033[2Jb\\r\\n\\0c'; exit 3")).do("revive")
    assert outcome.message == "exit status 3; it said: a\ufffd?[2Jb ?c"


FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN) if sys.argv[2] == "stubborn" else None
child = os.fork()
if child:
    open(sys.argv[1], "w").write(f"{child}\\n")
    print("working", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("manner", ["meek", "stubborn"])
async def test_a_run_past_its_limit_is_ended_with_its_whole_group(
    hands, quick, tmp_path, manner, until
):
    # The interpreter has to have begun before the limit is over, on a busy machine too.
    limit = {"timeout": "2s"}
    one = hands(drivers=quick, revive=python(FAMILY, tmp_path / "child", manner, **limit))
    outcome = await one.do("revive")
    assert outcome.result == "temporary"
    # What was printed is told if TERM was enough; KILL ends who would have told it.
    said = "; it said: working" if manner == "meek" else ""
    assert outcome.message == f"ended after its time limit of 2 s{said}"
    child = number_in(tmp_path / "child")
    assert child
    await until(lambda: not is_alive(child))


async def test_exit_status_0_after_term_is_no_success(hands, quick, tmp_path):
    script = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(sys.argv[1], "a").write("begun\\n")
time.sleep(600)
"""
    one = hands(drivers=quick, revive=python(script, tmp_path / "log", timeout="1500ms"))
    for attempt in (1, 2):
        outcome = await one.do("revive", attempt=attempt)
        assert (outcome.result, outcome.message) == (
            "temporary",
            "ended after its time limit of 1.5 s",
        )
    assert (tmp_path / "log").read_text() == "begun\nbegun\n"


@pytest.mark.parametrize(
    "script",
    [
        'sleep 600 & echo $! >"$1"; echo started',
        'setsid sleep 600 & echo $! >"$1"; echo started',
        '(sleep 600 & echo $! >"$1"); echo started',
        'nohup sleep 600 >/dev/null 2>&1 & echo $! >"$1"; echo started',
    ],
    ids=range(4),
)
async def test_what_is_left_in_the_background_neither_hangs_us_nor_is_ended(
    hands, tmp_path, script
):
    outcome = await hands(revive=shell(script, tmp_path / "daemon")).do("revive")
    assert outcome.result == "success"
    daemon = number_in(tmp_path / "daemon")
    try:
        assert is_alive(daemon)
    finally:
        os.kill(daemon, signal.SIGKILL)


async def test_a_daemon_may_go_on_printing_after_its_command_has_ended(hands, tmp_path, until):
    script = """
import os, sys, time
if os.fork():
    sys.exit(0)
os.setsid()
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
for i in range(1000):
    print("x" * 1000, flush=True)
open(sys.argv[1], "w").write("all was printed")
"""
    path, gate = tmp_path / "printed", tmp_path / "gate"
    one = hands(revive=python(script, path, gate))
    assert (await one.do("revive")).result == "success"
    await one.dispatcher.close()
    gate.touch()
    # A broken pipe would have ended it, and a full one would hold it for ever.
    await until(path.exists)
    await until(lambda: path.read_text() == "all was printed")


async def test_what_succeeded_is_not_run_again_under_the_same_key(hands, tmp_path):
    one = hands(revive=shell('echo ran >>"$1"', tmp_path / "log"))
    first = await one.do("revive")
    again = [await one.do("revive", attempt=attempt) for attempt in (1, 2, 7)]
    assert [first.result] + [outcome.result for outcome in again] == ["success"] * 4
    assert {outcome.message for outcome in again} == {
        "exit status 0 before the monitor's restart; not run again"
    }
    assert (tmp_path / "log").read_text() == "ran\n"
    assert (await one.do("revive", "8/another-key")).message == "exit status 0"
    assert (tmp_path / "log").read_text() == "ran\nran\n"


async def test_what_failed_is_run_again(hands, tmp_path):
    script = 'echo ran >>"$1"; [ "$BEATWARD_ATTEMPT" = 3 ]'
    one = hands(revive=shell(script, tmp_path / "log"))
    results = [(await one.do("revive", attempt=attempt)).result for attempt in (1, 1, 2, 3, 4)]
    assert results == ["temporary", "temporary", "temporary", "success", "success"]
    assert (tmp_path / "log").read_text() == "ran\n" * 4


async def test_a_success_counts_though_it_could_not_be_written_down(hands, surroundings, tmp_path):
    # A full disk, as far as the shell that stands over the command can tell.
    one = hands(revive=shell('rm -r "$1"', surroundings.folder))
    assert (await one.do("revive")).result == "success"


async def test_a_folder_that_cannot_be_made_is_temporary(hands, surroundings):
    surroundings.folder.write_text("in the way")
    outcome = await hands(revive=shell("exit 0")).do("revive")
    assert outcome.result == "temporary"
    assert outcome.message == "the command cannot be started: Not a directory"


async def test_a_run_whose_shell_is_killed_is_ended_before_the_next(hands, quick, tmp_path):
    script = 'echo $$ >"$1"; kill -KILL $PPID; sleep 600'
    one = hands(drivers=quick, revive=shell(script, tmp_path / "command"))
    outcome = await one.do("revive")
    assert outcome.result == "temporary"
    assert outcome.message == "killed before it could say how it ended"
    assert not is_alive(number_in(tmp_path / "command"))


WAITS = 'echo $$ >>"$1"; while [ ! -e "$2" ]; do sleep 0.02; done; echo ended >>"$1"; exit "$3"'


@pytest.mark.parametrize(("status", "result"), [(0, "success"), (3, "temporary")])
async def test_closing_leaves_a_run_alone_and_the_next_start_finds_it(
    hands, surroundings, tmp_path, status, result, until
):
    log, gate = tmp_path / "log", tmp_path / "gate"
    command = shell(WAITS, log, gate, status)
    one = hands(revive=command)
    one.submit("revive")
    await until(log.exists)
    await one.dispatcher.close()
    assert one.came.empty()
    two = hands(revive=command, drivers={"exec": Command(surroundings)})
    # The outbox counts the attempt that it never heard of again as none.
    two.submit("revive", attempt=2)
    gate.touch()
    outcome = await two.outcome()
    assert (outcome.result, outcome.attempt) == (result, 2)
    assert outcome.message == f"exit status {status}"
    assert log.read_text().splitlines()[1:] == ["ended"]


async def test_a_found_run_is_ended_at_the_time_limit_too(
    hands, surroundings, quick, tmp_path, until
):
    log = tmp_path / "log"
    one = hands(revive=shell(WAITS, log, tmp_path / "never", 0))
    one.submit("revive")
    await until(log.exists)
    await one.dispatcher.close()
    two = hands(drivers=quick, revive=shell("exit 0", timeout="200ms"))
    outcome = await two.do("revive")
    assert (outcome.result, outcome.message) == (
        "temporary",
        "ended after its time limit of 200 ms",
    )
    assert not is_alive(int(log.read_text()))
    assert (await two.do("revive", attempt=2)).message == "exit status 0"


async def test_closing_ends_a_run_when_asked(hands, quick, tmp_path, until):
    log = tmp_path / "log"
    one = hands(drivers=quick, revive=shell(WAITS, log, tmp_path / "never", 0))
    one.submit("revive")
    await until(lambda: number_in(log))
    await one.dispatcher.close(end_deeds=True)
    assert not is_alive(number_in(log))


async def test_closing_ends_a_run_that_has_only_just_begun(hands, quick, until, tmp_path):
    log = tmp_path / "log"
    one = hands(drivers=quick, revive=shell(WAITS, log, tmp_path / "never", 0))
    one.submit("revive")
    await until(lambda: quick["exec"]._beginning or quick["exec"]._runs)
    await one.dispatcher.close(end_deeds=True)
    # TERM may have come before the command did; if it had begun, it has ended.
    assert not log.exists() or not is_alive(number_in(log))


async def test_closing_when_asked_begins_none_of_those_that_wait(hands, quick, tmp_path, until):
    log = tmp_path / "log"
    one = hands(drivers=quick, revive=shell(WAITS, log, tmp_path / "never", 0))
    for i in range(RUNNING_MAX + 5):
        one.submit("revive", f"{i}/web-3")
    await until(lambda: log.exists() and log.read_text().count("\n") == RUNNING_MAX, within=20)
    await one.dispatcher.close(end_deeds=True)
    begun = [int(line) for line in log.read_text().splitlines()]
    assert len(begun) == RUNNING_MAX
    assert not [process_id for process_id in begun if is_alive(process_id)]


async def test_traces_go_when_the_journal_has_the_outcome(hands, surroundings, tmp_path, until):
    one = hands(revive=shell("echo hello"))
    for key in ("1/a", "2/b", "3/c"):
        await one.do("revive", key)
    assert len(list(surroundings.folder.iterdir())) == 3
    one.dispatcher.forget(("1/a", "3/c", "never/seen"))
    kept = surroundings.folder / folder_name("2/b")
    await until(lambda: list(surroundings.folder.iterdir()) == [kept])
    # A few small files, however many attempts there were.
    assert sorted(path.name for path in kept.iterdir()) == ["1.exit", "1.out", "lock"]


async def test_a_start_drops_traces_of_all_that_has_a_final_outcome(hands, surroundings, tmp_path):
    one = hands(revive=shell("exit 0"))
    for key in ("1/a", "2/b"):
        await one.do("revive", key)
    (surroundings.folder / "not-ours").mkdir()
    await one.dispatcher.retain({"2/b"})
    left = {path.name for path in surroundings.folder.iterdir()}
    assert left == {folder_name("2/b"), "not-ours"}


@pytest.mark.parametrize(
    "key", ["4711/restart", "..", ".", "a/../b", "x" * 400, "größe\n", "-rf", "a.1.exit"]
)
async def test_any_key_becomes_a_harmless_folder_of_its_own(hands, surroundings, key):
    one = hands(revive=shell("exit 0"))
    assert (await one.do("revive", key)).message == "exit status 0"
    assert (await one.do("revive", key)).message.endswith("not run again")
    assert (await one.do("revive", key + "x")).message == "exit status 0"
    assert sum(1 for _ in surroundings.folder.iterdir()) == 2
    assert {path.name for path in surroundings.folder.parent.iterdir()} == {"actions"}


async def test_commands_do_not_write_where_others_can_read(hands, surroundings):
    await hands(revive=shell("echo secret")).do("revive")
    (folder,) = surroundings.folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_monitor_without_folder_has_nothing_to_drop(tmp_path):
    command = Command(Surroundings(tmp_path / "none", lambda: 0, lambda: 0, lambda name: None))
    asyncio.run(command.retain({"a"}))
    asyncio.run(command.forget({"a"}))
    assert not (tmp_path / "none").exists()


async def test_a_fence_is_told_the_service_and_the_token(hands, tmp_path):
    script = 'echo "$BEATWARD_NODE $BEATWARD_SERVICE $BEATWARD_TOKEN"'
    outcome = await hands(cut=shell(script)).do("cut", "db/7/fence", event="role")
    assert outcome.message == "exit status 0; it said: web-3 db 7"
