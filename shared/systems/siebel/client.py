"""Siebel's loyalty members over its REST API: look up, write one, write many.

Source: domain.md 3.1 (addresses S1, one S2, many S3, parameters S7, credentials S8 S9, update conflict S17).
(A): the path of the member object.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from shared.errors import RowConflictError
from shared.settings import SiebelSettings
from shared.systems.exchange import Exchange, segment
from shared.systems.permits import Permits
from shared.systems.siebel.answers import MEMBER_NUMBER, SYSTEM, found, is_conflict, row_id_of
from shared.systems.tokens import basic
from shared.systems.transport import Answer, Door

AT_ONCE = 100
"""Rows of one request."""
_CONFLICT_TRIES = 3
_ROWS_LOOKED_AT = 10
"""Rows of one Member Number that are told apart by what the event says."""
_READ = frozenset({500})
"""Statuses whose JSON is read all the same: Siebel answers 500 for almost everything."""


class Client:
    """A connection to Siebel.  For one process and one event loop; it opens with its first call.

    Every call is made on an `Exchange` and raises StageError as the table of `shared.systems.transport` says.
    """

    def __init__(self, settings: SiebelSettings, calls_in_flight: int, permits: Permits | None = None) -> None:
        self._door = _door(settings, calls_in_flight, permits)
        parts = (settings.business_object, settings.business_component)
        self._path = "/siebel/v1.0/data/" + "/".join(quote(part, safe="") for part in parts)

    def exchange(self, began: float | None = None, personal: Callable[[], Sequence[str]] = tuple) -> Exchange:
        """Begin the calls of one attempt; *began* as in `Exchange`."""
        return Exchange(self._door, began, personal)

    async def look_up(self, exchange: Exchange, number: str, claimed_row_id: str | None) -> str:
        """Return the ROW_ID of the member's own row; of several, the one that is claimed.

        Raises:
            DataError: Siebel has no such member, or several.
        """
        quoted = number.replace("'", "''")
        query = "searchspec=" + quote(f"([{MEMBER_NUMBER}]='{quoted}')", safe="") + f"&PageSize={_ROWS_LOOKED_AT}"
        answer = await exchange.ask("GET", self._path, query, handed_over=_READ)
        return row_id_of(answer, number, claimed_row_id)

    async def write(self, exchange: Exchange, row_id: str, fields: dict[str, str], shown: Any) -> Answer:  # noqa: ANN401 - JSON
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
        """PUT up to `AT_ONCE` rows, each with its `Id`."""
        return await exchange.ask("PUT", self._path, document=rows, shown="", handed_over=_READ)

    async def test(self) -> None:
        """Ask for one member."""
        found(await self.exchange().ask("GET", self._path, "PageSize=1", handed_over=_READ))

    async def close(self) -> None:
        """Give the connections back."""
        await self._door.close()


def _door(settings: SiebelSettings, calls_in_flight: int, permits: Permits | None) -> Door:
    """Open the connection, with a bearer token where there is one, else Basic.  Source: domain.md 3.1 (S8, S9)."""
    if settings.token is not None:
        authorization = f"Bearer {settings.token.get_secret_value()}"
    else:
        authorization = basic(settings.username, settings.password.get_secret_value() if settings.password else "")
    return Door(
        SYSTEM,
        settings.base_url,
        timeout_s=settings.timeout_s,
        answer_max_bytes=settings.answer_max_bytes,
        calls_in_flight=calls_in_flight,
        permits=permits,
        headers={"Authorization": authorization},
    )
