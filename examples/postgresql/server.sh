# shellcheck shell=bash
# What the five hooks of this folder share. Sourced by them; does nothing by itself.
#
# The first argument of every hook is a file of settings, see postgresql.env. The rest comes from
# the agent: BEATWARD_NODE, BEATWARD_TOKEN, BEATWARD_PRIMARY, _PRIMARY_ADDRESS and _PRIMARY_PORT.
set -euo pipefail

hook=${0##*/}
# shellcheck source=/dev/null
. "${1:?$hook: say which file has the settings, for example postgresql.env}"
: "${PGBIN:?}" "${PGDATA:?}" "${PGPORT:=5432}" "${PGSOCKETS:?}" "${PGOSUSER:=postgres}"
: "${PGUSER:=postgres}" "${PGNOTES:?}" "${SYNCHRONOUS:=no}"
node=${BEATWARD_NODE:?$hook: is run by an agent, which says BEATWARD_NODE}
token=${BEATWARD_TOKEN:-0}
primary=${BEATWARD_PRIMARY:-}
# A server that does not answer must not hold up a hook for as long as TCP would.
export PGUSER PGCONNECT_TIMEOUT=2 PGDATABASE=postgres PGOPTIONS='-c client_min_messages=error'
cd /

say() { echo "$hook: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# It comes from another machine, and stands in connection strings, in SQL and in a file of settings
# below. The monitor and the agent let only host names and addresses through; so does this.
case ${BEATWARD_PRIMARY_ADDRESS:-}/${BEATWARD_PRIMARY_PORT:-} in
-* | *[!A-Za-z0-9.:%_/-]* | */*/*) die "BEATWARD_PRIMARY_ADDRESS and _PORT are no address: '$BEATWARD_PRIMARY_ADDRESS', '$BEATWARD_PRIMARY_PORT'" ;;
esac

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then
        setpriv --reuid "$PGOSUSER" --regid "$(id -g "$PGOSUSER")" --init-groups -- "$@"
    else
        "$@"
    fi
}

# Ask this machine's server, or that of the primary. One value, or nothing and exit code 2.
ask() { as_postgres "$PGBIN/psql" -X -A -t -q -v ON_ERROR_STOP=1 -h "$PGSOCKETS" -p "$PGPORT" -c "$1"; }

ask_primary() {
    as_postgres "$PGBIN/psql" -X -A -t -q -v ON_ERROR_STOP=1 \
        -h "$BEATWARD_PRIMARY_ADDRESS" -p "$BEATWARD_PRIMARY_PORT" -c "$1"
}

# Print the pid of the postmaster, if it lives. The file outlives a crash, and its number may
# belong to another process by now; what it runs, and where, tells.
postmaster() {
    local pid
    pid=$(head -n 1 "$PGDATA/postmaster.pid" 2>/dev/null) || return 1
    [[ $pid =~ ^[1-9][0-9]*$ ]] || return 1
    [ "$(readlink "/proc/$pid/cwd")" = "$(realpath "$PGDATA")" ] || return 1
    # One that was killed and not yet waited for is none any more.
    ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$pid/status" 2>/dev/null || return 1
    echo "$pid"
}

is_running() { postmaster >/dev/null; }

# Print the pids of all processes of the server. A backend may outlive its postmaster by as long as
# its statement takes, and commit it.
processes() {
    local at
    while read -r at; do
        at=${at%/cwd}
        [[ $(readlink "$at/exe") != */postgres ]] || echo "${at#/proc/}"
    done < <(find /proc/[1-9]*/cwd -maxdepth 0 -lname "$(realpath "$PGDATA")" 2>/dev/null)
}

# Leave none of them, nor the two files that say that there is one: its number may be another's soon.
kill_all() {
    local pid pids
    if pid=$(postmaster); then
        kill -STOP "$pid" 2>/dev/null || true # or it would start new ones while we look
    fi
    for _ in $(seq 100); do
        mapfile -t pids < <(processes)
        [ ${#pids[@]} -gt 0 ] || break
        kill -KILL "${pids[@]}" 2>/dev/null || true
        sleep 0.02
    done
    [ ${#pids[@]} -eq 0 ] || die "processes ${pids[*]} outlive SIGKILL: they wait for a disk, perhaps"
    local lock=$PGSOCKETS/.s.PGSQL.$PGPORT.lock
    [ "$(sed -n 2p "$lock" 2>/dev/null)" != "$PGDATA" ] || as_postgres rm -f "$lock"
    as_postgres rm -f "$PGDATA/postmaster.pid"
}

is_standby() { [ "$(ask 'SELECT pg_is_in_recovery()')" = t ]; }

# Write what differs between two servers. postgresql.conf, which pg_rewind copies from the other
# one, is the same on both and ends with: include_if_exists 'beatward.conf'
configure() {
    local conninfo="" rest
    if [ -n "$primary" ]; then
        conninfo="host=$BEATWARD_PRIMARY_ADDRESS port=$BEATWARD_PRIMARY_PORT user=$PGUSER"
        conninfo+=" application_name=$node connect_timeout=2"
    fi
    rest="cluster_name = '$node'
primary_conninfo = '$conninfo'
beatward.token = $token"
    as_postgres tee "$PGDATA/beatward.conf" >/dev/null <<<"$rest"
}

# Start it and return when it answers; nobody writes to it before it is promoted.
start_as_standby() {
    kill_all
    as_postgres touch "$PGDATA/standby.signal"
    configure
    # Its log is its own: a server that kept our output open would keep the agent reading.
    as_postgres "$PGBIN/pg_ctl" start -s -w -t 60 -D "$PGDATA" -l "$PGNOTES/server.log" \
        -o "-p $PGPORT -k $PGSOCKETS" </dev/null >/dev/null
}

stop_server() { as_postgres "$PGBIN/pg_ctl" stop -s -w -t "${2:-50}" -m "$1" -D "$PGDATA"; }

# The newest token under which this copy of the data is known to have had everything. It is what
# keeps a copy from of old from being promoted after both machines were switched off.
complete_under() { cat "$PGNOTES/complete" 2>/dev/null || echo none; }

note_complete() {
    as_postgres tee "$PGNOTES/complete.new" >/dev/null <<<"$1"
    as_postgres sync "$PGNOTES/complete.new"
    as_postgres mv "$PGNOTES/complete.new" "$PGNOTES/complete"
    as_postgres sync "$PGNOTES"
}
