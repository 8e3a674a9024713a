"""Hooks for schemathesis: bodies of intake that OpenAPI has no words for.

NDJSON and SiebelMessage XML are text to OpenAPI, so what is sent of them is built here.  And an `event_id` names one
change for good: the same one with other content is refused as a conflict, which is no fault of the data; so each event
that states one gets its own.  How an instant lies to the clock, or to another one, OpenAPI cannot say either.
"""

import re
import uuid
from typing import Any

import orjson
import schemathesis
from hypothesis import strategies as st

from tests.calling import SAMPLE_XML, event

_DATED = re.compile(r"(2[0-9]{3}-\d\d-\d\d|[\d/]+/2[0-9]{3})[T ][\d:]+.*")
_YEAR = re.compile(r"^2[0-9]{3}|(?<=/)2[0-9]{3}")
_ANY_YEAR = re.compile(r"^[0-9]{4}(?=-)")
_NUMBERS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=50)


def _lines(numbers: list[str]) -> bytes:
    return b"\n".join(orjson.dumps(event(number)) for number in numbers)


def _message(number: str) -> bytes:
    return SAMPLE_XML.replace("296-180296399", number).encode()


@schemathesis.hook
def before_load_schema(
    context: schemathesis.HookContext,  # noqa: ARG001  # a hook is known by its parameters
    raw_schema: dict[str, Any],
) -> None:
    """Leave out examples in text: schemathesis cannot send them where a strategy is given; other tests do."""
    content = raw_schema["paths"]["/v1/member-events"]["post"]["requestBody"]["content"]
    for media_type in content.keys() - {"application/json"}:
        del content[media_type]["example"]


schemathesis.openapi.media_type("application/x-ndjson", st.lists(_NUMBERS, min_size=1, max_size=5).map(_lines))
schemathesis.openapi.media_type("application/xml", _NUMBERS.map(_message), aliases=["text/xml"])


def _let_come(body: Any) -> None:  # noqa: ANN401 - JSON
    """Let the instants in a body have come: OpenAPI cannot say how far ahead of a clock a string may lie.

    In place: a body that is set anew is judged anew, as JSON.
    """
    places = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for place, value in list(places):
        if isinstance(value, str) and _DATED.fullmatch(value):
            body[place] = _YEAR.sub("2020", value)
        _let_come(value)


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # noqa: ARG001  # a hook is known by its parameters
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],  # noqa: ARG001  # same
) -> None:
    if case.operation.path == "/v1/reconciliations" and isinstance(case.body, dict):
        since = case.body.get("since")
        if isinstance(since, str):  # nothing can have changed since an instant to come
            case.body["since"] = _ANY_YEAR.sub("2020", since)
    if case.operation.path == "/v1/resends" and isinstance(case.body, dict):
        case.body.pop("acknowledged_until", None)  # OpenAPI cannot say that one instant is after another
    if case.operation.path == "/v1/member-events":
        _let_come(case.body)
        for one in case.body if isinstance(case.body, list) else [case.body]:
            stated = one.get("event_id") if isinstance(one, dict) else None
            if isinstance(one, dict) and isinstance(stated, str) and stated.strip():
                one["event_id"] = uuid.uuid4().hex
