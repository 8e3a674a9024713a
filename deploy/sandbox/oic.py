"""Oracle Integration: the token endpoint, the REST trigger of the member sync flow, two calls of the developer API.

Source: domain.md 4.1 (addresses O7, O8, O14; authentication O12, O13; instance ids O17), 4.3 (the form of errors, O15).
Assumed (A): the trigger's answer, ``{"instanceId", "user"}``, and its 404 while the integration is not active; every
flow code, version and resource is the member sync flow; ``activationStatus`` names its field ``status``.
"""

import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qsl

from deploy.sandbox.oic_flow import Lookup, UnmappableError, find_member, map_member
from deploy.sandbox.settings import Settings, changed
from deploy.sandbox.wire import Request, Response, json_response

_TOKEN = "/oauth2/v1/token"  # noqa: S105 - a path
_FLOWS = "/ic/api/integration/v1/flows/rest/"
_CONNECTIONS = "/ic/api/integration/v1/connections/"
_INTEGRATIONS = "/ic/api/integration/v1/integrations/"
_PROBLEM = "application/problem+json"
_FLOW_PARTS = 3
_REMEMBERED_TOKENS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OicSettings(Settings):
    """What the OIC simulator can be told.

    ``expires_in_s``: how long a token lives. ``developer_api_basic``: the developer API takes Basic too; documented is
    OAuth only (O12). ``default_...``: the lookup rows, with Oracle's sample values (domain.md 1.1, L4).
    """

    active: bool = True
    username: str = "oic"
    password: str = "oic-password"  # noqa: S105 - opens nothing
    client_id: str = "membersync"
    client_secret: str = "secret"  # noqa: S105 - opens nothing
    expires_in_s: int = 3600
    developer_api_basic: bool = False
    default_country_code: str = "IN"
    default_postal_code: str = "99790"
    default_city_id: int = 1157219
    default_email_domain: str = "example.org"


class Oic:
    """The integration instance; it keeps its tokens and a count of its runs."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, settings and tokens included."""
        self._tokens: dict[str, float] = {}
        self._instances = 0
        self._set(OicSettings())

    def configure(self, changes: object) -> None:
        """Change settings."""
        self._set(changed(self.settings, changes))

    def _set(self, settings: OicSettings) -> None:
        self._basic = _basic(settings.username, settings.password)
        self._client = _basic(settings.client_id, settings.client_secret)
        self._lookup = Lookup(
            country_code=settings.default_country_code,
            postal_code=settings.default_postal_code,
            city_id=settings.default_city_id,
            email_domain=settings.default_email_domain,
        )
        self.settings = settings

    def answer(self, request: Request) -> Response:
        """Apply the request and answer it."""
        path, method = request.path, request.method
        if path == _TOKEN and method == "POST":
            return self._issue(request)
        if path.startswith(_FLOWS):
            return self._trigger(request)
        if path.startswith(_CONNECTIONS) and path.endswith("/test") and method == "POST":
            return self._developer(request, {"status": "SUCCESS"})
        if path.startswith(_INTEGRATIONS) and path.endswith("/activationStatus") and method == "GET":
            return self._developer(request, {"status": "ACTIVATED" if self.settings.active else "CONFIGURED"})
        return _problem(HTTPStatus.NOT_FOUND, "There is nothing at this address")

    def _issue(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode("latin-1")))
        in_body = form.get("client_id") == self.settings.client_id
        in_body = in_body and form.get("client_secret") == self.settings.client_secret
        if request.header(b"authorization") != self._client and not in_body:
            refusal = {"error": "invalid_client", "error_description": "Client authentication failed."}
            return json_response(HTTPStatus.UNAUTHORIZED, refusal)
        if form.get("grant_type") != "client_credentials":
            return json_response(HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"})
        token = secrets.token_urlsafe(32)
        if len(self._tokens) >= _REMEMBERED_TOKENS:
            self._tokens.pop(next(iter(self._tokens)))
        self._tokens[token] = time.monotonic() + self.settings.expires_in_s
        granted = {"access_token": token, "token_type": "Bearer", "expires_in": self.settings.expires_in_s}
        return json_response(HTTPStatus.OK, granted)

    def _bears_token(self, request: Request) -> bool:
        scheme, _, token = request.header(b"authorization").partition(" ")
        return scheme == "Bearer" and self._tokens.get(token, 0) > time.monotonic()

    def _trigger(self, request: Request) -> Response:
        if request.header(b"authorization") != self._basic and not self._bears_token(request):
            return _problem(HTTPStatus.UNAUTHORIZED, "The credentials are not valid")
        parts = request.path[len(_FLOWS) :].split("/")
        if len(parts) != _FLOW_PARTS or not all(parts) or not self.settings.active:
            return _problem(HTTPStatus.NOT_FOUND, "The integration is not active or does not exist")
        if request.method != "POST":
            return _problem(HTTPStatus.METHOD_NOT_ALLOWED, "The trigger takes POST")  # (A)
        try:
            user = map_member(find_member(request.document()), self._lookup)
        except UnmappableError as reason:
            return _problem(HTTPStatus.BAD_REQUEST, str(reason))
        self._instances += 1
        return json_response(HTTPStatus.OK, {"instanceId": secrets.token_urlsafe(16), "user": user})

    def _developer(self, request: Request, document: Mapping[str, str]) -> Response:
        basic = self.settings.developer_api_basic and request.header(b"authorization") == self._basic
        if not basic and not self._bears_token(request):
            return _problem(HTTPStatus.UNAUTHORIZED, "The credentials are not valid")
        return json_response(HTTPStatus.OK, document)

    def keys(self, request: Request) -> tuple[str, ...]:
        """Name the member by its member number; calls that are not a run of the flow are about nobody."""
        if not request.path.startswith(_FLOWS):
            return ()
        try:
            number = find_member(request.document()).get("Member Number")
        except UnmappableError:
            return ()
        return (str(number),) if number else ()

    def aliases(self, keys: tuple[str, ...]) -> frozenset[str]:
        """Return the keys: OIC knows members by nothing else."""
        return frozenset(keys)

    def counts(self) -> dict[str, object]:
        """Say how many runs of the flow there were and how many tokens are out."""
        return {"instances": self._instances, "tokens": len(self._tokens), "active": self.settings.active}

    def inspect(self, method: str, what: str, request: Request) -> Response | None:
        """Revoke all tokens: ``POST revoke-tokens``."""
        del request
        if (method, what) != ("POST", "revoke-tokens"):
            return None
        revoked = len(self._tokens)
        self._tokens.clear()
        return json_response(HTTPStatus.OK, {"revoked": revoked})

    def dump(self) -> dict[str, object]:
        """Return nothing: tokens do not outlive a restart."""
        return {}

    def load(self, kept: dict[str, object]) -> None:
        """Hold nothing."""


def _basic(name: str, secret: str) -> str:
    return f"Basic {b64encode(f'{name}:{secret}'.encode()).decode()}"


def _problem(status: HTTPStatus, detail: str) -> Response:
    document = {
        "type": f"https://www.rfc-editor.org/rfc/rfc9110#status.{status.value}",
        "title": status.phrase,
        "detail": detail,
        "errorCode": str(status.value),
        "errorDetails": [{"type": "about:blank", "title": detail, "errorCode": str(status.value)}],
    }
    return json_response(status, document, _PROBLEM)
