"""Every exception of beatward, split by what the one who catches it can do.

    BeatwardError
    ├── ConfigError          stop and tell the user: exit code 2
    ├── MonitorUnreachable   nobody answered: exit code 3
    ├── MalformedRecord      one datagram or record is not ours: count it
    ├── JoinRefused          the monitor said no to an enrolment: stop, a retry will not help
    ├── TemporaryError       try the deed again, not before `retry_after_ns`
    │   └── Busy             a turn of the monitor takes longer than a reader should wait
    ├── RoleLost             the lease is over: stop acting, somebody else may do so by now
    ├── JournalIncomplete    the monitor ended, and something it promised is not on disk
    ├── PermanentError       the deed will never succeed as it is: record it and stop trying
    └── InvariantBroken      our own bug: crash, the journal brings us back

The hot path raises none of these: it returns masks and counts rejects by reason
(`core.intake.Reject`).
"""


class BeatwardError(Exception):
    """The root, so that an embedding program can catch all of ours with one name."""


class ConfigError(BeatwardError):
    """A setting cannot be used; the message names file, key, value and what was expected."""

    def __init__(self, file: str, key: str, found: object, expected: str) -> None:
        self.file = file
        self.key = key
        self.found = found
        self.expected = expected
        super().__init__(f"{file}: {key}: found {found!r}, expected {expected}")


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
