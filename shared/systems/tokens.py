"""OAuth2 client credentials: one token for a whole process, fetched by one of those who need it."""

import asyncio
import re
from base64 import b64encode
from http import HTTPStatus
from time import monotonic
from typing import Annotated
from urllib.parse import quote_plus, urlencode

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from shared.errors import OutcomeUnknownError, UnauthorisedError, UnavailableError
from shared.settings import OicSettings
from shared.systems.answers import STRICT, fitted, verdict
from shared.systems.transport import Door, Request

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

    def __init__(self, system: str, settings: OicSettings) -> None:
        secret = settings.client_secret.get_secret_value() if settings.client_secret else ""
        self._door = Door(
            system,
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
        system = self._door.system
        self._good_until = 0.0
        try:
            answer = await self._door.send(Request("POST", "", body=self._body), timeout_s)
        except OutcomeUnknownError:
            raise UnavailableError(system, "the token endpoint did not answer") from None
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise UnauthorisedError(system, "the token endpoint refused our client (HTTP 400)", answer.status)
        if (error := verdict(system, answer)) is not None:
            raise error
        granted = fitted(_Granted, answer.document) if answer.ok else None
        if granted is None:
            what = f"the token endpoint gave no token that can be used (HTTP {answer.status})"
            raise UnavailableError(system, what, answer.status)
        self._token = granted.access_token
        self._good_until = monotonic() + granted.life_s


def basic(username: str, password: str) -> str:
    """Return the value of a Basic Authorization header."""
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"
