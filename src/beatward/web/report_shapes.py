"""What a node says of itself beside its heartbeats, as the API shows it."""

from pydantic import BaseModel, Field


class Reported(BaseModel):
    """A reason and metrics of its own; see docs/sdk.md."""

    reason: str | None = Field(None, description="Why it is failing, as it says itself.")
    metrics: dict[str, float] = Field(
        default_factory=dict, description="Numbers of its own, by name."
    )
