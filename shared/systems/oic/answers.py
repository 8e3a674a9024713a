"""What the answers of OIC's trigger mean: the user that it mapped, a member that cannot be mapped, or neither.  Pure.

Source: domain.md 4.3 (O15: OIC's errors are problem-like objects; older integrations prefix their keys with `o:`).
(A): the answer is `{"instanceId", "user"}`; 400 and 422 mean that the member cannot be mapped.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import DataError, StageError, UnavailableError
from shared.systems.answer_schema import STRICT, Number, Plain, Text, Word, fitted
from shared.systems.transport import Answer

SYSTEM = "OIC"
_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_LONGEST_REASON = 2000
_MOST_BYTES = 64_000
"""Of a mapped user; no event is larger."""
_FIRST_DAY_S, _LAST_DAY_S = -62_135_596_800, 253_402_214_400
"""The first of January of the year 1, and the last of December of 9999."""


class _User(BaseModel):
    """A CrowdTwist user as OIC maps it: the synced fields, and whatever plain ones its flow adds."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, Plain] = Field(init=False)

    third_party_id: Text
    lang_pref: Text | None = None
    is_active: Annotated[Number, Field(ge=0, le=1)] | bool | None = None
    first_name: Text | None = None
    middle_name: Text | None = None
    last_name: Text | None = None
    date_of_birth: Annotated[int, Field(ge=_FIRST_DAY_S, le=_LAST_DAY_S)] | None = None
    email_address: Text | None = None
    gender_id: Number | None = None
    postal_code: Text | None = None
    country_code: Text | None = None
    city_name: Text | None = None
    city_id: Number | None = None


class _Mapped(BaseModel):
    """The trigger's answer."""

    model_config = STRICT

    user: _User
    instanceId: Word | Number | None = None  # noqa: N815 - as OIC has it


@dataclass(frozen=True, slots=True)
class Mapped:
    """What OIC made of a member."""

    user: dict[str, Any]
    instance_id: str | None


def mapped_of(answer: Answer, number: str) -> Mapped:
    """Give what OIC made of the member *number*.

    Raises:
        DataError: OIC says that the member cannot be mapped.
        UnavailableError: it did not answer the question.
    """
    status = answer.status
    if not answer.ok:
        raise _refusal(answer)
    if answer.is_altered:
        raise UnavailableError(SYSTEM, "answered with values that cannot be sent on", status)
    found = fitted(_Mapped, answer.document)
    if found is None or found.user.third_party_id != number:
        raise UnavailableError(SYSTEM, "did not answer with this member's CrowdTwist user object", status)
    user = found.user.model_dump(exclude_unset=True)
    if len(orjson.dumps(user)) > _MOST_BYTES:
        raise UnavailableError(SYSTEM, "answered with a user object that is too large", status)
    return Mapped(user, None if found.instanceId is None else str(found.instanceId))


def _refusal(answer: Answer) -> StageError:
    status = answer.status
    if status not in _REFUSALS:
        return UnavailableError(SYSTEM, f"the integration is not there or not active (HTTP {status})", status)
    if not _is_own(answer):
        return UnavailableError(SYSTEM, f"answered something that is not its own (HTTP {status})", status)
    return DataError(SYSTEM, answer.text("detail", "o:detail", "title", "o:title")[:_LONGEST_REASON], status)


def _is_own(answer: Answer) -> bool:
    """Say whether a refusal has the form of OIC's errors, and says more than the name of its status."""
    title = answer.text("title", "o:title")
    says_more = answer.text("detail", "o:detail", "errorCode", "o:errorCode")
    return bool(title) and (bool(says_more) or title.casefold() != HTTPStatus(answer.status).phrase.casefold())
