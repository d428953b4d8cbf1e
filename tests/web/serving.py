"""The monitor's own HTTP listener in a thread, in front of any application."""

import socket
import threading
from contextlib import contextmanager

from beatward.web.journal_signal import JournalSignal
from beatward.web.listener import Listener


@contextmanager
def serving(app, journal_signal=None, **limits):
    """Serve an application on a port of its own; yields host and port. limits: of `Listener`."""
    server = Listener(app, journal_signal or JournalSignal(), **limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.end()
            thread.join(10)
        assert not thread.is_alive()


async def answer(send, body):
    """Answer a request as an ASGI application does, with a body of bytes."""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
