"""`examples/leader/run`: three workers, one scheduler, which is killed, frozen, told to end."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Self

from examples.ground.cluster import wait_for
from examples.ground.network import send
from examples.ground.telling import end_in_order, table, teller
from examples.leader.jobs import Jobs, OldToken

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("w1", "w2", "w3")
# By default a role is lent for 2 s, and 1 s more is left for giving it up.
FROZEN_S = 5.0
MONITOR = """[monitor]
udp = "{address}"
http = "{address}"
data = "{data}"

[failover]
promote_within = "5s"
"""


class Stage:
    """A monitor and the workers on this machine, each a process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._environment: dict[str, str] = {}
        self.jobs = Jobs(folder / "jobs.sqlite")

    def __enter__(self) -> Self:
        data = self._folder / "monitor"
        settings = self._folder / "beatward.toml"
        settings.write_text(MONITOR.format(address=_free_address(), data=data))
        words = ("-m", "beatward", "monitor", "-c", settings)
        self._processes["monitor"] = self._start("monitor", *words)
        local = data / "local.json"
        wait_for(local.exists, "the monitor's start")
        said = json.loads(local.read_text())
        self._environment = {"BEATWARD_MONITOR": said["monitor"], "BEATWARD_TOKEN": said["token"]}
        for name in NAMES:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            send(signal.SIGKILL, [process.pid])
            process.wait()

    def start(self, name: str) -> None:
        """Start a worker, as a supervisor would."""
        words = ("-m", "examples.leader.worker", name, self._folder / "jobs.sqlite")
        self._processes[name] = self._start(name, *words)

    def revive(self) -> None:
        """Start the workers again that have ended, killed or by themselves."""
        for name in NAMES:
            if self._processes[name].poll() is not None:
                self.start(name)

    def signal(self, number: signal.Signals, name: str) -> None:
        """Send a signal to a worker."""
        send(number, [self._processes[name].pid])

    def freeze(self, name: str) -> None:
        """Stop a worker between two of its writes.

        A server would end the transaction of a client that hangs. Here the table is a file, and a
        worker that is stopped within a write would lock all others out.
        """
        with self.jobs.held():
            self.signal(signal.SIGSTOP, name)
            os.waitpid(self._processes[name].pid, os.WUNTRACED)

    def _start(self, name: str, *words: str | Path) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self._environment},
            )

    def leader(self) -> tuple[int, str] | None:
        """Return token and name of who made the newest job, if it is new."""
        written = self.jobs.written()
        if not written or time.time() - written[-1][2] > 1:
            return None
        return written[-1][:2]

    def is_ready(self) -> bool:
        """Tell whether the monitor knows of a holder, and of another who is alive and waits."""
        url = f"{self._environment['BEATWARD_MONITOR']}/v1/services/scheduler"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  our own monitor
            service = json.load(answer)
        others = [(member["state"], member["status"]) for member in service["members"]]
        return service["phase"] == "held" and ("standby", "alive") in others

    def suffer(self, fault: str) -> tuple[int, str, float]:
        """Let something happen to the leader; returns the next one, and after what time."""
        wait_for(self.is_ready, "a scheduler, and somebody who could be the next", timeout=60)
        token, name = wait_for(self.leader, "its jobs")
        began = time.time()
        FAULTS[fault](self, name)

        def successor() -> tuple[int, str, float] | None:
            newer = (job for job in self.jobs.written() if job[0] > token)
            return next(newer, None)

        new_token, new_name, at = wait_for(successor, f"{fault}: another scheduler", timeout=60)
        if fault == "frozen":
            # Until its lease and all that comes after it are over for certain.
            time.sleep(max(0.0, began + FROZEN_S - time.time()))
            self.signal(signal.SIGCONT, name)
        self.late_message(token, name)
        self.revive()
        return new_token, new_name, at - began

    def late_message(self, token: int, name: str) -> None:
        """Deliver what a former leader sent while it was one, and what was long on its way."""
        try:
            self.jobs.add(token, f"{name}, a late message", time.time())
        except OldToken:
            return
        raise AssertionError(f"a job under the old token {token} was taken")


FAULTS: dict[str, Callable[[Stage, str], None]] = {
    "killed": lambda stage, name: stage.signal(signal.SIGKILL, name),
    "frozen": lambda stage, name: stage.freeze(name),
    "told to end": lambda stage, name: stage.signal(signal.SIGTERM, name),
}


def main() -> None:
    """Play the faults; exit code 1: a job was taken from who was not the leader any more."""
    parser = argparse.ArgumentParser(prog="examples/leader/run", description=__doc__)
    parser.add_argument("--json", action="store_true", help="what came of it on stdout")
    given = parser.parse_args()
    end_in_order()
    say = teller(is_quiet=given.json)
    folder = Path(tempfile.mkdtemp(prefix="beatward-"))
    rows = []
    try:
        with Stage(folder) as stage:
            token, name = wait_for(stage.leader, "the first scheduler")
            tokens = [token]
            say(f"{name} is the scheduler under token {token}")
            for fault in FAULTS:
                token, name, after = stage.suffer(fault)
                say(f"{fault}: {name} is the scheduler under token {token} after {after:.2f} s")
                tokens.append(token)
                rows.append((fault, f"{after:.2f} s"))
            written, refused = stage.jobs.written(), stage.jobs.refused()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    wrong = sum(one[0] > other[0] for one, other in pairwise(written))
    told = {"tokens": tokens, "jobs": len(written), "out_of_order": wrong, "refused": len(refused)}
    if given.json:
        print(json.dumps(told))
    else:
        print(f"\n{table(('fault', 'next job after'), rows)}")
        print(f"{len(written)} jobs; under an older token than the one before: {wrong}.")
        print(f"{len(refused)} writes of former schedulers were refused:")
        for token, author, _ in refused:
            print(f"  token {token}, {author}")
    sys.exit(bool(wrong))


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


if __name__ == "__main__":
    main()
