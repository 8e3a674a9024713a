"""The member event and its version: what came in, in one shape; parse and dump.

`parse_event` is the only door for canonical JSON (spec 2.1); a SiebelMessage is turned into that shape first
(`producers/intake/siebel_message.py`).  Behind the door every known field of a member is a string without control
characters or white space around it, `""` is null, a date of birth is `YYYY-MM-DD`, and unknown fields are kept as they
came.

Control characters are refused, never removed: we would otherwise send CrowdTwist something nobody wrote, NUL cannot be
stored in jsonb, and their absence lets hashes join fields with one.  In what says who it is or whether it is sent,
nothing invisible may stand either: two members would look like one, and `Active` would not be active.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from operator import itemgetter
from typing import Annotated, Any, ClassVar, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from shared.errors import InvalidEventError
from shared.event_values import (
    EXACT,
    INVISIBLE,
    MODIFICATION_MAX,
    REFUSED,
    birth_date,
    check_names,
    check_unknown,
    gender_letter,
    instant,
    member_code,
    path_of,
    whole_number,
)
from shared.fields import OF_CONTENT
from shared.pipeline import Lane

_NO_CONTROLS = r"^\P{Cc}*$"
_ALL_SEEN = rf"^[\P{{Cc}}&&[^{INVISIBLE}]]*$"


class Operation(StrEnum):
    """What Siebel did; `delete` makes the member inactive in CrowdTwist, never deletes it."""

    ENROLL = "enroll"
    UPDATE = "update"
    DELETE = "delete"


_M = TypeVar("_M", bound=BaseModel)


def _text(shortest: int, longest: int, pattern: str = _ALL_SEEN) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=shortest, max_length=longest, pattern=pattern)


Text = Annotated[str, _text(0, 255, _NO_CONTROLS)]
"""One attribute; 255 characters is more than Siebel's columns hold (A)."""
Code = Annotated[str, _text(0, 255)]
"""One that decides whose it is, or what becomes of it."""


class _Received(BaseModel):
    """What both parts of an event share: nulls are absent, numbers stand for their digits, unknown fields are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _tolerate(cls, data: object) -> object:
        if not isinstance(data, dict) or {str}.issuperset(map(type, data.values())):
            return data
        known = cls.model_fields
        return {
            name: _text_of(value) if name != "modification" and name in known else value
            for name, value in data.items()
            if value is not None or name not in known
        }


def _text_of(value: object) -> object:
    """Return the digits that a number stands for, if it is one that every JSON reader on the way kept exactly."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    return str(number) if type(number) is int and abs(number) <= EXACT else value


class Member(_Received):
    """A member as Siebel has it, whole: an absent attribute is null.  Shape: domain.md 1.5; strings, `""` is null."""

    member_number: Annotated[str, _text(1, 50), AfterValidator(member_code)]
    row_id: Code = ""
    program_id: Code = ""
    member_type: Code = ""
    status: Code = ""
    language: Text = ""
    first_name: Text = ""
    last_name: Text = ""
    middle_name: Text = ""
    date_of_birth: Annotated[Text, AfterValidator(birth_date)] = ""
    email_address: Text = ""
    postal_code: Text = ""
    city: Text = ""
    country_code: Code = ""
    gender: Annotated[Text, AfterValidator(gender_letter)] = ""
    ct_city_id: Text = ""


@dataclass(frozen=True, slots=True)
class Version:
    """Where an event stands among those of its member.

    A total order among events that all state a modification, and among events that all state none.  In a mixed stream
    only neighbours compare: there is no one order to be had.

    Shape: *occurred_until* is the latest instant that a wall clock's time may mean, where it means two: in the hour
    that a clock change repeats, or skips.  *occurred_at* is the earliest then.
    """

    modification: int | None
    occurred_at: datetime
    occurred_until: datetime | None = None

    def is_older_than(self, other: "Version") -> bool:
        """Return whether *other* overtakes this; equals do not: the later arrival is the newer."""
        if self.modification is None or other.modification is None or self.modification == other.modification:
            return self.is_before(other)
        return self.modification < other.modification

    def is_before(self, other: "Version") -> bool:
        """Return whether this occurred before *other*, whatever their clocks meant; modifications do not count."""
        return (self.occurred_until or self.occurred_at) < other.occurred_at


class MemberEvent(_Received):
    """A change of one member.  *lane* None: the producer did not say.  *occurred_at* is UTC."""

    event_id: Annotated[str, _text(1, 64)] | None = None
    operation: Operation
    occurred_at: Annotated[datetime, BeforeValidator(instant)]
    modification: Annotated[int, Field(ge=0, le=MODIFICATION_MAX), BeforeValidator(whole_number)] | None = None
    lane: Lane | None = None
    force: bool = False
    member: Member
    # What its reader found, no field that a producer could fill; pydantic's own private attributes cost a tenth of all
    # that an event costs.
    _on_arrival: ClassVar[bool] = False
    _until: ClassVar[datetime | None] = None

    @property
    def version(self) -> Version:
        """Where this event stands among those of its member."""
        return Version(self.modification, self.occurred_at, self._until)

    @property
    def occurred_on_arrival(self) -> bool:
        """The producer stated no instant; *occurred_at* is when the event arrived."""
        return self._on_arrival

    @property
    def is_active(self) -> bool:
        """Whether CrowdTwist shall show the member active: any status but Active is inactive (domain.md 1.5).

        An enrolment that states no status is active (A).
        """
        return _is_active(self.operation, self.member.status)

    def on_arrival(self) -> Self:
        """Mark *occurred_at* as ours, not the producer's."""
        object.__setattr__(self, "_on_arrival", True)
        return self

    def or_until(self, latest: datetime | None) -> Self:
        """Note that the clock which gave *occurred_at* may have meant as late as *latest*."""
        object.__setattr__(self, "_until", latest)
        return self

    def arrived(self, at: datetime) -> Self:
        """Return the event as of its arrival *at* the ledger, if the producer stated no instant."""
        return self.model_copy(update={"occurred_at": at}) if self._on_arrival else self


def parse_event(
    raw: Mapping[str, Any] | bytes | str, *, max_bytes: int, arrival: datetime | None = None
) -> MemberEvent:
    """Read one canonical event.

    Shape: *raw* is JSON or what JSON was read into; of JSON, a repeated name counts as its last value, an `Ambiguous`
    object refuses the event.  *arrival*, where given,
    is when an event occurred that does not say so itself.

    Units: *max_bytes* bytes of JSON.

    Raises:
        InvalidEventError: with the JSON path of the first bad field and one sentence; never with a value.
    """
    document, is_json = _load(raw, max_bytes)
    is_stated = arrival is None or document.get("occurred_at") is not None
    if not is_stated:
        document = {**document, "occurred_at": arrival}
    try:
        event = MemberEvent.model_validate(document)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_input=False)[0]) from None
    if event.model_extra:
        check_unknown(event.model_extra, ())
    if event.member.model_extra:
        check_unknown(event.member.model_extra, ("member",))
    if not is_json:
        raise InvalidEventError("", "is not JSON data")
    check_names(document)
    return event if is_stated else event.on_arrival()


def dump_event(event: MemberEvent) -> dict[str, Any]:
    """Return the canonical JSON form, unknown fields included: what the ledger keeps and `parse_event` reads back.

    Shape: every known field of `member` is present; what an event leaves unsaid is not.
    """
    dumped: dict[str, Any] = {} if event.event_id is None else {"event_id": event.event_id}
    dumped["operation"] = event.operation.value
    dumped["occurred_at"] = event.occurred_at.isoformat()[:-6] + "Z"
    if event.modification is not None:
        dumped["modification"] = event.modification
    if event.lane is not None:
        dumped["lane"] = event.lane.value
    if event.force:
        dumped["force"] = True
    dumped["member"] = {**event.member.__dict__, **(event.member.model_extra or {})}
    return {**dumped, **event.model_extra} if event.model_extra else dumped


def restored_event(dumped: Mapping[str, Any]) -> MemberEvent:
    """Read back what `dump_event` wrote, as pickle would: what was checked once is not checked again, which takes long.

    Shape: *dumped* is JSON of ours, of an event that stated its instant.
    """
    said = dict(dumped)
    known = {
        "event_id": said.pop("event_id", None),
        "operation": Operation(said.pop("operation")),
        "occurred_at": datetime.fromisoformat(said.pop("occurred_at")),
        "modification": said.pop("modification", None),
        "lane": Lane(lane) if (lane := said.pop("lane", None)) else None,
        "force": said.pop("force", False),
    }
    of_member = dict(said.pop("member"))
    unknown = {name: of_member.pop(name) for name in of_member.keys() - Member.model_fields.keys()}
    known["member"] = restored(Member, of_member, unknown)
    return restored(MemberEvent, known, said)


def restored(model: type[_M], fields: dict[str, Any], unknown: dict[str, Any]) -> _M:
    """Return a model of what was checked already."""
    made = model.__new__(model)
    made.__setstate__(
        {
            "__dict__": fields,
            "__pydantic_extra__": unknown,
            "__pydantic_fields_set__": set(fields),
            "__pydantic_private__": None,
        }
    )
    return made


_content = itemgetter(*OF_CONTENT)


def content_hash(event: MemberEvent) -> bytes:
    """Hash what CrowdTwist would receive of this member: equal means that sending it changes nothing.  16 bytes.

    Of a deletion it receives the flag and no content: whatever content comes next is not there yet.
    """
    return hash_of_content(event.operation, event.member.__dict__)


def hash_of_content(operation: Operation, member: Mapping[str, str]) -> bytes:
    """Return the `content_hash` of an event with this *operation* and these fields, all of them."""
    if operation == Operation.DELETE:
        return blake2b(b"delete", digest_size=16).digest()
    content = "\0".join(("1" if _is_active(operation, member["status"]) else "0", *_content(member)))
    return blake2b(content.encode(), digest_size=16).digest()


def _is_active(operation: Operation, status: str) -> bool:
    if operation is Operation.DELETE:
        return False
    return status.casefold() == "active" or (not status and operation is Operation.ENROLL)


def event_hash(event: MemberEvent, dumped: Mapping[str, Any] | None = None) -> bytes:
    """Hash all that the producer said of this change, however it is sent: not `event_id`, `lane`, `force`.  16 bytes.

    An instant that we gave to an event with an id or a modification number is left out: sent again, it is the same
    change.  *dumped*: its canonical form, where it is at hand.
    """
    said = dict(dump_event(event) if dumped is None else dumped)
    for name in ("event_id", "lane", "force"):
        said.pop(name, None)
    if event.occurred_on_arrival and (event.modification is not None or event.event_id is not None):
        del said["occurred_at"]
    return blake2b(orjson.dumps(said, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


def derived_event_id(hashed: bytes) -> str:
    """Name an event whose producer did not, by its hash: the same change sent twice gets the same.  37 characters."""
    return f"auto-{hashed.hex()}"


def _load(raw: Mapping[str, Any] | bytes | str, max_bytes: int) -> tuple[dict[str, Any], bool]:
    """Return the event as a dict, and whether all of it is known to be JSON."""
    is_json = True
    try:
        text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
        size = len(text if isinstance(text, bytes) else orjson.dumps(text))
    except (TypeError, RecursionError):
        size, is_json = 0, False  # validation says which field, where it can
    if size > max_bytes:
        raise InvalidEventError("", f"is larger than {max_bytes} bytes")
    try:
        document = orjson.loads(text) if isinstance(text, bytes) else text
    except ValueError:
        raise InvalidEventError("", "is not JSON") from None
    if not isinstance(document, Mapping):
        raise InvalidEventError("", "must be a JSON object")
    return document if isinstance(document, dict) else dict(document), is_json


_INVISIBLE_THERE = "contains a control character, or another that nobody sees"
_REASONS = {
    "missing": "is required",
    "string_type": "must be text",
    "string_too_short": "is empty",
    "string_too_long": "is longer than {max_length} characters",
    "string_pattern_mismatch": "contains a control character",
    "string_unicode": "is not valid Unicode text",
    "enum": "must be {expected}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "is too large: Siebel holds no more than {le}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "model_type": "must be a JSON object",
    "invalid_key": "has a name that is not text",
}


def _refusal(error: ErrorDetails) -> InvalidEventError:
    """Return in our words what pydantic found; none of it holds a value."""
    if error["type"] == REFUSED:
        return InvalidEventError(path_of(error["loc"]), error["msg"])
    context = error.get("ctx", {})
    is_code = context.get("pattern") == _ALL_SEEN
    reason = _INVISIBLE_THERE if is_code else _REASONS.get(error["type"], "is not valid")
    return InvalidEventError(path_of(error["loc"]), reason.format(**context))
