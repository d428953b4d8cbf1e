"""Finds a peer's program, runs it on loopback in a scratch folder, and ends it by its process."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20


class Missing(Exception):
    """The program is not here; the message says how to get it."""


@dataclass
class Server:
    """A running peer."""

    process: subprocess.Popen
    port: int

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("utf-8").rpartition(")")[2]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self):
        rows = Path(f"/proc/{self.process.pid}/status").read_text("utf-8").splitlines()
        (resident,) = (row.split()[1] for row in rows if row.startswith("VmRSS"))
        return int(resident) * 1024


def find(program, package, folder):
    """Return the program's path: from a folder of unpacked packages if one was named, or PATH."""
    places = [str(path) for path in sorted(folder.rglob("*bin"))] if folder else []
    path = os.pathsep.join([*places, os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise Missing(
            f"{program} is not here. `apt-get install {package}` would also start it as a service; "
            f"to only have the program: apt-get download {package} && dpkg-deb -x {package}_*.deb "
            "FOLDER, and name the folder with --programs"
        )
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command, folder, port, libraries=None):
    """Run a server until the context ends; it answers on `port` when this yields."""
    environment = dict(os.environ)
    if libraries:
        found = {str(path.parent) for path in Path(libraries).rglob("*.so*")}
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(sorted(found))
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=folder, env=environment, start_new_session=True
        )
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text('utf-8')[-1000:]}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Server(process, port)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
