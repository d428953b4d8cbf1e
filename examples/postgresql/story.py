"""`examples/postgresql/run`: two real PostgreSQL servers, and everything that can go wrong."""

import argparse
import json
import sys

from examples.ground.telling import end_in_order, leave_if_missing, table, teller
from examples.postgresql.servers import find_programs
from examples.postgresql.stage import DEFAULT, FAULTS, TUNED, Report, Stage

HEAD = ("fault", "writable after", "without writes", "standby after", "lost", "double")


def main() -> None:
    """Play the faults that were asked for; exit code 1: a write was lost, or taken by two."""
    given = _arguments()
    end_in_order()
    leave_if_missing("arping", "setpriv")
    if find_programs() is None:
        sys.exit("cannot run here: PostgreSQL is not installed (Debian: postgresql-15)")
    say = teller(is_quiet=given.json)
    tuning = TUNED if given.tuned else DEFAULT
    say("two hosts with PostgreSQL, one with the monitor, one with clients that write")
    with Stage(is_synchronous=not given.asynchronous, tuning=tuning, say=say) as stage:
        say(
            f"a is the primary, b stands by; lease {tuning.lease},"
            f" demote_within {tuning.demote_within}"
        )
        reports = [stage.suffer(fault) for fault in given.faults]
    if given.json:
        print(json.dumps([report.as_json() for report in reports]))
    else:
        print(f"\n{summary(reports)}")
    sys.exit(any(report.doubles or report.lost for report in reports))


def summary(reports: list[Report]) -> str:
    """Return one row a fault, and what became of the writes."""
    rows = [
        (
            report.fault,
            f"{report.writable:.2f} s",
            f"{report.gap:.2f} s",
            f"{report.back:.1f} s",
            report.lost,
            report.doubles,
        )
        for report in reports
    ]
    return table(HEAD, rows) + f"\n{reports[-1].acknowledged} writes were acknowledged."


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="examples/postgresql/run", description=__doc__)
    parser.add_argument("faults", nargs="*", default=list(FAULTS), help=", ".join(FAULTS))
    parser.add_argument("--tuned", action="store_true", help="shorter lease and intervals")
    parser.add_argument("--asynchronous", action="store_true", help="may lose the last writes")
    parser.add_argument("--json", action="store_true", help="the reports on stdout")
    given = parser.parse_args()
    if unknown := set(given.faults) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    return given


if __name__ == "__main__":
    main()
