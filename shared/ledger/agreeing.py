"""Rows of files that certainly agree with what the ledger knows: told, and written down, by one statement a piece.

Most rows of a file say what is known.  What a comparison needs of each is handed over beside it, its *digest*; here it
is held against the members.  Of a row this may only say that it certainly shows no difference, and in which stratum its
member is; of every other it says nothing, and the full comparison decides (`looks.first_at_row`, `first_at_user`).  So
a condition here may be stricter than theirs, never weaker: a property test holds both against each other.

A digest is a list of columns, the values of the rows of a piece in their order, one a line, UTF-8; null: the file does
not tell.  An empty first and second column: such a row is not told here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, text

from shared.ledger.sightings import ACKNOWLEDGED_AT, IN_FLIGHT, MARKER, RECENT_H
from shared.ledger.transitions.member_queue import words
from shared.reconciling import Side, Stratum

OF_ROW: Final = ("number", "row_id", "hash", "program", "status", "error")
"""The columns of Siebel's digest: *hash* of the content, hexadecimal, of a row that is an Individual's."""
SHOWN: Final = (
    *("city", "country", "date_of_birth", "email_address", "first_name", "gender_id", "is_active", "lang_pref"),
    *("last_name", "middle_name", "postal_code"),
)
"""The synced fields by the names under which CrowdTwist shows them."""
OF_USER: Final = ("number", "user_id", "updated_s", *SHOWN)
"""The columns of CrowdTwist's: whose the row is by either of two, its date in seconds since 1970, what it shows."""
_TELLING = (Stratum.NEVER_IN_LEDGER, Stratum.NEWER_IN_SIEBEL, Stratum.NOT_IN_SIEBEL, Stratum.ONLY_IN_FILE)
"""Of members in these strata CrowdTwist's user says something whatever it is."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a piece: how many of its rows agree, and the places of the others in it, from 0."""

    same: int
    others: Sequence[int]


def see_rows(  # noqa: PLR0913  # which rows, and what the sightings hold
    tx: Connection, run_id: int, place: int, *, program: str, now: datetime, seed: int, drawn: bool, page: str = ""
) -> Told | None:
    """Write down whose rows of Siebel's file agree; *program*: the only one that counts, empty: all do.

    Returns None where the piece has no digest, or there is none.
    """
    where = {"run_id": run_id, "place": place, "page": page}
    values = {**where, "program": program, "now": now, "seed": seed, "drawn": drawn}
    return _told(tx.execute(_SEE_ROWS, values).one())


def look_at_users(tx: Connection, run_id: int, place: int, *, now: datetime) -> Told | None:
    """Note that CrowdTwist was looked at for those of whom a piece of its file shows what it showed before.

    Returns None where the piece has no digest, or there is none.
    """
    return _told(tx.execute(_LOOK_AT_USERS, {"run_id": run_id, "place": place, "now": now}).one())


def _told(row: Row[Any]) -> Told | None:
    return Told(row.same, row.others or []) if row.total else None


def _said(side: Side, columns: Sequence[str]) -> str:
    """Return the rows of a digest, as a part of a statement."""
    values = ", ".join(
        f"string_to_array(convert_from(f.digest[{at}], 'UTF8'), chr(10))" for at, _ in enumerate(columns, 1)
    )
    return f"""
        select r.* from reconciliation_file f
        cross join lateral unnest({values}) with ordinality as r ({", ".join(columns)}, place)
        where f.run_id = :run_id and f.side = '{side}' and f.place = :place
    """


def _shows(name: str) -> str:
    """Return whether a row shows in a field what CrowdTwist showed before; the same word for word, or not told."""
    return f"(r.{name} is null or coalesce(m.echo ->> '{name}', '') = r.{name} or not m.echo ? '{name}')"


_JUDGED = """
    select count(*) as total, count(*) filter (where is_same) as same,
           array_agg(place - 1 order by place) filter (where not is_same) as others
    from judged
"""
_SEE_ROWS = text(f"""
    with judged as materialized (
        select r.place, r.number, nullif(r.row_id, '') as row_id, {MARKER} as marker,
               coalesce(n.accepted_at > cast(:now as timestamptz) - interval '{RECENT_H} hours', false) as is_recent,
               coalesce(
                   coalesce(n.content_hash, case when m.applied_id = m.newest_id then m.applied_hash end)
                       = decode(r.hash, 'hex')
                   and (:program = '' or r.program = :program)
                   and m.newest_operation <> 'delete' and coalesce(n.state, 'completed') = 'completed'
                   and (r.status is null or r.status = m.told_status and (n.id is null or m.told_id >= m.newest_id)
                                            and (r.error is null or m.told_error is null
                                                 or m.told_error = '' and r.error = ''))
                   and m.lost_tell_id is null and m.tell_again_at is null
                   and not m.unknown_outcome and m.lost_write_id is null
                   and coalesce(n.losses + n.resubmits, 0) = 0 and coalesce(a.losses + a.resubmits, 0) = 0
                   and not ({IN_FLIGHT}), false) as is_same
        from ({_said(Side.SIEBEL, OF_ROW)}) as r
        left join member m on m.member_number = r.number
        left join instance n on n.id = m.newest_id
        left join instance a on a.id = case when m.applied_id <> m.newest_id then m.applied_id end
    ), written as (
        insert into sighting (run_id, member_number, stratum, place, page, row_id, marker, drawn)
        select :run_id, number, case when is_recent then '{Stratum.RECENT}' else '{Stratum.LONG_UNTOUCHED}' end,
               hashtextextended(number, :seed), :page, row_id, marker, :drawn
        from judged where is_same
        on conflict do nothing
    ) {_JUDGED}
""")
# `limit` and `ctid`: the planner takes a run that has just begun for empty, and would go through all of it, row by row.
_LOOK_AT_USERS = text(f"""
    with judged as materialized (
        select r.place, s.at,
               coalesce(
                   m.applied_id is not null and coalesce(a.operation, m.operation, '') <> 'delete'
                   and not ({IN_FLIGHT})
                   and s.outcome is null and s.suspected_at is null
                   and s.stratum not in ({words(_TELLING)})
                   and (r.updated_s is null or r.updated_s = '' or coalesce(
                        to_timestamp(r.updated_s::float8) >= {ACKNOWLEDGED_AT} - interval '5 seconds', true))
                   and {" and ".join(map(_shows, SHOWN))}, false) as is_same
        from ({_said(Side.CROWDTWIST, OF_USER)}) as r
        left join lateral (
            select m.*, coalesce(m.echoed, '{{}}') as echo,
                   case when m.applied_id = m.newest_id then m.newest_operation end as operation
            from member m
            where m.member_number = coalesce(nullif(r.number, ''), (
                select min(u.member_number) from member u where u.ct_user_id = nullif(r.user_id, '')::bigint
                having count(*) = 1))
        ) as m on true
        left join lateral (
            select o.ctid as at, o.outcome, o.suspected_at, o.stratum from sighting o
            where o.run_id = :run_id and o.member_number = m.member_number limit 1
        ) as s on true
        left join instance a on a.id = m.applied_id
    ), looked as (
        update sighting s set looked_at = coalesce(s.looked_at, :now), drawn = false
        from judged j where j.is_same and s.ctid = j.at
    ) {_JUDGED}
""")
