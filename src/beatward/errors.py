"""Every exception of beatward, split by what the one who catches it can do.

    BeatwardError
    ├── ConfigError          stop and tell the user: exit code 2
    │   └── ConfigErrors     the same for several settings at once
    ├── MonitorUnreachable   no answer: exit code 3
    ├── MalformedRecord      one datagram or record is not ours: count it
    ├── JoinRefused          the monitor said no to an enrolment: stop, a retry will not help
    ├── TemporaryError       try the deed again, not before `retry_after_ns`
    │   └── Busy             a turn of the monitor takes longer than a reader should wait
    ├── RoleLost             the lease is over: stop acting, another node may do so by now
    ├── JournalIncomplete    the monitor ended, and something it promised is not on disk
    ├── PermanentError       the deed will never succeed as it is: record it and stop trying
    └── InvariantBroken      our own bug: crash, the journal brings us back

The hot path raises none of these: it returns masks and counts rejects by reason
(`core.intake.Reject`).
"""

from collections.abc import Iterable


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return `; did you mean 'NAME'`, or nothing where no known name looks alike."""
    from difflib import get_close_matches  # noqa: PLC0415  only where there is a mistake

    alike = get_close_matches(str(name), list(known), 1)
    return f"; did you mean {alike[0]!r}" if alike else ""


class BeatwardError(Exception):
    """The root, so that an embedding program can catch all of ours with one name."""


class ConfigError(BeatwardError):
    """A setting cannot be used; the message names file, key, value and what was expected.

    line   in the file, counted from 1, where it is known
    """

    def __init__(
        self, file: str, key: str, found: object, expected: str, *, line: int | None = None
    ) -> None:
        self.file = file
        self.key = key
        self.found = found
        # A check that raises ValueError may have begun its sentence with the word.
        self.expected = expected.removeprefix("expected ")
        self.line = line
        super().__init__(file, key, found, self.expected)

    @property
    def problems(self) -> "tuple[ConfigError, ...]":
        """All mistakes that it stands for, each by itself."""
        return (self,)

    def __str__(self) -> str:
        """Return the message."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: found {self.found!r}, expected {self.expected}"


class ConfigErrors(ConfigError):
    """Several settings cannot be used; its own attributes are those of the first."""

    def __init__(self, problems: tuple[ConfigError, ...]) -> None:
        first = problems[0]
        super().__init__(first.file, first.key, first.found, first.expected, line=first.line)
        self._problems = problems

    @property
    def problems(self) -> tuple[ConfigError, ...]:
        """All of them, in the order of the file."""
        return tuple(sorted(self._problems, key=lambda problem: problem.line or 0))

    def __str__(self) -> str:
        """Return one line for each."""
        lines = "\n  ".join(str(problem) for problem in self.problems)
        return f"{self.file}: {len(self._problems)} settings cannot be used:\n  {lines}"


class MonitorUnreachable(BeatwardError):
    """No monitor answered at the address that was tried."""


class MalformedRecord(BeatwardError):
    """Bytes that are not a record of a version we speak."""


class JoinRefused(BeatwardError):
    """The monitor answered an enrolment with a no, and said why."""


class TemporaryError(BeatwardError):
    """A deed failed in a way that may pass."""

    def __init__(self, message: str, *, retry_after_ns: int = 0) -> None:
        self.retry_after_ns = retry_after_ns
        super().__init__(message)


class Busy(TemporaryError):
    """The monitor's machine is in the middle of a long turn, and has nothing to show yet."""


class RoleLost(BeatwardError):
    """A program does not hold a role any more; its body was cancelled."""

    def __init__(self, service: str, token: int) -> None:
        self.service = service
        self.token = token
        super().__init__(f"the role {service} under token {token} is over")


class PermanentError(BeatwardError):
    """A deed failed in a way that repeating will not mend."""


class JournalIncomplete(BeatwardError):
    """The monitor has ended and could not write all that it had decided."""


class InvariantBroken(BeatwardError):
    """Something that this program promises itself does not hold."""
