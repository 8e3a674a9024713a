"""What intake takes, as JSON Schema for `/openapi.json`: exactly as tolerant as it is.

One good event is enough for a body to be taken, so an array is described by what it must contain.
"""

from datetime import UTC, datetime
from typing import Any

from producers.intake.siebel_message import OPERATIONS
from shared.event_values import BIGGEST, EXACT, MODIFICATION_MAX
from shared.events import Operation
from shared.fields import FIELDS, Field, Part, Rule
from shared.pipeline import Lane

Schema = dict[str, Any]

VALUE = "AnyValue"
EVENT = "MemberEvent"
SIEBEL = "SiebelMessage"

_SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
_PLAIN = "[^\\x00-\\x1f\\x7f-\\x9f]"
_VISIBLE = f"[^\\x00-\\x1f\\x7f-\\x9f{_SPACE}]"
_MONTH_DAY = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
_SIEBEL_DAY = (
    "((0?[13578]|1[02])/(0?[1-9]|[12][0-9]|3[01])|(0?[469]|11)/(0?[1-9]|[12][0-9]|30)|0?2/(0?[1-9]|1[0-9]|2[0-8]))/"
)
_SIEBEL_DATE = f"{_SIEBEL_DAY}(18|19|20|21)[0-9]{{2}}"
_YEAR = "(19|20|21)[0-9]{2}"
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
_OFFSET = f"(Z|[+-]{_TIME})"
_NULL: Schema = {"type": "null"}
_NOTHING: Schema = {"enum": [None, "", {}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_UNKNOWN: Schema = {"propertyNames": {"pattern": "^[^\\x00]*$"}, "additionalProperties": _ref(VALUE)}
"""Fields that we do not know: kept in the ledger, and ignored."""


def _any_of(*schemas: Schema, **more: object) -> Schema:
    return {"anyOf": list(schemas), **more}


def _digits(lowest: int = -EXACT, highest: int = EXACT) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": highest}


def _name(longest: int) -> list[Schema]:
    """Return text that says something, white space around it not counted, or a number that stands for its digits."""
    pattern = f"^[{_SPACE}]*{_VISIBLE}({_PLAIN}{{0,{longest - 2}}}{_VISIBLE})?[{_SPACE}]*$"
    return [{"type": "string", "pattern": pattern}, _digits()]


_SPREADSHEET = "^[{0}]*(=.*|'.*|#.*|[+-]?[0-9]+([.,][0-9]*)?([Ee][+-]?[0-9]*)?)[{0}]*$".format(_SPACE)  # noqa: UP032
"""A number that is more than its digits; some of these are taken all the same."""
_TEXT = _any_of({"type": "string", "pattern": f"^[{_SPACE}]*{_PLAIN}{{0,255}}[{_SPACE}]*$"}, _digits(), _NULL)
_NUMBER = _any_of(
    {"allOf": [_name(50)[0], _any_of({"pattern": "^[0-9]+$"}, {"not": {"pattern": _SPREADSHEET}})]},
    _digits(),
    examples=["296-180296399"],
)
_BIRTH = _any_of(
    {"type": "string", "pattern": f"^((18|19|20|21)[0-9]{{2}}-{_MONTH_DAY})?$"},
    {"type": "string", "pattern": f"^{_SIEBEL_DATE}$"},
    {"type": "string", "pattern": "^(-[1-9][0-9]{0,8}|[1-9][0-9]{8})$"},
    _digits(int(datetime(1800, 1, 1, tzinfo=UTC).timestamp()), 0),
    _digits(100_000_000, 1_899_999_999),
    _NULL,
    description="YYYY-MM-DD, MM/DD/YYYY, or seconds since 1970; a time after the date is left out.  Fewer digits than "
    "nine are refused where they may be a calendar date (19791129) or a spreadsheet's day number",
)
_GENDER = _any_of({"type": "string", "pattern": "^([MF]|male|female)?$"}, _NULL, description="M, F or empty")
_INSTANT: Schema = {
    "type": "string",
    "pattern": f"^{_YEAR}-{_MONTH_DAY}[T ]{_TIME}(:[0-5][0-9](\\.[0-9]{{1,6}})?)?{_OFFSET}$",
    "description": "RFC 3339, with its offset; no more than MEMBERSYNC_GUARD__FUTURE_S ahead of the ledger's clock",
    "examples": ["2026-11-23T08:51:00Z"],
}
_MODIFICATION = _any_of(
    _digits(0, MODIFICATION_MAX),
    {"type": "string", "pattern": "^[0-9]{1,10}$"},
    _NULL,
    description="Siebel's modification number of the member; orders its events",
)
_FORCE = _any_of(
    {"type": "boolean"},
    {"enum": [0, 1]},
    {
        "type": "string",
        "pattern": "^([01TtFfYyNn]|[Oo][Nn]|[Oo][Ff][Ff]|[Yy][Ee][Ss]|[Nn][Oo]|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$",
    },
    _NULL,
    description="send it even if nothing changed",
)
_BY_RULE = {Rule.NUMBER: _NUMBER, Rule.DATE: _BIRTH, Rule.GENDER: _GENDER}


def _field(field: Field) -> Schema:
    schema = dict(_BY_RULE.get(field.rule, _TEXT))
    if field.example:
        schema["examples"] = [field.example]
    if field.default:
        schema["description"] = f"empty: MEMBERSYNC_OIC__DEFAULT_{field.default.upper()} where the mapping runs here"
    return schema


_MEMBER: Schema = {
    "type": "object",
    "description": "The whole member; an absent attribute is null.  Unknown fields are kept and ignored.",
    "required": ["member_number"],
    "properties": {field.name: _field(field) for field in FIELDS if field.part is not Part.EVENT},
    **_UNKNOWN,
}
_EVENT: Schema = {
    "type": "object",
    "description": "A change of one member.  Unknown fields are kept and ignored.",
    "required": ["operation", "occurred_at", "member"],
    "properties": {
        "event_id": _any_of(*_name(64), _NULL, description="names this change for good; absent: derived from it"),
        "operation": {"enum": [one.value for one in Operation]},
        "occurred_at": _INSTANT,
        "modification": _MODIFICATION,
        "lane": {"enum": [*(one.value for one in Lane), None]},
        "force": _FORCE,
        "member": _MEMBER,
    },
    **_UNKNOWN,
}
_VALUE: Schema = {
    "description": "Any JSON, without NUL characters and numbers beyond 64 bits.",
    **_any_of(
        {"type": ["null", "boolean"]},
        {"type": "number", "minimum": -BIGGEST, "maximum": BIGGEST},
        {"type": "string", "pattern": "^[^\\x00]*$"},
        {"type": "array", "items": _ref(VALUE)},
        {"type": "object", **_UNKNOWN},
    ),
}


def _some(good: Schema) -> Schema:
    """Return an array of which one is good, or an empty one."""
    return {"type": "array", **_any_of({"maxItems": 0}, {"contains": good})}


_CONTACT: Schema = {
    "type": "object",
    "properties": {field.labels[0]: _field(field) for field in FIELDS if field.part is Part.CONTACT},
    **_UNKNOWN,
}
_CONTACTS: Schema = {
    "type": "object",
    "required": ["Contact"],
    "properties": {"Contact": _any_of(_NOTHING, _CONTACT, {"type": "array", "items": _CONTACT})},
}
_SIEBEL_MEMBER: Schema = {
    "type": "object",
    "required": ["Member Number"],
    "properties": {
        "Operation": {"enum": [*OPERATIONS, None]},
        "Mod Id": _any_of(_MODIFICATION, {"const": ""}),
        "Updated": _any_of(
            _INSTANT,
            {"type": "string", "pattern": f"^({_SIEBEL_DAY}{_YEAR} {_TIME}:[0-5][0-9])?$"},
            _NULL,
        ),
        **{field.labels[0]: _field(field) for field in FIELDS if field.part is Part.MEMBER},
        "ListOfContact": _any_of(
            _NOTHING, _CONTACTS, {"type": "array", "items": _any_of({"enum": [None, "", {}]}, _CONTACTS)}
        ),
    },
    **_UNKNOWN,
}
_SIEBEL_MEMBERS = _any_of(_NOTHING, _SIEBEL_MEMBER, _some(_SIEBEL_MEMBER))
_SIEBEL: Schema = {
    "type": "object",
    "description": "The integration object as Siebel sends it; names compare by their letters and digits alone.",
    "required": ["SiebelMessage"],
    "properties": {
        "SiebelMessage": {
            "type": "object",
            "required": ["ListOfCT LOY Member"],
            "properties": {
                "IntObjectName": {"enum": ["CT LOY Member", "CT Loyalty Member"]},
                "ListOfCT LOY Member": _any_of(
                    _SIEBEL_MEMBERS,
                    {"type": "object", "required": ["LOY Member"], "properties": {"LOY Member": _SIEBEL_MEMBERS}},
                ),
            },
        }
    },
}

SCHEMAS: dict[str, Schema] = {VALUE: _VALUE, EVENT: _EVENT, SIEBEL: _SIEBEL}
"""Components that the body refers to."""
BODY = _any_of(_ref(EVENT), _some(_ref(EVENT)), _ref(SIEBEL))
