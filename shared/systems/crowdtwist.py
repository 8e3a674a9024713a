"""CrowdTwist's users: one call each, by `third_party_id` = Member Number, and what its answers mean.

An answer counts as CrowdTwist's word about a member only by its form and by whose it is.  Gateways answer too, in JSON
and with the same statuses; what they say is about the way there.

Source: domain.md 2.1 (key: C1, E3), 2.2 (calls, id_type; search C4), 2.3 (real answers, E5), 2.4 (errors: C8, C9, E1,
V5).
(A): an `error` that is CrowdTwist's own is one word in small letters; of a 404, one that says what else was not found
is none; 402, 407, 421 and 451 are never about a member, nor what only a gateway can mean: the method, the size or the
form of the request.  That a page was not found is no word about a member who is to be created.  A search is answered
with an array of user objects.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from shared.errors import DataError, OutcomeUnknownError, StageError, UnauthorisedError, UnavailableError
from shared.fields import FIELDS
from shared.settings import CrowdTwistSettings
from shared.systems.answers import STRICT, Answer, Key, Plain, Text, fitted
from shared.systems.permits import Permits
from shared.systems.transport import Client, Exchange, segment

SYSTEM = "CrowdTwist"
User = Mapping[str, Any]
Sent = Awaitable[tuple[Answer, User | None]]
"""A write on its way, as `CrowdTwist.create` and `update` give it."""
_ZIP_DIGITS = 5
_EMPTY = (None, "")
_IDS = frozenset({"id", "third_party_id"})
_TRUE = (True, "1", "true")
_LONGEST_MESSAGE = 2000
_OWN_CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_ABSENT = "page_not_found"
_INTERNAL = "internal_error"
_OF_THE_ACCOUNT = frozenset(
    {_INTERNAL, "access_denied", "invalid_api_key", "invalid_token", "unauthorized", "method_not_allowed"}
)
"""Codes that say nothing about a member, whatever their status."""
_NEVER_ABOUT_A_MEMBER = frozenset(
    {
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.REQUEST_URI_TOO_LONG,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.EXPECTATION_FAILED,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.UPGRADE_REQUIRED,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS,
    }
)


class _Stored(BaseModel):
    """The part of a user object that we read; each field as a real answer has it, or in another plain type."""

    model_config = STRICT

    id: Key
    third_party_id: Text | None
    is_active: Plain = None
    first_name: Plain = None
    middle_name: Plain = None
    last_name: Plain = None
    date_of_birth: Plain = None
    email_address: Plain = None
    gender_id: Plain = None
    lang_pref: Plain = None
    postal_code: Plain = None
    country: Plain = None
    city: Plain = None


_SYNCED = tuple(name for name in _Stored.model_fields if name not in _IDS)
SYNCED = frozenset(_SYNCED)
"""The synced fields by the names under which CrowdTwist shows them."""


def user_of(answer: Answer, number: str | None) -> User:
    """Return the user object of a 2xx answer; *number* is whose it must be, None: anybody's.

    Raises:
        UnavailableError: it is none, or another member's, or a refusal as well.
    """
    status = answer.status
    if _own_code(answer):
        raise UnavailableError(SYSTEM, f"answered with a refusal as if it were none (HTTP {status})", status)
    stored = fitted(_Stored, answer.document)
    if stored is None:
        raise UnavailableError(SYSTEM, f"did not answer with a user object (HTTP {status})", status)
    if number is not None and stored.third_party_id != number:
        raise UnavailableError(SYSTEM, f"answered with the user object of another member (HTTP {status})", status)
    user: User = answer.document
    return user


def echoed(stored: User) -> dict[str, Any]:
    """Return what CrowdTwist showed of the synced fields, under its names."""
    return {name: stored[name] for name in _SYNCED if name in stored}


def refusal(answer: Answer) -> StageError:
    """Return which error an answer other than 2xx is: CrowdTwist's own words about the member, or no such thing."""
    status = answer.status
    if status == HTTPStatus.FORBIDDEN and not is_inactive(answer):
        return UnauthorisedError(SYSTEM, f"refused our credentials (HTTP {status})", status)
    code = _own_code(answer)
    is_not_found = status == HTTPStatus.NOT_FOUND and code.endswith("not_found")  # the user, or the path
    if not code or code in _OF_THE_ACCOUNT or status in _NEVER_ABOUT_A_MEMBER or is_not_found:
        return UnavailableError(SYSTEM, f"answered something that is not its own (HTTP {status})", status)
    return DataError(SYSTEM, answer.text("message")[:_LONGEST_MESSAGE], status)


def is_absent(answer: Answer) -> bool:
    """Return whether there is no such user."""
    return answer.status == HTTPStatus.NOT_FOUND and _own_code(answer) == _ABSENT


def is_inactive(answer: Answer) -> bool:
    """Return whether the call was refused because the user is inactive: 403 `forbidden`, a word with many meanings."""
    forbidden = answer.status == HTTPStatus.FORBIDDEN and _own_code(answer) == "forbidden"
    return forbidden and answer.text("message").casefold().startswith("user is inactive")


def may_be_out(error: StageError, answer: Answer | None) -> bool:
    """Return whether a write that met *error* may have been applied, or may still be.

    Shape: *answer* is what came, None if nothing did.  Good, unserved and timed out, but not by CrowdTwist itself: the
    request may be under way behind who answered.
    """
    if answer is None:
        return isinstance(error, OutcomeUnknownError)
    if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return _own_code(answer) != _INTERNAL
    is_unserved = answer.status > HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.REQUEST_TIMEOUT
    return is_unserved or answer.ok


def is_as_sent(sent: User, stored: User) -> bool:
    """Return whether *stored* confirms every field of *sent* that CrowdTwist shows.

    A field that it shows in other words (a country's name instead of its code) is not confirmed: a repeated PUT is
    harmless, a missed difference is not.  What it never shows (`city_id`) is not asked for.
    """
    return all(
        same(field, value, stored.get(_SHOWN_AS.get(field, field)))
        for field, value in sent.items()
        if field not in _NEVER_SHOWN and not (value is None and field in _SHOWN_AS)
    )


def sent_as(name: str) -> str | None:
    """Return under which name CrowdTwist is sent the member's field *name* (of `shared.fields`), None: it never is."""
    sent = _SENT_AS.get(name, ())
    return name if name in sent else next(iter(sent), None)


def shown_as(name: str) -> str | None:
    """Return under which name CrowdTwist shows the member's field *name* (of `shared.fields`), None: it never does."""
    field = sent_as(name)
    return None if field is None or field in _NEVER_SHOWN else _SHOWN_AS.get(field, field)


def _own_code(answer: Answer) -> str:
    """Return the `error` of an answer of CrowdTwist's form, `{error, message}`, else an empty text."""
    code = answer.text("error")
    return code if _OWN_CODE.fullmatch(code) and answer.text("message") else ""


def same(field: str, sent: object, stored: object) -> bool:
    """Return whether two values of CrowdTwist's *field* say the same, whatever their types and forms."""
    if sent in _EMPTY or stored in _EMPTY:
        return sent in _EMPTY and stored in _EMPTY
    plain = _PLAIN.get(field, str)
    return plain(sent) == plain(stored)


def _folded(value: object) -> str:
    return str(value).strip().casefold()


def _postal(value: object) -> str:
    code = "".join(filter(str.isalnum, str(value))).upper()
    return code[:_ZIP_DIGITS] if code.isdecimal() else code


_NEVER_SHOWN = frozenset({"city_id"})
_SHOWN_AS = {"country_code": "country", "city_name": "city"}
_SENT_AS = {field.name: field.sent_as for field in FIELDS}
_PLAIN: dict[str, Callable[[object], str]] = {
    "email_address": _folded,
    "country_code": _folded,
    "city_name": _folded,
    "lang_pref": _folded,
    "is_active": lambda value: str(value in _TRUE),
    "postal_code": _postal,
}
"""How a field is compared where the types or forms of request and answer differ; `gender_id` is 2 here, "2" there."""


_USERS = "/v2/users"
_MEMBERS = "/v2/members"
_BY_NUMBER = "id_type=third_party_id"
_FORBIDDEN = frozenset({HTTPStatus.FORBIDDEN})


class CrowdTwist(Client):
    """A connection to CrowdTwist, with the key in the address or in a header."""

    def __init__(self, settings: CrowdTwistSettings, calls_in_flight: int, permits: Permits | None = None) -> None:
        key = settings.api_key.get_secret_value() if settings.api_key else ""
        in_query = settings.auth == "query"
        super().__init__(
            SYSTEM,
            settings,
            calls_in_flight,
            permits,
            headers={} if in_query else {"X-CT-Authorization": f"CTApiKey {key}"},
            secret_query=f"api_key={quote(key, safe='')}" if in_query else "",
        )

    async def find(self, exchange: Exchange, number: str) -> User | None:
        """Return the user of this member, None if CrowdTwist has none."""
        answer = await exchange.ask("GET", _path(number), _BY_NUMBER, handed_over=_FORBIDDEN)
        if is_absent(answer):
            return None
        if not answer.ok:
            raise refusal(answer)
        return user_of(answer, number)

    async def find_by_email(self, exchange: Exchange, address: str) -> User | None:
        """Return the user who has this address, None if CrowdTwist shows nobody; the record names the address.

        Whether it shows inactive users so is not documented: `search_inactive` does.

        Raises:
            StageError: UnavailableError for a user of another address, as for anything that is no answer.
        """
        where = f"{_USERS}/{segment(SYSTEM, 'Email Address', address)}"
        answer = await exchange.ask("GET", where, "id_type=email", handed_over=_FORBIDDEN)
        if is_absent(answer) or is_inactive(answer):
            return None
        if not answer.ok:
            raise refusal(answer)
        user = user_of(answer, None)
        if not _has_address(user, address):
            raise UnavailableError(SYSTEM, "answered with the user object of another address", answer.status)
        return user

    async def search_inactive(self, exchange: Exchange, address: str) -> User | None:
        """Search the inactive users for who has exactly this address, None if CrowdTwist shows nobody.

        A search finds addresses that begin so, and only active users unless told otherwise.
        """
        sought = {"email_address": address}
        answer = await exchange.ask("POST", _MEMBERS, "is_active=0", document=sought, handed_over=_FORBIDDEN)
        if is_absent(answer):
            return None
        if not answer.ok:
            raise refusal(answer)
        if not isinstance(answer.document, list):
            raise UnavailableError(SYSTEM, f"did not answer with users (HTTP {answer.status})", answer.status)
        found = [user_of(replace(answer, document=one), None) for one in answer.document]
        return next((one for one in found if _has_address(one, address)), None)

    def create(self, exchange: Exchange, number: str, user: User, shown: User) -> Sent:
        """POST *user*; return the answer and, with a good one, the user object in it.  *shown*: for the record."""
        return self._write(exchange, number, ("POST", _USERS, ""), user, shown)

    def update(self, exchange: Exchange, number: str, user: User, shown: User) -> Sent:
        """PUT *user*; as `create`."""
        return self._write(exchange, number, ("PUT", _path(number), _BY_NUMBER), user, shown)

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


def _has_address(user: User, address: str) -> bool:
    return same("email_address", address, user.get("email_address"))


def _path(number: str) -> str:
    return f"{_USERS}/{segment(SYSTEM, 'Member Number', number)}"
