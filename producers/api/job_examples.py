"""Examples of plans and jobs, for `/openapi.json`."""

from typing import Any

_LATER = "2026-11-23T10:07:41Z"
_NUMBER = "296-180296399"

_OVERTAKEN = {
    "instance_id": "4710",
    "member_number": "296-180296398",
    "verdict": "superseded",
    "reason": "a newer event of the member succeeded",
    "newer_instance_id": "4732",
    "state": "planned",
}
_FORECAST: dict[str, Any] = {
    "left": 411,
    "none": None,
    "lower_s": 222.0,
    "expected_s": 246.6,
    "upper_s": 271.3,
    "binding": "CrowdTwist's budget",
    "more_share_s": 205.5,
    "less_share_s": 308.3,
    "live_short": 0.0,
    "departed": None,
}
_NO_FORECAST: dict[str, Any] = dict.fromkeys(_FORECAST) | {"live_short": 0.0}
PLAN: dict[str, Any] = {
    "kind": "requeue",
    "matched": 412,
    "counts": {"send": 411, "merged": 0, "superseded": 1, "refused": 0},
    "reasons": [{"verdict": "superseded", "reason": "a newer event of the member succeeded", "count": 1}],
    "items": [_OVERTAKEN],
    "forecast": _FORECAST,
}
JOB: dict[str, Any] = {
    "job_id": "12",
    "kind": "requeue",
    "state": "running",
    "requested_by": "oscar",
    "approved_by": None,
    "reason": "CrowdTwist is well again",
    "asked": {"filter": {"codes": ["unavailable"]}},
    "from_start": False,
    "forced": False,
    "recreates": False,
    "rate_per_minute": 6000,
    "step": 3,
    "created_at": _LATER,
    "started_at": _LATER,
    "ended_at": None,
    "stopped_why": None,
    "total": 412,
    "counts": {
        "planned": 301,
        "sent": 50,
        "succeeded": 60,
        "failed": 0,
        "put_back": 0,
        "closed": 1,
        "refused": 0,
        "gone": 0,
    },
    "troubled": [],
    "forecast": {**_FORECAST, "left": 351, "lower_s": 190.0, "expected_s": 211.0, "upper_s": 232.0},
}
RESEND_PLAN: dict[str, Any] = {
    "kind": "resend",
    "matched": 98_412,
    "counts": {"send": 98_400, "merged": 12, "superseded": 0, "refused": 0},
    "reasons": [
        {
            "verdict": "merged",
            "reason": "a newer event of the member is on its way; sent only if that is refused",
            "count": 12,
        }
    ],
    "items": [
        {
            "instance_id": "4711",
            "member_number": _NUMBER,
            "verdict": "send",
            "reason": "",
            "newer_instance_id": None,
            "state": "planned",
        }
    ],
    "forecast": {
        **_FORECAST,
        "left": 98_400,
        "lower_s": 1_330.0,
        "expected_s": 1_476.0,
        "upper_s": 1_624.0,
        "more_share_s": 1_271.0,
        "less_share_s": 1_760.0,
    },
}
RESEND: dict[str, Any] = {
    **JOB,
    "job_id": "13",
    "kind": "resend",
    "reason": "CrowdTwist was restored to 08:00 of yesterday",
    "asked": {"acknowledged_since": "2026-11-22T08:00:00+00:00", "acknowledged_until": "2026-11-23T06:30:00+00:00"},
    "rate_per_minute": None,
    "total": 98_412,
    "counts": {
        "planned": 96_000,
        "sent": 1_000,
        "succeeded": 1_409,
        "failed": 0,
        "put_back": 0,
        "closed": 0,
        "refused": 0,
        "gone": 3,
    },
    "troubled": [
        {
            "instance_id": "4690",
            "member_number": "296-180296398",
            "verdict": "send",
            "reason": "CrowdTwist has it no longer; it may have been erased, and is not created again",
            "newer_instance_id": None,
            "state": "gone",
        }
    ],
}
REPAIR_PLAN: dict[str, Any] = {
    "kind": "repair",
    "matched": 97,
    "counts": {"send": 90, "overtaken": 2, "moving": 1, "refused": 4},
    "reasons": [
        {
            "verdict": "refused",
            "reason": "CrowdTwist has it no more, which may be a lawful erasure: a person decides",
            "count": 4,
        }
    ],
    "items": [
        {
            "instance_id": "",
            "member_number": _NUMBER,
            "verdict": "send",
            "reason": "",
            "newer_instance_id": None,
            "state": "planned",
        }
    ],
    "forecast": {**_NO_FORECAST, "left": 90, "none": "CrowdTwist is down"},
}
REPAIR: dict[str, Any] = {
    **JOB,
    "job_id": "14",
    "kind": "repair",
    "reason": "the workflow was inactive",
    "asked": {"run": "12", "class": ["never_sent", "missed_event"]},
    "rate_per_minute": None,
    "total": 97,
    "counts": {
        "planned": 40,
        "sent": 30,
        "succeeded": 20,
        "failed": 0,
        "put_back": 0,
        "closed": 3,
        "refused": 4,
        "gone": 0,
    },
}
JOBS = {"items": [JOB], "next": None}
