#!/usr/bin/env bash
# Run the tests; every argument goes to pytest. `make test` prepares the environment first.
set -euo pipefail
cd "$(dirname "$0")/.."

BEATWARD_MISSING=$(scripts/test-packages.sh)
export BEATWARD_MISSING
# /usr/sbin holds `ip` and is not on every user's PATH; Debian's PostgreSQL is on nobody's.
export PATH="$PWD/.tools/bin:$PATH:/usr/sbin:/sbin:/usr/lib/postgresql/15/bin"

# All of them: on every core, for they wait more than they work. A file stays in one process, since
# its tests share what they have started.
[ $# -gt 0 ] || set -- -n logical --dist loadfile

status=0
.venv/bin/python -m pytest "$@" || status=$?
if [ -n "$BEATWARD_MISSING" ]; then
    echo "Skipped for want of system programs: $BEATWARD_MISSING" >&2
fi
exit "$status"
