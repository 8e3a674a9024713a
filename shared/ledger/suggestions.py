"""What somebody may mean who has typed the beginning of a filter's value.

Every look is short at ten million rows: a walk along an index that stops at the limit, or the newest `_LOOKED_AT` rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, TextClause, text

LIMIT_DEFAULT = 10

_LOOKED_AT = 20_000


class Suggesting(StrEnum):
    """The fields that suggestions are made for: of instances `code` and `member`, of the audit `who` and `what`."""

    CODE = "code"
    MEMBER = "member"
    WHO = "who"
    WHAT = "what"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One value; *count* how often it occurs among the newest 20,000, None: not counted."""

    value: str
    count: int | None


def suggested(tx: Connection, field: str, beginning: str, *, limit: int = LIMIT_DEFAULT) -> list[Suggestion]:
    """Give values of *field* that begin so: codes and words of the audit the commonest first, members in order.

    Raises:
        ValueError: there are no suggestions for this field, or *beginning* holds a NUL.
    """
    if "\0" in beginning:
        raise ValueError("beginning: contains a control character")
    statement = _STATEMENTS[Suggesting(field)]
    rows = tx.execute(statement, {"beginning": beginning, "limit": limit, "looked_at": _LOOKED_AT})
    return [Suggestion(row.value, row.total) for row in rows]


# The collation of member numbers is C: all that begin so follow each other, from the beginning itself on.
_MEMBERS = text("""
    select member_number as value, null as total
    from (
        select member_number from member where member_number >= :beginning order by member_number limit :limit
    ) as following
    where member_number ^@ :beginning order by member_number
""")
_CODES = text("""
    select code as value, count(*) as total
    from (select code from instance where code is not null order by id desc limit :looked_at) as newest
    where code ^@ :beginning group by code order by total desc, code limit :limit
""")
_AUDITED = """
    select {field} as value, count(*) as total
    from (select {field} from operator_action order by id desc limit :looked_at) as newest
    where {field} ^@ :beginning group by {field} order by total desc, {field} limit :limit
"""
_STATEMENTS: Mapping[Suggesting, TextClause] = {
    Suggesting.CODE: _CODES,
    Suggesting.MEMBER: _MEMBERS,
    Suggesting.WHO: text(_AUDITED.format(field="who")),
    Suggesting.WHAT: text(_AUDITED.format(field="what")),
}
