r"""An answer over HTTP: which error it is, its JSON, the forms that it is read against, and who gave it.

Its JSON is read as far as RFC 8259 goes, bounded by what the ledger and the next system can hold.  orjson takes less
than the RFC allows: not half of a surrogate pair (`"\ud83d"`: a text cut by who counts in UTF-16) and no number of 400
digits.  A create that succeeded and echoes such a name would count as failed for ever, as would each look for it.  So
what orjson does not take is read once more: half of a character, and NUL, become U+FFFD; a number that no double holds,
and `NaN`, which is none, become null.

The forms are strict: a number is no text that looks like one, a flag is no number.  What does not fit is no answer to
our question, so nothing that an answer says can make a later write fail.
"""

import codecs
import json
import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from html import unescape
from http import HTTPStatus
from time import time
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from shared.errors import (
    OutcomeUnknownError,
    StageError,
    ThrottledError,
    UnauthorisedError,
    UnavailableError,
    UnreachableError,
)
from shared.instances import GOOD, unchanging
from shared.masking import mask_text
from shared.systems.permits import Came

_LONGEST_WAIT_S = 30 * 86_400.0
_SECONDS = re.compile(r"\s*[+-]?\d+(\.\d+)?\s*", re.ASCII)
_DEEPEST = 64
_MOST_PARTS = 200_000
"""Objects, arrays and their parts in one document; more would take far more memory than the text of it."""
_LONGEST_WHOLE = 18
"""Digits of a whole number that surely fits into 64 bits."""
_UNSTORED = re.compile("[\0\ud800-\udfff]")
_REPLACED = "\N{REPLACEMENT CHARACTER}"


@unchanging
class Answer:
    """An answer over HTTP.

    Shape: *document* an object or an array, None when the body is no such JSON or *is_cut*: longer than is read;
    *through* names the proxy on the way, for messages: it may be the one who speaks.
    """

    status: int
    document: Any
    retry_after: str | None = None
    is_cut: bool = False
    date: str | None = None
    """When its sender says it was: a Retry-After that names an instant is of the same clock."""
    through: str = ""
    sender: str = ""
    """Who answered, of an answer that is no JSON."""
    is_altered: bool = False
    """Something in it cannot be stored and was replaced: good to decide by, not to be sent on."""
    total_records: str | None = None
    """The header `Total-Record-Count`: how many rows of Siebel's there are in all."""

    @property
    def ok(self) -> bool:
        """Whether it is a 2xx."""
        return self.status in GOOD

    def text(self, *names: str) -> str:
        """Return the first of these members that is a text with something in it, else an empty one; without NUL."""
        if isinstance(self.document, dict):
            for name in names:
                value = self.document.get(name)
                if isinstance(value, str) and value.strip():
                    return value.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")
        return ""


def verdict(system: str, answer: Answer, handed_over: frozenset[int] = frozenset()) -> StageError | None:
    """Return the error that an answer is, None if it is for the stage to read.

    Shape: *handed_over* are statuses whose JSON answers the stage reads though they would be errors.
    """
    status = answer.status
    if answer.document is not None and (answer.ok or status in handed_over):
        return None
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return UnauthorisedError(system, f"refused our credentials (HTTP {status}){answer.through}", status)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _throttled(system, answer)
        case HTTPStatus.SERVICE_UNAVAILABLE if answer.retry_after is not None:
            return _throttled(system, answer)
    return _unavailable(system, answer)


def came_of(answer: Answer | StageError, reads: frozenset[int]) -> Came | None:
    """Return what *answer* says of how busy the other side is, None: nothing.

    A refusal says nothing, nor does a wish for patience, which the breaker obeys, nor words about a record.
    """
    match answer:
        case OutcomeUnknownError():
            return Came.TIMED_OUT
        case UnreachableError():
            return Came.UNCONNECTED
        case Answer(ok=True):
            return Came.GOOD
        case Answer(status=status) if (
            status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT
        ):
            asks_patience = status == HTTPStatus.SERVICE_UNAVAILABLE and answer.retry_after is not None
            is_about_a_record = status in reads and answer.document is not None
            return None if asks_patience or is_about_a_record else Came.UNSERVED
    return None


def _throttled(system: str, answer: Answer) -> ThrottledError:
    wait_s = retry_after_s(answer.retry_after, _epoch_s(answer.date) or time())
    return ThrottledError(system, f"asked us to wait (HTTP {answer.status}){answer.through}", answer.status, wait_s)


def _unavailable(system: str, answer: Answer) -> UnavailableError | None:
    status, through = answer.status, answer.through
    by_whom = f"{through}: {answer.sender}" if answer.sender else through
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UnavailableError(system, f"could not serve us (HTTP {status}){through}", status)
    if not answer.ok and status < HTTPStatus.BAD_REQUEST:
        return UnavailableError(system, f"sent us elsewhere (HTTP {status}){by_whom}", status)
    if answer.is_cut:
        return UnavailableError(system, f"answered more than we read (HTTP {status}){through}", status)
    if answer.document is None and status != HTTPStatus.NO_CONTENT:
        return UnavailableError(system, f"answered something that is not JSON (HTTP {status}){by_whom}", status)
    return None


def retry_after_s(said: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for, at most 30 days, None if it cannot be read; 0: it is over.

    Units: *now* epoch seconds.
    """
    if said is None:
        return None
    if _SECONDS.fullmatch(said):
        seconds = float(said)
    elif (at_s := _epoch_s(said)) is not None:
        seconds = at_s - now
    else:
        return None
    return min(max(0.0, seconds), _LONGEST_WAIT_S)


def _epoch_s(date: str | None) -> float | None:
    """Return the instant of an HTTP date, None if it cannot be read."""
    try:
        at = parsedate_to_datetime(date or "")
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def document_of(body: bytes) -> tuple[Any, bool]:
    """Return the object or array that *body* is, and whether something in it was replaced.

    Shape: None where it is no such JSON, or too deep or full to be read.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    brackets = body.count(b"{") + body.count(b"[")
    if brackets + body.count(b",") > _MOST_PARTS:
        return None, False
    is_plain = b"\\u0000" not in body
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document, is_plain = _read_again(body), False
    if not isinstance(document, dict | list) or (brackets > _DEEPEST and _is_deeper(document, _DEEPEST)):
        return None, False
    return (document, False) if is_plain else (_stored(document), True)


def _read_again(body: bytes) -> object:
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(
            text,
            parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_WHOLE else _finite(digits),
            parse_float=_finite,
            parse_constant=lambda _: None,
        )
    except (ValueError, RecursionError):
        return None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _stored(value: object) -> object:
    """Return *value* without what the ledger cannot store."""
    if isinstance(value, str):
        return _UNSTORED.sub(_REPLACED, value)
    if isinstance(value, dict):
        return {_UNSTORED.sub(_REPLACED, name): _stored(part) for name, part in value.items()}
    return [_stored(part) for part in value] if isinstance(value, list) else value


def _is_deeper(document: dict[str, Any] | list[Any], depth: int) -> bool:
    level: list[Any] = [document]
    for _ in range(depth):
        level = [part for whole in level for part in (whole.values() if isinstance(whole, dict) else whole)]
        level = [part for part in level if isinstance(part, dict | list)]
        if not level:
            return False
    return True


M = TypeVar("M", bound=BaseModel)
STRICT = ConfigDict(strict=True, extra="ignore")
LONGEST_TEXT = 1000
_LEAST, _MOST = -(2**63), 2**63 - 1

Key = Annotated[int, Field(ge=1, le=_MOST)]
"""An id that their database gave."""
Number = Annotated[int, Field(ge=_LEAST, le=_MOST)]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT, pattern=r"^[^\x00]*$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x20\x7f\ufffd]+$")]
"""An id that is a text; one in which something had to be replaced is none."""
Plain = Text | Number | Annotated[float, Field(ge=_LEAST, le=_MOST)] | bool | None
"""Anything but an object or an array."""


def fitted(schema: type[M], document: object) -> M | None:
    """Return *document* as *schema* has it, None if it does not fit."""
    try:
        return schema.model_validate(document)
    except ValidationError:
        return None


_LOOKED_AT = 4_000
_LONGEST = 60
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,300})", re.IGNORECASE)
_SERVER = re.compile(r"[A-Za-z][\w.+-]{0,30}", re.ASCII)


def who_answered(base_url: str, server: str | None, body: bytes) -> str:
    """Return in a few words who answered: `nginx at proxy.example, Bad Gateway`.

    A proxy, a gateway, a login page: whoever puts it right has to know which.  Only the title of a page is shown,
    masked: the rest may repeat what was sent.
    """
    host = urlsplit(base_url).hostname or ""
    name = _SERVER.match(server or "")
    title = _TITLE.search(body[:_LOOKED_AT])
    words = " ".join(unescape(title[1].decode("utf-8", "replace")).split()) if title else ""
    shown = mask_text("".join(one for one in words if one.isprintable()))
    if len(shown) > _LONGEST:  # whole words where it has any: half a name would not be found and masked
        shown = shown[: _LONGEST + 1].rpartition(" ")[0] or shown[:_LONGEST]
    place = f"{name[0]} at {host}" if name else host
    return ", ".join(part for part in (place, shown) if part)
