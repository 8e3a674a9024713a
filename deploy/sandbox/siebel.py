"""Siebel's REST API for loyalty members.

Source: domain.md 3.1 (S1 addresses, S2 and S3 upserts, S4 codes, S5 errors, S7 parameters, S8 authentication, L11
object names); facts.md 1.3 (the parameters of queries, the limit of 9,900 rows, Total-Record-Count). Assumed (A): the
texts of errors, the answer to an insert being 200, a batch being applied whole or not at all, searchspecs being
comparisons with AND between them, POST and DELETE not being offered, `Updated` and literals of instants being UTC, a
sortspec of one field, which members a sales rep does not see.
"""

from base64 import b64encode
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import islice
from urllib.parse import quote, unquote

from deploy.sandbox.siebel_members import (
    MEMBER_NUMBER,
    Fields,
    Member,
    MemberStore,
    Query,
    QueryError,
    comparisons,
    order,
)
from deploy.sandbox.simulator import Settings, SettingsError, changed
from deploy.sandbox.wire import Request, Response, json_response

_DATA = "/siebel/v1.0/data/"
_OBJECTS = frozenset({"LOY Member", "LWA LOY Member", "Loyalty Member"})
_BATCH_MAX = 100
_PAGE_MAX = 100
_PAGE_DEFAULT = "10"
_SELECTED_MAX = 9_900
_SALES_REP, _ALL_VIEWS = "Sales Rep", frozenset({"All", "Organization"})
_COUNTED = frozenset({"true", "y"})
_NO_DATA = "There is no data for the requested resource"
_AS_IT_BEGINS: Fields = {"Status": "Active"}
"""What a member that nobody described has: every row of Siebel's has a status (A)."""
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
    ``auto_members``: a member that is looked up, no fields named, or written to comes into being; off, a write to an
    unknown ROW_ID inserts (the danger of an upsert) and is counted in ``inserted_by_put``.
    ``history_limit``: remembered writes per member; 0 remembers none.
    ``single_as_object``: one found member is answered as an object, not as an array of one (A).
    ``workflow_loop``: each write counts the member's Mod Id up.
    ``sales_rep_sees``: of a hundred members, those that a list in the view of a sales rep shows: the default view.
    """

    username: str = "SADMIN"
    password: str = _SAMPLE_PASSWORD
    token: str = _SAMPLE_TOKEN
    empty_query: int = HTTPStatus.NOT_FOUND.value
    auto_members: bool = True
    history_limit: int = 50
    single_as_object: bool = False
    workflow_loop: bool = False
    sales_rep_sees: int = 90

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
                    raise _RefusedError(HTTPStatus.NOT_FOUND, _NO_DATA)
                return json_response(HTTPStatus.OK, {"items": _item(member, parts[0], member.fields)})
            case "PUT":
                return self._write(request, parts[0], row_id)
            case _:
                raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} is not allowed")

    def _query(self, request: Request, name: str) -> Response:
        asked = request.query
        size = _number(request, "PageSize", _PAGE_DEFAULT)
        if not 1 <= size <= _PAGE_MAX:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"PageSize must be 1 to {_PAGE_MAX}")
        start = _number(request, "StartRowNum", "0")
        query = self._asked(request)
        if "Fields" not in asked:  # who reads a member whole does not ask for its ROW_ID alone
            self._come_into_being(query.key(MEMBER_NUMBER))
        if asked.get("ExecutionMode") != "ForwardOnly" and self._selects_too_many(query):
            text = "There were more rows than could be returned. Please refine your query.(SBL-DAT-00500)"
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, text)
        found = islice(self._members.select(query), start, start + size)
        items = [_item(member, name, _chosen(member, asked.get("Fields"))) for member in found]
        if not items and self.settings.empty_query == HTTPStatus.NO_CONTENT:
            return Response(HTTPStatus.NO_CONTENT)
        if not items:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"{_NO_DATA}.(SBL-EAI-04378)")
        if asked.get("Childlinks") != "None":
            items = [item | {"Link": [item["Link"], _contacts_of(item)]} for item in items]
        single = self.settings.single_as_object and len(items) == 1 and asked.get("uniformresponse") != "y"
        answer = json_response(HTTPStatus.OK, {"items": items[0] if single else items})
        if asked.get("recordcountneeded", "").lower() in _COUNTED:
            total = sum(1 for _ in self._members.select(query))
            answer = answer._replace(headers=(("Total-Record-Count", str(total)),))
        return answer

    def _asked(self, request: Request) -> Query:
        """Return what the query selects, and in which order."""
        asked = request.query
        try:
            where = comparisons(asked["searchspec"]) if "searchspec" in asked else ()
            order_by, descending = order(asked["sortspec"]) if "sortspec" in asked else (None, False)
        except QueryError as reason:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, str(reason)) from None
        view = asked.get("ViewMode", _SALES_REP)
        if view != _SALES_REP and view not in _ALL_VIEWS:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"Invalid ViewMode {view}")
        query = Query(where, order_by, descending)
        by_key = query.key("Id") is not None or query.key(MEMBER_NUMBER) is not None
        return query if by_key or view != _SALES_REP else replace(query, seen=self.settings.sales_rep_sees)

    def _come_into_being(self, number: str | None) -> None:
        if number and self.settings.auto_members and self._members.by_number(number) is None:
            self._members.add(self._members.free_row_id(number), {MEMBER_NUMBER: number, **_AS_IT_BEGINS})

    def _selects_too_many(self, query: Query) -> bool:
        return next(islice(self._members.select(query), _SELECTED_MAX, None), None) is not None

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
            member = self._members.add(row_id, _AS_IT_BEGINS)
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
        try:
            query = Query(comparisons(request.query.get("searchspec", "")))
        except QueryError:
            return ()
        key = query.key(MEMBER_NUMBER) or query.key("Id")
        return () if key is None else (key,)

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
        """Show the members, ``GET members``, seed them, ``POST members``, or remove them, ``DELETE members``."""
        match method, what:
            case "GET", "members":
                return self._shown(request)
            case "POST", "members":
                return self._seeded(request.document())
            case "DELETE", "members":
                numbers = request.query.get("member_number", "").split(",")
                return json_response(HTTPStatus.OK, {"removed": sum(self._members.remove(one) for one in numbers)})
            case _:
                return None

    def _shown(self, request: Request) -> Response:
        number, row_id = request.query.get("member_number"), request.query.get("row_id")
        if number is None and row_id is None:
            return json_response(HTTPStatus.OK, [member.shown() for member in self._members.all()])
        found = self._members.by_number(number) if number is not None else self._members.get(row_id or "")
        if found is None:
            return json_response(HTTPStatus.NOT_FOUND, {"error": "no such member"})
        return json_response(HTTPStatus.OK, found.shown())

    def _seeded(self, document: object) -> Response:
        rows = [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []
        if not rows or not all(row.get("member_number") for row in rows):
            return json_response(HTTPStatus.BAD_REQUEST, {"error": "a list of {member_number, row_id, ...}"})
        seeded = []
        for row in rows:
            others = {label: value for label, value in row.items() if label not in ("member_number", "row_id")}
            known = None if row.get("row_id") else self._members.by_number(row["member_number"])
            row_id = known.row_id if known else row.get("row_id")
            member = self._members.add(row_id, {MEMBER_NUMBER: row["member_number"], **others})
            seeded.append({"row_id": member.row_id, "member_number": member.member_number})
        return json_response(HTTPStatus.OK, seeded)

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


def _chosen(member: Member, wanted: str | None) -> Fields:
    """Return the fields that were asked for, as far as the member has them; all where none are named."""
    if wanted is None:
        return member.fields
    return {label: member.fields[label] for label in wanted.split(",") if label in member.fields}


def _contacts_of(item: Fields) -> Fields:
    link = item["Link"]
    href = link["href"] if isinstance(link, dict) else ""
    return {"rel": "child", "href": f"{href}/Contact", "name": "Contact"}


def _item(member: Member, name: str, fields: Fields) -> Fields:
    href = f"{_DATA}{quote(name)}/{quote(name)}/{quote(member.row_id)}"
    return {"Id": member.row_id, **fields, "Link": {"rel": "self", "href": href, "name": name}}
