"""Forgetting a member: its rows deleted, others' rows cleared of it, in one transaction (deploy/decisions/0025).

What is not sent yet is erased with the rest; what is out just now is waited for, since its call may still land.  Who
comes after that finds nothing: a message of the broker names ids that are gone, a worker's token fences no row.

What stays is the row of the audit, with a key made of the Member Number under a secret of this ledger.  Intake goes by
it: what occurred before the member was forgotten is refused, whenever it comes; what occurs later begins anew.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from shared.ledger import acceptance, run_turns
from shared.ledger.audit import Action, record
from shared.ledger.engine import json_rows
from shared.ledger.people import forgotten_key_sql
from shared.ledger.personal_columns import TABLES
from shared.ledger.privacy import Naming, Search, kept, naming
from shared.masking import mask_text
from shared.traces import Traces

FORGET = "forget"
"""What the audit calls it; intake looks for it."""


@dataclass(frozen=True, slots=True)
class NotNow:
    """Why a member cannot be forgotten just now.  *passes*: by itself, within seconds."""

    why: str
    passes: bool


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: own rows deleted, and others' rows cleared, by table; *unsent* events that had not ended."""

    at: datetime
    deleted: dict[str, int]
    cleared: dict[str, int]
    unsent: int


def forget(  # noqa: PLR0913  # whom, who, why, and what was found
    tx: Connection, member_number: str, who: tuple[str, str], reason: str, found: Search, *, settle_s: float
) -> Erased | NotNow | None:
    """Erase all that is kept of a member, and note that it was; None: nothing is kept, and nothing is changed.

    Shape: *who* name and role; *found* what a search of the large tables found.  Units: *settle_s* seconds within
    which a call that got no answer may still land.
    """
    acceptance.lock_whole(tx, member_number)
    standing = tx.execute(_STANDING, {"number": member_number, "settle_s": settle_s}).one()
    if not_now := _not_now(tx, standing):
        return not_now
    own = kept(tx, member_number)
    named = list(naming(tx, member_number, own.traces, found, lock=True))
    has_rows = bool(own.rows.keys() - {"member"}) or standing.newest_id is not None
    if not (has_rows or named):
        acceptance.drop_unknown(tx, [member_number])
        return None
    said = mask_text(str(own.traces.without(reason)))
    tx.execute(_UNJUDGE, {"number": member_number, "ids": list(own.traces.ids)})
    cleared = _clear(tx, named, own.traces)
    deleted = _delete(tx, member_number)
    events = deleted.get("instance", 0)
    answer = f"forgotten, with {events} event{'' if events == 1 else 's'}"
    asked = {"key": standing.key, "until": standing.until.isoformat()}
    record(tx, Action(*who, FORGET, answer, said, asked, events))
    return Erased(standing.now, deleted, cleared, standing.unsent)


def _not_now(tx: Connection, standing: Row[Any]) -> NotNow | None:
    if standing.is_out:
        return NotNow("a call of the member is out just now", passes=True)
    if standing.may_land_until is not None:
        until = f"{standing.may_land_until:%H:%M:%SZ}"
        return NotNow(f"a call of the member got no answer, and may still land until {until}", passes=False)
    if standing.in_cycle:
        why = "the member takes part in a cycle of addresses that is just let loose; try again when it has ended"
        return NotNow(why, passes=False)
    run = run_turns.under_way(tx)
    if run is not None:
        stop = f"wait for its end, or `membersync reconciliations {run} --stop`"
        return NotNow(f"reconciliation {run} is under way, and may have read the member: {stop}", passes=False)
    return None


def _clear(tx: Connection, named: Sequence[Naming], traces: Traces) -> dict[str, int]:
    """Take the member out of others' rows."""
    by_table: dict[str, list[Naming]] = {}
    for one in named:
        by_table.setdefault(one.table, []).append(one)
    for name, some in by_table.items():
        table = TABLES[name]
        for columns in {tuple(one.columns) for one in some}:
            rows = [
                one.key | {column: traces.without(said, column) for column, said in one.columns.items()}
                for one in some
                if tuple(one.columns) == columns
            ]
            changes = ", ".join(f"{column} = r.{column}" for column in columns)
            where = " and ".join(f"t.{key} = r.{key}" for key in table.key)
            given = f"jsonb_populate_recordset(cast(null as {name}), cast(:rows as jsonb))"
            tx.execute(text(f"update {name} t set {changes} from {given} r where {where}"), {"rows": json_rows(rows)})
    return dict(Counter(one.table for one in named))


def _delete(tx: Connection, member_number: str) -> dict[str, int]:
    """Delete the member's own rows, its events last; an item of a job stays as a number of something."""
    ids = list(tx.execute(_IDS, {"number": member_number}).scalars())
    deleted: dict[str, int] = {}
    for name, table in TABLES.items():
        if not table.own:
            continue
        statement = _BLANK_ITEMS if name == "job_item" else text(f"delete from {name} t where {table.own}")
        if count := tx.execute(statement, {"number": member_number, "ids": ids}).rowcount:
            deleted[name] = count
    tx.execute(_DELETE_FILES)
    return deleted


_IDS = text("select id from instance where member_number = :number")
_STANDING = text(f"""
    select now() as now, m.newest_id, {forgotten_key_sql("m.member_number")} as key,
           greatest(now(), m.newest_occurred_at, m.newest_occurred_until) as until,
           m.errand_id is not null or exists (
               select from instance i where i.member_number = m.member_number and i.state = 'running') as is_out,
           exists (select from address_cycle c join address_cycle_step s on s.cycle_id = c.id
                   where s.member_number = m.member_number and c.ended_at is null) as in_cycle,
           (select count(*) from instance i
            where i.member_number = m.member_number and i.state in ('pending', 'waiting', 'held')) as unsent,
           (select max(a.at) + make_interval(secs => :settle_s) from activity a
            where a.instance_id in (m.lost_write_id, m.lost_tell_id)
            having max(a.at) + make_interval(secs => :settle_s) > now()) as may_land_until
    from member m where m.member_number = :number
""")
_UNJUDGE = text("""
    update data_case set held_by = null, path = '{}', holder = null, look_at = null,
                         kind = case when closed_at is null then null else kind end,
                         looked = case when closed_at is null then null else looked end
    where member_number <> :number
      and (held_by = :number or :number = any(path) or holder->>'third_party_id' = :number
           or holder->>'id' = any(cast(:ids as text[])))
""")
"""Have the cases of others judged anew that the member was in the way of."""
_BLANK_ITEMS = text("""
    update job_item t
    set member_number = '', reason = 'the member was forgotten', was = null,
        state = case when state in ('planned', 'sent') then 'closed' else state end
    where t.member_number = :number
""")
_DELETE_FILES = text("""
    delete from reconciliation_file f using reconciliation r where r.id = f.run_id and r.ended_at is not null
""")
"""Rows that runs were handed, and are over with."""
