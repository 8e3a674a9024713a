"""What somebody may mean who has typed the beginning of a filter's value.

Every look is short at ten million rows: a walk along an index that stops at the limit, or the newest `_LOOKED_AT` rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, TextClause, text

from shared.ledger.filters import CONDITIONS

LIMIT_DEFAULT = 10

_LOOKED_AT = 20_000


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One value; *count* how often it occurs among the newest 20,000, None: not counted."""

    value: str
    count: int | None


def suggested(tx: Connection, field: str, beginning: str, *, limit: int = LIMIT_DEFAULT) -> list[Suggestion]:
    """Return values of *field* that begin so: codes and words of the audit the commonest first, members in order.

    Raises:
        ValueError: there are no suggestions for this field, or *beginning* holds a NUL.
    """
    if "\0" in beginning:
        raise ValueError("beginning: contains a control character")
    if field not in SUGGESTED:
        raise ValueError(f"field: must be one of {', '.join(SUGGESTED)}")
    rows = tx.execute(SUGGESTED[field], {"beginning": beginning, "limit": limit, "looked_at": _LOOKED_AT})
    return [Suggestion(row.value, row.total) for row in rows]


_AUDITED = """
    select {field} as value, count(*) as total
    from (select {field} from operator_action order by id desc limit :looked_at) as newest
    where {field} ^@ :beginning group by {field} order by total desc, {field} limit :limit
"""
SUGGESTED: Mapping[str, TextClause] = {
    **{row.name: text(row.suggested) for row in CONDITIONS if row.suggested},
    **{field: text(_AUDITED.format(field=field)) for field in ("who", "what")},
}
"""The fields that suggestions are made for: conditions of the filter, and of the audit `who` and `what`."""
