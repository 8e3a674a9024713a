"""The fault plan of one simulator: what goes wrong, for whom, how often, for how long.

===============  =========================================================================================
refuse           connection refused: the port does not listen, open connections are reset
hang             the request is taken and never answered, nor applied
slow             answered after ``seconds``
status           ``status`` and ``body`` (text, or JSON when not text), not applied
html             ``status`` with a page, not applied
throttle         429 with Retry-After ``retry_after``: seconds, or ``date:+7`` for the HTTP date 7 s ahead
maintenance      503 with the maintenance page (Source: domain.md 2.4, C12)
garbage          200 that is not JSON, not applied (A)
drop             the connection is closed without an answer, not applied
drop_after       applied, then the connection is closed without an answer
wrong_length     applied, and answered with fewer bytes than the head announces; the connection is closed
drip             applied, and answered a byte every ``seconds``
apply_late       the connection is closed at once (``hang`` true: kept open, silent; with a ``status``: a gateway
                 answers it with a page), applied after ``seconds``
siebel_error     Siebel's ``{"ERROR": "text.(code)"}`` with ``status``, 500 by default (Source: domain.md 3.1, S5)
===============  =========================================================================================
"""

import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from email.utils import formatdate
from enum import StrEnum
from http import HTTPStatus
from itertools import count

import orjson

from deploy.sandbox.wire import Request, Response, json_response

MAINTENANCE_PAGE = (
    b"<!DOCTYPE html><html><head><title>Scheduled Maintenance</title></head>"
    b"<body><h1>We will be back soon</h1></body></html>"
)


def dice(seed: int) -> random.Random:
    """Return chance that repeats itself from run to run."""
    return random.Random(seed)  # noqa: S311 - no secret


class Kind(StrEnum):
    """What goes wrong."""

    REFUSE = "refuse"
    HANG = "hang"
    SLOW = "slow"
    STATUS = "status"
    HTML = "html"
    THROTTLE = "throttle"
    MAINTENANCE = "maintenance"
    GARBAGE = "garbage"
    DROP = "drop"
    DROP_AFTER = "drop_after"
    WRONG_LENGTH = "wrong_length"
    DRIP = "drip"
    APPLY_LATE = "apply_late"
    SIEBEL_ERROR = "siebel_error"


class FaultError(ValueError):
    """The description of a fault is wrong."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong until it is used up, over, or deleted.

    Units: ``seconds`` and ``for_s`` in seconds; ``percent`` of the calls that match, 0 to 100.
    """

    kind: Kind
    id: int = 0
    member: tuple[str, ...] = ()
    method: str | None = None
    path: str | None = None
    times: int | None = None
    for_s: float | None = None
    percent: float = 100
    status: int | None = None
    body: object = None
    text: str = "The selected record has been modified by another user since it was retrieved"
    code: str = "SBL-DAT-00523"
    retry_after: str | int | float | None = None
    seconds: float = 1
    hang: bool = False
    hits: int = 0
    ends_at: float | None = None

    def over(self) -> bool:
        """Return whether it has had its time or its count."""
        return self.times == 0 or (self.ends_at is not None and time.monotonic() >= self.ends_at)

    def answer(self) -> Response:
        """Return the answer that this fault gives instead of the system's own."""
        match self.kind:
            case Kind.THROTTLE:
                status = self.status or HTTPStatus.TOO_MANY_REQUESTS
                refusal = {"error": "throttled", "message": "Too many"}
                return json_response(status, refusal)._replace(headers=self._retry_after())
            case Kind.MAINTENANCE:
                status = self.status or HTTPStatus.SERVICE_UNAVAILABLE
                return Response(status, MAINTENANCE_PAGE, "text/html", self._retry_after())
            case Kind.HTML | Kind.APPLY_LATE:
                page = b"<html><body>Not what you think</body></html>"
                return Response(self.status or HTTPStatus.OK, page, "text/html", self._retry_after())
            case Kind.GARBAGE:
                return Response(self.status or HTTPStatus.OK, b'{"id": 12, "first_na\xff')
            case Kind.SIEBEL_ERROR:
                document = {"ERROR": f"{self.text}.({self.code})"}
                return json_response(self.status or HTTPStatus.INTERNAL_SERVER_ERROR, document)
            case _:
                status = self.status or HTTPStatus.INTERNAL_SERVER_ERROR
                body = {"error": "internal_error", "message": "Internal error."} if self.body is None else self.body
                answer = Response(status, orjson.dumps(body))
                if isinstance(self.body, str):
                    answer = Response(status, self.body.encode(), "text/plain")
                return answer._replace(headers=self._retry_after())

    def _retry_after(self) -> tuple[tuple[str, str], ...]:
        if self.retry_after is None:
            return ()
        said = str(self.retry_after)
        if said.startswith("date:"):
            said = formatdate(time.time() + float(said.removeprefix("date:")), usegmt=True)
        return (("Retry-After", said),)


class FaultPlan:
    """The faults of one simulator, oldest first; the first that matches a call is the one that happens."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._ids = count(1)
        self._dice = dice(20110419)

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, description: object) -> Fault:
        """Add the fault that *description*, a JSON object, describes.

        Raises:
            FaultError: it describes none.
        """
        fault = _parse(description)
        fault.id = next(self._ids)
        if fault.for_s is not None:
            fault.ends_at = time.monotonic() + fault.for_s
        self._faults.append(fault)
        return fault

    def remove(self, fault_id: int | None = None) -> int:
        """End the fault with this id, or all of them; return how many ended."""
        keep = [] if fault_id is None else [fault for fault in self._faults if fault.id != fault_id]
        removed = len(self._faults) - len(keep)
        self._faults = keep
        return removed

    def active(self) -> list[dict[str, object]]:
        """Return the faults that are on, as JSON."""
        self._sweep()
        return [{key: value for key, value in asdict(fault).items() if key != "ends_at"} for fault in self._faults]

    def refusing(self) -> bool:
        """Return whether connections are to be refused now."""
        self._sweep()
        return any(fault.kind is Kind.REFUSE for fault in self._faults)

    def pick(self, request: Request, names: frozenset[str]) -> Fault | None:
        """Return the fault that happens to this call of the member known by *names*, and count it."""
        self._sweep()
        for fault in self._faults:
            if (
                fault.kind is not Kind.REFUSE
                and (fault.method is None or fault.method == request.method)
                and (fault.path is None or request.path.startswith(fault.path))
                and (not fault.member or not names.isdisjoint(fault.member))
                and self._dice.random() * 100 < fault.percent
            ):
                fault.hits += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def _sweep(self) -> None:
        if any(fault.over() for fault in self._faults):
            self._faults = [fault for fault in self._faults if not fault.over()]


_SETTABLE = {field.name for field in fields(Fault)} - {"id", "hits", "ends_at"}
_NUMBERS = ("times", "for_s", "percent", "status", "seconds")


def _parse(description: object) -> Fault:
    if not isinstance(description, Mapping) or description.get("kind") not in set(Kind):
        raise FaultError(f"a fault is an object with a kind, one of {', '.join(Kind)}")
    if unknown := set(description) - _SETTABLE:
        raise FaultError(f"unknown: {', '.join(sorted(map(str, unknown)))}")
    for name in _NUMBERS:
        value = description.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            raise FaultError(f"{name} is a number, 0 or more")
    given = {name: value for name, value in description.items() if value is not None}
    member = given.pop("member", ())
    kind = Kind(given.pop("kind"))
    if kind is Kind.REFUSE and (member or given.keys() & {"method", "path", "times", "percent"}):
        raise FaultError("refuse is for everybody: only for_s may go with it")
    try:
        float(str(given.get("retry_after", 0)).removeprefix("date:"))
    except ValueError:
        raise FaultError("retry_after is seconds, or date:+seconds") from None
    names = member if isinstance(member, list | tuple) else (member,)
    return Fault(kind=kind, member=tuple(map(str, names)), **given)
