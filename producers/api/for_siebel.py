"""The api's description as Siebel's REST outbound import takes it: one operation, OpenAPI 3.0, plain types.

Siebel Tools makes a proxy business service and integration objects of it, so each value has one type and is no
alternative: where intake takes several, the one that the example is of.  What may be null is only not required.
Patterns are left out: intake says what it does not take, and names the field.  So is the token, which a filter
business service sets as a header.

Source: Siebel REST API Guide, "About REST Outbound" and "Invoking External REST Service Endpoint" (domain.md 3.2, S10,
S12: OpenAPI 2.0 or 3.0, JSON alone).  (A): that references, `enum`, and blanks in names are taken; and that errors of
another media type than JSON are not, which are therefore described by words alone.
"""

from enum import StrEnum
from typing import Any

from producers.api.description import Schema

PATH = "/v1/member-events"
_VERSION = "3.0.3"
_LEFT_OUT = {"force"}
"""An operator's, no producer's."""
_KEPT = ("description", "format", "required")
_REFERENCE = "#/components/schemas/"
_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer", dict: "object", list: "array"}


class Form(StrEnum):
    """What Siebel sends."""

    EVENT = "event"
    """Canonical JSON: one flat event."""
    MESSAGE = "message"
    """Siebel's own integration object, with its labels and its dates."""


_SENT = {Form.EVENT: ("MemberEvent", "event"), Form.MESSAGE: ("SiebelMessage", "siebel")}
"""The schema of each form, and the name of its example."""


def for_siebel(document: dict[str, Any], form: Form, url: str) -> dict[str, Any]:
    """Return the part of the api's *document* that a producer needs; *url* is where Siebel reaches the api."""
    operation = document["paths"][PATH]["post"]
    schemas: dict[str, Schema] = {}
    good = operation["responses"]["202"]
    answer = good["content"]["application/json"]
    name, named = _SENT[form]
    example = operation["requestBody"]["content"]["application/json"]["examples"][named]["value"]
    sent = _plain({"$ref": _REFERENCE + name}, example, document, schemas)
    answered = _plain(answer["schema"], answer["example"], document, schemas)
    errors = {status: {"description": one["description"]} for status, one in operation["responses"].items()}
    post = {
        "operationId": operation["operationId"],
        "summary": operation["summary"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": sent, "example": example}}},
        "responses": {
            **dict(sorted(errors.items())),
            "202": {"description": good["description"], "content": {"application/json": {"schema": answered}}},
        },
    }
    return {
        "openapi": _VERSION,
        "info": {"title": document["info"]["title"], "version": document["info"]["version"]},
        "servers": [{"url": url}],
        "paths": {PATH: {"post": post}},
        "components": {"schemas": schemas},
    }


def _plain(schema: Schema, example: object, document: dict[str, Any], schemas: dict[str, Schema]) -> Schema:
    """Return *schema* without alternatives; what it refers to is added to *schemas*."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        if name not in schemas:
            schemas[name] = _plain(document["components"]["schemas"][name], example, document, schemas)
        return {"$ref": schema["$ref"]}
    usual = _usual(schema, example)
    plain: Schema = {"type": usual["type"]}
    plain |= {name: one[name] for name in _KEPT for one in (usual, schema) if name in one}
    if "enum" in usual:
        plain["enum"] = [one for one in usual["enum"] if one]
    if "examples" in schema:
        plain["example"] = schema["examples"][0]
    if plain["type"] == "array":
        of = usual.get("items") or usual["anyOf"][1]["contains"]
        plain["items"] = _plain(of, example[0] if isinstance(example, list) else None, document, schemas)
    elif plain["type"] == "object":
        examples = example if isinstance(example, dict) else {}
        plain["properties"] = {
            name: _plain(one, examples.get(name), document, schemas)
            for name, one in usual["properties"].items()
            if name not in _LEFT_OUT
        }
    return plain


def _usual(schema: Schema, example: object) -> Schema:
    """Return the alternative of *schema* that *example* is of, with its type; without one, the first."""
    wanted = _TYPES.get(type(example))
    every = _alternatives(schema)
    of_its_type = [one for one in every if one["type"] == wanted] or every[:1]
    names = example.keys() if isinstance(example, dict) else set()
    return max(of_its_type, key=lambda one: len(names & one.get("properties", {}).keys()))


def _alternatives(schema: Schema) -> list[Schema]:
    """Return what *schema* may be, each with its type, but for what says nothing."""
    if "type" in schema:
        return [] if schema["type"] == "null" else [schema]
    if "enum" in schema:
        return [{"type": "string"} | schema] if any(schema["enum"]) else []
    several = schema.get("anyOf") or schema.get("allOf", ())[:1]
    return [one for part in several for one in _alternatives(part)]
