"""What must hold in every world: the list of its checkers.

Safety at every moment: the journal and its entries, news that a node really said, verdicts that no
evidence contradicts, intervals that were announced, what operators ordered, one holder of a role,
what a mass failure holds back, actions that are on disk first. Liveness some time after heal: every
silence is found, every role is held, every action has its end. Not here: the promises themselves,
each in the file that is named for it.
"""

from .check_actions import ActionChecker
from .check_intervals import IntervalChecker
from .check_journal import JournalChecker
from .check_liveness import LivenessChecker
from .check_maintenance import MaintenanceChecker
from .check_mass import MassChecker
from .check_news import NewsChecker
from .check_role_liveness import RoleLivenessChecker
from .check_roles import RoleChecker
from .check_verdicts import VerdictChecker
from .checker import Checker, Findings, WorldFacts


def every_checker(facts: WorldFacts, findings: Findings) -> tuple[Checker, ...]:
    """Return all of them, in the order in which they are told what happens."""
    mass = MassChecker(facts, findings)
    verdicts = VerdictChecker(facts, findings, mass)
    role_liveness = RoleLivenessChecker(facts, findings)
    return (
        JournalChecker(facts, findings),
        ActionChecker(facts, findings),
        NewsChecker(facts, findings, verdicts),
        verdicts,
        IntervalChecker(facts, findings),
        MaintenanceChecker(facts, findings),
        RoleChecker(facts, findings, role_liveness),
        role_liveness,
        mass,
        LivenessChecker(facts, findings, verdicts, mass),
    )
