#!/usr/bin/env bash
# Bring the system programs that some tests use; print the names of those that are missing.
#
# Names go to stdout (for BEATWARD_MISSING, by which tests skip themselves and say why), everything
# else to stderr. In CI nothing may be missing, because a skipped test looks like a passed one.
# No service is ever started: where a package would start one, only its files are unpacked.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/apt.sh

say() { echo "test packages: $*" >&2; }

has() {
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || [ -x ".tools/bin/$1" ] ||
        [ -x "/usr/lib/postgresql/15/bin/$1" ]
}

# Put a package's file into the folder one is in.
fetch() {
    apt-get download -q "$1" >&2 ||
        { as_root apt-get update -q >&2 && apt-get download -q "$1" >&2; }
}

# Take one program out of a package without installing it. Debian's prometheus package would start
# a server on port 9090 and bring node-exporter; we only want promtool.
unpack() {
    local program=$1 package=$2 scratch
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        fetch "$package"
        dpkg-deb -x "$package"_*.deb files
    ) || {
        rm -rf "$scratch"
        return 1
    }
    mkdir -p .tools/bin
    install -m 755 "$scratch/files/usr/bin/$program" ".tools/bin/$program"
    rm -rf "$scratch"
    # The program may need a shared library that is not here.
    ".tools/bin/$program" --version >&2 || {
        rm ".tools/bin/$program"
        return 1
    }
}

# One fence agent and the library that all of them stand on. Debian's package depends on the clients
# of every cloud, 97 MB; a script beside it tells Python where the library is.
unpack_fence_agent() {
    local program=$1 package=$2 scratch folder=.tools/fence
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    /usr/bin/python3 -c 'import pexpect, pycurl' 2>/dev/null ||
        apt_install python3-pexpect python3-pycurl || return 1
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        fetch "$package" && dpkg-deb -x "$package"_*.deb files
    ) && mkdir -p .tools/bin "$folder" &&
        cp "$scratch/files/usr/sbin/$program" "$scratch"/files/usr/share/fence/fencing.py "$folder/" &&
        cat >".tools/bin/$program" <<EOF
#!/bin/sh
folder=\$(dirname "\$0")/../fence
PYTHONPATH=\$folder exec /usr/bin/python3 "\$folder/$program" "\$@"
EOF
    rm -rf "$scratch"
    chmod 755 ".tools/bin/$program" && ".tools/bin/$program" --version >&2 && return 0
    rm -f ".tools/bin/$program"
    return 1
}

# Unpack PostgreSQL's server, whose package would create a cluster and start it. Its programs find
# the rest of their files beside them; what they are linked with is installed.
unpack_postgresql() {
    local home=.tools/postgresql scratch
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    apt_install libpq5 libicu72 libldap-2.5-0 liblz4-1 libxml2 libzstd1 libsystemd0 || return 1
    scratch=$(mktemp -d)
    (cd "$scratch" && fetch postgresql-15 && fetch postgresql-client-15) || {
        rm -rf "$scratch"
        return 1
    }
    mkdir -p "$home" .tools/bin
    for package in "$scratch"/*.deb; do dpkg-deb -x "$package" "$home"; done
    rm -rf "$scratch"
    ln -sf ../postgresql/usr/lib/postgresql/15/bin/postgres .tools/bin/postgres
    .tools/bin/postgres --version >&2 || {
        rm .tools/bin/postgres
        return 1
    }
}

missing=()

need() {
    local program=$1 package=$2 how=$3
    has "$program" && return 0
    say "$program is not here; getting it from the package $package."
    "$how" "$program" "$package" && has "$program" && return 0
    say "$program could not be had; tests that need it are skipped."
    missing+=("$program")
}

install_package() { apt_install "$2"; }

need curl curl install_package
need ip iproute2 install_package
need nft nftables install_package
need arping iputils-arping install_package
need systemd-analyze systemd install_package
need postgres postgresql-15 unpack_postgresql
need promtool prometheus unpack
need fence_dummy fence-agents unpack_fence_agent

if [ ${#missing[@]} -gt 0 ] && [ "${CI:-}" = true ]; then
    say "CI needs all of them: ${missing[*]}"
    exit 1
fi
echo "${missing[*]-}"
