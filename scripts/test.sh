#!/usr/bin/env bash
# Run the tests; every argument goes to pytest. `make test` prepares the environment first.
set -euo pipefail
cd "$(dirname "$0")/.."

BEATWARD_MISSING=$(scripts/test-packages.sh)
export BEATWARD_MISSING
# /usr/sbin holds `ip` and is not on every user's PATH; Debian's PostgreSQL is on nobody's.
export PATH="$PWD/.tools/bin:$PATH:/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"

# Hundreds of programs are started; each would compile the same sources again.
export PYTHONDONTWRITEBYTECODE=

status=0
run() { .venv/bin/python -m pytest "$@" || status=$?; }
if [ $# -gt 0 ]; then
    run "$@"
else
    cores=$(getconf _NPROCESSORS_ONLN)
    parallel() { run --durations=20 "$@"; }
    # Two workers a core, for the tests wait as much as they work. A file stays in one process,
    # since its tests share what they have started.
    parallel -n $((2 * cores)) --dist loadfile --no-loadscope-reorder -m "not quiet"
    # Tests that look at a clock come after the others. They hardly work, so a few of them may wait
    # at the same time; beside all the others a healthy node is late now and then.
    # They share nothing, so each goes to the first worker that is free. Their files are named,
    # because pytest takes as long as some of them to collect all others.
    mapfile -t files < <(grep -rl --include='*.py' "mark\.quiet" tests)
    parallel -n $((cores + 1)) --dist worksteal -m quiet "${files[@]}"
fi
if [ -n "$BEATWARD_MISSING" ]; then
    echo "Skipped for want of system programs: $BEATWARD_MISSING" >&2
fi
exit "$status"
