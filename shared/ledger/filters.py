"""Which instances are meant: the filter of spec section 5, a row per condition, in statements fast at ten million rows.

`Filter` is the table.  Everything else that asks for instances follows from its rows: query parameters and bodies of
the api, options of the command line, fields of the console's forms, suggestions, what a job and the audit keep of a
selection, and the statement.  A new condition is a row here.

What makes the statements fast:
- Newest first by id, so a common state is found by walking the primary key backwards and stopping at the limit.
- Several states, or a text that may be one of three things, are searched each by itself and merged: every part has an
  index that gives its rows in order, their disjunction has none.
- `since` and `until` become bounds on the id, found by bisection: ids are taken in order of acceptance, give or take.
- Whatever failed has a code; a code or a failed status is looked for only among those.
- What somebody may mean who has typed the beginning of a value is suggested by a walk along an index that stops at the
  limit, or from the newest `_LOOKED_AT` rows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import product
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from sqlalchemy import Connection, TextClause, text

from shared.errors import failure_codes
from shared.ledger.incident_counts import INCIDENT_BOUND, INCIDENT_SPANS, touched_sql
from shared.masking import mask_text
from shared.personal import CLOSE, OPEN
from shared.pipeline import Lane, Origin, Stage, State, SyncStatus

SUGGESTIONS_DEFAULT = 10
NO_CONTROLS = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What a text of a filter may be, in the grammar that Python and JSON Schema share."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LOOKED_AT = 20_000
_ACCEPTANCE_SKEW = timedelta(minutes=10)
"""How far the order of ids and of `accepted_at` may differ: retries of intake, clocks of its hosts."""


def has_control(word: str) -> bool:
    """Return whether *word* holds a control character: no text that we keep does."""
    return _CONTROL.search(word) is not None


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of the filter, wherever it is said.

    Shape:
        name: the query parameter, option and field of a form; *label* on pages, *help* a phrase, *hint* an example,
            *metavar* what the option takes.
        sql: what must hold, the value bound as `:<attribute>`; several are searched each by itself and merged.
        each: *sql* is searched for each value by itself, which stands in its braces.
        id_bound: what the condition means for the id of the first instance accepted that long after its instant.
        failed: says of the values whether only what failed can have them.
        known: the words that it may be, without a look at the ledger; *suggested* selects those (`value`, `total`)
            that begin so, of the newest `:looked_at`.
        attribute, of, several: its field, the type of a value, and whether it takes several; from its annotation.
    """

    name: str
    label: str
    help: str
    sql: tuple[str, ...]
    each: bool = False
    id_bound: tuple[str, timedelta] | None = None
    failed: Callable[[Sequence[str]], bool] | None = None
    known: Callable[[], Iterable[str]] | None = None
    suggested: str = ""
    hint: str = ""
    metavar: str = ""
    attribute: str = ""
    of: type[StrEnum | str | datetime] = str
    several: bool = False

    @property
    def is_instant(self) -> bool:
        """Whether a value is an instant."""
        return issubclass(self.of, datetime)

    @property
    def choices(self) -> list[str]:
        """The words that a value must be one of; none: it may be any."""
        return [one.value for one in self.of] if issubclass(self.of, StrEnum) else []


# What is masked for most who look is left out: whoever may search for its letters can read it.
_ERROR_SAYS = rf"""
    code is not null and case
        when error !~ '[@{OPEN}]' then error
        else regexp_replace(error, '{OPEN}[^{CLOSE}]*{CLOSE}|[^[:space:]@<>"''(),;\:]+@[^[:space:]@<>"''(),;\:]+',
                            '', 'g')
    end ilike '%' || regexp_replace(:text, '([\\%_])', '\\\1', 'g') || '%'
"""
_FAILED_OR_STANDS_AT = """
    case when state in ('dead', 'rejected') then failed_stage else stage end = any(cast(:stages as text[]))
"""
_CODES = """
    select code as value, count(*) as total
    from (select code from instance where code is not null order by id desc limit :looked_at) as newest
    where code ^@ :beginning group by code order by total desc, code limit :limit
"""
# The collation of member numbers is C: all that begin so follow each other, from the beginning itself on.
_MEMBERS = """
    select member_number as value, null as total
    from (
        select member_number from member where member_number >= :beginning order by member_number limit :limit
    ) as following
    where member_number ^@ :beginning order by member_number
"""


# Between the first and the last that was counted of them, and whoever has a line since: all others are passed by.
_OF_INCIDENT = f"""
    id between coalesce(({INCIDENT_BOUND.format("least", "min", "first_id")}), 1)
           and coalesce(({INCIDENT_BOUND.format("greatest", "max", "last_id")}), 0)
    and exists (select from activity a
                where a.instance_id = instance.id and {touched_sql("a", INCIDENT_SPANS)})
"""
_INCIDENTS = """
    select fingerprint as value, count(*) as total from incident
    where fingerprint ^@ :beginning group by fingerprint order by max(id) desc limit :limit
"""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which instances; empty fields mean any, several values of a field any of them.

    Raises:
        ValueError: a text holds a control character.
    """

    states: Annotated[
        tuple[State, ...],
        Condition("state", "State", "where it is in its life", sql=("state = '{}'",), each=True),
    ] = ()
    stages: Annotated[
        tuple[Stage, ...],
        Condition(
            "stage",
            "Stage",
            "where it stands; dead or refused: where it failed",
            sql=(_FAILED_OR_STANDS_AT,),
        ),
    ] = ()
    statuses: Annotated[
        tuple[SyncStatus, ...],
        Condition(
            "status",
            "CT Sync Status",
            "CT Sync Status",
            sql=("status = any(cast(:statuses as text[]))",),
            failed=lambda statuses: SyncStatus.SUCCESS not in statuses,
        ),
    ] = ()
    codes: Annotated[
        tuple[str, ...],
        Condition(
            "code",
            "Code",
            "why it failed: throttled, data_error, bug, …",
            sql=("code = any(cast(:codes as text[]))",),
            failed=bool,
            known=failure_codes,
            suggested=_CODES,
        ),
    ] = ()
    members: Annotated[
        tuple[str, ...],
        Condition(
            "member",
            "Member",
            "member number",
            sql=("member_number = any(cast(:members as text[]))",),
            suggested=_MEMBERS,
            metavar="NUMBER",
        ),
    ] = ()
    since: Annotated[
        datetime | None,
        Condition(
            "since",
            "Since",
            "accepted then or later",
            sql=("accepted_at >= :since",),
            id_bound=("id >= :since_id", -_ACCEPTANCE_SKEW),
            hint="2h or a date",
        ),
    ] = None
    until: Annotated[
        datetime | None,
        Condition(
            "until",
            "Until",
            "accepted before then",
            sql=("accepted_at < :until",),
            id_bound=("id < :until_id", _ACCEPTANCE_SKEW),
            hint="1h or a date",
        ),
    ] = None
    lane: Annotated[Lane | None, Condition("lane", "Lane", "which queue it takes", sql=("lane = :lane",))] = None
    origin: Annotated[
        Origin | None, Condition("origin", "Origin", "where its event comes from", sql=("origin = :origin",))
    ] = None
    incidents: Annotated[
        tuple[str, ...],
        Condition(
            "incident",
            "Incident",
            "affected by it: its id, or the fingerprint of several",
            sql=(_OF_INCIDENT,),
            suggested=_INCIDENTS,
            metavar="ID",
        ),
    ] = ()
    text: Annotated[
        str,
        Condition(
            "text",
            "Text",
            "beginning of event id or member number, or part of the error",
            sql=("event_id ^@ :text", "member_number ^@ :text", _ERROR_SAYS),
            hint="event id, member or error",
        ),
    ] = ""

    def __post_init__(self) -> None:
        for row, value in self.given():
            if row.of is str and any(map(has_control, value if row.several else [value])):
                raise ValueError(f"{row.name}: contains a control character")

    def given(self) -> Iterator[tuple[Condition, Any]]:
        """Iterate over the conditions that are set, with their values."""
        for row in CONDITIONS:
            if value := getattr(self, row.attribute):
                yield row, value

    @property
    def is_empty(self) -> bool:
        """Whether it lets everything through."""
        return not any(self.given())

    def of_dead_letters(self) -> "Filter":
        """Return the same filter, of dead letters unless it names states."""
        return self if self.states else replace(self, states=(State.DEAD,))

    def stored(self) -> dict[str, str | list[str]]:
        """Return it as JSON that names nobody: as a job and the audit keep it, by attribute."""
        found: dict[str, str | list[str]] = {}
        for row, value in self.given():
            if isinstance(value, tuple):
                found[row.attribute] = [str(one) for one in value]
            else:
                found[row.attribute] = value.isoformat() if isinstance(value, datetime) else mask_text(str(value))
        return found


def _rows() -> Iterator[Condition]:
    for attribute, hint in get_type_hints(Filter, include_extras=True).items():
        kind, condition = get_args(hint)
        of = (get_args(kind) or (kind,))[0]
        yield replace(condition, attribute=attribute, of=of, several=get_origin(kind) is tuple)


CONDITIONS = tuple(_rows())


def matching(
    tx: Connection, where: Filter, *, limit: int, before: int | None = None, among: str = ""
) -> tuple[TextClause, dict[str, Any]]:
    """Return the statement, and its parameters, that selects the ids of the newest matching instances, newest first.

    *before* continues below an id; *among* is another condition, whose parameters are the caller's.
    """
    parameters: dict[str, Any] = {"limit": limit}
    ways: list[list[str]] = []
    for row, value in where.given():
        ways.append([sql.format(one) for one in value for sql in row.sql] if row.each else list(row.sql))
        if not row.each:
            parameters[row.attribute] = list(value) if row.several else value
        if row.failed and row.failed(value):
            ways.append(["code is not null"])
        if row.id_bound:
            bound, skew = row.id_bound
            ways.append([bound])
            parameters[f"{row.attribute}_id"] = id_at(tx, value + skew)
    if before is not None:
        ways.append(["id < :before"])
        parameters["before"] = before
    if among:
        ways.append([among])
    parts = [
        f"(select id from instance where {' and '.join(part) or 'true'} order by id desc limit :limit)"
        for part in product(*ways)
    ]
    return text(f"select id from ({' union '.join(parts)}) as found order by id desc limit :limit"), parameters


def id_at(tx: Connection, instant: datetime) -> int:
    """Find by bisection the first instance accepted at *instant* or later; one past the last if there is none.

    Exact only as far as ids and acceptance ascend together.
    """
    return tx.execute(_ID_AT, {"instant": instant}).scalar() or 1


_ID_AT = text("""
    with recursive search (low, high) as (
        select min(id), max(id) + 1 from instance
        union all
        select case when probe.accepted_at < :instant then probe.id + 1 else low end,
               case when probe.accepted_at < :instant then high else (low + high) / 2 end
        from search, lateral (
            select id, accepted_at from instance where id >= (low + high) / 2 order by id limit 1
        ) as probe
        where low < high
    )
    select max(low) from search
""")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One value; *count* how often it occurs among the newest 20,000, None: not counted."""

    value: str
    count: int | None


def suggested(tx: Connection, field: str, beginning: str, *, limit: int = SUGGESTIONS_DEFAULT) -> list[Suggestion]:
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
