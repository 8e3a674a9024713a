"""Filters of the console's pages that somebody has saved by name: their own, and those that operators share."""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, text

OWN_MAX = 100
"""Filters of one login, shared ones included."""


@dataclass(frozen=True, slots=True)
class NewFilter:
    """A filter to be saved.  Shape: *page* its path, *query* that of its address."""

    owner: str
    shared: bool
    page: str
    name: str
    query: str


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter.  Shape: *is_own*: it is of whoever asked."""

    id: str
    owner: str
    shared: bool
    page: str
    name: str
    query: str
    is_own: bool


def of_page(tx: Connection, page: str, who: str) -> list[SavedFilter]:
    """List the filters of a page that *who* may use, by name."""
    return [SavedFilter(*row) for row in tx.execute(_OF_PAGE, {"page": page, "who": who})]


def save(tx: Connection, new: NewFilter) -> int | None:
    """Save a filter, in place of one of the same name of the same login and page.

    Returns its id, None: the login has as many as it may have.
    """
    tx.execute(_LOCK, {"owner": new.owner})
    saved: int | None = tx.execute(_SAVE, asdict(new) | {"most": OWN_MAX}).scalar_one_or_none()
    return saved


def remove(tx: Connection, filter_id: int, *, who: str, may_all: bool) -> SavedFilter | None:
    """Remove a filter of *who*, or with *may_all* a shared one of anybody; None: there is none that may be."""
    row = tx.execute(_REMOVE, {"id": filter_id, "who": who, "may_all": may_all}).one_or_none()
    return None if row is None else SavedFilter(*row)


_COLUMNS = "id::text, owner, shared, page, name, query, owner = :who as is_own"
_OF_PAGE = text(f"""
    select {_COLUMNS} from saved_filter where page = :page and (owner = :who or shared)
    order by lower(name), saved_filter.id
""")
_LOCK = text("select pg_advisory_xact_lock(hashtext('membersync filters of ' || cast(:owner as text)))")
_SAVE = text("""
    insert into saved_filter (owner, shared, page, name, query)
    select :owner, :shared, :page, :name, :query
    where (select count(*) from saved_filter f where f.owner = :owner and (f.page, f.name) <> (:page, :name)) < :most
    on conflict (owner, page, name) do update set shared = excluded.shared, query = excluded.query
    returning id
""")
_REMOVE = text(f"""
    delete from saved_filter where id = :id and (owner = :who or (shared and :may_all)) returning {_COLUMNS}
""")
