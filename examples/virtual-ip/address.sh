# shellcheck shell=bash
# What the hooks of this folder share. Sourced by them; does nothing by itself.
#
# The address is lent to the kernel for LIFETIME seconds at a time, and `state`, which the agent
# runs every second, lends it again. So the kernel takes it back by itself on a machine whose
# programs all hang; without that, such a machine would go on answering for the address.
set -euo pipefail

# shellcheck source=virtual-ip.env
. "${1:?${0##*/}: say which file has the settings, for example virtual-ip.env}"
: "${ADDRESS:?}" "${DEVICE:?}" "${NOTES:?}" "${LIFETIME:=2}"

# One at a time: a `state` that is slow must not lend again what `demote` has just taken back.
mkdir -p "$NOTES"
exec 9>"$NOTES/lock"
flock -w 1 9 || echo "${0##*/}: going on without the lock" >&2

is_held() { [ -e "$NOTES/held" ]; }

has_address() { [ -n "$(ip -o -4 addr show dev "$DEVICE" to "${ADDRESS%/*}/32")" ]; }

lend() { ip addr replace "$ADDRESS" dev "$DEVICE" valid_lft "$LIFETIME" preferred_lft "$LIFETIME"; }

# Tell the neighbours, whose tables would send to the old machine for minutes.
# It sends at once and then waits a second for nothing, which nobody has to wait for.
announce() { arping -q -U -c 1 -w 1 -I "$DEVICE" "${ADDRESS%/*}" >/dev/null 2>&1 9>&- & }
