"""What calls have shown of members; and those that got no answer: they may land late, over what was sent after them.

A lost answer leaves a mark on its member: `lost_write_id` at CrowdTwist, `lost_tell_id` at Siebel, the newest instance
whose call may still land.  The success that follows sets the time of its check, `read_back_at` or `tell_again_at`: by
then what was lost has landed or never will.  The check repeats what the newest success sent, if need be.

- While something newer than that success may be out, the check is not due: it would send old over new.
- A newer success moves it on, and so does whatever is found to have landed late.  So one that ends finds the time that
  it was claimed for, or clears nothing: it looked before that landed.
- A lost write that is refused when it is repeated is out no more: what it hid is checked after all.
- One that is out by a process that is frozen may land whenever that wakes, and be told by nobody if it is killed then.
  So while a worker is silent, and when one was started since the check was due, perhaps in its place, or found to have
  ended, whoever was well is checked once more; later each time, after as long as the worker has been silent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from shared.ledger.engine import json_rows
from shared.ledger.heartbeats import SILENT_S
from shared.ledger.people import key_sql, user_sql
from shared.pipeline import Stage


@dataclass(frozen=True, slots=True)
class Checks:
    """How many members are to be checked: *read_backs* at CrowdTwist, *tellings* at Siebel."""

    read_backs: int
    tellings: int


def lost(tx: Connection, stage: Stage, ids: Sequence[int]) -> None:
    """Mark the members of *ids*: what was called for them at *stage* got no answer."""
    if ids and stage in _LOST:
        tx.execute(_LOST[stage], {"ids": list(ids)})


def check(tx: Connection, stage: Stage, ids: Sequence[int], *, settle_s: float) -> None:
    """Have the members of *ids* checked, without waiting for a newer success."""
    if ids and stage in _CHECK:
        tx.execute(_CHECK[stage], {"ids": list(ids), "settle_s": settle_s})


def landed_late(tx: Connection, stage: Stage, ids: Sequence[int], *, settle_s: float) -> None:
    """Have the members of *ids* checked: a worker that had lost its lease has called for them at *stage*.

    Not where it called for something newer than the newest success, unless that was refused meanwhile: whatever
    succeeds next is checked.
    """
    lost(tx, stage, ids)
    check(tx, stage, ids, settle_s=settle_s)


def refused(tx: Connection, ids: Sequence[int], *, settle_s: float) -> None:
    """Take it that what *ids* sent to CrowdTwist will not land: it was refused."""
    tx.execute(_REFUSED, {"ids": list(ids), "settle_s": settle_s})


def checked(tx: Connection, stage: Stage, due_at: Mapping[int, datetime], *, settle_s: float) -> None:
    """Clear the marks that checks were about, but where a worker is silent that may have called for them.

    Shape: of each instance, the time for which its check was claimed.
    """
    if due_at:
        values = {"ids": list(due_at), "due_at": list(due_at.values()), "settle_s": settle_s, "silent_s": SILENT_S}
        tx.execute(_CHECKED[stage], values)


def check_again(tx: Connection, stage: Stage, in_s: Mapping[int, float | None]) -> None:
    """Repeat checks that failed, after so many seconds; None: not, and the mark stays for the next success."""
    if in_s:
        records = [{"id": instance_id, "in_s": seconds} for instance_id, seconds in in_s.items()]
        tx.execute(_CHECK_AGAIN[stage], {"rows": json_rows(records)})


def checks(tx: Connection) -> Checks:
    """Count the checks that are set, due or not."""
    return Checks(*tx.execute(_DUE_CHECKS).one())


def drop_checks(tx: Connection) -> Checks:
    """Drop every check that is set, and return how many there were; for a ledger that is older than what was sent."""
    found = checks(tx)
    tx.execute(_DROP_CHECKS)
    return found


_OF_IDS = "from instance i where i.id = any(cast(:ids as bigint[])) and m.member_number = i.member_number"
_IS_REFUSED = "(i.stage = 'siebel' and i.status = 'Data Error' and i.failed_stage = 'crowdtwist')"
"""Of an instance: CrowdTwist's answer to it is known, so another call for it can hide only the newest success."""
_MARKS = {Stage.CROWDTWIST: ("lost_write_id", "read_back_at"), Stage.SIEBEL: ("lost_tell_id", "tell_again_at")}
_LOST = {
    # Of two that may both be out, a refusal of the newer one leaves the other: what is older is not sent over it.
    Stage.CROWDTWIST: text(f"""
        update member m
        set lost_write_id = greatest(m.lost_write_id, case when {_IS_REFUSED} then m.applied_id else i.id end),
            read_back_at = case when m.lost_write_id > coalesce(m.applied_id, 0) and m.lost_write_id <> i.id
                                then null else m.read_back_at end
        {_OF_IDS}
    """),
    Stage.SIEBEL: text(f"""
        update member m
        set lost_tell_id = greatest(m.lost_tell_id, i.id), told_status = null, told_error = null,
            told_at = coalesce(m.told_at, now()), synced = false
        {_OF_IDS}
    """),
}
_CHECK = {
    Stage.CROWDTWIST: text(f"""
        update member m set read_back_at = greatest(m.read_back_at, now() + make_interval(secs => :settle_s))
        {_OF_IDS} and (m.applied_id >= i.id or {_IS_REFUSED} and m.applied_id is not null)
    """),
    Stage.SIEBEL: text(f"""
        update member m set tell_again_at = greatest(m.tell_again_at, now() + make_interval(secs => :settle_s))
        {_OF_IDS} and m.told_id >= i.id
    """),
}
_SEEN = {Stage.CROWDTWIST: ", acknowledged_at = now()", Stage.SIEBEL: ""}
_CHECKED = {
    stage: text(f"""
        update member m
        set {mark} = case when h.silent_s is not null then m.{mark} end,
            {due} = case when h.silent_s is not null
                         then now() + make_interval(secs => greatest(h.silent_s, cast(:settle_s as float8))) end
            {_SEEN[stage]}
        from unnest(cast(:ids as bigint[]), cast(:due_at as timestamptz[])) as r (id, due_at)
        join instance i on i.id = r.id
        cross join lateral (
            select extract(epoch from now() - min(case when ended_at is null then beat_at else now() end))::float8
                   as silent_s
            from heartbeat
            where kind = 'worker' and (beat_at < now() - make_interval(secs => :silent_s) and ended_at is null
                                       or greatest(started_at, ended_at) > r.due_at)
        ) h
        where m.member_number = i.member_number and m.{due} <= r.due_at
    """)
    for stage, (mark, due) in _MARKS.items()
}
_DUE_CHECKS = text("select count(read_back_at) as read_backs, count(tell_again_at) as tellings from member")
_DROP_CHECKS = text("""
    update member set read_back_at = null, tell_again_at = null
    where read_back_at is not null or tell_again_at is not null
""")
_CHECK_AGAIN = {
    stage: text(f"""
        update member m set {due} = now() + make_interval(secs => r.in_s)
        from json_to_recordset(cast(:rows as json)) as r (id bigint, in_s float8)
        join instance i on i.id = r.id
        where m.member_number = i.member_number and m.{due} <= now()
    """)
    for stage, (_, due) in _MARKS.items()
}
# The check that is set already was for losses up to the applied one; without it there may be others between.
_REFUSED = text("""
    update member m set lost_write_id = m.applied_id, read_back_at = now() + make_interval(secs => :settle_s)
    from instance i
    where i.id = any(cast(:ids as bigint[])) and m.member_number = i.member_number and m.lost_write_id = i.id
      and m.read_back_at is not null and m.applied_id <> i.id
""")
FACTS = {
    Stage.OIC: {"oic_instance_id": "text"},
    Stage.CROWDTWIST: {"ct_user_id": "bigint"},
    Stage.SIEBEL: {"row_id": "text", "told_status": "text", "told_error": "text"},
}
"""The facts that a stage learns, with their types; documents apart."""
DOCUMENTS: dict[Stage, dict[str, str]] = {
    Stage.OIC: {"user": "json"},
    Stage.CROWDTWIST: {"echoed": "jsonb"},
    Stage.SIEBEL: {},
}


def learn_sql(stage: Stage, rows: str) -> str:
    """Return the statement that keeps what *stage* learned.

    Shape: *rows* is a CTE, or a query with a name, of instances as the stage leaves them: id, member_number, operation,
    content_hash and state, with its `FACTS` and `DOCUMENTS`, and *learns*: whether there are any.
    """
    return _LEARN[stage].format(rows=rows)


_LEARN = {
    # What the oic stage made of an event.
    Stage.OIC: """
        insert into mapping (instance_id, user_json, oic_instance_id)
        select id, "user", oic_instance_id from {rows} as r where r.learns
        on conflict (instance_id)
        do update set user_json = excluded.user_json, user_object = null, oic_instance_id = excluded.oic_instance_id
    """,
    # CrowdTwist has an instance: what it showed, and when that is to be checked.
    Stage.CROWDTWIST: f"""
        update member m
        set applied_id = r.id, acknowledged_at = now(), applied_hash = r.content_hash,
            ct_user_id = coalesce(r.ct_user_id, m.ct_user_id),
            known_in_crowdtwist = m.known_in_crowdtwist or r.ct_user_id is not null, unknown_outcome = false,
            echoed = coalesce(r.echoed, m.echoed),
            held_email_key = case
                when r.echoed = cast('{{{{}}}}' as jsonb) then null
                when r.operation = 'delete' then coalesce({key_sql("r.echoed->>'email_address'")}, m.held_email_key)
                else coalesce({key_sql("r.echoed->>'email_address'")},
                              (select {key_sql(user_sql("p") + "->>'email_address'")}
                               from mapping p where p.instance_id = r.id)) end,
            read_back_at = case when m.lost_write_id is not null then now() + make_interval(secs => :settle_s) end
        from {{rows}} as r where r.learns and m.member_number = r.member_number
    """,
    # Siebel shows the status of an instance.
    Stage.SIEBEL: """
        update member m
        set row_id = coalesce(m.row_id, r.row_id), proven_row_id = coalesce(r.row_id, m.proven_row_id),
            told_status = r.told_status, told_error = r.told_error, told_id = r.id, told_at = now(),
            synced = (r.state = 'completed'),
            tell_again_at = case when m.lost_tell_id is not null then now() + make_interval(secs => :settle_s) end
        from {rows} as r where r.learns and m.member_number = r.member_number
    """,
}
LEARN_TOLD = text(
    learn_sql(
        Stage.SIEBEL,
        """(
            select i.id, i.member_number, i.state, o.row_id, o.told_status, o.told_error, true as learns
            from json_to_recordset(cast(:rows as json))
                 as o (id bigint, row_id text, told_status text, told_error text)
            join instance i on i.id = o.id
        )""",
    )
)
"""Take it that Siebel shows the status of an instance, which a report told."""
LEARN_TOLD_AGAIN = text("""
    update member m
    set row_id = coalesce(r.row_id, m.row_id), told_status = r.told_status, told_error = r.told_error, told_at = now()
    from json_to_recordset(cast(:rows as json)) as r (id bigint, row_id text, told_status text, told_error text)
    join instance i on i.id = r.id
    where m.member_number = i.member_number
""")
"""Take it that Siebel shows the status that it was told once more."""
TROUBLED = text("""
    update member m
    set synced = false,
        unknown_outcome = m.unknown_outcome or (:stage = 'crowdtwist' and r.unsure and not m.known_in_crowdtwist)
    from json_to_recordset(cast(:rows as json)) as r (member_number text, unsure boolean)
    where m.member_number = r.member_number
""")
"""Take it that members are not in sync."""
