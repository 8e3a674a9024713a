"""Oracle Integration: the token endpoint, the REST trigger of the member sync flow, two calls of the developer API.

Source: domain.md 4.1 (addresses O7, O8, O14; authentication O12, O13; instance ids O17), 4.3 (the form of errors, O15).
Assumed (A): the trigger's answer, ``{"instanceId", "user"}``, and its 404 while the integration is not active; every
flow code, version and resource is the member sync flow; ``activationStatus`` names its field ``status``.

Source of the flow's mapping, a Siebel member to a CrowdTwist user: domain.md 1.5 (the twelve fields, L3), 1.1 (the
lookup, L4), 2.3 (address rules, C1). Assumed (A): a US member is sent with country_code US and no city; others get the
default city id when they have no city; the date of birth is midnight UTC; M is 2 and F is 1; empty fields are left out
(the REST adapter drops nulls, O15); a deletion is ``is_active`` 0; first name, last name and member number must be
there.
"""

import re
import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import parse_qsl

from deploy.sandbox.simulator import Settings, changed
from deploy.sandbox.wire import Request, Response, json_response

_LISTS = (("ListOfCT LOY Member", "LOY Member"), ("ListOfCT Loyalty Member", "Loyalty Member"))
_GENDERS = {"M": 2, "F": 1}
_DATE_FORMS = ("%m/%d/%Y", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d")
_US_POSTAL = re.compile(r"[0-9]{5}(-?[0-9]{4})?")
_CA_POSTAL = re.compile(r"[A-Z][0-9][A-Z] [0-9][A-Z][0-9]")

Row = Mapping[str, object]
CtUser = dict[str, object]


class UnmappableError(ValueError):
    """The member cannot become a CrowdTwist user; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The rows of ORCL-BRT-SIEBEL_LOY_CROWDTWIST_CONFIG_SETTINGS that the mapping uses."""

    country_code: str
    postal_code: str
    city_id: int
    email_domain: str


def find_member(document: object) -> Row:
    """Return the one LOY Member of a SiebelMessage."""
    message = document.get("SiebelMessage") if isinstance(document, dict) else None
    if isinstance(message, dict):
        for outer, inner in _LISTS:
            holder = message.get(outer)
            if isinstance(holder, dict):
                return _only(holder.get(inner) or holder.get("LOY Member"))
    raise UnmappableError("The request is not a SiebelMessage with a CT LOY Member")


def map_member(member: Row, lookup: Lookup) -> CtUser:
    """Return the CrowdTwist user of *member*."""
    holder = member.get("ListOfContact")
    contact = _only(holder.get("Contact")) if isinstance(holder, dict) else {}
    number = _required(member, "Member Number")
    is_active = _text(member, "Status") == "Active" and _text(member, "Operation") != "delete"
    user: CtUser = {
        "third_party_id": number,
        "lang_pref": _text(member, "Language"),
        "is_active": int(is_active),
        "first_name": _required(contact, "Contact First Name"),
        "last_name": _required(contact, "Contact Last Name"),
        "middle_name": _text(contact, "Contact Middle Name"),
        "date_of_birth": _epoch(_text(contact, "Date of Birth")),
        "email_address": _text(contact, "Email Address") or f"{number}@{lookup.email_domain.removeprefix('@')}",
        "gender_id": _GENDERS.get(_text(contact, "M/F")),
        **_address(contact, lookup),
    }
    return {field: value for field, value in user.items() if value not in (None, "")}


def _address(contact: Row, lookup: Lookup) -> CtUser:
    country_code = _text(contact, "Primary Country Code") or lookup.country_code
    postal_code, city = _text(contact, "Primary Postal Code"), _text(contact, "Primary City")
    match country_code:
        case "US":
            postal_code = postal_code or lookup.postal_code
            _check(postal_code, _US_POSTAL)
            return {"country_code": country_code, "postal_code": postal_code}
        case "CA":
            _check(postal_code, _CA_POSTAL)
            return {"country_code": country_code, "postal_code": postal_code}
        case _ if city:
            return {"country_code": country_code, "postal_code": postal_code, "city_name": city}
        case _:
            return {"country_code": country_code, "postal_code": postal_code, "city_id": lookup.city_id}


def _check(postal_code: str, form: re.Pattern[str]) -> None:
    if form.fullmatch(postal_code) is None:
        raise UnmappableError("Primary Postal Code is missing or does not have the form of its country")


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if text.lstrip("-").isdecimal():
        return int(text)
    for form in _DATE_FORMS:
        try:
            return int(datetime.strptime(text, form).replace(hour=0, minute=0, second=0, tzinfo=UTC).timestamp())
        except ValueError:
            continue
    raise UnmappableError("Date of Birth is not a date")


def _required(row: Row, label: str) -> str:
    value = _text(row, label)
    if not value:
        raise UnmappableError(f"{label} is missing")
    return value


def _text(row: Row, label: str) -> str:
    value = row.get(label)
    return "" if value is None else str(value).strip()


def _only(rows: object) -> Row:
    if isinstance(rows, list) and len(rows) == 1:
        rows = rows[0]
    if not isinstance(rows, dict):
        raise UnmappableError("There must be exactly one member with one contact")
    return rows


_OAUTH = "/oauth2/v1/token"
_FLOWS = "/ic/api/integration/v1/flows/rest/"
_CONNECTIONS = "/ic/api/integration/v1/connections/"
_INTEGRATIONS = "/ic/api/integration/v1/integrations/"
_PROBLEM = "application/problem+json"
_FLOW_PARTS = 3
_SAMPLE_PASSWORD, _SAMPLE_SECRET = "oic-password", "secret"
_REMEMBERED_TOKENS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OicSettings(Settings):
    """What the OIC simulator can be told.

    ``expires_in_s``: how long a token lives. ``developer_api_basic``: the developer API takes Basic too; documented is
    OAuth only (O12). ``default_...``: the lookup rows, with Oracle's sample values (domain.md 1.1, L4).
    """

    active: bool = True
    username: str = "oic"
    password: str = _SAMPLE_PASSWORD
    client_id: str = "membersync"
    client_secret: str = _SAMPLE_SECRET
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
        if path == _OAUTH and method == "POST":
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
