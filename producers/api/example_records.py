"""Examples of the records that are answered, for `/openapi.json`."""

from typing import Any

_AT = "2026-11-23T08:51:00Z"
_LATER = "2026-11-23T10:07:41Z"

INSTANCE: dict[str, Any] = {
    "instance_id": "4711",
    "event_id": "1-4XYZ-1",
    "member_number": "296-180296399",
    "operation": "update",
    "lane": "live",
    "state": "dead",
    "stage": "siebel",
    "attempt": 20,
    "status": "CT Failure",
    "error": "CrowdTwist: answered 503",
    "code": "unavailable",
    "failed_stage": "crowdtwist",
    "reason": None,
    "modification": 7,
    "occurred_at": _AT,
    "accepted_at": "2026-11-23T08:51:01.271Z",
    "due_at": None,
    "failing_since": "2026-11-23T08:51:02.004Z",
    "finished_at": _LATER,
    "resubmits": 0,
    "suspect": False,
}
_LINE: dict[str, Any] = {
    "at": _LATER,
    "stage": "crowdtwist",
    "attempt": 20,
    "state": "dead",
    "what": "CrowdTwist: answered 503",
    "code": "unavailable",
    "took_ms": 41.7,
    "task_id": "0e9d3b5c-5d0c-4f0b-9d6e-3b7a4d2f1c11",
    "calls": [],
}
DETAIL: dict[str, Any] = {
    **INSTANCE,
    "activity": [_LINE],
    "event": {
        "operation": "update",
        "occurred_at": _AT,
        "member": {"member_number": "296-180296399", "first_name": "A***", "email_address": "a***@e***.org"},
    },
    "user": {"third_party_id": "296-180296399", "first_name": "A***", "is_active": 1},
    "oic_instance_id": None,
}
PAGE = {"items": [INSTANCE], "next": "4711"}
MEMBER: dict[str, Any] = {
    "member_number": "296-180296399",
    "row_id": "1-2AB3",
    "ct_user_id": 81_245_003,
    "known_in_crowdtwist": True,
    "synced": False,
    "newest_instance_id": "4711",
    "newest_modification": 7,
    "newest_occurred_at": _AT,
    "applied_instance_id": "4400",
    "told_status": "CT Failure",
    "told_error": "CrowdTwist: answered 503 [instance 4711]",
    "told_instance_id": "4711",
    "told_at": _LATER,
    "instances": [{**INSTANCE, "activity": [_LINE]}],
    "next": None,
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
        }
    ],
    "next": None,
}
_OVERTAKEN = {
    "instance_id": "4710",
    "member_number": "296-180296398",
    "verdict": "superseded",
    "reason": "a newer event of the member succeeded",
    "newer_instance_id": "4732",
    "state": "planned",
}
PLAN: dict[str, Any] = {
    "kind": "requeue",
    "matched": 412,
    "counts": {"send": 411, "merged": 0, "superseded": 1, "refused": 0},
    "reasons": [{"verdict": "superseded", "reason": "a newer event of the member succeeded", "count": 1}],
    "items": [_OVERTAKEN],
}
JOB: dict[str, Any] = {
    "job_id": "12",
    "kind": "requeue",
    "state": "running",
    "requested_by": "oscar",
    "reason": "CrowdTwist is well again",
    "asked": {"filter": {"codes": ["unavailable"]}},
    "from_start": False,
    "forced": False,
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
    },
    "troubled": [],
}
JOBS = {"items": [JOB], "next": None}
REHEARSALS: dict[str, Any] = {
    "items": [
        {
            "instance_id": "4711",
            "member_number": "296-180296399",
            "outcome": "differs",
            "error": "",
            "changes": [{"field": "first_name", "change": "added", "before": None, "after": "A***"}],
        }
    ],
    "next": None,
}
ACTIONS: dict[str, Any] = {
    "items": [
        {
            "action_id": "88",
            "at": _LATER,
            "who": "ada",
            "role": "admin",
            "what": "unmask",
            "reason": None,
            "asked": {"ids": ["4711"]},
            "count": 1,
            "answer": "shown",
            "denied": False,
        }
    ],
    "next": "88",
}
SUGGESTIONS = {"items": [{"value": "unavailable", "count": 412}], "next": None}
