"""Examples of reconciliations and their differences, for `/openapi.json`."""

from typing import Any

_AT = "2026-11-23T08:51:00Z"
_LATER = "2026-11-23T10:07:41Z"
_NUMBER = "296-180296399"
_CLASSES = (
    *("never_sent", "missed_event", "changed_at_destination", "rolled_back", "gone_at_destination", "orphan"),
    *("status_lies", "ledger_behind"),
)
RUN: dict[str, Any] = {
    "id": "7",
    "state": "done",
    "mode": "sample",
    "started_at": _AT,
    "ended_at": _LATER,
    "members": {"siebel": 100_000, "ledger": 99_981, "crowdtwist": 3_014},
    "compared": 3_026,
    "moving": 4,
    "differences": dict.fromkeys(_CLASSES, 0) | {"never_sent": 26, "changed_at_destination": 3},
    "drift": {"estimate": 0.00126, "low": 0.00046, "high": 0.00309, "confidence": 0.95},
    "classes": {
        "never_sent": {"estimate": 0.00026, "low": 0.00026, "high": 0.00026},
        "changed_at_destination": {"estimate": 0.001, "low": 0.0002, "high": 0.0028},
    },
    "calls": {"siebel": 1_030, "crowdtwist": 3_031},
    "covered": 0.0303,
    "repaired": 0,
    "unread": 0,
    "scheduled": True,
    "requested_by": "schedule",
    "asked": {},
    "created_at": _AT,
    "phase": "end",
    "progress": {"looked_at": 3_026, "to_look_at": 3_026},
    "waiting": None,
    "why": None,
    "meaning": "about 0.13% differ: with 95 % confidence between 0.05% and 0.31% of 100,007 members (309)",
    "strata": [
        {"stratum": "long_untouched", "size": 97_200, "looked": 2_411, "moving": 2, "unread": 0, "differ": 2},
        {"stratum": "never_in_ledger", "size": 26, "looked": 26, "moving": 0, "unread": 0, "differ": 26},
    ],
    "findings": [],
}
RUN_BEGUN: dict[str, Any] = RUN | {
    "state": "planned",
    "started_at": None,
    "ended_at": None,
    "members": {"siebel": 0, "ledger": 0, "crowdtwist": 0},
    "compared": 0,
    "moving": 0,
    "differences": {},
    "drift": {"estimate": None, "low": None, "high": None, "confidence": 0.95},
    "classes": {},
    "calls": {"siebel": 0, "crowdtwist": 0},
    "covered": 0.0,
    "scheduled": False,
    "requested_by": "oscar",
    "phase": "siebel",
    "progress": {"looked_at": 0, "to_look_at": 0},
    "meaning": "",
    "strata": [],
}
RUNS = {"items": [RUN], "next": None}
DIFFERENCES: dict[str, Any] = {
    "items": [
        {
            "member_number": _NUMBER,
            "class": "changed_at_destination",
            "field": "last_name",
            "siebel": "L***",
            "crowdtwist": "C***",
            "ledger": "L***",
            "first_seen_at": _AT,
            "seen_at": _LATER,
            "evidence": "changed in CrowdTwist on 2026-11-22 10:14:00Z, after it took our last change",
            "repairs": 0,
            "repaired_at": None,
        }
    ],
    "next": None,
}
