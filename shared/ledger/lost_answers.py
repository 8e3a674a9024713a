"""Statements of calls that got no answer: they may land late, over what was sent after them.

A lost answer leaves a mark on its member: `lost_write_id` at CrowdTwist, `lost_tell_id` at Siebel, the newest instance
whose call may still land.  The success that follows sets the time of its check, `read_back_at` or `tell_again_at`: by
then what was lost has landed or never will.  The check repeats what the newest success sent, if need be.

- While something newer than that success may be out, the check is not due: it would send old over new.
- A newer success moves it on, and so does whatever is found to have landed late.  So one that ends finds its own time
  in the past, or clears nothing.
- A lost write that is refused when it is repeated is out no more: what it hid is checked after all.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, text

from shared.ledger.engine import json_rows
from shared.pipeline import Stage


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


def checked(tx: Connection, stage: Stage, ids: Sequence[int]) -> None:
    """Clear the marks that the checks of *ids* were about."""
    if ids:
        tx.execute(_CHECKED[stage], {"ids": list(ids)})


def check_again(tx: Connection, stage: Stage, in_s: Mapping[int, float | None]) -> None:
    """Repeat checks that failed, after so many seconds; None: not, and the mark stays for the next success."""
    if in_s:
        records = [{"id": instance_id, "in_s": seconds} for instance_id, seconds in in_s.items()]
        tx.execute(_CHECK_AGAIN[stage], {"rows": json_rows(records)})


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
_CHECKED = {
    stage: text(f"update member m set {mark} = null, {due} = null {_OF_IDS} and m.{due} <= now()")
    for stage, (mark, due) in _MARKS.items()
}
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
