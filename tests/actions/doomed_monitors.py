"""Fork monitors that somebody kills: run by test_kill_nine.py, which reads and writes the lines.

    in:   folder deeds journal key attempt pause_ms
    out:  the monitor's process number, when its dispatcher has just been given the action
    in:   bury
    out:  buried, when it has ended

All is imported once and every monitor is a fork, so a life costs milliseconds, not a second.
A monitor journals its outcome after a pause, as a busy disk would, and ends.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from beatward.action_settings import ActionSettings
from beatward.actions import Command, Dispatcher, Surroundings
from beatward.core.outbox import Action

# The deed takes a moment, is done at one instant, and takes another moment to end.
SCRIPT = """
sleep 0.0$(( $$ % 4 ))
[ "$((BEATWARD_ATTEMPT % 3))" != 0 ] || exit 1
echo "$BEATWARD_ACTION_KEY" >>"$1"
sleep 0.0$(( $$ % 3 ))
"""


async def live(folder, deeds, journal, key, attempt, pause_ms, told):
    came = asyncio.Queue()
    command = ("sh", "-c", SCRIPT, "sh", deeds)
    settings = {"revive": ActionSettings(kind="exec", command=command)}
    surroundings = Surroundings(Path(folder), time.monotonic_ns, time.time_ns, lambda name: None)
    drivers = {"exec": Command(surroundings)}
    dispatcher = Dispatcher(settings, came.put_nowait, drivers=drivers, now_ns=time.monotonic_ns)
    dispatcher.submit((Action(key, "revive", "exec", "web-3", int(attempt)),))
    os.write(told, f"{os.getpid()}\n".encode())
    outcome = await came.get()
    await asyncio.sleep(int(pause_ms) / 1000)  # The window that this is all about.
    line = f"{outcome.key}|{outcome.attempt}|{outcome.result}|{outcome.message}\n"
    os.write(journal, line.encode())
    await dispatcher.close()


def main():
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            folder, deeds, path, *rest = line.split()
            journal = os.open(path, os.O_WRONLY | os.O_APPEND)
            asyncio.run(live(folder, deeds, journal, *rest, told=1))
            os._exit(0)
        # Until we are told, a dead monitor keeps its number, so a kill cannot hit a stranger.
        sys.stdin.readline()
        os.waitpid(child, 0)
        os.write(1, b"buried\n")


if __name__ == "__main__":
    main()
