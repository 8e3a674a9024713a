"""The two ways that `produce` has: straight into the ledger, or over HTTP to an api.

Both give a receipt for each event.  Over HTTP, what cannot be read is refused here and never sent; what the api cannot
take just now is sent again: events that were in already come back as duplicates.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
import orjson

from producers.cli.command_errors import TroubleError
from producers.cli.ledger_location import operator
from producers.intake.accept import IntakeRules, Outcome, Receipt, Sender, accept, member_of, refuse_whole
from producers.intake.formats import Position
from producers.intake.siebel_message import nobody
from shared.addresses.web import proxy_for
from shared.errors import InvalidEventError
from shared.events import dump_event
from shared.ledger.engine import engine
from shared.pipeline import Lane
from shared.settings import Settings

Send = Callable[[list[Position], Sender], list[Receipt]]

_TRIES = 6
_WAIT_MAX_S = 30.0
_HTTP_BODY_BYTES = 4 * 1024 * 1024
_ANSWERED = {202, 422}
_LATER = {429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Way:
    """How events get in.

    Shape: *member_of* knows whose a ROW_ID is; *refuse_whole* keeps that a file could not be read.
    """

    send: Send
    member_of: Callable[[str], str | None] = nobody
    refuse_whole: Callable[[InvalidEventError, Sender], None] = lambda _, __: None


def into_ledger(settings: Settings, lane: Lane) -> Way:
    """Take events in here, as the api would."""
    ledger = engine(settings.require_ledger())
    who = operator()
    rules = IntakeRules(lane, settings.program_id, settings.guard.future_s, forced_by=(who.name, who.role))

    def send(items: list[Position], sender: Sender) -> list[Receipt]:
        return accept(ledger, items, rules, sender)

    return Way(send, partial(member_of, ledger), partial(refuse_whole, ledger))


def over_http(client: httpx.Client, lane: Lane) -> Way:
    """Send events to the api that *client* points at."""

    def send(items: list[Position], _: Sender) -> list[Receipt]:
        receipts = [
            Receipt(position, Outcome.REFUSED, field=item.field, reason=item.reason)
            for position, item in items
            if isinstance(item, InvalidEventError)
        ]
        for positions, body in _bodies(items):
            answers = _post(client, lane, body)
            receipts += [
                replace(_receipt(answer), position=position)
                for position, answer in zip(positions, answers, strict=True)
            ]
        return sorted(receipts, key=lambda receipt: receipt.position)

    return Way(send)


def _bodies(items: list[Position]) -> Iterator[tuple[list[int], bytes]]:
    """Give NDJSON bodies that an api takes, with the positions of their events."""
    positions: list[int] = []
    lines: list[bytes] = []
    size = 0
    for position, item in items:
        if isinstance(item, InvalidEventError):
            continue
        positions.append(position)
        lines.append(orjson.dumps(dump_event(item)))
        size += len(lines[-1])
        if size > _HTTP_BODY_BYTES:
            yield positions, b"\n".join(lines)
            positions, lines, size = [], [], 0
    if lines:
        yield positions, b"\n".join(lines)


def _post(client: httpx.Client, lane: Lane, body: bytes) -> list[dict[str, Any]]:
    """Send one body, again while the api cannot take it.

    Raises:
        TroubleError: it does not take it at all.
    """
    wait_s, cause = 0.5, ""
    proxy = proxy_for(str(client.base_url))
    through = f" (through {proxy})" if proxy else ""
    for attempt in range(1, _TRIES + 1):
        try:
            answer = client.post(
                "/v1/member-events",
                params={"lane": lane},
                content=body,
                headers={"Content-Type": "application/x-ndjson"},
            )
        except httpx.TransportError as error:
            cause = (str(error) or type(error).__name__) + through
        else:
            if answer.status_code in _ANSWERED:
                results: list[dict[str, Any]] = answer.json()["results"]
                return results
            cause = _said(answer) + through
            if answer.status_code not in _LATER:
                raise TroubleError(f"{client.base_url} refuses: {cause}", "check --api and --token")
            stated = answer.headers.get("retry-after", "")
            wait_s = max(wait_s, float(stated)) if stated.isdecimal() else wait_s
        if attempt < _TRIES:
            threading.Event().wait(min(wait_s, _WAIT_MAX_S))
            wait_s *= 2
    raise TroubleError(
        f"{client.base_url} does not take events: {cause}", "run the same again: what is in already is a duplicate"
    )


def _said(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase
    return f"{answer.status_code} {detail}"


def _receipt(answer: dict[str, Any]) -> Receipt:
    values: dict[str, Any] = {name: answer.get(name) for name in Receipt.__dataclass_fields__}
    return Receipt(**values | {"outcome": Outcome(answer["outcome"])})
