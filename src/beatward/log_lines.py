"""How a log's lines are written, by the monitor and by the agent: one line each."""

import logging

from beatward.core.protocol.texts import shown


class OneLine(logging.Formatter):
    """Writes a message on one line, with the texts from outside in it made harmless.

    A node's reason or a monitor's refusal could otherwise forge lines, or steer a reader's
    terminal. A traceback still follows on lines of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the library's name
        """Return the line of a record."""
        record.message = shown(record.message)
        return super().formatMessage(record)
