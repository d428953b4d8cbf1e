"""A limit on every request body, before it is read.

A body that says it is too large is refused at once; one that does not say is counted while it
comes. Route: server -> `BoundedBodies` -> the rest of the web, of which the doors in front of the
router read a body by `read_body`. A door that needs no body stands outside, because a limit must
not refuse what it would never have read; it lets the body go by `drop_body`.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from beatward.web.problems import Problem

# The largest honest request is an enrolment with 32 labels, below 16 KiB.
BODY_SIZE_MAX = 64 * 1024
# The log of a job, posted with its ping: read to the end, so that a client which does not listen
# while it sends gets its answer, and forgotten. No log needs more; it would cost time only.
DROPPED_SIZE_MAX = 16 * 1024 * 1024


class BoundedBodies:
    """ASGI in front of everything."""

    def __init__(self, app: ASGIApp, size_max: int = BODY_SIZE_MAX) -> None:
        self._app = app
        self._size_max = size_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if _announced_size(scope) > self._size_max:
            await _refuse(self._problem(), scope, receive, send)
            return
        size = 0
        has_begun = False

        async def receive_bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._size_max:
                raise self._problem()
            return message

        async def send_noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive_bounded, send_noted)
        except Problem as problem:
            if has_begun:
                raise
            await _refuse(problem, scope, receive, send)

    def _problem(self) -> Problem:
        detail = f"a request may have {self._size_max} bytes; this one has more"
        # The rest of the body is not read, so the connection cannot be used again.
        return Problem(413, "too-large", detail, headers={"Connection": "close"})


async def read_body(receive: Receive) -> bytes:
    """Return the whole body of a request; raises Problem when it ends before its time."""
    message = await receive()  # nearly always the only one
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            # No client is left to read the answer. What has come so far may look whole and is not.
            raise Problem(400, "cut-short", "the connection ended before the body did")
        body += message.get("body", b"")
    return body


async def drop_body(scope: Scope, receive: Receive, size_max: int = DROPPED_SIZE_MAX) -> bool:
    """Read a body of at most `size_max` bytes and forget it; False: there is more, or it broke off.

    A body that announces more is not begun. After False the connection cannot be used again.
    """
    if _announced_size(scope) > size_max:
        return False
    size, has_more = 0, True
    while has_more and size <= size_max:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        size += len(message.get("body", b""))
        has_more = message.get("more_body", False)
    return not has_more


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await problem.response()(scope, receive, send)


def _announced_size(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
