"""The promise about roles: one holder at most, tokens that only grow, and no word that is not true.

two        no two workloads of a service run at once on machines that get time; but where it cannot
           be helped, and there no longer than it cannot: a holder that was suspended and
           wakes, one whose agent and guardian are both out, one that not even SIGKILL ends, and
           one that an operator's force overtook; and the work of a machine that was restored from a
           snapshot, until the lease is over that it had when that was taken
late       no workload runs when its lease and the time to give the role up are over, with the same
           exceptions
accepted   a resource that remembers the highest token is never written to by two under one
early      no grant of a new token while another member's lease, as it counts it, or its time to
           give the role up may still run: unless it said that it gave it up, or was fenced, or
           an operator used force; where a fence is required, time frees no machine that was lent it
receipt    what is granted is on disk
ready      PROMOTE answers a member that says it could be promoted; HOLD one that says it holds
           under that very token
token      one token is one member's, and one process's; tokens only grow: in the journal, over
           restarts, above all that members said, and for each member
claim      who says it does not hold the role does not run its work

Taken from the journal, from what was really sent, and from what really ran; on purpose not with the
monitor's own arithmetic. Not here: whether a failover ends (`check_role_liveness`).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from beatward.core.entry import Entry, Event, Recovered
from beatward.core.instants import MILLISECOND, SECOND, format_duration
from beatward.core.monitor import Monitor
from beatward.core.protocol.keys import node_id
from beatward.core.protocol.record import Kind
from beatward.core.protocol.roles import (
    LAST_WORD,
    RoleOrder,
    RoleReport,
    State,
    lease_end_ns,
    service_id,
)

from .check_role_liveness import RoleLivenessChecker
from .checker import Checker, Findings, WorldFacts
from .node import PlayedNode
from .site import Site, WorkloadRun
from .truth import Span, Trouble

_GRANT = struct.Struct("<3xB4xIIQQQII")  # kind, counter, service, node, life, claim, lease, demote
# Timers that fire late, a process that takes its time to die, and one look of a guardian.
GRACE_NS = SECOND // 5
_NOBODY = (State.STANDBY, State.UNABLE)
_HOLDERS = (State.PROMOTING, State.ACTIVE, State.DEMOTING)
# At most this many standings of a member are remembered; it sends some in a second.
_SAID_MAX = 1000


@dataclass(slots=True)
class _Report:
    """A standing as it was really sent; `end_ns(...)` of its lease counts from `stamp_ns`."""

    state: State
    token: int
    sent_ns: int
    stamp_ns: int


@dataclass(slots=True)
class _Lease:
    """What a member may still do: its own arithmetic, in true time."""

    token: int
    until_ns: int
    is_known: bool = True  # to the monitor's disk


@dataclass(slots=True)
class _Book:
    """What is known of one service.

    token       the newest in the entries told; `durable` on disk; owners: whose each one was
    heard       the highest that a member said, in a standing that this session has answered
    leases      by machine (`Node.label`), as all that follows; `stuck` are those that could not
                give it up, as they said, until they are answered another word or say a last one,
                and `fenced` up to which token it does not matter what they say; lent: to which
                machine each token was
    granted     the highest token that was granted
    running     the workloads that are there, by node; `writers` of the resource, by token
    used        the highest token of each node that it has run under or given up; given: given up
    forced      tokens up to this one were overtaken by an operator's force
    lost        the highest token that a disk knew which was lost
    told        whose overlaps and delays were told; `excused` overlaps that were counted
    """

    name: str
    token: int = 0
    durable: int = 0
    owners: dict[int, str] = field(default_factory=dict)
    lent: dict[int, str] = field(default_factory=dict)
    heard: int = 0
    leases: dict[str, _Lease] = field(default_factory=dict)
    stuck: dict[str, int] = field(default_factory=dict)
    fenced: dict[str, int] = field(default_factory=dict)
    running: dict[str, WorkloadRun] = field(default_factory=dict)
    writers: dict[int, str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    highest: int = 0
    granted: int = 0
    forced: int = -1
    lost: int = 0
    reported: set[tuple[str, str]] = field(default_factory=set)
    excused: set[tuple[str, int]] = field(default_factory=set)


class RoleChecker(Checker):
    """What members said and did, held against what the monitor granted."""

    def __init__(
        self, facts: WorldFacts, findings: Findings, role_liveness: RoleLivenessChecker
    ) -> None:
        super().__init__(facts, findings)
        self._role_liveness = role_liveness
        self._names = {node_id(name): name for name in facts.truths}
        services = facts.scenario.services
        self.books = {service.name: _Book(service.name) for service in services}
        self._by_id = {service_id(name): book for name, book in self.books.items()}
        self._reports: dict[tuple[str, int], dict[tuple[int, int], _Report]] = {}
        self._sites: dict[tuple[str, str], Site] = {}
        self._settings = {service.name: service.settings for service in services}

    # -- the journal ----------------------------------------------------------------------------

    def started(self, _monitor: Monitor, _recovered: Recovered) -> None:
        """Note that a session began: what it knows is what the disk holds."""
        for book in self.books.values():
            book.token, book.heard = book.durable, 0

    def store_replaced(self, kept: Sequence[Entry]) -> None:
        """Forget what the lost disk said; what members were granted is as it was.

        Nothing can know of a token that is on no disk and that no member within reach has seen.
        """
        for book in self.books.values():
            book.lost = max(book.lost, book.durable)
            book.durable = 0
        for entry in kept:
            self.written(entry)
        for book in self.books.values():
            for known in (book.owners, book.lent):
                for token in [token for token in known if token > book.durable]:
                    del known[token]
            book.stuck.clear()
            for lease in book.leases.values():
                lease.is_known = False

    def submitted(self, entry: Entry) -> None:
        """Take an entry as it is told."""
        record = entry.service_record
        if entry.event != Event.ROLE or record is None or record.name not in self.books:
            return
        book = self.books[record.name]
        self._count(f"phase {record.phase}")
        if entry.cause:
            self._count(str(entry.cause))
        if record.token < book.token:
            self._violate("token", book, f"token {record.token} follows {book.token}")
        if record.token > book.token and record.token <= book.heard:
            message = f"token {record.token} is decided after a member said {book.heard}"
            self._violate("token", book, message)
        if record.token > book.token:
            self._role_liveness.moved(book.name)
        book.token = record.token

    def written(self, entry: Entry) -> None:
        """Take an entry that has reached the disk."""
        record = entry.service_record
        if entry.event == Event.ROLE and record is not None and record.name in self.books:
            book = self.books[record.name]
            book.durable = record.token
            if record.holder:
                self._check_owner(book, record.holder, record.token)

    def forced(self, service: str) -> None:
        """Note that an operator orders a failover whatever may happen."""
        book = self.books[service]
        book.forced = max(book.token, book.heard, book.highest)
        book.stuck.clear()

    def fenced(self, node: str) -> None:
        """Note that a machine was switched off."""
        labels = (node, *(twin.label for twin in self._facts.twins.of(node)))
        for book in self.books.values():
            for label in labels:
                book.fenced[label] = book.granted
                book.leases.pop(label, None)
                book.stuck.pop(label, None)

    def replaced(self, node: str) -> None:
        """Note that another machine with an empty disk has a node's name now."""
        for book in self.books.values():
            book.used.pop(node, None)
            book.given.pop(node, None)

    # -- what is said ---------------------------------------------------------------------------

    def stood(self, node: PlayedNode, standing: RoleReport) -> None:
        """Check a standing at the instant when it is sent."""
        book, name = self._by_id[standing.service], node.label
        if standing.counter == LAST_WORD:
            self._count("last words")
            self._check_free(book, name, standing)
            # No answer follows. The guardian ended what its agent could not: seed 600 of clones.
            if book.stuck.get(name, standing.token + 1) <= standing.token:
                del book.stuck[name]
            return
        assert node.protocol is not None
        reports = self._reports.setdefault((name, standing.service), {})
        now_ns, stamp_ns = self._facts.now_ns, node.clock.now_ns(self._facts.now_ns)
        reports[node.protocol.incarnation, standing.counter] = _Report(
            standing.state, standing.token, now_ns, stamp_ns
        )
        if len(reports) > _SAID_MAX:
            del reports[next(iter(reports))]
        self._count(f"said {standing.state.name.lower()}")
        if standing.state in _NOBODY:
            self._check_free(book, name, standing)

    def _check_free(self, book: _Book, name: str, standing: RoleReport) -> None:
        """Check a word that nothing is held under a token any more."""
        run = book.running.get(name)
        if run is not None and (standing.counter != LAST_WORD or run.token <= standing.token):
            message = f"it says {standing.state.name} and runs under token {run.token}"
            self._violate("claim", book, message, name)
        book.used[name] = max(book.used.get(name, 0), standing.token)
        book.given[name] = max(book.given.get(name, 0), standing.token)
        lease = book.leases.get(name)
        if lease is not None and lease.token <= standing.token:
            del book.leases[name]

    def replied(self, data: bytes, target: bytes) -> None:
        """Check a grant at the instant when it is sent."""
        kind, counter, service, number, life, claim, lease_ms, demote_ms = _GRANT.unpack_from(data)
        if kind != Kind.GRANT or service not in self._by_id:
            return
        book, (token, word) = self._by_id[service], divmod(claim, 256)
        name = self._addressee(
            self._names[number], (service, life, counter), self._facts.network.owner_of(target)
        )
        report = self._reports.get((name, service), {}).get((life, counter))
        if report is None:
            return
        self._count(f"word {RoleOrder(word).name.lower()}")
        if word in (RoleOrder.PROMOTE, RoleOrder.HOLD):
            self._check_grant(book, name, token, RoleOrder(word), report)
        book.heard = max(book.heard, report.token)
        # What it had when it was switched off cannot act any more, whatever it says of it; nor can
        # what has ended since it said so: a last word is not answered (seed 1388 of the clones).
        ended = max(book.fenced.get(name, -1), book.given.get(name, -1))
        if report.state == State.STUCK and report.token > ended:
            book.stuck[name] = report.token
        else:
            book.stuck.pop(name, None)
        # A demotion without a lease is time to demote, too; for who holds another token it is not.
        if word in (RoleOrder.PROMOTE, RoleOrder.HOLD) or (
            word == RoleOrder.DEMOTE and token == report.token
        ):
            self._lend(book, name, token, report, (lease_ms, demote_ms))

    def _addressee(self, name: str, answered: tuple[int, int, int], target: str) -> str:
        """Return which machine of a name a grant answers, which may go to the adversary."""
        service, life, counter = answered
        labels = (name, *(twin.label for twin in self._facts.twins.of(name)))
        like = [one for one in labels if (life, counter) in self._reports.get((one, service), {})]
        return target if target in like else next(iter(like), name)

    def _check_grant(
        self, book: _Book, name: str, token: int, word: RoleOrder, report: _Report
    ) -> None:
        if token > book.durable:
            message = f"{word.name} under token {token}, but the disk knows {book.durable}"
            self._violate("receipt", book, message, name)
        if token < book.heard:
            message = f"{word.name} under token {token}, but a member has said {book.heard}"
            self._violate("token", book, message, name)
        self._check_owner(book, self._facts.twins.machine(name).settings.name, token)
        lent = book.lent.setdefault(token, name)
        if lent != name:
            self._violate("token", book, f"token {token} was lent to {lent}, and is to it", name)
        if word == RoleOrder.PROMOTE and report.state != State.STANDBY:
            message = f"PROMOTE to a member that has said {report.state.name}"
            self._violate("ready", book, message, name)
        if word == RoleOrder.HOLD and (report.state not in _HOLDERS or report.token != token):
            message = f"HOLD under {token} for {report.state.name} under {report.token}"
            self._violate("ready", book, message, name)
        self._check_early(book, name, token)

    def _check_owner(self, book: _Book, name: str, token: int) -> None:
        owner = book.owners.setdefault(token, name)
        if owner != name:
            self._violate("token", book, f"token {token} is {owner}'s, and given to it", name)

    def _check_early(self, book: _Book, name: str, token: int) -> None:
        now_ns, needs_fence = self._facts.now_ns, self._settings[book.name].fence_required
        for other, lease in book.leases.items():
            if other == name or lease.token >= token or lease.token <= book.forced:
                continue
            if lease.until_ns > now_ns:
                left = format_duration(lease.until_ns - now_ns)
                message = f"token {token} is granted, but {other} may hold {lease.token} for {left}"
                self._violate("early", book, message, name)
            # A copy that was told to demote was lent nothing: time is waited for (decision 014).
            elif needs_fence and lease.is_known and book.lent.get(lease.token, other) == other:
                message = f"token {token} is granted, but {other} was not fenced"
                self._violate("early", book, message, name)
        before, book.granted = book.granted, max(book.granted, token)
        for other, held in book.stuck.items():
            # A member that was stuck with an older one had been passed over for a reason.
            if other != name and before <= held < token:
                message = f"token {token} is granted, but {other} is stuck with {held}"
                self._violate("early", book, message, name)

    def _lend(
        self, book: _Book, name: str, token: int, report: _Report, lengths_ms: tuple[int, int]
    ) -> None:
        if token <= book.given.get(name, 0):
            return  # an answer to what it said before it gave the token up: it takes it no more
        lease_ms, demote_ms = lengths_ms
        clock = self._facts.twins.machine(name).clock
        end_ns = lease_end_ns(report.stamp_ns, lease_ms) + demote_ms * MILLISECOND
        # In true time by the length, because the clock may have been set back by a reboot since.
        length_ns = clock.true_ns(end_ns) - clock.true_ns(report.stamp_ns)
        until_ns = report.sent_ns + length_ns
        lease = book.leases.get(name)
        if lease is None or until_ns > lease.until_ns or token > lease.token:
            book.leases[name] = _Lease(token, until_ns)

    # -- what runs ------------------------------------------------------------------------------

    def run_began(self, site: Site, run: WorkloadRun) -> None:
        """Check a workload as it begins."""
        book, name = self.books[site.service], site.label
        self._count("promotions")
        self._sites[book.name, name] = site
        if run.token <= book.used.get(name, 0):
            self._violate("token", book, f"it begins again under token {run.token}", name)
        book.used[name] = run.token
        book.running[name] = run
        self._write(book, name, run)
        self.look(book)

    def run_copied(self, site: Site, run: WorkloadRun) -> None:
        """Note a workload that runs on in a copy of its machine."""
        book = self.books[site.service]
        self._count("copied work")
        self._sites[book.name, site.label] = site
        book.running[site.label] = run

    def run_ended(self, site: Site, run: WorkloadRun) -> None:
        """Note that a workload has ended."""
        book, name = self.books[site.service], site.label
        self._write(book, name, run)
        self._check_late(book, name, run)
        del book.running[name]

    def audit(self) -> None:
        """Check what runs, now and then; a beginning, an end and an awakening are checked too."""
        for book in self.books.values():
            self.look(book)

    def look(self, book: _Book) -> None:
        """Check that at most one workload runs, and let each that does write to the resource."""
        awake = {
            name: run
            for name, run in book.running.items()
            if not self._sites[book.name, name].is_asleep
        }
        for name, run in awake.items():
            self._write(book, name, run)
            self._check_late(book, name, run)
        if len(awake) < 2:
            return
        newest = max(awake, key=lambda name: awake[name].token)
        for name, run in awake.items():
            if name != newest:
                self._check_overlap(book, name, newest, run)

    def _write(self, book: _Book, name: str, run: WorkloadRun) -> None:
        """Write to a resource that keeps the highest token and refuses every lower one."""
        if run.token < book.highest:
            self._count("writes refused")
            return
        book.highest = run.token
        if self._is_restored(book, name):
            self._count("writes of a restored machine")
            return
        writer = book.writers.setdefault(run.token, name)
        if writer != name and run.token <= book.lost:
            self._count("tokens of a lost disk used again")
        elif writer != name:
            message = f"it writes under token {run.token}, as {writer} did"
            self._violate("accepted", book, message, name)

    def _check_late(self, book: _Book, name: str, run: WorkloadRun) -> None:
        lease = book.leases.get(name)
        if lease is None or lease.token != run.token or (name, "late") in book.reported:
            return
        late_ns = self._facts.now_ns - lease.until_ns
        if late_ns > GRACE_NS and not self._excuse(book, name, run):
            book.reported.add((name, "late"))
            message = f"it still runs {format_duration(late_ns)} after it should have given it up"
            self._violate("late", book, message, name)

    def _check_overlap(self, book: _Book, name: str, newest: str, run: WorkloadRun) -> None:
        if (name, newest) in book.reported:
            return
        excuse = self._excuse(book, name, run)
        excuse = excuse or ("restored" if self._is_restored(book, newest) else "")
        if excuse:
            # An overlap is looked at again and again, and counted once.
            if (newest, run.token) not in book.excused:
                book.excused.add((newest, run.token))
                self._count(f"two, {excuse}")
            return
        book.reported.add((name, newest))
        others = book.running[newest]
        message = f"it runs under token {run.token} while {newest} does under {others.token}"
        self._violate("two", book, message, name)

    def _is_restored(self, book: _Book, name: str) -> bool:
        """Tell whether a machine may still do what it did when a snapshot was taken of it."""
        return self._facts.now_ns < self._sites[book.name, name].restored_until_ns + GRACE_NS

    def _excuse(self, book: _Book, name: str, run: WorkloadRun) -> str:
        """Return why it could not be helped, or nothing."""
        site, now_ns = self._sites[book.name, name], self._facts.now_ns
        settings = self._settings[book.name]
        if run.token <= book.forced:
            return "by force"
        if self._is_restored(book, name):
            return "restored"
        if site.is_stuck or site.label in book.stuck:
            return "stuck"
        # Who woke looks at a clock that has counted, or has not: then its lease seems to run.
        slept_ns = GRACE_NS
        if not site.clock.counts_suspend:
            slept_ns += settings.lease_ns + settings.demote_ns
        # What a promotion was about to begin, it may begin just after the machine woke.
        spans = site.truth.history.within(run.begin_ns - slept_ns, now_ns)
        slept = [one for one in spans if one.trouble == Trouble.SUSPENDED]
        if any(now_ns < one.end_ns + slept_ns for one in slept):
            return "suspended"
        # An agent that comes back gives up what it finds, and may take its time.
        alone_ns = GRACE_NS + settings.demote_ns
        if any(now_ns < end_ns + alone_ns for end_ns in _alone(site, spans, now_ns)):
            return "unguarded"
        return ""

    # -- its words ------------------------------------------------------------------------------

    def _count(self, what: str) -> None:
        self._findings.counts[f"role {what}"] += 1

    def _violate(self, rule: str, book: _Book, message: str, node: str = "") -> None:
        self._findings.violate(rule, node, f"{book.name}: {message}")


def _alone(site: Site, spans: Sequence[Span], now_ns: int) -> Iterator[int]:
    """Yield when the agent and its guardian stopped both being out at once, `now_ns` if not yet."""
    for outage in site.guardian.within(0, now_ns):
        for span in spans:
            if span.begin_ns < outage.end_ns and outage.begin_ns < span.end_ns:
                yield min(span.end_ns, outage.end_ns, now_ns)
