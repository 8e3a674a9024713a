"""Examples of cases, for `/openapi.json`."""

from typing import Any

_AT = "2026-11-23T08:51:00Z"
_LATER = "2026-11-23T10:07:41Z"
_NUMBER = "296-180296399"

_HOLDER: dict[str, Any] = {
    "member_number": "296-180290001",
    "ct_user_id": "81245001",
    "in_ledger": True,
    "active": False,
    "moves": False,
    "found_by": "crowdtwist",
    "looked_up_at": _LATER,
    "age_s": 42.5,
}
_CASE: dict[str, Any] = {
    "case_id": "7",
    "state": "open",
    "member_number": _NUMBER,
    "instance_id": "4711",
    "kind": "taken_by_inactive",
    "field": "email_address",
    "label": "Email Address",
    "value": "a***@e***.org",
    "character": None,
    "rule": None,
    "message": "Email Address is already taken",
    "refused_by": "crowdtwist",
    "holder": _HOLDER,
    "path": ["296-180290001"],
    "who": "crowdtwist",
    "what_to_do": "Give member 296-180290001, who is inactive and keeps the address, another one in CrowdTwist's "
    f"Member Care, or take that membership up again in Siebel instead of member {_NUMBER}.",
    "unblocks": 0,
    "coming_instance_id": None,
    "looked_up": "found",
    "opened_at": _AT,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "note": None,
    "closed_at": None,
    "closed_how": None,
    "held_by_guard": None,
    "cycle": None,
    "beside": None,
}
CASES = {"items": [_CASE], "next": None}
CASE: dict[str, Any] = {
    **_CASE,
    "beside": [
        {"field": "first_name", "label": "Contact First Name", "member": "A***", "holder": "A***", "same": True}
    ],
}
CASE_ANSWER: dict[str, Any] = {"case_id": "7", "done": True, "answer": "acknowledged", "case": CASE}
CASES_CSV = "case_id,state,member_number,kind\r\n7,open,296-180296399,taken_by_inactive\r\n"
