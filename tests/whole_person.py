"""A ledger that has one person in every column of every table that may hold one, and others who name it.

Each column that is declared to hold a person is filled, and where it can hold a text, with a word of this person that
nobody else has.
"""

import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.instances import Call
from shared.ledger.engine import json_rows
from shared.ledger.packed_calls import packed
from shared.personal import CLOSE, OPEN
from shared.pipeline import Lane
from tests.rig import member_event

NUMBER = "296-7700"
OTHER = "296-1"
PERSON: dict[str, Any] = {
    "row_id": "1-ZQ77",
    "first_name": "Zoraida",
    "last_name": "Quuxley",
    "email_address": "zq.person@example.org",
    "city": "Quuxville",
    "date_of_birth": "1901-02-03",
    "x_phone": "+49 30 901820",
}
USER: dict[str, Any] = {"id": 987_654_321, "third_party_id": NUMBER, "first_name": "Zoraida", "last_name": "Quuxley"}
CANARIES = (NUMBER, "1-ZQ77", "Zoraida", "Quuxley", "zq.person", "Quuxville", "1901-02", "901820", "987654321")
SAID = f"member {NUMBER}, {OPEN}Zoraida Quuxley{CLOSE} of zq.person@example.org"
_NOW = "2026-11-23T08:51:00Z"
_HASH = "\\x00ff"

CALL: dict[str, Any] = {
    "method": "PUT",
    "url": f"/{NUMBER}",
    "http_status": 200,
    "took_ms": 1.0,
    "request": USER,
    "response": None,
}
([COUNTED], REST) = packed([Call(**CALL | {"response": USER | {"id": 24_601}})]) or ([{}], b"")
"""A call that is packed, and has in it what nothing else has."""

OWN: dict[str, dict[str, Any]] = {
    "mapping": {"user_object": USER, "user_json": USER, "oic_instance_id": "OIC-1"},
    "activity": {
        "state": "held",
        "what": SAID,
        "calls": [CALL],
        "calls_json": [COUNTED],
        "calls_packed": f"\\x{REST.hex()}",
    },
    "errand": {"kind": "report", "stage": "siebel", "lane": "live", "due_at": _NOW},
    "data_case": {
        "held_by": OTHER,
        "path": [OTHER],
        "wants_key": _HASH,
        "rule": SAID,
        "character": "Z",
        "note": SAID,
        "holder": USER,
    },
    "address_cycle": {
        "id": 1,
        "refused_ids": [1],
        "address_keys": [_HASH],
        "old_key": _HASH,
        "park_key": _HASH,
        "state": "ended",
        "deadline_at": _NOW,
        "ended_at": _NOW,
        "ended_how": "resolved",
    },
    "address_cycle_step": {"position": 1},
    "difference": {
        "class": "status_lies",
        "evidence": SAID,
        "siebel": PERSON,
        "crowdtwist": USER,
        "ledger": USER,
        "first_seen_at": _NOW,
        "seen_at": _NOW,
    },
    "sighting": {
        "stratum": "given_up",
        "place": 1,
        "page": "1-ZQ77",
        "row_id": "1-ZQ77",
        "marker": "ab",
        "siebel": _HASH,
        "crowdtwist": _HASH,
        "from_file": {"siebel": PERSON},
    },
    "refusal": {
        "sender": "siebel",
        "source": "f.csv",
        "outcome": "refused",
        "field": "x",
        "reason": SAID,
        "excerpt": SAID,
    },
    "job_item": {"verdict": "send", "reason": SAID, "state": "sent", "step": 1, "was": {"error": SAID}},
}
"""A row of the person's own, by table; its number, and its instance, are added."""
OTHERS: dict[str, dict[str, Any]] = {
    "activity": {"instance_id": 1, "state": "waiting", "what": SAID, "calls": [CALL], "calls_json": [CALL]},
    "data_case": {
        "member_number": OTHER,
        "instance_id": 1,
        "held_by": NUMBER,
        "path": [NUMBER],
        "holder": USER,
        "looked": "found",
        "note": SAID,
    },
    "difference": OWN["difference"] | {"run_id": 1, "member_number": OTHER, "siebel": f"{SAID}"},
    "sighting": {"run_id": 1, "member_number": OTHER, "stratum": "given_up", "place": 2, "page": "1-ZQ77"},
    "refusal": OWN["refusal"] | {"source": f"{NUMBER}.csv"},
    "job": {
        "id": 1,
        "kind": "requeue",
        "state": "running",
        "requested_by": "olga",
        "reason": SAID,
        "asked": {"members": [NUMBER], "text": "zq.person@example.org"},
        "size": 1,
    },
    "approval": {
        "what": "requeue",
        "state": "waiting",
        "job_id": 1,
        "count": 1,
        "asked_by": "olga",
        "reason": SAID,
        "answer": SAID,
    },
    "maintenance": {
        "name": "oic",
        "from_at": _NOW,
        "until_at": "2027-01-01T00:00:00Z",
        "added_by": "o",
        "reason": SAID,
    },
    "operator_action": {
        "who": "olga",
        "role": "admin",
        "what": "unmask",
        "reason": SAID,
        "asked": {"member": NUMBER},
        "answer": SAID,
    },
    "guard_hold": {
        "kind": "flood",
        "state": "holding",
        "fingerprint": "f",
        "stage": "crowdtwist",
        "message": SAID,
        "alike": 1,
        "went_out": 1,
        "told": 1,
        "try_at": _NOW,
        "reason": SAID,
        "answer": SAID,
    },
    "incident": {
        "id": 1,
        "kind": "connection",
        "state": "open",
        "stage": "oic",
        "cause": SAID,
        "fingerprint": "f",
        "opened_at": _NOW,
        "from_at": _NOW,
        "counted_upto": _NOW,
        "frozen": {"example": NUMBER},
    },
    "incident_event": {"incident_id": 1, "kind": "note", "what": SAID},
    "saved_filter": {"owner": "olga", "shared": True, "page": "/instances", "name": SAID, "query": SAID},
    "cause_note": {
        "fingerprint": "oic-1",
        "stage": "oic",
        "code": "bug",
        "message": SAID,
        "words": SAID,
        "who": "olga",
    },
    "mail": {"kind": "digest", "subject": SAID, "plain": SAID, "html": f"<p>{SAID}</p>", "last_error": SAID},
    "stray_message": {"reason": "no task", "headers": SAID, "body": SAID},
    "connection_change": {"name": "oic", "what": "down", "why": SAID},
    "reconciliation": {
        "id": 1,
        "state": "done",
        "mode": "full",
        "requested_by": "olga",
        "asked": {"members": [NUMBER]},
        "share": 0.05,
        "settle_s": 1,
        "seed": 1,
        "cursor": "1-ZQ77",
        "ended_at": _NOW,
        "why": SAID,
        "findings": [{"example": NUMBER}],
    },
}
"""A row of others that names the person, by table."""


def filled(ledger: Engine) -> None:
    """Fill the ledger: instance 1 is the other's, 2 and 3 the person's; the newer is held, and nothing is out."""
    for number, changes in ((OTHER, {}), (NUMBER, PERSON), (NUMBER, PERSON | {"city": "Quuxville 2"})):
        minute = 1 if changes.get("city") == "Quuxville 2" else 0
        event = parse_event(member_event(number, minute, **changes), max_bytes=64_000)
        accept(ledger, [(0, event)], IntakeRules(Lane.LIVE))
    with ledger.begin() as tx:
        first = ("job", "reconciliation", "incident")
        for table in (*first, *sorted(OTHERS.keys() - first)):
            _insert(tx, table, OTHERS[table])
        for table, row in OWN.items():
            _insert(tx, table, _owned(table, row))
        packed = zlib.compress(orjson.dumps(PERSON | {"member_number": NUMBER}))
        tx.execute(
            text(
                "insert into reconciliation_file (run_id, side, place, rows, digest)"
                " values (1, 'siebel', 0, :rows, array[convert_to(:digest, 'UTF8')])"
            ),
            {"rows": packed, "digest": NUMBER},
        )
        tx.execute(_FILL, {"number": NUMBER, "said": SAID, "echoed": json_rows([USER])})
        tx.execute(_NAME, {"number": NUMBER, "said": SAID})


def _owned(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    whose = {} if table in ("mapping", "activity") else {"member_number": NUMBER}
    of = {"sighting": "run_id", "difference": "run_id", "job_item": "job_id", "address_cycle_step": "cycle_id"}.get(
        table
    )
    more: dict[str, Any] = {of: 1} if of else {}
    if table not in ("sighting", "difference", "refusal"):
        more["instance_id"] = 3
    return {**row, **whose, **more}


def _insert(tx: Any, table: str, row: Mapping[str, Any]) -> None:  # noqa: ANN401  # a connection
    names = ", ".join(f'"{name}"' for name in row)
    given = f"jsonb_populate_record(cast(null as {table}), cast(:row as jsonb))"
    tx.execute(text(f"insert into {table} ({names}) select {names} from {given}"), {"row": orjson.dumps(row).decode()})


def columns(ledger: Engine) -> dict[str, set[str]]:
    """Return the columns of every table, as the ledger has them."""
    found: dict[str, set[str]] = {}
    with ledger.begin() as tx:
        for table, column in tx.execute(_COLUMNS):
            found.setdefault(table, set()).add(column)
    return found


def dump(ledger: Engine, tables: Mapping[str, set[str]]) -> dict[str, str]:
    """Return every table as text, what is binary as letters too."""
    found = {}
    with ledger.begin() as tx:
        for table in tables:
            rows = "\n".join(tx.execute(text(f"select cast(t as text) from {table} t")).scalars())
            found[table] = rows
    return found


def unfilled(ledger: Engine, table: str, column: str) -> bool:
    """Return whether no row has anything in a column."""
    with ledger.begin() as tx:
        is_filled = f"{column} is not null and cast({column} as text) not in ('', '{{}}')"
        return not tx.execute(text(f"select exists (select from {table} where {is_filled})")).scalar_one()


_COLUMNS = text("""
    select table_name, column_name from information_schema.columns
    where table_schema = 'public' and table_name <> 'alembic_version' order by 1, 2
""")
_FILL = text("""
    with filled as (
        update instance set state = 'held', error = :said, reason = :said where member_number = :number and id = 3
    ), payloads as (
        update payload set event = cast(:echoed as jsonb)->0, event_json = cast(:echoed as json)->0
        where instance_id = 3
    )
    update member set proven_row_id = row_id, ct_user_id = 987654321, told_error = :said, applied_hash = 'a',
                      held_email_key = email_key, echoed = cast(:echoed as jsonb)->0
    where member_number = :number
""")
_NAME = text("""
    with named as (
        update instance set error = :said, reason = :said where id = 1
    )
    update connection set failing_members = array[:number], failures = 1, failing_since = now(), last_error = :said,
                          paused = true, paused_by = 'olga', paused_reason = :said
    where name = 'oic'
""")
