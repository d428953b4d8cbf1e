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
# Output goes to stderr because callers may be read through a pipe.
apt_install() {
    can_apt_install || return 1
    local options=(-y -q --no-install-recommends)
    # A fresh image has no package lists, or lists that are out of date; try once before fetching.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >&2 && return 0
    as_root apt-get update -q >&2 || return 1
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "$@" >&2
}
