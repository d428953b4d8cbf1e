#!/usr/bin/env bash
# Make .venv ready: `setup.sh run` to use beatward, `setup.sh dev` to work on it.
#
# Quick the second time: a stamp in .venv remembers the checksum of everything that could change
# the outcome. The system's Python is never installed into; apt-get is asked for python3-venv only
# when the system's Python cannot make environments without it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh
. scripts/apt.sh

kind=${1:-run}
case $kind in
run | dev) ;;
*)
    echo "usage: scripts/setup.sh [run|dev]" >&2
    exit 2
    ;;
esac

extension=src/beatward/core/_tags

say() { echo "setup: $*"; }

die() {
    echo "setup: $*" >&2
    exit 1
}

# The folder belongs to the checksum because an editable install and every script's first line
# name it: a moved checkout must be set up again. The compiler belongs to it because the optional
# extension is built once there is one.
checksum() {
    {
        pwd
        command -v cc || true
        echo /usr/include/python3*/Python.h
        cat pyproject.toml "requirements/$kind.txt" scripts/setup.sh setup.py "$extension.c"
    } | sha256sum | cut -d' ' -f1
}

works() { .venv/bin/python -c 'import pip' >/dev/null 2>&1; }

is_done() {
    [ "$(cat ".venv/stamp-$kind" 2>/dev/null)" = "$wanted" ] && works
}

can_compile() {
    local include
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    command -v cc >/dev/null && [ -e "$include/Python.h" ]
}

wanted=$(checksum)
# Outside the lock on purpose: the usual case must not wait for somebody's download.
is_done && exit 0

# Two `make` at once would install over each other.
if command -v flock >/dev/null; then
    exec 9>.stamp-lock
    flock 9
    is_done && exit 0
fi

if ! python=$(find_python); then
    command -v python3 >/dev/null && exit 1
    say "no python3 at all; asking apt-get for it."
    apt_install python3 python3-venv || die "install Python 3.11 or newer with its venv module."
    python=$(find_python) || exit 1
fi

if ! works || [ "$(cat .venv/stamp-place 2>/dev/null)" != "$PWD" ]; then
    # Debian ships venv without ensurepip, and then `python -m venv` leaves half an environment.
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        say "$python cannot make environments; installing python3-venv with apt-get."
        apt_install python3-venv || die "$python lacks the venv module and apt-get could not" \
            "install it. As root: apt-get install python3-venv; then try again."
        "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
            die "$python still lacks ensurepip; set BEATWARD_PYTHON to another Python 3.11+."
    fi
    say "making .venv with $python ($("$python" -c 'import platform as p; print(p.python_version())'))."
    "$python" -m venv --clear .venv
    pwd >.venv/stamp-place
fi

say "installing requirements/$kind.txt (every file checked against its hash)."
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --require-hashes --requirement "requirements/$kind.txt"

# Nobody needs a compiler to use or to change beatward. CI does, for there a skipped test looks like
# a passed one.
if [ "$kind" = dev ] && [ "${CI:-}" = true ] && ! can_compile; then
    say "no C compiler or no Python.h; asking apt-get for them, to test the extension."
    apt_install gcc python3-dev || say "apt-get could not; its tests will fail."
    wanted=$(checksum)
fi

say "installing beatward itself, editable."
# One that is left from an older source would be taken for this one's where no new one is built.
rm -f "$extension"*.so
.venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps --no-build-isolation --no-index --editable .

.venv/bin/python -c 'from beatward.core import _tags' 2>/dev/null ||
    say "the optional extension was not built, for want of a C compiler or of Python.h" \
        "(python3-dev): heartbeats are checked in Python, slower."

echo "$wanted" >".venv/stamp-$kind"
say "done: .venv/bin/beatward"
