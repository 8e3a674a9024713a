"""Examples and descriptions for `/openapi.json`, where FastAPI cannot take them from a signature."""

from typing import Any

import orjson

from producers.api.event_schema import BODY

_EVENT: dict[str, Any] = {
    "operation": "enroll",
    "occurred_at": "2026-11-23T08:51:00Z",
    "modification": 0,
    "member": {
        "member_number": "296-180296399",
        "row_id": "1-2AB3",
        "member_type": "Individual",
        "status": "Active",
        "language": "en",
        "first_name": "Andy",
        "last_name": "Cole",
        "date_of_birth": "1979-11-29",
        "email_address": "andy.cole@example.org",
        "postal_code": "10010",
        "city": "New York",
        "country_code": "US",
        "gender": "M",
    },
}
_CONTACT = {
    "Contact First Name": "Andy",
    "Contact Last Name": "Cole",
    "Date of Birth": "11/29/1979",
    "Email Address": "andy.cole@example.org",
    "Primary Postal Code": "10010",
    "Primary Country Code": "US",
    "M/F": "M",
}
_SIEBEL: dict[str, Any] = {
    "SiebelMessage": {
        "MessageId": "1-4XYZ",
        "MessageType": "Integration Object",
        "IntObjectName": "CT LOY Member",
        "IntObjectFormat": "Siebel Hierarchical",
        "ListOfCT LOY Member": {
            "LOY Member": [
                {
                    "Operation": "update",
                    "Id": "1-2AB3",
                    "Mod Id": "7",
                    "Updated": "11/23/2026 08:51:00",
                    "Member Number": "296-180296399",
                    "Member Type": "Individual",
                    "Status": "Active",
                    "ListOfContact": {"Contact": [_CONTACT]},
                }
            ]
        },
    }
}
_XML = """<?xml version="1.0" encoding="UTF-8"?>
<SiebelMessage IntObjectName="CT LOY Member">
  <ListOfCT_spcLOY_spcMember>
    <LOY_spcMember Operation="update">
      <Id>1-2AB3</Id><Member_spcNumber>296-180296399</Member_spcNumber><Status>Active</Status>
      <ListOfContact><Contact><Contact_spcLast_spcName>Cole</Contact_spcLast_spcName></Contact></ListOfContact>
    </LOY_spcMember>
  </ListOfCT_spcLOY_spcMember>
</SiebelMessage>
"""
_LINES = b"\n".join(map(orjson.dumps, (_EVENT, _EVENT | {"operation": "delete", "modification": 1}))).decode()

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "description": "At most 10 MiB and 10,000 events, 64 kB each.",
    "content": {
        "application/json": {
            "schema": BODY,
            "examples": {
                "event": {"summary": "One event", "value": _EVENT},
                "events": {"summary": "Several", "value": [_EVENT]},
                "siebel": {"summary": "What Siebel sends by itself", "value": _SIEBEL},
            },
        },
        "application/x-ndjson": {"schema": {"type": "string"}, "example": _LINES},
        "application/xml": {"schema": {"type": "string"}, "example": _XML},
        "text/xml": {"schema": {"type": "string"}, "example": _XML},
    },
}

_TEXT_OR_NULL = {"type": ["string", "null"]}
_OUTCOMES = ["accepted", "duplicate", "conflict", "skipped", "superseded", "unchanged", "refused"]

TAKEN: dict[str, Any] = {
    "description": "At least one event was good; one result per event, in order",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["results"],
                "properties": {
                    "results": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["position", "outcome"],
                            "properties": {
                                "position": {"type": "integer"},
                                "event_id": _TEXT_OR_NULL,
                                "instance_id": _TEXT_OR_NULL,
                                "member_number": _TEXT_OR_NULL,
                                "outcome": {"enum": _OUTCOMES},
                                "field": _TEXT_OR_NULL,
                                "reason": _TEXT_OR_NULL,
                            },
                        },
                    }
                },
            },
            "example": {
                "results": [
                    {
                        "position": 0,
                        "event_id": "1-4XYZ-1",
                        "instance_id": "12",
                        "member_number": "296-180296399",
                        "outcome": "accepted",
                        "field": None,
                        "reason": None,
                    }
                ]
            },
        }
    },
}
