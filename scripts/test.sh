#!/usr/bin/env bash
# Run the tests; every argument goes to pytest. `make test` prepares the environment first.
set -euo pipefail
cd "$(dirname "$0")/.."

BEATWARD_MISSING=$(scripts/test-packages.sh)
export BEATWARD_MISSING
# /usr/sbin holds `ip` and is not on every user's PATH; Debian's PostgreSQL is on nobody's.
export PATH="$PWD/.tools/bin:$PATH:/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"

status=0
run() { .venv/bin/python -m pytest "$@" || status=$?; }
if [ $# -gt 0 ]; then
    run "$@"
else
    # On every core, for they wait more than they work; a file stays in one process, since its tests
    # share what they have started. Those that look at a clock, or measure, have the machine to
    # themselves: beside others a healthy node is late now and then, and is suspected as it should be.
    run -n logical --dist loadfile --durations=20 -m "not alone"
    # Named, because pytest takes as long as some of them to collect all others first.
    mapfile -t files < <(grep -rl --include='*.py' "mark\.alone" tests)
    run -m alone --durations=20 "${files[@]}"
fi
if [ -n "$BEATWARD_MISSING" ]; then
    echo "Skipped for want of system programs: $BEATWARD_MISSING" >&2
fi
exit "$status"
