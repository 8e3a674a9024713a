"""The flow, run by Oracle Integration behind its REST trigger.

Source: domain.md 4.1 (address O14, authentication O12), 3.2 (the Siebel message S15).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from shared.errors import UnavailableError
from shared.fields import Part, labels
from shared.settings import OicSettings, SiebelSettings
from shared.systems.exchange import Exchange
from shared.systems.oic.answers import SYSTEM, Mapped, mapped_of
from shared.systems.permits import Permits
from shared.systems.tokens import basic, open_tokens
from shared.systems.transport import Door

_REACHED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED})
_CONTACT = labels(Part.CONTACT)
_MEMBER = labels(Part.EVENT, Part.MEMBER)


class Client:
    """A connection to OIC.  For one process and one event loop; it opens with its first call.

    *siebel* says how Siebel writes field names and instants: the flow is sent what Siebel would send it.
    """

    def __init__(
        self, settings: OicSettings, siebel: SiebelSettings, calls_in_flight: int, permits: Permits | None = None
    ) -> None:
        self._door = _door(settings, calls_in_flight, permits)
        self._labels = {name: known[0] for name, known in labels().items()} | siebel.field_names
        self._zone = ZoneInfo(siebel.timezone)
        flow = (settings.flow_code, settings.flow_version, settings.flow_resource)
        self._path = "/ic/api/integration/v1/flows/rest/" + "/".join(quote(part, safe="") for part in flow)

    def exchange(self, personal: Callable[[], Sequence[str]] = tuple) -> Exchange:
        """Begin the calls of one attempt."""
        return Exchange(self._door, personal=personal)

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

    async def close(self) -> None:
        """Give the connections back."""
        await self._door.close()

    def _message(self, event: Mapping[str, Any], message_id: str) -> dict[str, Any]:
        member = event["member"]
        values = {**member, "operation": event["operation"]}
        values["modification"] = event.get("modification")
        values["occurred_at"] = _siebel_instant(event.get("occurred_at"), self._zone)
        values["date_of_birth"] = _siebel_date(member.get("date_of_birth"))
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


def _door(settings: OicSettings, calls_in_flight: int, permits: Permits | None) -> Door:
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


def _siebel_date(text: str | None) -> str:
    return date.fromisoformat(text).strftime("%m/%d/%Y") if text else ""


def _siebel_instant(text: str | None, zone: ZoneInfo) -> str:
    at = datetime.fromisoformat(text) if text else datetime.now(UTC)
    return at.astimezone(zone).strftime("%m/%d/%Y %H:%M:%S")
