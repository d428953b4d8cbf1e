"""PostgreSQL servers of our own in a temporary folder, for the hooks beside this file.

Nothing of a cluster that the system may have is read or touched. `Place` is where one server is;
its `settings` are what the hooks read.
"""

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HOOKS = Path(__file__).resolve().parent
ROOT = HOOKS.parents[1]
NAMES = ("promote", "demote", "start", "stop", "state")

# What both servers have in common. Logical bytes of a change of hint bits are logged, or pg_rewind
# could not tell which pages differ; the pauses are short, so that a link that is gone is noticed
# before an operator does.
_CONFIGURATION = """
listen_addresses = '*'
wal_log_hints = on
wal_keep_size = 512MB
wal_sender_timeout = 3s
wal_receiver_timeout = 3s
wal_retrieve_retry_interval = 200ms
shared_buffers = 16MB
log_min_messages = log
beatward.token = 0
include_if_exists 'beatward.conf'
"""


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    for root in (Path("/"), ROOT / ".tools" / "postgresql"):
        places += sorted(root.glob("usr/lib/postgresql/*/bin"), reverse=True)
    return next((place for place in places if (place / "postgres").exists()), None)


def system_user() -> str:
    """Return who the servers run as: not root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one server is."""

    folder: Path
    port: int = 5432

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.folder / "data"

    @property
    def settings(self) -> Path:
        """The file that the hooks read."""
        return self.folder / "postgresql.env"

    def prepare(self, *, is_synchronous: bool) -> None:
        """Make the folder and the hooks' settings; no data yet."""
        programs = find_programs()
        assert programs is not None, "PostgreSQL is not installed"
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, system_user())
        self.settings.write_text(
            f"PGBIN={programs}\nPGDATA={self.data}\nPGPORT={self.port}\n"
            f"PGSOCKETS={self.folder}\nPGNOTES={self.folder}\nPGOSUSER={system_user()}\n"
            f"SYNCHRONOUS={'yes' if is_synchronous else 'no'}\n"
        )

    def create(self) -> None:
        """Create the data, as the first of a cluster: complete as of token 0."""
        programs = find_programs()
        assert programs is not None
        # Without a password and without waiting for the disk: it is empty.
        options = ("-A", "trust", "-U", "postgres", "-N", "--locale=C.UTF-8")
        as_user(programs / "initdb", "-D", self.data, *options)
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(_CONFIGURATION)
        with (self.data / "pg_hba.conf").open("a") as file:
            # `all` does not hold for replication.
            file.write("host all all 10.77.0.0/24 trust\nhost replication all samenet trust\n")
        note = self.folder / "complete"
        note.write_text("0\n")
        shutil.chown(note, system_user())

    def processes(self) -> list[int]:
        """Return the server's processes: those whose folder is its data."""
        found = []
        for path in Path("/proc").glob("[1-9]*/cwd"):
            try:
                if path.readlink() == self.data:
                    found.append(int(path.parent.name))
            except OSError:
                continue  # it ended while we looked
        return found

    @property
    def postmaster(self) -> int:
        """The pid of the first of them."""
        return int((self.data / "postmaster.pid").read_text().split()[0])


def as_user(*command: str | Path) -> None:
    """Run a program as the servers' user."""
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        name = system_user()
        group = pwd.getpwnam(name).pw_gid
        words = ["setpriv", "--reuid", name, "--regid", str(group), "--clear-groups", "--", *words]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd="/")
