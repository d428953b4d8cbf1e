"""Other processes of the holder's name: a copied folder, a restored machine, the life after it.

What such a process says frees nothing, and lowers no position (`lease.Lease.owner`); that one has
spoken is told once for each of its lives under each token. Not here: what follows for the role
(`core.roles.machine`).
"""

from beatward.core.entry import ServiceRecord
from beatward.core.protocol.roles import RoleReport
from beatward.core.roles.candidates import Member, Remembered
from beatward.core.roles.lease import GIVEN_UP, Lease, Speaker, speaker
from beatward.core.roles.phases import CLAIMS, RoleEvent
from beatward.core.roles.reports import ReceivedReport


class OtherProcesses:
    """Those that were told under the newest token."""

    def __init__(self) -> None:
        self._lives: set[int] = set()
        self._says = ""  # what is to be told

    def hear(self, report: RoleReport, who: Speaker) -> None:
        """Note that one has spoken under our token."""
        if who.life not in self._lives:
            self._lives.add(who.life)
            self._says = CLAIMS[report.state]

    def take(self, service: str, lease: Lease) -> RoleEvent | None:
        """Return what is to be told, once."""
        says, self._says = self._says, ""
        if not says:
            return None
        text = (
            f"{service}: another process named {lease.holder} reports that it {says} token "
            f"{lease.token}; this frees nothing: the role stays with the process that it was lent "
            "to, until that one releases it or its lease expires"
        )
        return RoleEvent("another_process", text, lease.holder)


def owner_of(record: ServiceRecord, life: int) -> Speaker | None:
    """Return to which process the journal says that a role was lent; life: if it only knows that.

    None: it does not know of any.
    """
    life = record.life or life
    return Speaker(life, bytes.fromhex(record.host)) if life else None


def is_owner(lease: Lease, member: Member) -> bool:
    """Tell whether what a member said last was said by the process that was lent the token."""
    return lease.is_owner(speaker(member.incarnation, member.peer))


def hear_last(lease: Lease, member: Member | None, received: ReceivedReport, now_ns: int) -> bool:
    """Let a lease hear a life's last word, if it is its owner's; return whether that is news."""
    report, who = received.report, speaker(received.incarnation, received.peer)
    is_holder = member is not None and member.node == lease.holder
    is_open = is_holder and report.token == lease.token and not lease.is_given_up
    is_last = is_open and report.state in GIVEN_UP and lease.is_owner(who)
    return is_last and lease.hear(report, who, now_ns)


def replaces(lease: Lease, member: Member | None) -> bool:
    """Tell whether another process than the owner answers for it, and says that it has nothing.

    It may know of our token or only of one before (seed 246 of the clones). Time ends no role whose
    owner has said that it is stuck: the next life on that machine can have demoted what the owner
    left, and others know nothing of it.
    """
    if member is None or member.report is None or lease.is_given_up or not lease.granted_ns:
        return False
    if member.report.state not in GIVEN_UP or is_owner(lease, member):
        return False
    return not lease.is_stuck or _has_demoted(lease, member, member.report)


def _has_demoted(lease: Lease, member: Member, report: RoleReport) -> bool:
    who = speaker(member.incarnation, member.peer)
    return report.token == lease.token and (lease.owner is None or lease.owner.is_near(who))


def why_silent(lease: Lease, member: Member | None) -> str:
    """Say why the holder is waited for, as a few words."""
    if replaces(lease, member):
        return (
            f"another process answers as {lease.holder}, and knows nothing of the one that has it"
        )
    return f"{lease.holder} is silent"


def kept(lease: Lease, member: Member) -> Remembered | None:
    """Return what the owner said of its data, where another process of its name says less."""
    if lease.is_given_up or lease.replication_position is None or is_owner(lease, member):
        return None
    report = member.report
    if report is not None and (report.replication_position or 0) >= lease.replication_position:
        return None
    return Remembered(member.node, lease.replication_position, is_unsure=False)
