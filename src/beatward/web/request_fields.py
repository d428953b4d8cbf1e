"""What requests are made of: a body, whole numbers, and texts that are safe to pass on.

Texts reach terminals, logs and other nodes' hooks, so what is no line, or no host, is refused here.
Functions of ours check them, because their errors are words; the patterns beside them are for the
OpenAPI document. Not here: answers (`shapes`).
"""

from typing import Annotated, Any

from fastapi import Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

from beatward.core.protocol.keys import NAME_LENGTH_MAX
from beatward.core.protocol.texts import (
    HOST,
    HOST_LENGTH_MAX,
    LINE,
    check_host,
    check_line,
    shown,
)
from beatward.web.selection import LABEL_LENGTH_MAX

LABELS_MAX = 32


class Body(BaseModel):
    """A request, taken as it is described: `"80"` is no number, and `"yes"` is not true.

    A client that sends such a value has made a mistake, and learns it from a 422, not from the
    effect.
    """

    model_config = ConfigDict(extra="forbid", strict=True)


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# In JSON 80.0 is a whole number, and some languages write every number so.
Whole = Annotated[int, BeforeValidator(_as_whole)]
LineText = Annotated[
    str, AfterValidator(check_line), Field(json_schema_extra={"pattern": f"^{LINE}$"})
]
HostText = Annotated[
    str,
    AfterValidator(check_host),
    Field(max_length=HOST_LENGTH_MAX, json_schema_extra={"pattern": f"^({HOST})?$"}),
]
ByQuery = Annotated[
    LineText, Query(description="Who says so, for people.", max_length=NAME_LENGTH_MAX)
]
LabelText = Annotated[LineText, Field(max_length=LABEL_LENGTH_MAX)]
_LABEL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "maxLength": LABEL_LENGTH_MAX,
    "pattern": f"^{LINE}$",
}
Labels = Annotated[
    dict[Annotated[LineText, Field(min_length=1, max_length=LABEL_LENGTH_MAX)], LabelText],
    Field(max_length=LABELS_MAX),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {**_LABEL_SCHEMA, "minLength": 1},
            "additionalProperties": _LABEL_SCHEMA,
            "maxProperties": LABELS_MAX,
        }
    ),
]
# What a program has printed: refusing it would lose the report around it.
PrintedText = Annotated[str, AfterValidator(shown)]
