"""Stage 1 of 3: the OIC member sync flow, run here (`builtin`) or in Oracle Integration (`remote`).

Source: domain.md 1.5 and 2.3 (the flow, in `oic_mapping`); 4.1 (address O14, authentication O12); 3.2 (the Siebel
message S15).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote
from zoneinfo import ZoneInfo

from shared.errors import DataError, StageError, UnavailableError
from shared.instances import Done, Failed, Result, Work
from shared.personal import values_of
from shared.settings import OicSettings, SiebelSettings
from workers.exchange import Exchange
from workers.permits import Permits
from workers.stages.oic_answers import SYSTEM, mapped_of
from workers.stages.oic_mapping import map_member
from workers.tokens import basic, open_tokens
from workers.transport import Door

_REACHED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED})
_MEMBER = {
    "operation": "Operation",
    "row_id": "Id",
    "modification": "Mod Id",
    "occurred_at": "Updated",
    "member_number": "Member Number",
    "program_id": "Program Id",
    "member_type": "Member Type",
    "status": "Status",
    "language": "Language",
}
_CONTACT = {
    "first_name": "Contact First Name",
    "last_name": "Contact Last Name",
    "middle_name": "Contact Middle Name",
    "date_of_birth": "Date of Birth",
    "email_address": "Email Address",
    "postal_code": "Primary Postal Code",
    "city": "Primary City",
    "country_code": "Primary Country Code",
    "gender": "M/F",
    "ct_city_id": "CT City Id",
}


class Oic(Protocol):
    """The stage, wherever the flow runs."""

    group: int

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Map each member to its CrowdTwist user: fact `user`, and `oic_instance_id` where OIC gave one."""

    async def test(self) -> None:
        """Do what OIC's connection test does."""

    async def close(self) -> None:
        """Give the connections back."""


class BuiltinOic:
    """The flow, run here: no system outside is needed."""

    group = 1000

    def __init__(self, settings: OicSettings) -> None:
        self._settings = settings

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Map each member."""
        return [self._mapped(work) for work in works]

    def _mapped(self, work: Work) -> Result:
        try:
            user = map_member(work.event, self._settings)
        except DataError as error:
            return Failed(error)
        return Done("mapped to a CrowdTwist user", {"user": user})

    async def test(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """There is nothing to give back."""


class RemoteOic:
    """The flow, run by Oracle Integration behind its REST trigger."""

    group = 1

    def __init__(self, door: Door, settings: OicSettings, siebel: SiebelSettings) -> None:
        self._door = door
        self._labels = _MEMBER | _CONTACT | siebel.field_names
        self._zone = ZoneInfo(siebel.timezone)
        flow = (settings.flow_code, settings.flow_version, settings.flow_resource)
        self._path = "/ic/api/integration/v1/flows/rest/" + "/".join(quote(part, safe="") for part in flow)

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Let OIC map each member, one after the other."""
        return [await self._run(work) for work in works]

    async def _run(self, work: Work) -> Result:
        exchange = Exchange(self._door, personal=partial(values_of, work.event.get("member")))
        try:
            answer = await exchange.ask("POST", self._path, document=self._message(work))
            mapped = mapped_of(answer, work.member_number)
        except DataError as error:
            if work.operation == "delete":  # nothing of the mapping is needed to make a member inactive
                return exchange.done("cannot be mapped, and need not be", user=_inactive(work))
            return exchange.failed(error)
        except StageError as error:
            return exchange.failed(error)
        facts = {} if mapped.instance_id is None else {"oic_instance_id": mapped.instance_id}
        return exchange.done("mapped by OIC to a CrowdTwist user", user=mapped.user, **facts)

    async def test(self) -> None:
        """Get a token, where tokens are used, and reach the trigger without running the flow.

        (A): an active trigger refuses a GET as such (405, 400); one that is not active is not found (404).
        """
        answer = await Exchange(self._door).ask("GET", self._path)
        if not answer.ok and answer.status not in _REACHED:
            raise UnavailableError(SYSTEM, f"cannot be reached as expected (HTTP {answer.status})", answer.status)

    async def close(self) -> None:
        """Give the connections back."""
        await self._door.close()

    def _message(self, work: Work) -> dict[str, Any]:
        member = work.event["member"]
        values = {**member, "operation": work.operation}
        values["modification"] = work.event.get("modification")
        values["occurred_at"] = _siebel_instant(work.event.get("occurred_at"), self._zone)
        values["date_of_birth"] = _siebel_date(member.get("date_of_birth"))
        row: dict[str, Any] = self._labelled(values, _MEMBER)
        row["ListOfContact"] = {"Contact": [self._labelled(values, _CONTACT)]}
        return {
            "SiebelMessage": {
                "MessageId": str(work.event.get("event_id") or work.instance_id),
                "MessageType": "Integration Object",
                "IntObjectName": "CT LOY Member",
                "IntObjectFormat": "Siebel Hierarchical",
                "ListOfCT LOY Member": {"LOY Member": [row]},
            }
        }

    def _labelled(self, values: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
        return {self._labels[field]: "" if (value := values.get(field)) is None else str(value) for field in fields}


def open_door(settings: OicSettings, calls_in_flight: int, permits: Permits | None = None) -> Door:
    """Open the connection: OAuth2 client credentials where there is a token endpoint, Basic otherwise."""
    timeout_s = settings.timeout_s
    if settings.token_url is None:
        password = settings.password.get_secret_value() if settings.password else ""
        headers = {"Authorization": basic(settings.username, password)}
        return Door(
            SYSTEM,
            settings.base_url,
            timeout_s=timeout_s,
            answer_max_bytes=settings.answer_max_bytes,
            calls_in_flight=calls_in_flight,
            headers=headers,
            permits=permits,
        )
    client = (settings.client_id, settings.client_secret.get_secret_value() if settings.client_secret else "")
    most = settings.answer_max_bytes
    return Door(
        SYSTEM,
        settings.base_url,
        timeout_s=timeout_s,
        answer_max_bytes=most,
        calls_in_flight=calls_in_flight,
        tokens=open_tokens(SYSTEM, settings.token_url, client, settings.scope, timeout_s, most),
        permits=permits,
    )


def _inactive(work: Work) -> dict[str, Any]:
    return {"third_party_id": work.member_number, "is_active": 0}


def _siebel_date(text: str | None) -> str:
    return date.fromisoformat(text).strftime("%m/%d/%Y") if text else ""


def _siebel_instant(text: str | None, zone: ZoneInfo) -> str:
    at = datetime.fromisoformat(text) if text else datetime.now(UTC)
    return at.astimezone(zone).strftime("%m/%d/%Y %H:%M:%S")
