"""The flow: run by Oracle Integration behind its REST trigger, or here as a function, where `OIC__MODE` is builtin.

Of OIC: its message, its answers, its tokens.  Source: domain.md 4.1 (address O14, authentication O12), 3.2 (the Siebel
message S15), 4.3 (O15: OIC's errors are problem-like objects; older integrations prefix their keys with `o:`).
(A): the answer is `{"instanceId", "user"}`; 400 and 422 mean that the member cannot be mapped.

The function, `map_member`, is pure: a member event to a CrowdTwist user object.  Source: Siebel Loyalty Administration
Guide, Field Mappings (domain.md 1.5, L3) and lookup rows (1.1, L4); CrowdTwist User Create and Update (2.3, C1, C2,
C11).  (A): M is 2 and F is 1; a birth date is that day at `birth_hour_utc`; an enrolment without a status is active;
`USA` and `CAN` are the countries with address rules of their own; a field that the member no longer has, and one of the
address that its country does not take, is null, so that an update empties it (the crowdtwist stage sends no null to
create).  `settings.nulls` has it otherwise, field by field.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from http import HTTPStatus
from time import monotonic
from typing import Annotated, Any
from urllib.parse import quote, quote_plus, urlencode
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from shared.errors import DataError, OutcomeUnknownError, StageError, UnauthorisedError, UnavailableError
from shared.fields import NULLABLE, NullPolicy, Part, labels
from shared.published_rules import NAME_SIGNS
from shared.settings import OicSettings, SiebelSettings
from shared.systems.answers import STRICT, Answer, Number, Plain, Text, Word, fitted, verdict
from shared.systems.permits import Permits
from shared.systems.transport import Client, Door, Exchange, Request, basic

SYSTEM = "OIC"
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
_HOUR_S = 3_600
_US_POSTAL = re.compile(r"(\d{5})[- ]?(\d{4})?", re.ASCII)
_CA_POSTAL = re.compile(r"([A-Z]\d[A-Z])[- ]?(\d[A-Z]\d)", re.ASCII)
_CITY_ID_DIGITS = 15
"""Of the longest number that every JSON reader keeps exactly."""
_COUNTRIES = {"USA": "US", "CAN": "CA"}
User = dict[str, Any]


def map_member(event: Mapping[str, Any], settings: OicSettings) -> User:
    """Return the CrowdTwist user of *event*, a member event in canonical JSON.

    Shape: all fields, null where empty, none where `settings.nulls` keeps what is there; for a deletion only
    `third_party_id` and `is_active` 0, whatever else is wrong.

    Raises:
        DataError: names the Siebel field and the form it must have, never its value.
    """
    member = event["member"]
    number = _text(member, "member_number")
    if event["operation"] == "delete":
        return {"third_party_id": number, "is_active": 0}
    empty = {name: policy for name, policy in settings.nulls.items() if not _text(member, name)}
    ours = {name: settings.null_defaults.get(name, "") for name, policy in empty.items() if policy == "default"}
    member = {**member, **ours} if ours else member
    status = _text(member, "status").casefold()
    user = {
        "third_party_id": number,
        "lang_pref": _text(member, "language") or None,
        "is_active": int(status == "active" or (not status and event["operation"] == "enroll")),
        "first_name": _name(member, "first_name", "Contact First Name"),
        "last_name": _name(member, "last_name", "Contact Last Name"),
        "middle_name": _text(member, "middle_name") or None,
        "date_of_birth": _epoch_s(member, settings.birth_hour_utc),
        "email_address": _text(member, "email_address") or settings.default_email(number),
        "gender_id": {"M": settings.gender_male_id, "F": settings.gender_female_id}.get(_text(member, "gender")),
        **_address(member, settings, empty),
    }
    for name, policy in empty.items():
        for sent in () if policy is NullPolicy.DEFAULT else NULLABLE[name]:
            if policy is NullPolicy.CLEAR:
                user[sent] = None
            else:
                user.pop(sent, None)
    return user


def _name(member: Mapping[str, Any], field: str, label: str) -> str:
    name = unicodedata.normalize("NFC", _text(member, field))
    if not name:
        raise DataError(SYSTEM, f"{label} is missing")
    if not (name.isalpha() or all(sign.isalpha() or sign in NAME_SIGNS for sign in name)):
        raise DataError(SYSTEM, f"{label} may hold only letters, digits, spaces and - ' _ @ . ,")
    return name


def _epoch_s(member: Mapping[str, Any], hour_utc: int) -> int | None:
    born = _text(member, "date_of_birth")
    if not born:
        return None
    try:
        day = date.fromisoformat(born).toordinal()
    except ValueError:
        raise DataError(SYSTEM, "Date of Birth is not a date") from None
    return (day - _EPOCH_DAY) * _DAY_S + hour_utc * _HOUR_S


def _address(member: Mapping[str, Any], settings: OicSettings, empty: Mapping[str, NullPolicy]) -> User:
    country = (_text(member, "country_code") or settings.default_country_code).upper()
    country = _COUNTRIES.get(country, country)
    postal_code = _text(member, "postal_code").upper()
    match country:
        case "US":  # "for domestic addresses only postal_code can be provided" (C11)
            found = _US_POSTAL.fullmatch(postal_code or settings.default_postal_code)
            if found is None:
                raise DataError(SYSTEM, "Primary Postal Code is not a US code of five or nine digits")
            return _sent(postal_code="-".join(filter(None, found.groups())))
        case "CA":
            if not postal_code and empty.get("postal_code", NullPolicy.DEFAULT) is not NullPolicy.DEFAULT:
                return _sent(country_code=country)
            if not postal_code:
                what = "Primary Postal Code is missing; a Canadian address needs one of the form LXL XLX"
                raise DataError(SYSTEM, what)
            found = _CA_POSTAL.fullmatch(postal_code)
            if found is None:
                raise DataError(SYSTEM, "Primary Postal Code is not a Canadian code of the form LXL XLX")
            return _sent(postal_code=f"{found[1]} {found[2]}", country_code=country)
        case _:  # no postal code: with one, CrowdTwist takes the address for a domestic one (C11)
            city_id = _text(member, "ct_city_id") or settings.default_city_id
            if not (city_id.isascii() and city_id.isdecimal()):
                raise DataError(SYSTEM, "CT City Id is not a number")
            if len(city_id.lstrip("0")) > _CITY_ID_DIGITS:
                raise DataError(SYSTEM, f"CT City Id has more than {_CITY_ID_DIGITS} digits")
            city = _text(member, "city") or None
            return _sent(country_code=country, city_name=city, city_id=int(city_id.lstrip("0") or "0"))


def _sent(
    *,
    postal_code: str | None = None,
    country_code: str | None = None,
    city_name: str | None = None,
    city_id: int | None = None,
) -> User:
    return {"postal_code": postal_code, "country_code": country_code, "city_name": city_name, "city_id": city_id}


def _text(member: Mapping[str, Any], field: str) -> str:
    value = member.get(field)
    return value.strip() if isinstance(value, str) else ""


_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})
_LONGEST_REASON = 2000
_MOST_BYTES = 64_000
"""Of a mapped user; no event is larger."""
_FIRST_DAY_S, _LAST_DAY_S = -62_135_596_800, 253_402_214_400
"""The first of January of the year 1, and the last of December of 9999."""


class _User(BaseModel):
    """A CrowdTwist user as OIC maps it: the synced fields, and whatever plain ones its flow adds."""

    model_config = ConfigDict(strict=True, extra="allow")
    __pydantic_extra__: dict[str, Plain] = Field(init=False)

    third_party_id: Text
    lang_pref: Text | None = None
    is_active: Annotated[Number, Field(ge=0, le=1)] | bool | None = None
    first_name: Text | None = None
    middle_name: Text | None = None
    last_name: Text | None = None
    date_of_birth: Annotated[int, Field(ge=_FIRST_DAY_S, le=_LAST_DAY_S)] | None = None
    email_address: Text | None = None
    gender_id: Number | None = None
    postal_code: Text | None = None
    country_code: Text | None = None
    city_name: Text | None = None
    city_id: Number | None = None


class _Mapped(BaseModel):
    """The trigger's answer."""

    model_config = STRICT

    user: _User
    instance_id: Word | Number | None = Field(None, alias="instanceId")


@dataclass(frozen=True, slots=True)
class Mapped:
    """What OIC made of a member."""

    user: dict[str, Any]
    instance_id: str | None


def mapped_of(answer: Answer, number: str) -> Mapped:
    """Return what OIC made of the member *number*.

    Raises:
        DataError: OIC says that the member cannot be mapped.
        UnavailableError: it did not answer the question.
    """
    status = answer.status
    if not answer.ok:
        raise _refusal(answer)
    if answer.is_altered:
        raise UnavailableError(SYSTEM, "answered with values that cannot be sent on", status)
    found = fitted(_Mapped, answer.document)
    if found is None or found.user.third_party_id != number:
        raise UnavailableError(SYSTEM, "did not answer with this member's CrowdTwist user object", status)
    user = found.user.model_dump(exclude_unset=True)
    if len(orjson.dumps(user)) > _MOST_BYTES:
        raise UnavailableError(SYSTEM, "answered with a user object that is too large", status)
    return Mapped(user, None if found.instance_id is None else str(found.instance_id))


def _refusal(answer: Answer) -> StageError:
    status = answer.status
    if status not in _REFUSALS:
        return UnavailableError(SYSTEM, f"the integration is not there or not active (HTTP {status})", status)
    # OIC's own says more than the name of its status.
    title = answer.text("title", "o:title")
    says_more = answer.text("detail", "o:detail", "errorCode", "o:errorCode")
    if not title or (not says_more and title.casefold() == HTTPStatus(status).phrase.casefold()):
        return UnavailableError(SYSTEM, f"answered something that is not its own (HTTP {status})", status)
    return DataError(SYSTEM, answer.text("detail", "o:detail", "title", "o:title")[:_LONGEST_REASON], status)


_REACHED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED})
_CONTACT = labels(Part.CONTACT)
_MEMBER = labels(Part.EVENT, Part.MEMBER)


class Oic(Client):
    """A connection to OIC: OAuth2 client credentials where there is a token endpoint, Basic otherwise.

    *siebel* says how Siebel writes field names and instants: the flow is sent what Siebel would send it.
    """

    def __init__(
        self, settings: OicSettings, siebel: SiebelSettings, calls_in_flight: int, permits: Permits | None = None
    ) -> None:
        if settings.token_url is None:
            password = settings.password.get_secret_value() if settings.password else ""
            headers = {"Authorization": basic(settings.username, password)}
            super().__init__(SYSTEM, settings, calls_in_flight, permits, headers=headers)
        else:
            tokens = ClientCredentials(settings)
            super().__init__(SYSTEM, settings, calls_in_flight, permits, tokens=tokens)
        self._labels = {name: known[0] for name, known in labels().items()} | siebel.field_names
        self._zone = ZoneInfo(siebel.timezone)
        flow = (settings.flow_code, settings.flow_version, settings.flow_resource)
        self._path = "/ic/api/integration/v1/flows/rest/" + "/".join(quote(part, safe="") for part in flow)

    async def map(self, exchange: Exchange, event: Mapping[str, Any], message_id: str) -> Mapped:
        """Let the flow map the member of *event*, a member event in canonical JSON.

        Raises:
            StageError: a DataError if the flow says that this member cannot be mapped.
        """
        answer = await exchange.ask("POST", self._path, document=self._message(event, message_id))
        return mapped_of(answer, event["member"]["member_number"])

    async def test(self) -> None:
        """Get a token, where tokens are used, and reach the trigger without running the flow.

        (A): an active trigger refuses a GET as such (405, 400); one that is not active is not found (404).
        """
        answer = await self.exchange().ask("GET", self._path)
        if not answer.ok and answer.status not in _REACHED:
            raise UnavailableError(SYSTEM, f"cannot be reached as expected (HTTP {answer.status})", answer.status)

    def _message(self, event: Mapping[str, Any], message_id: str) -> dict[str, Any]:
        member = event["member"]
        values = {**member, "operation": event["operation"]}
        values["modification"] = event.get("modification")
        said = event.get("occurred_at")
        occurred_at = datetime.fromisoformat(said) if said else datetime.now(UTC)
        values["occurred_at"] = occurred_at.astimezone(self._zone).strftime("%m/%d/%Y %H:%M:%S")
        if born := member.get("date_of_birth"):
            values["date_of_birth"] = date.fromisoformat(born).strftime("%m/%d/%Y")
        row: dict[str, Any] = self._labelled(values, _MEMBER)
        row["ListOfContact"] = {"Contact": [self._labelled(values, _CONTACT)]}
        return {
            "SiebelMessage": {
                "MessageId": message_id,
                "MessageType": "Integration Object",
                "IntObjectName": "CT LOY Member",
                "IntObjectFormat": "Siebel Hierarchical",
                "ListOfCT LOY Member": {"LOY Member": [row]},
            }
        }

    def _labelled(self, values: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
        return {self._labels[field]: "" if (value := values.get(field)) is None else str(value) for field in fields}


_MARGIN_S = 60.0
_MARGIN_SHARE = 0.1
_DEFAULT_LIFE_S = 300.0
_LONGEST_LIFE_S = 86_400.0
_LONGEST_TOKEN = 8192
_SECONDS = re.compile(r"\d{1,10}", re.ASCII)


def _seconds(said: object) -> object:
    """Some endpoints give the number as a text of digits."""
    return int(said) if isinstance(said, str) and _SECONDS.fullmatch(said) else said


class _Granted(BaseModel):
    """What a token endpoint grants: a token that can be sent in a header, and how long it is good."""

    model_config = STRICT

    access_token: Annotated[
        str, StringConstraints(min_length=1, max_length=_LONGEST_TOKEN, pattern=r"\A[\x21-\x7e]+\z")
    ]
    expires_in: Annotated[
        Annotated[float, Field(gt=0, le=2**53, allow_inf_nan=False)] | None, BeforeValidator(_seconds)
    ] = None

    @property
    def life_s(self) -> float:
        """Seconds for which it is used."""
        life_s = min(self.expires_in or _DEFAULT_LIFE_S, _LONGEST_LIFE_S)
        return life_s - min(_MARGIN_S, life_s * _MARGIN_SHARE)


class ClientCredentials:
    """A source of bearer tokens: of the client that the settings name, from their token endpoint.

    Shape: kept until a little before it expires; however many ask at once, one token is fetched.
    Source: RFC 6749, 4.4 and 2.3.1; domain.md 4.1 (O12, O13).
    """

    def __init__(self, settings: OicSettings) -> None:
        secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
        self._door = Door(
            SYSTEM,
            settings.token_url,
            timeout_s=settings.timeout_s,
            calls_in_flight=1,
            answer_max_bytes=settings.answer_max_bytes,
            headers={
                "Authorization": basic(quote_plus(settings.client_id), quote_plus(secret)),
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        scope = {"scope": settings.scope} if settings.scope else {}
        self._body = urlencode({"grant_type": "client_credentials"} | scope).encode()
        self._lock = asyncio.Lock()
        self._token = ""
        self._good_until = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._door.close()

    async def token(self, timeout_s: float, *, refused: str | None = None) -> str:
        """Return a token other than *refused*: the kept one, or a fresh one.

        Raises:
            StageError: the token endpoint refused us (Unauthorised) or could not be asked.
        """
        if self._is_good(refused):
            return self._token
        ends = monotonic() + timeout_s
        async with self._lock:
            if not self._is_good(refused):
                await self._fetch(ends - monotonic())
            return self._token

    def _is_good(self, refused: str | None) -> bool:
        return monotonic() < self._good_until and self._token != refused

    async def _fetch(self, timeout_s: float) -> None:
        self._good_until = 0.0
        try:
            answer = await self._door.send(Request("POST", "", body=self._body), timeout_s)
        except OutcomeUnknownError:
            raise UnavailableError(SYSTEM, "the token endpoint did not answer") from None
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise UnauthorisedError(SYSTEM, "the token endpoint refused our client (HTTP 400)", answer.status)
        if (error := verdict(SYSTEM, answer)) is not None:
            raise error
        granted = fitted(_Granted, answer.document) if answer.ok else None
        if granted is None:
            what = f"the token endpoint gave no token that can be used (HTTP {answer.status})"
            raise UnavailableError(SYSTEM, what, answer.status)
        self._token = granted.access_token
        self._good_until = monotonic() + granted.life_s
