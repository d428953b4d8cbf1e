"""How a log's lines are written, by the monitor and by the agent: one line each."""

import logging

from beatward.core.protocol.texts import shown


class OneLine(logging.Formatter):
    """Writes a message on one line, whatever a text of somebody else's in it holds.

    A node's reason or a monitor's refusal could otherwise forge lines, or steer the terminal of
    who reads the log. A traceback still follows on lines of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """Return the line of a record."""
        record.message = shown(record.message)
        return super().formatMessage(record)
