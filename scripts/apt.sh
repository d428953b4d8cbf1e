# shellcheck shell=bash
# Ask Debian for a package. Sourced by the other scripts; runs nothing by itself.

# Run a command as root: directly, or through sudo. Fails when neither is possible.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

can_apt_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }
}

# Install packages, without recommendations: they may bring services that start by themselves.
# Nothing goes to stdout, which callers may read through a pipe; what goes wrong goes to stderr.
apt_install() {
    can_apt_install || return 1
    # A fresh image has no package lists, or lists that are out of date; try once before fetching.
    _apt_install "$@" 2>/dev/null && return 0
    as_root apt-get update -qq >/dev/null || return 1
    _apt_install "$@"
}

_apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 \
        --no-install-recommends "$@" >/dev/null
}
