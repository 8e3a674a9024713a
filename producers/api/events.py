"""`POST /v1/member-events`: a body becomes instances, and the answer says what became of each event.

The whole body is read before the first event is committed, so that one over a limit leaves nothing behind.  A few
events go in with those of other requests, many by the thousand, each thousand one transaction; a request that fails in
the middle may be sent again: what was taken in already is a duplicate then.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Annotated

import anyio
import anyio.to_thread
import orjson
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from structlog.contextvars import get_contextvars

from producers.api import examples as example
from producers.api.description import REQUEST_BODY, answered
from producers.http.auth import Principal, Right, needs
from producers.http.request import ProblemError, described, problem, read_limited, settings_of
from producers.http.signatures import check
from producers.intake.accept import NOT_GOOD, Delivery, IntakeRules, Receipt, Sender, accept, member_of, refuse_whole
from producers.intake.formats import Position, TooManyEventsError, UnsupportedMediaTypeError, read_body
from producers.intake.refused import BodyError
from producers.intake.siebel_message import Terms
from shared import spans
from shared.errors import InvalidEventError, LedgerError
from shared.events import MemberEvent
from shared.ledger.engine import Ledger, engine
from shared.logs import logger
from shared.masking import mask_text
from shared.pipeline import Lane
from shared.settings import Settings

router = APIRouter(tags=["intake"])
log = logger(__name__)

SLICE = 1_000
"""Events in one transaction: enough to be fast, few enough that nobody waits long for a member's lock."""
_SMALL = 10
"""Events of a request that share a transaction with those of others (`producers.intake.together`)."""
_ANSWER_WITHIN_S = 60.0
"""A ledger that hangs is one that cannot commit.  What it commits later nevertheless is a duplicate when sent again."""
_LOGGED_MAX = 5
_ACCEPTED_TYPES = {"Accept-Post": ", ".join(REQUEST_BODY["content"])}


@dataclass(frozen=True, slots=True)
class Results:
    """What became of the events of a body."""

    results: list[Receipt]


@router.post(
    "/v1/member-events",
    status_code=202,
    summary="Take in member events",
    responses={
        **answered("At least one event was good; one result per event, in order", Results, example.RESULTS, 202),
        **described(400, 401, 403, 413, 415, 422, 503),
    },
    openapi_extra={"requestBody": REQUEST_BODY},
    response_class=Response,
)
async def post_member_events(
    request: Request,
    who: Annotated[Principal, Depends(needs(Right.PRODUCE | Right.OPERATE, any_of=True))],
    lane: Annotated[Lane, Query(description="of events that name none")] = Lane.LIVE,
) -> Response:
    """Take in one event, an array, NDJSON or a SiebelMessage; what is answered `accepted` is committed.

    An operator's `force` goes before order and is recorded; a role that only operates may post nothing else.
    """
    trace = spans.request(request.headers.getlist("traceparent"))
    named = spans.named(trace.kept)
    request.state.counts = named
    status, outcomes, is_good = 0, Counter[str](), False
    try:
        receipts = await _taken_in(request, who, lane, trace.kept)
        outcomes = Counter(str(receipt.outcome) for receipt in receipts)
        is_good = not receipts or not outcomes.keys() <= NOT_GOOD
        status = 202 if is_good else 422
    except ProblemError as error:
        status = error.status
        raise
    except LedgerError:
        status = 503
        raise
    finally:
        spans.answered(trace, status, outcomes)
    request.state.counts = {**outcomes, **_refusals(receipts), **named}
    if not is_good:
        return problem(422, "no_good_event", "none of the events could be taken in", results=receipts)
    return Response(orjson.dumps({"results": receipts}), 202, media_type="application/json")


async def _taken_in(request: Request, who: Principal, lane: Lane, traceparent: str) -> list[Receipt]:
    """Take the events of a request in, and return what became of each.

    Raises:
        ProblemError: none of them can be.
        LedgerError: it cannot commit.
    """
    settings = settings_of(request)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise ProblemError(415, "unsupported_encoding", "send the body as it is, not compressed")
    sender = Sender(who.name, f"request {get_contextvars().get('request_id', '')}", traceparent=traceparent)
    ledger = engine(settings.ledger_url)
    try:
        body = await read_limited(request, settings.api.max_body_bytes)
    except ProblemError as error:
        too_large = InvalidEventError("", error.detail)
        await anyio.to_thread.run_sync(_keep, ledger, too_large, sender)
        raise
    if keys := settings.intake.signing_keys.get(who.name):
        check(request.headers, body, keys, now_s=time.time(), within_s=settings.intake.signed_within_s)
    forced_by = (who.name, who.role) if who.may(Right.OPERATE) else None
    rules = IntakeRules.of(settings, lane, forced_by=forced_by)

    def read() -> list[Position]:
        items = _read(settings, request.headers.get("content-type", ""), body, sender)
        if not who.may(Right.PRODUCE) and not all(isinstance(item, MemberEvent) and item.force for _, item in items):
            raise ProblemError(403, "forbidden", f"the role {who.role} may post no events but with force")
        return items

    def take() -> list[Receipt]:
        slices = (items[start : start + SLICE] for start in range(0, len(items), SLICE))
        return [receipt for events in slices for receipt in accept(ledger, events, rules, sender)]

    in_a_thread = partial(anyio.to_thread.run_sync, limiter=request.app.state.intake_threads, abandon_on_cancel=True)
    try:
        with anyio.fail_after(_ANSWER_WITHIN_S):
            items = await in_a_thread(read)
            if len(items) <= _SMALL:
                receipts: list[Receipt] = await request.app.state.together.accept(Delivery(items, sender), rules)
                return receipts
            return await in_a_thread(take)
    except TimeoutError:
        raise LedgerError(f"nothing was committed within {_ANSWER_WITHIN_S:g} s") from None


def _read(settings: Settings, content_type: str, body: bytes, sender: Sender) -> list[Position]:
    """Read a whole body.

    Raises:
        ProblemError: nothing of it can be read, or it is over a limit.
    """
    ledger = engine(settings.ledger_url)
    terms = replace(Terms.of(settings, datetime.now(UTC)), member_of=partial(member_of, ledger))
    try:
        return list(read_body(content_type, body, terms))
    except UnsupportedMediaTypeError as error:
        _keep(ledger, InvalidEventError("", str(error)), sender)
        raise ProblemError(415, error.code, str(error), _ACCEPTED_TYPES) from None
    except BodyError as error:
        _keep(ledger, error, sender)
        if isinstance(error, TooManyEventsError):
            raise ProblemError(413, error.code, f"the body {error.reason}") from None
        what = str(error) if error.field else f"the body {error}"
        raise ProblemError(400, error.code, what, field=error.field or None) from None


def _keep(ledger: Ledger, error: InvalidEventError, sender: Sender) -> None:
    """Keep that a whole body was refused, if the ledger serves; the answer does not hang on it."""
    try:
        refuse_whole(ledger, error, sender)
    except LedgerError as trouble:
        log.warning("that a body was refused is not kept", cause=str(trouble))


def _refusals(receipts: Sequence[Receipt]) -> dict[str, list[str]]:
    """Return the first refusals for the log: position, field and reason, which never say a value."""
    refused = (receipt for receipt in receipts if receipt.outcome in NOT_GOOD)
    said = [mask_text(f"{one.position} {one.field or ''}: {one.reason}") for one in islice(refused, _LOGGED_MAX)]
    return {"refusals": said} if said else {}
