"""Examples of causes and of notes on them, for `/openapi.json`."""

from typing import Any

_AT = "2026-11-23T08:51:00Z"
_LATER = "2026-11-23T10:07:41Z"

NOTE: dict[str, Any] = {
    "id": "3",
    "fingerprint": "crowdtwist-5f0c1a9e",
    "stage": "crowdtwist",
    "code": "unavailable",
    "message": "CrowdTwist: answered 503",
    "words": "known, ticket 4711",
    "who": "oscar",
    "at": _AT,
}
CAUSES: dict[str, Any] = {
    "items": [
        {
            "stage": "crowdtwist",
            "code": "unavailable",
            "message": "CrowdTwist: answered 503",
            "count": 412,
            "first_at": _AT,
            "last_at": _LATER,
            "fixed": 3,
            "coming": 12,
            "fingerprint": "crowdtwist-5f0c1a9e",
            "notes": [NOTE],
        }
    ],
    "next": None,
}
