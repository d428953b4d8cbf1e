"""beatward keeps your services online: heartbeats in, verdicts you can trust, actions out.

`from beatward import Heart` is all a program needs to be watched. The name is resolved late, so
that importing one room of the monitor does not load the agent, nor the other way round.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beatward.agent.heart import AsyncHeart as AsyncHeart
    from beatward.agent.heart import Heart as Heart
    from beatward.agent.services import Service as Service

__all__ = ["AsyncHeart", "Heart", "Service", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Heart", "AsyncHeart"):
        from beatward.agent import heart  # noqa: PLC0415  late on purpose, see the docstring

        return getattr(heart, name)
    if name == "Service":
        from beatward.agent.services import Service  # noqa: PLC0415  as above

        return Service
    message = f"module 'beatward' has no attribute {name!r}"
    raise AttributeError(message)
