# shellcheck shell=bash
# Find a Python that is new enough. Sourced by the other scripts; runs nothing by itself.

_python_fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Print the path of a Python >= 3.11.
#
# The system's Python comes first because it is the one `apt-get install python3-venv` can repair;
# a shim (pyenv, asdf) earlier on PATH may point elsewhere in every directory. BEATWARD_PYTHON
# overrides it all.
find_python() {
    local candidate path
    if [ -n "${BEATWARD_PYTHON:-}" ]; then
        if _python_fits "$BEATWARD_PYTHON"; then
            command -v "$BEATWARD_PYTHON"
            return 0
        fi
        echo "BEATWARD_PYTHON=$BEATWARD_PYTHON is not a Python 3.11 or newer." >&2
        return 1
    fi
    for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        if path=$(command -v "$candidate") && _python_fits "$path"; then
            # A shim's answer depends on where it is called; ask for the real program.
            "$path" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    echo "No Python 3.11 or newer was found. Install one, or set BEATWARD_PYTHON to its path." >&2
    return 1
}
