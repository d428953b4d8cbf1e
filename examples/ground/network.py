"""Hosts on one machine: network namespaces on a bridge, cut off by nftables, frozen by SIGSTOP.

A host is a namespace with an address of its own. Programs are started in it (`start`, `run`), and
a thread of this process can speak from it (`inside`), because a socket stays in the namespace in
which it was opened. The bridge is in a namespace too, so that nothing of the machine's own network
is touched, and several grounds can stand beside each other with the same addresses.

    with Network() as network:
        a, b = network.host("a"), network.host("b")
        b.cut(a.address)            # no packet from or to a; `cut()` cuts b off from everybody
        b.heal()

It needs root and Linux; `what_is_missing` says what is not there.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

Answer = TypeVar("Answer")

_CLONE_NEWNET = 0x40000000
_RULES = """
flush ruleset
table inet cut {{
    chain in {{
        type filter hook input priority 0
        {drop_in}
    }}
    chain out {{
        type filter hook output priority 0
        {drop_out}
    }}
}}
"""
# At the device, so that not even ARP goes through.
_RULES_ALL = """
flush ruleset
table netdev cut {
    chain in {
        type filter hook ingress device "eth0" priority 0
        policy drop
    }
    chain out {
        type filter hook egress device "eth0" priority 0
        policy drop
    }
}
"""


def what_is_missing(*programs: str) -> str:
    """Say in one sentence what this machine lacks for a ground, or ""."""
    wanted = ("ip", "nft", *programs)
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        return f"system programs are missing: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    probe = f"bw{os.getpid()}-probe"
    done = _try("ip", "netns", "add", probe)
    if done.returncode == 0:
        done = _try("ip", "netns", "exec", probe, "nft", "list", "ruleset")
        _try("ip", "netns", "del", probe)
    return "" if done.returncode == 0 else f"no network namespaces here: {done.stderr.strip()}"


class Network:
    """A bridge and its hosts, 10.77.0.1 and on; `close` ends all that runs in them."""

    def __init__(self) -> None:
        self._name = f"bw{os.getpid()}-{threading.get_native_id() % 1000}"
        self._bridge = f"{self._name}-net"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        sweep()
        _do("ip", "netns", "add", self._bridge)
        _do("ip", "-n", self._bridge, "link", "add", "br0", "type", "bridge")
        _do("ip", "-n", self._bridge, "link", "set", "br0", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def host(self, name: str) -> "Host":
        """Add a host with the next address."""
        address = f"10.77.0.{len(self.hosts) + 1}"
        space = f"{self._name}-{name}"
        _do("ip", "netns", "add", space)
        host = self.hosts[name] = Host(name, address, space)
        ways = ("eth0", "type", "veth", "peer", "name", f"to-{name}", "netns", self._bridge)
        _do("ip", "-n", space, "link", "add", *ways)
        _do("ip", "-n", self._bridge, "link", "set", "dev", f"to-{name}", "master", "br0", "up")
        _do("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _do("ip", "-n", space, "link", "set", device, "up")
        return host

    def close(self) -> None:
        """End everything in the hosts, by pid, and take the hosts away; never raises."""
        for host in self.hosts.values():
            host.close()
        _try("ip", "netns", "del", self._bridge)


class Host:
    """One namespace."""

    def __init__(self, name: str, address: str, space: str) -> None:
        self.name = name
        self.address = address
        self.space = space
        self._started: list[subprocess.Popen[bytes]] = []
        self._threads = ThreadPoolExecutor(8, space, initializer=self.enter)

    def enter(self) -> None:
        """Move the calling thread into the namespace for good: its next sockets are there."""
        handle = os.open(f"/run/netns/{self.space}", os.O_RDONLY)
        try:
            # os.setns is there from Python 3.12 on.
            if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"setns to {self.space}: {os.strerror(number)}")
        finally:
            os.close(handle)

    def inside(self, question: Callable[..., Answer], *given: Any) -> Answer:
        """Call a function on a thread that is in this host."""
        return self._threads.submit(question, *given).result()

    def begin(self, work: Callable[[], None]) -> Future[None]:
        """Let a function run on a thread that is in this host, eight of them at most."""
        return self._threads.submit(work)

    def start(
        self, *command: str | Path, log: Path | None = None, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a program in the host, in a session of its own."""
        with (log or Path(os.devnull)).open("ab") as out:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(self, *command: str | Path, timeout: float = 60.0, given: str = "") -> str:
        """Run a program in the host to its end and return what it printed."""
        return _do("ip", "netns", "exec", self.space, *command, timeout=timeout, given=given)

    def pids(self) -> list[int]:
        """Return every process of the host."""
        return [int(pid) for pid in _try("ip", "netns", "pids", self.space).stdout.split()]

    def cut(self, *others: str) -> None:
        """Drop every packet from and to these addresses; without any, everything, ARP too."""
        if not others:
            self.run("nft", "-f", "-", given=_RULES_ALL)
            return
        addresses = f"{{ {', '.join(others)} }}"
        rules = _RULES.format(
            drop_in=f"ip saddr {addresses} drop", drop_out=f"ip daddr {addresses} drop"
        )
        self.run("nft", "-f", "-", given=rules)

    def heal(self) -> None:
        """Let everything through again."""
        self.run("nft", "flush", "ruleset")

    def freeze(self) -> list[int]:
        """Stop every process of the host at once, as a hung machine would; returns their pids."""
        stopped: set[int] = set()
        # One that was forking while we looked has a child that we have not seen.
        while fresh := set(self.pids()) - stopped:
            send(signal.SIGSTOP, fresh)
            stopped |= fresh
        return sorted(stopped)

    def thaw(self) -> None:
        """Let every process go on."""
        send(signal.SIGCONT, self.pids())

    def close(self) -> None:
        """End all that runs here and take the namespace away; never raises."""
        deadline = time.monotonic() + 10
        while (pids := self.pids()) and time.monotonic() < deadline:
            send(signal.SIGKILL, pids)
            self.reap()
            time.sleep(0.02)
        self.reap()
        self._threads.shutdown(wait=False, cancel_futures=True)
        _try("ip", "netns", "del", self.space)

    def reap(self) -> None:
        """Wait for the programs that have ended, so that no zombie has their number."""
        self._started = [process for process in self._started if process.poll() is None]


def sweep() -> None:
    """Take away what grounds have left whose program was killed: their names say which it was."""
    for name in _try("ip", "netns", "list").stdout.split():
        owner = re.match(r"bw(\d+)-", name)
        if owner and not Path(f"/proc/{owner[1]}").exists():
            Host("", "", name).close()


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to processes; those that are gone are gone."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _do(*command: str | Path, timeout: float = 60.0, given: str = "") -> str:
    done = _try(*command, timeout=timeout, given=given)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def _try(
    *command: str | Path, timeout: float = 60.0, given: str = ""
) -> subprocess.CompletedProcess[str]:
    words: Sequence[str] = [str(word) for word in command]
    return subprocess.run(
        words, input=given, capture_output=True, text=True, timeout=timeout, check=False
    )
