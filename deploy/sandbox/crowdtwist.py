"""CrowdTwist's loyalty API: users and member search.

Source: domain.md 2.1 (auth), 2.2 (calls, id types), 2.3 (fields), 2.4 (errors). Assumed (A): the answer to a wrong key,
to an unknown path and to a deletion; the list form of a search result; ``is_active`` on create (a setting).
"""

from copy import deepcopy
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from deploy.sandbox.crowdtwist_users import (
    ADDRESS,
    Profile,
    RefusedError,
    User,
    UserStore,
    check_address,
    check_forms,
    check_required,
    missing,
)
from deploy.sandbox.simulator import Settings, changed
from deploy.sandbox.wire import Request, Response, json_response

_USERS = "/v2/users"
_MEMBERS = "/v2/members"
_ID_TYPES = frozenset(
    {"email", "facebook_user_id", "twitter_user_id", "id", "third_party_id", "username"}
    | {"mobile_phone_number", "inst_username"}
)
_BEGINS_WITH = frozenset({"mobile_phone_number", "username", "first_name", "last_name", "email_address"})
_SEARCHED = _BEGINS_WITH | {"third_party_id", "member_id", "postal_code"}
_WITHOUT_PII = {"first_name": "Customer", "last_name": "Customer", "postal_code": "82715"}
_NO_PAGE = RefusedError("page_not_found", "Page not found.", HTTPStatus.NOT_FOUND)
_NO_USER = RefusedError("page_not_found", "User does not exist.", HTTPStatus.NOT_FOUND)
_NOT_JSON = RefusedError("input_error", "The body is not a JSON object.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdTwistSettings(Settings):
    """What the CrowdTwist simulator can be told.

    ``create_takes_is_active``: a creation may say ``is_active`` 0; else it is ignored (A, the record is silent).
    ``inactive_is_forbidden``: an update that does not reactivate an inactive user is 403 "User is inactive." (A).
    ``email_finds_inactive``: a user is found by e-mail address while inactive (A); a search with ``is_active`` 0 finds
    it in any case.
    """

    api_key: str = "sandbox-key"
    create_takes_is_active: bool = True
    inactive_is_forbidden: bool = False
    email_finds_inactive: bool = True


class CrowdTwist:
    """The loyalty API over users in memory."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, settings included."""
        self.settings = CrowdTwistSettings()
        self._users = UserStore()
        self._backup: dict[str, object] = {"users": []}

    def configure(self, changes: object) -> None:
        """Change settings."""
        self.settings = changed(self.settings, changes)

    def answer(self, request: Request) -> Response:
        """Apply the request and answer it."""
        try:
            return self._route(request)
        except RefusedError as refusal:
            return json_response(refusal.status, {"error": refusal.error, "message": refusal.message})

    def _route(self, request: Request) -> Response:
        given = request.query.get("api_key") or request.header(b"x-ct-authorization").removeprefix("CTApiKey ")
        if given != self.settings.api_key:
            raise RefusedError("access_denied", "Invalid API key.", HTTPStatus.UNAUTHORIZED)
        resource, _, raw_id = request.path.removeprefix(_USERS).partition("/")
        if request.path == _MEMBERS and request.method == "POST":
            return self._search(request)
        if resource or not request.path.startswith(_USERS):
            raise _NO_PAGE
        if request.method == "POST" and not raw_id:
            return self._create(request)
        if request.method not in ("PUT", "GET", "DELETE"):
            raise _NO_PAGE
        user = self._named(request, raw_id)
        match request.method:
            case "PUT":
                return self._update(user, _body(request))
            case "GET":
                if request.query.get("pii") != "false":
                    return json_response(HTTPStatus.OK, user.profile)
                if request.query.get("id_type", "id") not in ("id", "third_party_id"):
                    raise RefusedError("param_error", "pii=false needs id_type id or third_party_id")
                return json_response(HTTPStatus.OK, user.without_pii())
            case _:
                self._users.remove(user)
                return json_response(HTTPStatus.OK, {})

    def _named(self, request: Request, raw_id: str) -> User:
        id_type = request.query.get("id_type", "id")
        if not raw_id:
            raise missing("user_id")
        if id_type not in _ID_TYPES:
            raise RefusedError("param_error", "Invalid id_type parameter")
        user = self._find(id_type, raw_id)
        if user is None:
            raise _NO_USER
        return user

    def _find(self, id_type: str, raw_id: str) -> User | None:
        if id_type != "email":
            return self._users.find(id_type, unquote(raw_id))
        user = self._users.find("email_address", unquote(raw_id))
        is_shown = user is None or user.profile["is_active"] or self.settings.email_finds_inactive
        return user if is_shown else None

    def _create(self, request: Request) -> Response:
        body = _body(request)
        if request.query.get("pii") == "false":
            email_address = f"{body.get('third_party_id')}@discard.oracle.com"
            body = {"third_party_id": body.get("third_party_id"), "email_address": email_address, **_WITHOUT_PII}
        if not self.settings.create_takes_is_active:
            body = {field: value for field, value in body.items() if field != "is_active"}
        check_required(body)
        check_forms(body)
        check_address(body, body)
        self._users.check_unique(body)
        return json_response(HTTPStatus.OK, self._users.create(body).profile)

    def _update(self, user: User, body: Profile) -> Response:
        if self.settings.inactive_is_forbidden and not user.profile["is_active"] and body.get("is_active") != 1:
            raise RefusedError("forbidden", "User is inactive.", HTTPStatus.FORBIDDEN)
        changes = user.changes(body)
        check_forms(changes)
        if not changes.keys().isdisjoint(ADDRESS):
            check_address(body, {**user.given, **body})
        self._users.check_unique(changes, user)
        self._users.update(user, changes)
        return json_response(HTTPStatus.OK, user.profile)

    def _search(self, request: Request) -> Response:
        wanted = {field: value for field, value in _body(request).items() if field in _SEARCHED and value}
        if not wanted:
            raise RefusedError("param_error", "Missing search parameters")
        is_active = request.query.get("is_active", "1") in ("1", "true")
        found = [user.profile for user in self._users.all() if user.profile["is_active"] is is_active]
        for field, value in wanted.items():
            name, text = "id" if field == "member_id" else field, str(value)
            if field in _BEGINS_WITH:
                begin = text.casefold()
                found = [one for one in found if str(one[name] or "").casefold().startswith(begin)]
            else:
                found = [one for one in found if str(one[name] or "") == text]
        return json_response(HTTPStatus.OK, found)

    def keys(self, request: Request) -> tuple[str, ...]:
        """Name the member by its third-party id where it is known, else by what the caller calls it."""
        raw_id = request.path.removeprefix(_USERS).removeprefix("/")
        if request.method == "POST":
            document = request.document()
            named = document.get("third_party_id") if isinstance(document, dict) else None
            return (str(named),) if named else ()
        if not raw_id or raw_id == request.path:
            return ()
        id_type = request.query.get("id_type", "id")
        user = None if id_type == "third_party_id" else self._find(id_type, raw_id)
        return (str(user.profile["third_party_id"] or user.id) if user else unquote(raw_id),)

    def aliases(self, keys: tuple[str, ...]) -> frozenset[str]:
        """Return the third-party ids and CrowdTwist's own ids of these members."""
        users = (self._users.find("third_party_id", key) for key in keys)
        return frozenset(keys) | {str(user.id) for user in users if user is not None}

    def counts(self) -> dict[str, object]:
        """Say how many users there are."""
        return {"users": len(self._users)}

    def inspect(self, method: str, what: str, request: Request) -> Response | None:
        """Show the users: ``GET users``, one with ``?third_party_id=``; ``POST users``, ``backup``, ``restore``.

        What is posted as users is planted by no rule.  A restore loses whatever came after the backup, as CrowdTwist's
        own disaster recovery may for up to 24 hours.
        """
        match method, what:
            case "POST", "users":
                planted = request.document()
                rows = [row for row in planted if isinstance(row, dict)] if isinstance(planted, list) else []
                return json_response(HTTPStatus.OK, {"planted": sum(map(self._users.plant, rows))})
            case "POST", "backup":
                self._backup = deepcopy(self.dump())
                return json_response(HTTPStatus.OK, self.counts())
            case "POST", "restore":
                self._users = UserStore()
                self.load(deepcopy(self._backup))
                return json_response(HTTPStatus.OK, self.counts())
            case "GET", "users":
                return self._shown(request)
        return None

    def _shown(self, request: Request) -> Response:
        third_party_id = request.query.get("third_party_id")
        if third_party_id is None:
            return json_response(HTTPStatus.OK, [user.profile for user in self._users.all()])
        user = self._users.find("third_party_id", third_party_id)
        if user is None:
            return json_response(HTTPStatus.NOT_FOUND, {"error": "no such user"})
        return json_response(HTTPStatus.OK, user.profile)

    def dump(self) -> dict[str, object]:
        """Return the users."""
        return {"users": [(user.profile, user.given) for user in self._users.all()]}

    def load(self, kept: dict[str, object]) -> None:
        """Hold the users that were dumped."""
        users = kept.get("users")
        if isinstance(users, list):
            self._users.load(users)


def _body(request: Request) -> Profile:
    document = request.document()
    if not isinstance(document, dict):
        raise _NOT_JSON
    return document
