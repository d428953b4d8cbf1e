#!/usr/bin/env bash
# Write requirements/*.txt: every version pinned, every file hashed, for every platform we support.
#
# uv does the resolving because it can do it for all platforms at once (--universal). It lives in a
# throw-away environment, so that nobody needs uv to install or run beatward. uv.lock is not
# committed because it names a registry host on every line.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/python.sh
python=$(find_python) || exit 1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet uv

# Extras stay in the names: Debian's pip 23.0.1 does not take `coverage==7.17.3` as the pin of
# `coverage[toml]`, chooses the newest release instead, and then misses its hash.
compile() {
    "$scratch/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --no-strip-extras \
        --generate-hashes --no-header --no-emit-index-url --no-emit-find-links --no-annotate \
        --upgrade "$@"
}

# dev first and run held to it: a version that is tested is the version that runs.
compile pyproject.toml --all-extras --group dev --output-file "$scratch/dev.txt"
compile pyproject.toml --extra monitor --extra facts --group build \
    --constraints "$scratch/dev.txt" --output-file "$scratch/run.txt"

if grep -nE '://|^ *--(index|extra-index|find-links)|^/' "$scratch"/{dev,run}.txt; then
    echo "lock: a lock file names a host or a path (above); nothing was written." >&2
    exit 1
fi
mkdir -p requirements
cp "$scratch/dev.txt" "$scratch/run.txt" requirements/
echo "lock: requirements/run.txt has $(grep -c == requirements/run.txt) packages," \
    "requirements/dev.txt $(grep -c == requirements/dev.txt)."
