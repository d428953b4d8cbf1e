"""The log of the agent's commands: one line an event, in plain words, on standard error."""

import logging
import sys

from beatward.log_lines import OneLine


def log_to_stderr(prefix: str, *, is_verbose: bool = False, is_quiet: bool = False) -> None:
    """Let `beatward.agent` speak, each line after the prefix; systemd adds the time itself."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(f"{prefix}%(message)s"))
    log = logging.getLogger("beatward.agent")
    log.handlers = [handler]
    log.setLevel(logging.DEBUG if is_verbose else logging.WARNING if is_quiet else logging.INFO)
    log.propagate = False
