"""The calls of an attempt that succeeded, as activity keeps them: what is counted stays readable, the rest is packed.

They are the same but for some ids, for everybody, and were a sixth of all that the ledger writes.  So what statements
count, method and status, stays in `activity.calls_json`; url, duration, request and response go into
`activity.calls_packed`: deflated, with the words of such calls known beforehand, and the number of that list of words
before them.

What names others can only be in an answer that is no success, and is never packed: a search for what names a member
reads words.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shared.instances import GOOD, Call
from shared.ledger.packing import Packing

WORDS = Packing(
    b"\x01",
    (
        b'[["/siebel/v1.0/data/LOY%20Member/LOY%20Member?searchspec=%28%5BMember%20Number%5D%3D%27%27%29'
        b'&PageSize=10&ViewMode=All",12.5,null,{"items":[{"Id":"1-","Member Number":""}]}],'
        b'["/siebel/v1.0/data/LOY%20Member/LOY%20Member",12.5,{"Id":"1-","CT Sync Status":"Success",'
        b'"CT Sync Error":""},'
        b'{"Id":"1-","CT Sync Status":"Success","CT Sync Error":""}]]'
        b'[["/v2/users/?id_type=third_party_id",12.5,null,{"id":1,"third_party_id":"","is_active":1}],["/v2/users",12.5,'
        b'{"third_party_id":"","lang_pref":"en","is_active":1,"first_name":"A***","last_name":"C***","middle_name":"***",'
        b'"date_of_birth":"***","email_address":"a***@e***.com","gender_id":"***","postal_code":"***","country_code":"US",'
        b'"city_name":"***","city_id":"***"},{"id":1,"third_party_id":"","is_active":1}]]'
        b'"middle_name":null,"date_of_birth":null,"gender_id":null,"postal_code":null,"country_code":null,"city_name":null,'
        b'"city_id":null},{"id":'
    ),
)


def packed(calls: Sequence[Call]) -> tuple[list[dict[str, object]], bytes] | None:
    """Return what is to be kept of *calls* as JSON, and the rest packed; None: not all of them succeeded."""
    counted: list[dict[str, object]] = []
    for call in calls:
        if call.http_status not in GOOD:
            return None
        counted.append({"method": call.method, "http_status": call.http_status})
    if not counted:
        return None
    rest = orjson.dumps([(call.url, round(call.took_ms, 3), call.request, call.response) for call in calls])
    return counted, WORDS.pack(rest)


def whole(calls: Sequence[Mapping[str, Any]] | None, rest: bytes | None) -> list[dict[str, Any]]:
    """Return calls as they were made.  Shape: *calls* and *rest* as the ledger has them."""
    if not calls:
        return []
    if not rest:
        return [dict(call) for call in calls]
    unpacked = orjson.loads(WORDS.unpack(rest))
    return [
        {
            "method": call["method"],
            "url": url,
            "http_status": call["http_status"],
            "took_ms": took_ms,
            "request": request,
            "response": response,
        }
        for call, (url, took_ms, request, response) in zip(calls, unpacked, strict=True)
    ]
