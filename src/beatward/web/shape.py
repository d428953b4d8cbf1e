"""What all shapes of the API's answers have in common."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """An answer, or a part of one: it has the members that are described, and no others."""

    model_config = ConfigDict(extra="forbid")
