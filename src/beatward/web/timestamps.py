"""Instants of the monitor's clock as people and machines read them; `store.rows` writes the form.

Not here: any clock. The caller hands in the monitor's wall offset.
"""

from beatward.core.instants import NEVER
from beatward.store.rows import timestamp


def timestamp_or_none(instant_ns: int, wall_offset_ns: int) -> str | None:
    """Write an instant of the monitor's clock; None where it never was (0) or never comes."""
    if instant_ns in (0, NEVER):
        return None
    return timestamp(instant_ns + wall_offset_ns)
