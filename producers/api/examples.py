"""Examples of the records that are answered, for `/openapi.json`."""

from typing import Any

_AT = "2026-11-23T08:51:00Z"
_LATER = "2026-11-23T10:07:41Z"
_NUMBER = "296-180296399"
_WHY = "CrowdTwist: no connection"

LATENCIES = {
    "step_s": 60,
    "items": [
        {"at": _AT, "stage": "crowdtwist", "count": 412, "p50_s": 0.081, "p95_s": 0.22, "p99_s": 0.49},
    ],
    "incidents": [
        {
            "incident_id": "7",
            "stage": "crowdtwist",
            "cause": "CrowdTwist: answered 503",
            "from_at": _AT,
            "to_at": _LATER,
        }
    ],
    "marks": [{"at": _AT, "kind": "deploy", "what": "version 1.4.0 became version 1.5.0"}],
    "next": None,
}
RESULTS = {
    "results": [
        {
            "position": 0,
            "event_id": "1-4XYZ-1",
            "instance_id": "12",
            "member_number": _NUMBER,
            "outcome": "accepted",
            "field": None,
            "reason": None,
        }
    ]
}
INSTANCE: dict[str, Any] = {
    "instance_id": "4711",
    "event_id": "1-4XYZ-1",
    "member_number": _NUMBER,
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
    "origin": None,
    "held_by_guard": None,
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
        "member": {"member_number": _NUMBER, "first_name": "A***", "email_address": "a***@e***.org"},
    },
    "user": {"third_party_id": _NUMBER, "first_name": "A***", "is_active": 1},
    "oic_instance_id": None,
    "trace_id": None,
}
PAGE = {"items": [INSTANCE], "next": "4711"}
MEMBER: dict[str, Any] = {
    "member_number": _NUMBER,
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
CHANGES: dict[str, Any] = {
    "member_number": _NUMBER,
    "older": {
        "instance_id": "4690",
        "event_id": "1-4XYX-1",
        "operation": "update",
        "state": "completed",
        "modification": 6,
        "occurred_at": "2026-11-22T17:20:11Z",
        "accepted_at": "2026-11-22T17:20:11.904Z",
        "kept": True,
    },
    "newer": {
        "instance_id": "4711",
        "event_id": "1-4XYZ-1",
        "operation": "update",
        "state": "dead",
        "modification": 7,
        "occurred_at": _AT,
        "accepted_at": "2026-11-23T08:51:01.271Z",
        "kept": True,
    },
    "changes": [
        {"field": "city", "change": "added", "before": None, "after": "M***"},
        {"field": "country_code", "change": "changed", "before": "US", "after": "ES"},
    ],
    "same": 9,
}
COMPARISON: dict[str, Any] = {
    "member_number": _NUMBER,
    "at": _LATER,
    "verdict": "different",
    "means": "Changed in CrowdTwist on 2026-11-23 09:58:12Z, after it took our last change on 2026-11-23 08:51:03Z.",
    "siebel": {
        "found": True,
        "trouble": None,
        "row_id": "1-2AB3",
        "is_member": True,
        "status": "Success",
        "error": "",
        "modification": 8,
        "updated_at": "2026-11-23T08:51:04Z",
    },
    "crowdtwist": {
        "found": True,
        "trouble": None,
        "user_id": 81_245_003,
        "is_active": True,
        "updated_at": "2026-11-23T09:58:12Z",
    },
    "ledger": {
        "found": True,
        "row_id": "1-2AB3",
        "newest_instance_id": "4711",
        "state": "completed",
        "status": "Success",
        "modification": 7,
        "occurred_at": _AT,
        "told_status": "Success",
        "told_error": "",
        "applied_instance_id": "4711",
        "acknowledged_at": "2026-11-23T08:51:03Z",
        "ct_user_id": 81_245_003,
        "on_its_way": [],
    },
    "fields": [
        {
            "field": "first_name",
            "siebel": "A***",
            "crowdtwist": "E***",
            "ledger": "A***",
            "acknowledged": "A***",
            "differs": ["crowdtwist"],
            "unsent": False,
        }
    ],
    "differences": [
        {
            "class": "changed_at_destination",
            "field": "first_name",
            "evidence": "changed in CrowdTwist on 2026-11-23 09:58:12Z, after it took our last change on"
            " 2026-11-23 08:51:03Z",
        }
    ],
}
REHEARSALS: dict[str, Any] = {
    "items": [
        {
            "instance_id": "4711",
            "member_number": _NUMBER,
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
REFUSALS: dict[str, Any] = {
    "items": [
        {
            "refusal_id": "31",
            "at": _AT,
            "sender": "siebel",
            "source": "request 5f0c1f7e",
            "outcome": "refused",
            "position": 1,
            "line": None,
            "field": "member.date_of_birth",
            "reason": "is a date that does not exist",
            "member_number": _NUMBER,
            "excerpt": '{"operation": "update", "member": {"member_number": "296-180296399", "date_of_birth": "***"}}',
            "count": 1,
        }
    ],
    "next": "31",
}
CONNECTION: dict[str, Any] = {
    "name": "crowdtwist",
    "state": "open",
    "since": _AT,
    "breaker": "open",
    "failures": 5,
    "last_error": _WHY,
    "opened_at": "2026-11-23T08:51:04Z",
    "probes": 3,
    "probe_at": "2026-11-23T08:52:06Z",
    "next_probe_in_s": 6.5,
    "healed_at": None,
    "paused_by": None,
    "paused_reason": None,
    "paused_at": None,
    "held": 412,
    "suspects": 0,
    "suspects_given_up": 0,
    "wait_until": None,
    "maintenance": None,
    "budget": {
        "per_minute": 10_000,
        "used": 1200,
        "used_live": 200,
        "used_bulk": 1000,
        "free_live": 8800,
        "free_bulk": 7000,
    },
    "calls": {
        "limit": 12,
        "in_flight": 12,
        "wanted": 80,
        "reason": "answers take 3.1 times 210 ms, what they take unloaded",
        "backoffs": 4,
        "changed_at": "2026-11-23T08:51:00Z",
        "unloaded_ms": {"POST": 340.5, "PUT": 210.0},
    },
}
_PAUSED: dict[str, Any] = {
    **CONNECTION,
    "state": "paused",
    "paused_by": "oscar",
    "paused_reason": "CrowdTwist's maintenance window",
    "paused_at": "2026-11-23T09:00:00Z",
}
PAUSED = {
    "name": "crowdtwist",
    "changed": True,
    "answer": "paused: what is due there is held",
    "connection": _PAUSED,
}
RESUMED = {
    "name": "crowdtwist",
    "changed": True,
    "answer": "resumed: what was held goes out",
    "connection": CONNECTION,
}
TESTED = {
    "name": "crowdtwist",
    "ok": True,
    "code": None,
    "what": "it answers, and takes our credentials",
    "took_ms": 41.7,
    "was": "open",
    "now": "closed",
    "answer": "passed: it was down and counts as up again, what was held goes out",
}
_DOWN = "CrowdTwist away since 08:51 UTC; 412 wait safely"
_NOTHING_TODO = "nothing to do; about 20 s to drain after it is back"
STATUS: dict[str, Any] = {
    "at": "2026-11-23T08:52:00Z",
    "connections": [CONNECTION],
    "backlog": [
        {
            "lane": "live",
            "stage": "crowdtwist",
            "state": "held",
            "count": 412,
            "oldest_s": 61.3,
            "next_due_at": "2026-11-23T08:50:59Z",
        }
    ],
    "dead_letters": [{"stage": "siebel", "code": "unauthorised", "count": 2, "first_at": "2026-11-23T07:10:12Z"}],
    "rates": [
        {"period_s": 60, "accepted": 412, "finished": {}},
        {"period_s": 3600, "accepted": 24_310, "finished": {"completed": 23_704, "rejected": 194}},
    ],
    "processes": [
        {
            "kind": "worker",
            "name": "live.4711@host/1",
            "lanes": ["live"],
            "started_at": "2026-11-23T06:00:00Z",
            "heard_at": "2026-11-23T08:51:59Z",
            "silent_s": 1.2,
        }
    ],
    "refused_last_day": 3,
    "unsent_mail": {"count": 0, "since": None},
    "held_snapshots": {"over_s": 300, "holders": []},
    "guards": [],
    "incidents": [],
    "approvals": [],
    "cases": {"taken_by_inactive": 1},
    "parked_late": 0,
    "reconciled": {
        "run": "7",
        "age_s": 31_204.2,
        "found": 0,
        "meaning": "none of 3,000 members looked at differs: with 95 % confidence no more than 0.12% of 100,000 do",
        "failed": None,
        "overdue": False,
    },
    "silence": {
        "since": "2026-11-23T08:51:41Z",
        "lasts_s": 19.4,
        "limit_s": 1800,
        "longest_s": 310.2,
        "weeks": 12,
        "excused": False,
    },
    "lanes": [
        {"lane": "live", "depth": 3, "trend": "keeps up", "per_s": 0.0, "clears_s": None, "why": None},
        {"lane": "bulk", "depth": 120_400, "trend": "clears", "per_s": -57.1, "clears_s": 2_108.6, "why": None},
    ],
    "verdict": {
        "level": "waits",
        "sentence": f"{_DOWN}; {_NOTHING_TODO}",
        "short": "CrowdTwist away",
        "since": _AT,
        "waiting": 412,
        "needs_person": False,
        "troubles": [
            {
                "level": "waits",
                "what": _DOWN,
                "since": _AT,
                "waiting": 412,
                "todo": _NOTHING_TODO,
                "short": "CrowdTwist away",
            }
        ],
    },
}
THROUGHPUT: dict[str, Any] = {
    "items": [{"at": _AT, "stage": "siebel", "outcome": "completed", "count": 1187}],
    "outages": [
        {
            "name": "crowdtwist",
            "what": "down",
            "from_at": "2026-11-23T08:51:04Z",
            "to_at": None,
            "why": _WHY,
            "who": None,
        }
    ],
    "next": None,
}
