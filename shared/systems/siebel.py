"""Siebel's loyalty members over its REST API: look up, read, write.

All members are read by key, for a query that selects more than 9,900 fails and one that skips rows misses those that
move.  What its answers say: `siebel_answers`.

Source: domain.md 3.1 (addresses S1, parameters S7, credentials S8 S9); facts.md 1.3 (PageSize, ViewMode, Fields, the
limit of 9,900).
(A): the path of the member object; an instant in a searchspec is of the zone of Siebel's dates.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from shared.connection_settings import ReadParameter
from shared.errors import RowConflictError
from shared.fields import FIELDS
from shared.settings import SiebelSettings
from shared.systems.answers import Answer
from shared.systems.permits import Permits
from shared.systems.siebel_answers import (
    FIRST_ID,
    MEMBER_NUMBER,
    PAGE_ROWS,
    SYSTEM,
    Page,
    Row,
    found,
    is_conflict,
    page_of,
    row_id_of,
    row_of,
)
from shared.systems.transport import Client, Exchange, basic, segment

_CONFLICT_TRIES = 3
_ROWS_LOOKED_AT = 10
_NOT_IN_ROWS = frozenset({"operation", "row_id", "member_number"})
"""Rows of one Member Number that are distinguished by what the event says."""
_READ = frozenset({500})
"""Statuses whose JSON is read all the same: Siebel answers 500 for almost everything."""


class Siebel(Client):
    """A connection to Siebel, with a bearer token where there is one, else Basic.

    Source: domain.md 3.1 (S8, S9).
    """

    def __init__(self, settings: SiebelSettings, calls_in_flight: int, permits: Permits | None = None) -> None:
        if settings.token is not None:
            authorization = f"Bearer {settings.token.get_secret_value()}"
        else:
            authorization = basic(settings.username, settings.password.get_secret_value() if settings.password else "")
        super().__init__(SYSTEM, settings, calls_in_flight, permits, headers={"Authorization": authorization})
        parts = (settings.business_object, settings.business_component)
        self._path = "/siebel/v1.0/data/" + "/".join(quote(part, safe="") for part in parts)
        self._zone = ZoneInfo(settings.timezone)
        self._overlap = timedelta(seconds=settings.read_overlap_s)
        known = (
            settings.field_names.get(field.name, field.labels[0]) for field in FIELDS if field.name not in _NOT_IN_ROWS
        )
        read: dict[ReadParameter, str] = {
            "sortspec": "Id:asc",
            "ViewMode": "All",  # left out it is Sales Rep, and the rows of others are silently missing
            "Fields": ",".join(("Id", MEMBER_NUMBER, *known, settings.status_field, settings.error_field)),
            "Childlinks": "None",
            "ExecutionMode": "ForwardOnly",
            "recordcountneeded": "true",
        }
        self._read = {name: value for name, value in read.items() if name not in settings.read_without}

    def _query(self, searchspec: str, rows: int, *parameters: ReadParameter) -> str:
        """Return a query for *rows* rows with those of *parameters* that this Siebel takes."""
        stated = [(name, self._read[name]) for name in parameters if name in self._read]
        asked = [("searchspec", searchspec), ("PageSize", str(rows)), *stated]
        return "&".join(f"{name}={quote(value, safe=',:')}" for name, value in asked)

    async def look_up(self, exchange: Exchange, number: str, claimed_row_id: str | None) -> str:
        """Return the ROW_ID of the member's own row; of several, the one that is claimed.

        Raises:
            DataError: Siebel has no such member, or several.
        """
        query = self._query(f"([{MEMBER_NUMBER}]={_literal(number)})", _ROWS_LOOKED_AT, "ViewMode")
        answer = await exchange.ask("GET", self._path, query, handed_over=_READ)
        return row_id_of(answer, number, claimed_row_id)

    async def read(self, exchange: Exchange, number: str, claimed_row_id: str | None = None) -> Row | None:
        """Return the member's own row; of several, the one that is claimed; None: Siebel has no such member.

        Raises:
            DataError: it has several.
        """
        query = self._query(f"([{MEMBER_NUMBER}]={_literal(number)})", _ROWS_LOOKED_AT, *_OF_A_ROW)
        answer = await exchange.ask("GET", self._path, query, handed_over=_READ)
        return row_of(answer, number, claimed_row_id)

    async def page(self, exchange: Exchange, after: str = FIRST_ID, since: datetime | None = None) -> Page:
        """Return the next page of members, those after the ROW_ID *after*; *since*: of those changed since then.

        More than were changed since come: the window begins `read_overlap_s` earlier.
        """
        spec = f"[Id] > {_literal(after)}"
        if since is not None:
            spec += f" AND [Updated] > {_literal(self._wall_clock(since - self._overlap))}"
        counted: tuple[ReadParameter, ...] = ("recordcountneeded",) if after == FIRST_ID else ()
        query = self._query(f"({spec})", PAGE_ROWS, "sortspec", *_OF_A_ROW, *counted)
        return page_of(await exchange.ask("GET", self._path, query, handed_over=_READ), after)

    def _wall_clock(self, at: datetime) -> str:
        """Return *at* as a Siebel date, the earlier hour where the clock shows it twice."""
        shown = at.astimezone(self._zone)
        first, second = (shown.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1))
        return f"{shown - max(first - second, timedelta()):%m/%d/%Y %H:%M:%S}"

    async def write(self, exchange: Exchange, row_id: str, fields: dict[str, str], shown: object) -> Answer:
        """PUT *fields* on one row; *shown*: for the record.

        Raises:
            RowConflictError: somebody else kept changing the row.
        """
        path = f"{self._path}/{segment(SYSTEM, 'ROW_ID', row_id)}"
        for _ in range(_CONFLICT_TRIES):
            answer = await exchange.ask("PUT", path, document=fields, shown=shown, handed_over=_READ)
            if not is_conflict(answer):
                return answer
            await exchange.ask("GET", path, handed_over=_READ)  # the re-read that Siebel asks for (S17)
        raise RowConflictError(SYSTEM, "somebody else kept changing the member")

    async def write_many(self, exchange: Exchange, rows: Sequence[dict[str, str]]) -> Answer:
        """PUT up to `rows_per_request` rows, each with its `Id`."""
        return await exchange.ask("PUT", self._path, document=rows, shown="", handed_over=_READ)

    async def test(self) -> None:
        """Ask for a member that nobody is: a query that selects all of them fails where they are many."""
        query = self._query(f"([Id]={_literal(FIRST_ID)})", 1, "ViewMode")
        found(await self.exchange().ask("GET", self._path, query, handed_over=_READ))


_OF_A_ROW: tuple[ReadParameter, ...] = ("ViewMode", "Fields", "Childlinks", "ExecutionMode")


def _literal(value: str) -> str:
    """Return *value* as a text in a searchspec."""
    return "'" + value.replace("'", "''") + "'"
