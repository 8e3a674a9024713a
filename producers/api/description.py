"""What `/openapi.json` says beyond what FastAPI reads from the routes: first of all, what intake takes.

That is a JSON Schema exactly as tolerant as intake is, with examples.  One good event is enough for a body to be taken,
so an array is described by what it must contain.  Which fields there are, their labels and their examples follow from
`shared.fields`.
"""

import re
from datetime import UTC, date, datetime
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from producers.http import request
from producers.http.auth import Authenticator
from producers.intake.siebel_message import OPERATIONS
from shared.event_values import BIGGEST, EXACT, INVISIBLE, MODIFICATION_MAX
from shared.events import Operation
from shared.fields import FIELDS, Field, Part, Rule
from shared.pipeline import Lane

Schema = dict[str, Any]

VALUE = "AnyValue"
EVENT = "MemberEvent"
SIEBEL = "SiebelMessage"

_SPACE = "\\t-\\r \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"
_PLAIN = "[^\\x00-\\x1f\\x7f-\\x9f]"
_SEEN = f"[^\\x00-\\x1f\\x7f-\\x9f{INVISIBLE}]"
_VISIBLE = f"[^\\x00-\\x1f\\x7f-\\x9f{_SPACE}{INVISIBLE}]"
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
    pattern = f"^[{_SPACE}]*{_VISIBLE}({_SEEN}{{0,{longest - 2}}}{_VISIBLE})?[{_SPACE}]*$"
    return [{"type": "string", "pattern": pattern}, _digits()]


_DAMAGED = "(=.*|'.*|#.*|[+-]?[0-9]+([.,][0-9]*)?([Ee][+-]?[0-9]*)?)"
_SPREADSHEET = f"^[{_SPACE}]*{_DAMAGED}[{_SPACE}]*$"
"""A number that is more than its digits; some of these are taken all the same."""
_TEXT = _any_of({"type": "string", "pattern": f"^[{_SPACE}]*{_PLAIN}{{0,255}}[{_SPACE}]*$"}, _digits(), _NULL)
_CODE = _any_of({"type": "string", "pattern": f"^[{_SPACE}]*{_SEEN}{{0,255}}[{_SPACE}]*$"}, _digits(), _NULL)
_NUMBER = _any_of(
    {"allOf": [_name(50)[0], _any_of({"pattern": "^[0-9]+$"}, {"not": {"pattern": _SPREADSHEET}})]},
    _digits(),
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
_OF_EVENTS: dict[Rule, Schema] = {
    Rule.NUMBER: _NUMBER,
    Rule.CODE: _CODE,
    Rule.DATE: _BIRTH,
    Rule.GENDER: _GENDER,
    Rule.OPERATION: {"enum": [one.value for one in Operation]},
    Rule.MODIFICATION: _MODIFICATION,
    Rule.INSTANT: _INSTANT,
}
_OF_SIEBEL: dict[Rule, Schema] = {
    **_OF_EVENTS,
    Rule.OPERATION: {"enum": [*OPERATIONS, None]},
    Rule.MODIFICATION: _any_of(_MODIFICATION, {"const": ""}),
    Rule.INSTANT: _any_of(
        _INSTANT, {"type": "string", "pattern": f"^({_SIEBEL_DAY}{_YEAR} {_TIME}:[0-5][0-9])?$"}, _NULL
    ),
}


def _properties(*parts: Part, of_siebel: bool = False) -> dict[str, Schema]:
    """Return the fields of these parts as properties: by their names in an event, or by Siebel's labels."""
    properties: dict[str, Schema] = {}
    for field in FIELDS:
        if field.part not in parts:
            continue
        schema = {**(_OF_SIEBEL if of_siebel else _OF_EVENTS).get(field.rule, _TEXT)}
        if field.example:
            schema["examples"] = [_example(field, of_siebel=of_siebel)]
        if field.default:
            setting = f"MEMBERSYNC_OIC__DEFAULT_{field.default.upper()}"
            schema["description"] = f"empty: {setting} where the mapping runs here"
        properties[field.labels[0] if of_siebel else field.name] = schema
    return properties


def _example(field: Field, *, of_siebel: bool) -> str | int:
    match field.rule:
        case Rule.DATE if of_siebel:
            return date.fromisoformat(field.example).strftime("%m/%d/%Y")
        case Rule.INSTANT if of_siebel:
            return datetime.fromisoformat(field.example).strftime("%m/%d/%Y %H:%M:%S")
        case Rule.MODIFICATION if not of_siebel:
            return int(field.example)
        case _:
            return field.example


_MEMBER: Schema = {
    "type": "object",
    "description": "The whole member; an absent attribute is null.  Unknown fields are kept and ignored.",
    "required": ["member_number"],
    "properties": _properties(Part.MEMBER, Part.CONTACT),
    **_UNKNOWN,
}
_EVENT: Schema = {
    "type": "object",
    "description": "A change of one member.  Unknown fields are kept and ignored.",
    "required": ["operation", "occurred_at", "member"],
    "properties": {
        "event_id": _any_of(*_name(64), _NULL, description="names this change for good; absent: derived from it"),
        **_properties(Part.EVENT),
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
    "properties": _properties(Part.CONTACT, of_siebel=True),
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
        **_properties(Part.EVENT, Part.MEMBER, of_siebel=True),
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


def _examples(*parts: Part, of_siebel: bool = False) -> dict[str, str | int]:
    """Return an example of each field of these parts that has one."""
    described = _properties(*parts, of_siebel=of_siebel)
    return {name: schema["examples"][0] for name, schema in described.items() if "examples" in schema}


def _elements(fields: dict[str, str | int]) -> str:
    """Return fields as XML, their names escaped as Siebel's XML Converter does."""
    names = {label: label.replace(" ", "_spc").replace("/", "_slh") for label in fields}
    return "".join(f"<{names[label]}>{value}</{names[label]}>" for label, value in fields.items())


_AN_EVENT = {**_examples(Part.EVENT), "member": _examples(Part.MEMBER, Part.CONTACT)}
_A_DELETION = _AN_EVENT | {"operation": Operation.DELETE, "modification": 8}
_A_MEMBER, _A_CONTACT = _examples(Part.EVENT, Part.MEMBER, of_siebel=True), _examples(Part.CONTACT, of_siebel=True)
_A_MESSAGE: Schema = {
    "SiebelMessage": {
        "MessageId": "1-4XYZ",
        "MessageType": "Integration Object",
        "IntObjectName": "CT LOY Member",
        "IntObjectFormat": "Siebel Hierarchical",
        "ListOfCT LOY Member": {"LOY Member": [{**_A_MEMBER, "ListOfContact": {"Contact": [_A_CONTACT]}}]},
    }
}
_LINES = b"\n".join(map(orjson.dumps, (_AN_EVENT, _A_DELETION))).decode()
_XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<SiebelMessage IntObjectName="CT LOY Member">
  <ListOfCT_spcLOY_spcMember>
    <LOY_spcMember>
      {_elements(_A_MEMBER)}
      <ListOfContact><Contact>{_elements(_A_CONTACT)}</Contact></ListOfContact>
    </LOY_spcMember>
  </ListOfCT_spcLOY_spcMember>
</SiebelMessage>
"""
REQUEST_BODY: Schema = {
    "required": True,
    "description": "At most 10 MiB and 10,000 events, 64 kB each.",
    "content": {
        "application/json": {
            "schema": _any_of(_ref(EVENT), _some(_ref(EVENT)), _ref(SIEBEL)),
            "examples": {
                "event": {"summary": "One event", "value": _AN_EVENT},
                "events": {"summary": "Several", "value": [_AN_EVENT, _A_DELETION]},
                "siebel": {"summary": "What Siebel sends by itself", "value": _A_MESSAGE},
            },
        },
        "application/x-ndjson": {"schema": {"type": "string"}, "example": _LINES},
        "application/xml": {"schema": {"type": "string"}, "example": _XML},
        "text/xml": {"schema": {"type": "string"}, "example": _XML},
    },
}


_DESCRIPTION = """Takes member changes from Siebel Loyalty, brings them to CrowdTwist, and tells Siebel what came of it.

Lists are paged: the `next` of a page is the `cursor` of the one after it; null: there is none.
Ids are text, instants are UTC.  Every answer carries `X-Request-Id`, the caller's own if it is a sane one.

Errors are `application/problem+json` with a stable `code`:

"""
_TAGS = {
    "intake": "Member events in: accepted means committed, nothing of it is lost from then on.",
    "reading": "Instances and members.  People are masked, but for the role `admin`; what that reads is recorded.",
    "cases": "Data Errors as cases: of which kind, who is in the way, who must do what.",
    "privacy": "Everything that is kept of one member, and forgetting it.",
    "repairing": "Dead letters, the jobs that requeue or discard them, what CrowdTwist lost, what guards hold.",
    "reconciling": "Siebel, CrowdTwist and ledger compared: runs with their figures, and the differences they found.",
    "connections": "The outside systems: how they stand; test, pause, resume; planned windows.",
    "watching": "How it goes, and how it went.",
    "audit": "What operators did, what they were not allowed to do, and who was shown people unmasked.",
    "probes": "For machines that watch.",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457.  Further members belong to single codes.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "one sentence for people"},
        "code": {"type": "string", "description": "stable; branch on this"},
        "field": {"type": ["string", "null"], "description": "what is wrong with the request, where that is one thing"},
    },
}
_REQUEST_ID = {"description": "names this request in the log", "required": True, "schema": {"type": "string"}}


def install(app: FastAPI) -> None:
    """Let *app* describe itself so."""
    app.description = _DESCRIPTION + request.table_of_codes()
    app.openapi_tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    of_the_routes = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(of_the_routes(), app)
        return of_the_routes()  # FastAPI keeps what it has made

    app.openapi = described  # type: ignore[method-assign]  # the way FastAPI documents


def answered(what: str, model: object, example: object, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """Describe one good answer: of which record it is, and an example of it."""
    return {status: {"description": what, "model": model, "content": {"application/json": {"example": example}}}}


def _complete(document: dict[str, Any], app: FastAPI) -> None:
    """Add to FastAPI's description what it does not know, and correct what it changed."""
    authenticator: Authenticator = app.state.authenticator
    is_open = not authenticator.known
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {}).update(SCHEMAS, Problem=_PROBLEM)
    parts["headers"] = {"RequestId": _REQUEST_ID}
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)  # FastAPI's own, which nobody is ever sent
    operations = [(path, method, item[method]) for path, item in document["paths"].items() for method in item]
    for path, method, operation in operations:
        # FastAPI's ids repeat the path and the method.
        operation["operationId"] = operation["operationId"].removesuffix(re.sub(r"\W", "_", path) + f"_{method}")
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
        for answer in operation["responses"].values():
            answer.setdefault("headers", {})["X-Request-Id"] = {"$ref": "#/components/headers/RequestId"}
        if is_open and "security" in operation:
            operation["security"].append({})  # no token is configured: none is asked for
    # The examples of answers go back as they were given: FastAPI takes out what is null in them.
    for route in iter_route_contexts(app.routes):
        path = document["paths"].get(route.path_format, {})
        for operation in (path.get(method.lower(), {}) for method in route.methods or ()):
            for status, answer in operation.get("responses", {}).items():
                for media_type, given in route.responses.get(int(status), {}).get("content", {}).items():
                    kept = {name: given[name] for name in ("example", "examples") if name in given}
                    answer["content"][media_type] |= kept
