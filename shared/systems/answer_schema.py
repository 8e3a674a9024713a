"""The types that answers of other systems are read against: what does not fit is no answer to our question.

Strict: a number is no text that looks like one, a flag is no number.  Bounded by what the ledger and the next system
can hold, so that nothing an answer says can make a later write fail.
"""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

M = TypeVar("M", bound=BaseModel)
STRICT = ConfigDict(strict=True, extra="ignore")
LONGEST_TEXT = 1000
_LEAST, _MOST = -(2**63), 2**63 - 1

Key = Annotated[int, Field(ge=1, le=_MOST)]
"""An id that their database gave."""
Number = Annotated[int, Field(ge=_LEAST, le=_MOST)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT, pattern=r"^[^\x00]*$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x20\x7f\ufffd]+$")]
"""An id that is a text; one in which something had to be replaced is none."""
Plain = Text | Number | Annotated[float, Field(ge=_LEAST, le=_MOST)] | bool | None
"""Anything but an object or an array."""


def fitted(schema: type[M], document: Any) -> M | None:  # noqa: ANN401 - JSON
    """Give *document* as *schema* has it, None if it does not fit."""
    try:
        return schema.model_validate(document)
    except ValidationError:
        return None
