"""beatward keeps your services online: heartbeats in, verdicts you can trust, actions out.

`from beatward import Heart` is all a program needs to be watched. The name is resolved late, so
that importing one room of the monitor does not load the agent, nor the other way round.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from beatward.agent.heart import AsyncHeart as AsyncHeart
    from beatward.agent.heart import Heart as Heart
    from beatward.agent.services import Service as Service

__all__ = ["AsyncHeart", "Heart", "Service", "__version__"]
__version__ = "0.1.0"

_ROOMS = {
    "AsyncHeart": "beatward.agent.heart",
    "Heart": "beatward.agent.heart",
    "Service": "beatward.agent.services",
}

# Hidden from type checkers, for which it would make every misspelt name a good one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _ROOMS:
            raise AttributeError(f"module 'beatward' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415  late on purpose, see the docstring

        return getattr(import_module(_ROOMS[name]), name)

    def __dir__() -> list[str]:
        return [*globals(), *_ROOMS]
