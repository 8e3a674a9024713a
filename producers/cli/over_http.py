"""Events over HTTP to an api: what it cannot take just now is sent again, and what answers is not taken at its word.

Whatever listens at an address may answer: a gateway, a login page, another program.  Only what has a result for each
event that was sent says that they are in.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from producers.cli.command import TroubleError
from producers.intake.accept import Outcome, Receipt
from producers.intake.formats import Position
from shared.addresses import proxy_for, trusted
from shared.errors import InvalidEventError
from shared.events import dump_event
from shared.pipeline import Lane

PATH = "/v1/member-events"
AGAIN = "run the same again: what is in already is a duplicate"
_TIMEOUT_S = 60.0
_TRIES = 6
_WAIT_MAX_S = 30.0
_BODY_BYTES = 4 * 1024 * 1024
_ANSWERED = {202, 422}
_LATER = {429, 502, 503, 504}
_REFUSED_LEAST = 400
_DETAIL_MAX = 300
_TEXTS = ("event_id", "instance_id", "member_number", "field", "reason")


def api_client(api_url: str, token: str | None) -> httpx.Client:
    """Return a client of the api at *api_url*, through the proxy that is set for it.

    Raises:
        TroubleError: there can be none.
    """
    if not all("!" <= letter <= "~" for letter in token or ""):
        raise TroubleError("--token is none: a token has ASCII letters only, and no blank or line end")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    proxy = proxy_for(api_url)
    way: dict[str, Any] = {"proxy": proxy.url if proxy else None, "trust_env": False, "verify": trusted()}
    try:
        client = httpx.Client(base_url=api_url, headers=headers, timeout=_TIMEOUT_S, **way)
    except httpx.InvalidURL:
        raise TroubleError(f"--api {api_url} is not a URL", "like http://127.0.0.1:8000") from None
    except ImportError:
        raise TroubleError(f"{proxy} is of a kind that is not known", "an http:// one, or NO_PROXY") from None
    if client.base_url.scheme not in {"http", "https"}:
        raise TroubleError(f"--api {api_url} is not a URL", "like http://127.0.0.1:8000")
    return client


def send(client: httpx.Client, lane: Lane, items: Sequence[Position]) -> list[Receipt]:
    """Send events, in as many bodies as it takes, and return the receipt of each, in order.

    What could not be read is refused here.

    Raises:
        TroubleError: not all could be sent; some may be in.
    """
    receipts = [
        Receipt(position, Outcome.REFUSED, field=item.field, reason=item.reason)
        for position, item in items
        if isinstance(item, InvalidEventError)
    ]
    for positions, body in _bodies(items):
        for position, values in zip(positions, _post(client, lane, body, len(positions)), strict=True):
            receipts.append(Receipt(**values | {"outcome": Outcome(values["outcome"]), "position": position}))
    return sorted(receipts, key=lambda receipt: receipt.position)


def results_in(answer: httpx.Response) -> list[dict[str, Any]] | None:
    """Return the results of events in an *answer*, in order; None: it is none of an api of ours.

    Shape: each has the names of a `Receipt`.
    """
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return None
    results = document.get("results") if isinstance(document, dict) else None
    if answer.status_code not in _ANSWERED or not isinstance(results, list):
        return None
    return [_read(one) for one in results] if all(map(_is_result, results)) else None


def _is_result(one: object) -> bool:
    return (
        isinstance(one, dict)
        and one.get("outcome") in [outcome.value for outcome in Outcome]
        and all(isinstance(one.get(name), str | None) for name in _TEXTS)
    )


def _read(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result.get(name) for name in Receipt.__dataclass_fields__}


def _bodies(items: Sequence[Position]) -> Iterator[tuple[list[int], bytes]]:
    """Yield NDJSON bodies that an api takes, with the positions of their events."""
    positions: list[int] = []
    lines: list[bytes] = []
    size = 0
    for position, item in items:
        if isinstance(item, InvalidEventError):
            continue
        positions.append(position)
        lines.append(orjson.dumps(dump_event(item)))
        size += len(lines[-1])
        if size > _BODY_BYTES:
            yield positions, b"\n".join(lines)
            positions, lines, size = [], [], 0
    if lines:
        yield positions, b"\n".join(lines)


def _post(client: httpx.Client, lane: Lane, body: bytes, events: int) -> list[dict[str, Any]]:
    """Send one body of so many *events*, again while the api cannot take it.

    Raises:
        TroubleError: it does not take it at all.
    """
    wait_s, cause = 0.5, ""
    proxy = proxy_for(str(client.base_url))
    through = f" (through {proxy})" if proxy else ""
    headers = {"Content-Type": "application/x-ndjson"}
    for attempt in range(1, _TRIES + 1):
        try:
            answer = client.post(PATH, params={"lane": lane}, content=body, headers=headers)
        except httpx.DecodingError:
            what = "what cannot be unpacked as its headers say"
            raise _no_api(client, events, f"{what}{through}") from None
        except httpx.TransportError as error:
            cause = (str(error) or type(error).__name__) + through
        else:
            results = results_in(answer)
            if results is not None and len(results) == events:
                return results
            cause = f"{_said(answer, results)}{through}"
            if answer.status_code not in _LATER:
                if answer.status_code >= _REFUSED_LEAST and _detail(answer):
                    raise TroubleError(f"{client.base_url} refuses: {cause}", f"check --api and --token; then {AGAIN}")
                raise _no_api(client, events, cause)
            stated = answer.headers.get("retry-after", "")
            wait_s = max(wait_s, float(stated)) if stated.isdecimal() else wait_s
        if attempt < _TRIES:
            threading.Event().wait(min(wait_s, _WAIT_MAX_S))
            wait_s *= 2
    raise TroubleError(f"{client.base_url} does not take events: {cause}", AGAIN)


def _no_api(client: httpx.Client, events: int, cause: str) -> TroubleError:
    asked = f"POST {PATH} with {events} event{'' if events == 1 else 's'}"
    what = f"{client.base_url} is no api of membersync: to {asked} it answered {cause}"
    return TroubleError(what, f"check --api; then {AGAIN}")


def _said(answer: httpx.Response, results: Sequence[object] | None) -> str:
    """Say what came, without what a foreign page has in it."""
    said = f"{answer.status_code} {answer.reason_phrase}".strip()
    if detail := _detail(answer):
        return f"{said}: {detail}"
    if results is not None:
        return f"{said} with results of {len(results)}"
    if answer.is_redirect:
        to = urlsplit(answer.headers["location"])
        return f"{said}, a redirect to {to.scheme}://{to.hostname}{to.path}" if to.hostname else f"{said}, a redirect"
    if not answer.content:
        return f"{said} with an empty body"
    kind = answer.headers.get("content-type", "").partition(";")[0].strip() or "no content type"
    return f"{said} with {len(answer.content)} bytes of {kind}, which have no results of events"


def _detail(answer: httpx.Response) -> str:
    """Return what a problem says, "": it says none."""
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return ""
    detail = document.get("detail") if isinstance(document, dict) else None
    return detail[:_DETAIL_MAX] if isinstance(detail, str) else ""
