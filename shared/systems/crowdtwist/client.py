"""CrowdTwist's users: one call each, by `third_party_id` = Member Number.

Source: domain.md 2.1 (key: C1, E3), 2.2 (calls, id_type), 2.4 (errors).
"""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from urllib.parse import quote

from shared.settings import CrowdTwistSettings
from shared.systems.crowdtwist.answers import SYSTEM, User, is_absent, refusal, user_of
from shared.systems.exchange import Exchange, segment
from shared.systems.permits import Permits
from shared.systems.transport import Answer, Door

_USERS = "/v2/users"
_BY_NUMBER = "id_type=third_party_id"
_FORBIDDEN = frozenset({HTTPStatus.FORBIDDEN})


class Client:
    """A connection to CrowdTwist.  For one process and one event loop; it opens with its first call.

    Every call is made on an `Exchange`, which has the deadline and keeps the record, and raises StageError as the table
    of `shared.systems.transport` says.
    """

    def __init__(self, settings: CrowdTwistSettings, calls_in_flight: int, permits: Permits | None = None) -> None:
        self._door = _door(settings, calls_in_flight, permits)

    def exchange(self, personal: Callable[[], Sequence[str]] = tuple) -> Exchange:
        """Begin the calls of one attempt."""
        return Exchange(self._door, personal=personal)

    async def find(self, exchange: Exchange, number: str) -> User | None:
        """Return the user of this member, None if CrowdTwist has none."""
        answer = await exchange.ask("GET", _path(number), _BY_NUMBER, handed_over=_FORBIDDEN)
        if is_absent(answer):
            return None
        if not answer.ok:
            raise refusal(answer)
        return user_of(answer, number)

    async def create(self, exchange: Exchange, number: str, user: User, shown: User) -> tuple[Answer, User | None]:
        """POST *user*; return the answer and, with a good one, the user object in it.  *shown*: for the record."""
        return await self._write(exchange, number, ("POST", _USERS, ""), user, shown)

    async def update(self, exchange: Exchange, number: str, user: User, shown: User) -> tuple[Answer, User | None]:
        """PUT *user*; as `create`."""
        return await self._write(exchange, number, ("PUT", _path(number), _BY_NUMBER), user, shown)

    async def _write(
        self, exchange: Exchange, number: str, to: tuple[str, str, str], user: User, shown: User
    ) -> tuple[Answer, User | None]:
        answer = await exchange.ask(*to, document=user, shown=shown, handed_over=_FORBIDDEN)
        return answer, user_of(answer, number) if answer.ok else None

    async def test(self) -> None:
        """Ask for a user that nobody is: cheap, and only answered to those who have the key."""
        answer = await self.exchange().ask("GET", f"{_USERS}/0", "id_type=id", handed_over=_FORBIDDEN)
        if answer.ok:
            user_of(answer, None)
        elif not is_absent(answer):
            raise refusal(answer)

    async def close(self) -> None:
        """Give the connections back."""
        await self._door.close()


def _path(number: str) -> str:
    return f"{_USERS}/{segment(SYSTEM, 'Member Number', number)}"


def _door(settings: CrowdTwistSettings, calls_in_flight: int, permits: Permits | None) -> Door:
    """Open the connection, with the key in the address or in a header."""
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    in_query = settings.auth == "query"
    return Door(
        SYSTEM,
        settings.base_url,
        timeout_s=settings.timeout_s,
        answer_max_bytes=settings.answer_max_bytes,
        calls_in_flight=calls_in_flight,
        permits=permits,
        headers={} if in_query else {"X-CT-Authorization": f"CTApiKey {key}"},
        secret_query=f"api_key={quote(key, safe='')}" if in_query else "",
    )
