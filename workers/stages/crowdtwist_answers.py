"""What CrowdTwist's answers mean: refusals, absence, and whether a stored user is what we sent.  Pure.

Source: domain.md 2.3 (real answers, E5), 2.4 (errors: C8, C9, E1, V5).
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from shared.errors import DataError, StageError, UnauthorisedError, UnavailableError
from workers.transport import Answer

SYSTEM = "CrowdTwist"
User = Mapping[str, Any]
_ZIP_DIGITS = 5
_EMPTY = (None, "")
_TRUE = (True, "1", "true")


def refusal(answer: Answer) -> StageError:
    """Say which error an answer other than 2xx is: CrowdTwist's own words about the member, or no such thing."""
    status = answer.status
    if status == HTTPStatus.FORBIDDEN and not is_inactive(answer):
        return UnauthorisedError(SYSTEM, f"refused our credentials (HTTP {status})", status)
    if message := _message(answer):
        return DataError(SYSTEM, message, status)
    return UnavailableError(SYSTEM, f"answered something that is not its own (HTTP {status})", status)


def is_absent(answer: Answer) -> bool:
    """Say whether there is no such user."""
    return answer.status == HTTPStatus.NOT_FOUND and answer.text("error") == "page_not_found"


def is_inactive(answer: Answer) -> bool:
    """Say whether the call was refused because the user is inactive: 403 `forbidden`, a word with many meanings."""
    forbidden = answer.status == HTTPStatus.FORBIDDEN and answer.text("error") == "forbidden"
    return forbidden and answer.text("message").casefold().startswith("user is inactive")


def user_of(answer: Answer) -> User:
    """Give the user object of a 2xx answer.

    Raises:
        UnavailableError: it is none.
    """
    if not isinstance(answer.document, dict) or type(answer.document.get("id")) is not int:
        raise UnavailableError(SYSTEM, f"did not answer with a user object (HTTP {answer.status})", answer.status)
    return answer.document


def is_as_sent(sent: User, stored: User) -> bool:
    """Say whether *stored* confirms every field of *sent* that CrowdTwist shows.

    A field that it shows in other words (a country's name instead of its code) is not confirmed: a repeated PUT is
    harmless, a missed difference is not.  What it never shows (`city_id`) is not asked for.
    """
    return all(
        _same(field, value, stored.get(_SHOWN_AS.get(field, field)))
        for field, value in sent.items()
        if field not in _NEVER_SHOWN and not (value is None and field in _SHOWN_AS)
    )


def _same(field: str, sent: Any, stored: Any) -> bool:  # noqa: ANN401 - JSON
    if sent in _EMPTY or stored in _EMPTY:
        return sent in _EMPTY and stored in _EMPTY
    plain = _PLAIN.get(field, str)
    return plain(sent) == plain(stored)


def _folded(value: Any) -> str:  # noqa: ANN401 - JSON
    return str(value).strip().casefold()


def _flag(value: Any) -> str:  # noqa: ANN401 - JSON
    return str(value in _TRUE)


def _postal(value: Any) -> str:  # noqa: ANN401 - JSON
    code = "".join(filter(str.isalnum, str(value))).upper()
    return code[:_ZIP_DIGITS] if code.isdecimal() else code


_NEVER_SHOWN = frozenset({"city_id"})
_SHOWN_AS = {"country_code": "country", "city_name": "city"}
_PLAIN: dict[str, Callable[[Any], str]] = {
    "email_address": _folded,
    "country_code": _folded,
    "city_name": _folded,
    "lang_pref": _folded,
    "is_active": _flag,
    "postal_code": _postal,
}
"""How a field is compared where the types or forms of request and answer differ; `gender_id` is 2 here, "2" there."""


def _message(answer: Answer) -> str:
    nested = answer.document.get("error") if isinstance(answer.document, dict) else None
    said = nested.get("message") if isinstance(nested, dict) else None
    return answer.text("message") or (said.strip() if isinstance(said, str) else "")
