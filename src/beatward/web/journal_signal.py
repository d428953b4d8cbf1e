"""The news that the journal has grown, and that the house is closing.

Route: the journal's receipt -> `publish` -> every stream that waits. It carries a number, never
the events: a stream reads those from the journal itself, so none can be lost here or come twice.
Lives in one event loop; other threads come in by `loop.call_soon_threadsafe(bulletin.publish, n)`.
"""

import asyncio


class JournalSignal:
    """One number that only grows, and the tasks that wait for it to grow."""

    def __init__(self) -> None:
        self.sequence = 0
        self.is_closed = False
        self._changed = asyncio.Event()

    def publish(self, sequence: int) -> None:
        """Say that the journal holds every entry up to this sequence; an older one says nothing."""
        if sequence > self.sequence:
            self.sequence = sequence
            self._wake()

    def close(self) -> None:
        """End every stream, now and for good: an open stream would keep the server from exiting."""
        self.is_closed = True
        self._wake()

    async def wait_beyond(self, sequence: int) -> None:
        """Return when the journal has grown beyond a sequence, or the house closes."""
        while self.sequence <= sequence and not self.is_closed:
            await self._changed.wait()

    def _wake(self) -> None:
        # A new event a time: waiting tasks hold the old one, and no task has to clear it.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
