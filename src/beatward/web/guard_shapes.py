"""What the answers about mass failures look like, as OpenAPI shows it; see `web.shapes`."""

from pydantic import Field

from beatward.web.shape import Shape

_AT = "RFC 3339, UTC, milliseconds."


class HoldShape(Shape):
    """Destructive actions of a zone or of the fleet are held back."""

    cause: str = Field(description="`mass_failure`, or `cut_off` when it seems to be the monitor.")
    zone: str | None = Field(description="The zone; null for the whole fleet.")
    since: str | None = Field(description=f"When it began. {_AT}")
    since_ns: int = Field(description="How long ago that was, nanoseconds.")
    for_: str = Field(alias="for", description="The same for people.")
    dark: int = Field(description="How many nodes are dark.")
    total: int = Field(description="How many nodes should be heard.")
    sentence: str = Field(description="The reason in one sentence.")


class GuardShape(Shape):
    """What is held back, and why."""

    at: str = Field(description=f"The instant of the snapshot. {_AT}")
    holds: list[HoldShape] = Field(description="Mass failures that hold back destructive actions.")
    guarded: int = Field(description="How many actions wait, held by these or by the rate.")
    nodes: dict[str, list[str]] = Field(
        description="Names of waiting actions by node, of the first 1,000."
    )


class LiftBody(Shape):
    """Where held actions may go on."""

    zone: str | None = Field(
        default=None, max_length=256, description="Only in this zone; without it everywhere."
    )
