"""Siebel's REST API for loyalty members.

Source: domain.md 3.1 (S1 addresses, S2 and S3 upserts, S4 codes, S5 errors, S7 parameters, S8 authentication, L11
object names). Assumed (A): the texts of errors, the answer to an insert being 200, a batch being applied whole or not
at all, one comparison per searchspec, POST and DELETE not being offered.
"""

import re
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from urllib.parse import quote, unquote

from deploy.sandbox.simulator import Settings, SettingsError, changed
from deploy.sandbox.wire import Request, Response, json_response

Fields = dict[str, object]

STATUS = "CT Sync Status"
ERROR = "CT Sync Error"
MEMBER_NUMBER = "Member Number"
MOD_ID = "Mod Id"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(slots=True)
class Member:
    """One member: its fields by Siebel's labels, and the writes of its sync status, oldest first."""

    row_id: str
    fields: Fields = field(default_factory=dict)
    history: deque[Fields] = field(default_factory=deque)
    writes: int = 0

    @property
    def member_number(self) -> str | None:
        """The member number, once it is known."""
        number = self.fields.get(MEMBER_NUMBER)
        return None if number is None else str(number)

    def write(self, fields: Fields, *, history_limit: int, touch: bool) -> None:
        """Write *fields*; remember a write of the sync status, at most *history_limit* of them.

        ``touch`` counts the member's modification number up: what fires the sync workflow again.
        """
        self.fields.update(fields)
        if touch:
            self.fields[MOD_ID] = str(int(str(self.fields.get(MOD_ID) or 0)) + 1)
        if STATUS not in fields and ERROR not in fields:
            return
        self.writes += 1
        if history_limit:
            shown: Fields = {"at": time.time(), "status": self.fields.get(STATUS), "error": self.fields.get(ERROR)}
            self.history.append(shown)
            while len(self.history) > history_limit:
                self.history.popleft()

    def shown(self) -> Fields:
        """Return all of it as JSON, for the control endpoints and the state file."""
        return {
            "row_id": self.row_id,
            "member_number": self.member_number,
            "status": self.fields.get(STATUS),
            "error": self.fields.get(ERROR),
            "fields": self.fields,
            "writes": self.writes,
            "history": list(self.history),
        }


class MemberStore:
    """Members by ROW_ID and by member number."""

    def __init__(self) -> None:
        self._by_row_id: dict[str, Member] = {}
        self._by_number: dict[str, Member] = {}
        self._serial = count(46_656)

    def __len__(self) -> int:
        return len(self._by_row_id)

    def all(self) -> Iterable[Member]:
        """Return every member, oldest first."""
        return self._by_row_id.values()

    def get(self, row_id: str) -> Member | None:
        """Return the member with this ROW_ID."""
        return self._by_row_id.get(row_id)

    def by_number(self, member_number: str) -> Member | None:
        """Return the member with this member number."""
        return self._by_number.get(member_number)

    def add(self, row_id: str | None, fields: Fields) -> Member:
        """Hold the member with this ROW_ID, a new one when None, and write *fields* to it."""
        row_id = row_id or self._new_row_id()
        member = self._by_row_id.setdefault(row_id, Member(row_id))
        member.fields.update(fields)
        self.renumber(member)
        return member

    def renumber(self, member: Member) -> None:
        """Let the member be found by its member number."""
        number = member.member_number
        if number:
            self._by_number[number] = member

    def free_row_id(self, member_number: str) -> str | None:
        """Return a ROW_ID made of the member number, None where another member has it: tests can foretell it."""
        row_id = f"1-{member_number}"
        return row_id if row_id not in self._by_row_id else None

    def _new_row_id(self) -> str:
        number, digits = next(self._serial), ""
        while number:
            number, digit = divmod(number, len(_DIGITS))
            digits = _DIGITS[digit] + digits
        return f"1-{digits}" if f"1-{digits}" not in self._by_row_id else self._new_row_id()

    def load(self, kept: Iterable[Fields]) -> None:
        """Hold members that were dumped."""
        for shown in kept:
            fields, history = shown["fields"], shown["history"]
            if isinstance(fields, dict) and isinstance(history, list):
                member = self.add(str(shown["row_id"]), fields)
                member.history.extend(history)
                member.writes = int(str(shown["writes"]))


_DATA = "/siebel/v1.0/data/"
_OBJECTS = frozenset({"LOY Member", "LWA LOY Member", "Loyalty Member"})
_SEARCHSPEC = re.compile(r"\(?\s*\[(?P<field>[^\]]+)\]\s*=\s*'(?P<value>(?:[^']|'')*)'\s*\)?")
_BATCH_MAX = 100
_PAGE_MAX = 100
_PAGE_DEFAULT = "10"
_OBJECT_PARTS = 2
_ROW_PARTS = 3
_SAMPLE_PASSWORD, _SAMPLE_TOKEN = "SADMIN", "sandbox-token"


class _RefusedError(Exception):
    """Siebel refuses the call: HTTP status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class SiebelSettings(Settings):
    """What the Siebel simulator can be told.

    ``empty_query``: 204 or 404 when a query finds nobody; the record knows both.
    ``auto_members``: a member that is asked for or written to comes into being; off, a write to an unknown ROW_ID
    inserts (the danger of an upsert) and is counted in ``inserted_by_put``.
    ``history_limit``: remembered writes per member; 0 remembers none.
    ``single_as_object``: one found member is answered as an object, not as an array of one (A).
    ``workflow_loop``: each write counts the member's Mod Id up.
    """

    username: str = "SADMIN"
    password: str = _SAMPLE_PASSWORD
    token: str = _SAMPLE_TOKEN
    empty_query: int = HTTPStatus.NOT_FOUND.value
    auto_members: bool = True
    history_limit: int = 50
    single_as_object: bool = False
    workflow_loop: bool = False

    def __post_init__(self) -> None:
        if self.empty_query not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND):
            raise SettingsError("empty_query: must be 204 or 404")


class Siebel:
    """The REST API over members in memory."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, settings included."""
        self._members = MemberStore()
        self._inserted_by_put = 0
        self._set(SiebelSettings())

    def configure(self, changes: object) -> None:
        """Change settings."""
        self._set(changed(self.settings, changes))

    def _set(self, settings: SiebelSettings) -> None:
        basic = b64encode(f"{settings.username}:{settings.password}".encode()).decode()
        self._authorizations = (f"Basic {basic}", f"Bearer {settings.token}")
        self.settings = settings

    def answer(self, request: Request) -> Response:
        """Apply the request and answer it."""
        try:
            return self._route(request)
        except _RefusedError as refusal:
            return json_response(refusal.status, {"ERROR": refusal.text})

    def _route(self, request: Request) -> Response:
        if request.header(b"authorization") not in self._authorizations:
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "Login failed")
        parts = _parts(request)
        if len(parts) not in (_OBJECT_PARTS, _ROW_PARTS) or parts[0] != parts[1] or parts[0] not in _OBJECTS:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "Invalid business object or component name")
        row_id = parts[2] if len(parts) == _ROW_PARTS else None
        match request.method:
            case "GET":
                if row_id is None:
                    return self._query(request, parts[0])
                member = self._members.get(row_id)
                if member is None:
                    raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no data for the requested resource")
                return json_response(HTTPStatus.OK, {"items": _item(member, parts[0], member.fields)})
            case "PUT":
                return self._write(request, parts[0], row_id)
            case _:
                raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not allowed")

    def _query(self, request: Request, name: str) -> Response:
        found = self._found(request.query.get("searchspec"))
        start, size = _number(request, "StartRowNum", "0"), _number(request, "PageSize", _PAGE_DEFAULT)
        if not 1 <= size <= _PAGE_MAX:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"PageSize must be 1 to {_PAGE_MAX}")
        items = [_item(member, name, member.fields) for member in found[start : start + size]]
        if not items and self.settings.empty_query == HTTPStatus.NO_CONTENT:
            return Response(HTTPStatus.NO_CONTENT)
        if not items:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no data for the requested resource")
        single = self.settings.single_as_object and len(items) == 1 and request.query.get("uniformresponse") != "y"
        return json_response(HTTPStatus.OK, {"items": items[0] if single else items})

    def _found(self, searchspec: str | None) -> list[Member]:
        if searchspec is None:
            return list(self._members.all())
        parsed = _SEARCHSPEC.fullmatch(searchspec.strip())
        if parsed is None:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "Syntax error in searchspec")
        label, value = parsed["field"], parsed["value"].replace("''", "'")
        if label == MEMBER_NUMBER:
            member = self._members.by_number(value)
            if member is None and self.settings.auto_members and value:
                member = self._members.add(self._members.free_row_id(value), {MEMBER_NUMBER: value})
            return [] if member is None else [member]
        if label == "Id":
            member = self._members.get(value)
            return [] if member is None else [member]
        return [member for member in self._members.all() if member.fields.get(label) == value]

    def _write(self, request: Request, name: str, row_id: str | None) -> Response:
        content_type = request.header(b"content-type")
        if not content_type.startswith("application/json"):
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Unsupported content type {content_type}")
        document = request.document()
        if row_id is not None:
            if not isinstance(document, dict):
                raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "The body is not a JSON object")
            return json_response(HTTPStatus.OK, {"items": self._upsert(row_id, document, name)})
        if not isinstance(document, list) or not all(isinstance(row, dict) and row.get("Id") for row in document):
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "The body is not an array of objects with an Id")
        if len(document) > _BATCH_MAX:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"More than {_BATCH_MAX} records in one request")
        rows = [(row["Id"], {label: value for label, value in row.items() if label != "Id"}) for row in document]
        return json_response(HTTPStatus.OK, [self._upsert(row_id, fields, name) for row_id, fields in rows])

    def _upsert(self, row_id: str, fields: Fields, name: str) -> Fields:
        member = self._members.get(row_id)
        if member is None:
            member = self._members.add(row_id, {})
            self._inserted_by_put += not self.settings.auto_members
        member.write(fields, history_limit=self.settings.history_limit, touch=self.settings.workflow_loop)
        if MEMBER_NUMBER in fields:
            self._members.renumber(member)
        return _item(member, name, fields)

    def keys(self, request: Request) -> tuple[str, ...]:
        """Name the members by their member numbers where known, else by ROW_ID."""
        parts = _parts(request)
        if len(parts) == _ROW_PARTS:
            return (self._name(parts[2]),)
        if request.method == "PUT":
            rows = request.document()
            named = [row.get("Id") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            return tuple(dict.fromkeys(self._name(str(row_id)) for row_id in named))
        parsed = _SEARCHSPEC.fullmatch(request.query.get("searchspec", "").strip())
        return (parsed["value"].replace("''", "'"),) if parsed else ()

    def _name(self, row_id: str) -> str:
        member = self._members.get(row_id)
        return member.member_number or row_id if member else row_id

    def aliases(self, keys: tuple[str, ...]) -> frozenset[str]:
        """Return the member numbers and ROW_IDs of these members."""
        members = (self._members.by_number(key) for key in keys)
        return frozenset(keys) | {member.row_id for member in members if member is not None}

    def counts(self) -> dict[str, object]:
        """Say how many members there are, and how many a mere write brought into being."""
        return {"members": len(self._members), "inserted_by_put": self._inserted_by_put}

    def inspect(self, method: str, what: str, request: Request) -> Response | None:
        """Show the members, ``GET members``, or seed them, ``POST members``."""
        match method, what:
            case "GET", "members":
                number, row_id = request.query.get("member_number"), request.query.get("row_id")
                if number is None and row_id is None:
                    return json_response(HTTPStatus.OK, [member.shown() for member in self._members.all()])
                found = self._members.by_number(number) if number is not None else self._members.get(row_id or "")
                if found is None:
                    return json_response(HTTPStatus.NOT_FOUND, {"error": "no such member"})
                return json_response(HTTPStatus.OK, found.shown())
            case "POST", "members":
                document = request.document()
                rows = [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []
                if not rows or not all(row.get("member_number") for row in rows):
                    return json_response(HTTPStatus.BAD_REQUEST, {"error": "a list of {member_number, row_id, ...}"})
                seeded = []
                for row in rows:
                    others = {label: value for label, value in row.items() if label not in ("member_number", "row_id")}
                    member = self._members.add(row.get("row_id"), {MEMBER_NUMBER: row["member_number"], **others})
                    seeded.append({"row_id": member.row_id, "member_number": member.member_number})
                return json_response(HTTPStatus.OK, seeded)
            case _:
                return None

    def dump(self) -> dict[str, object]:
        """Return the members."""
        return {"members": [member.shown() for member in self._members.all()]}

    def load(self, kept: dict[str, object]) -> None:
        """Hold the members that were dumped."""
        members = kept.get("members")
        if isinstance(members, list):
            self._members.load(members)


def _parts(request: Request) -> list[str]:
    if not request.path.startswith(_DATA):
        return []
    return [unquote(part) for part in request.path[len(_DATA) :].split("/") if part]


def _number(request: Request, name: str, default: str) -> int:
    value = request.query.get(name, default)
    if not value.isdecimal():
        raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"{name} is not a number")
    return int(value)


def _item(member: Member, name: str, fields: Fields) -> Fields:
    href = f"{_DATA}{quote(name)}/{quote(name)}/{quote(member.row_id)}"
    return {"Id": member.row_id, **fields, "Link": {"rel": "self", "href": href, "name": name}}
