"""What stands above a list or a chart: times to choose from, and filters that were saved by name.

What is chosen is in the page's address, always; a saved filter is such an address with a name.  Whoever may look saves
filters of their own, operators share theirs, and no filter names a person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from producers.console.rendering import local, redirect
from producers.console.session import Posted, Visitor
from producers.http.auth import Principal, Right
from producers.http.operating import permit
from producers.http.request import ledger_of
from producers.operations import saved_filter_control
from producers.operations.job_control import AskError, Operator
from producers.operations.reads import id_of
from producers.operations.saved_filter_control import PAGES, SHARE
from shared.ledger.saved_filters import NewFilter, SavedFilter

router = APIRouter(include_in_schema=False)

PRESETS = ("15m", "1h", "6h", "24h", "7d", "30d")
_NOT_KEPT = {"cursor", "after", "seen"}


@dataclass(frozen=True, slots=True)
class Preset:
    """A time that can be chosen, and the page's address with it."""

    name: str
    address: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Picker:
    """What a page offers.

    Shape: *query* what its address asks for; *others* the same without the time, as fields; *since* and *until* as an
    input of the browser takes them, empty for an age.
    """

    path: str
    query: str
    others: list[tuple[str, str]]
    presets: list[Preset]
    since: str
    until: str
    saved: Sequence[SavedFilter]

    @classmethod
    def of(cls, request: Request, who: Principal, path: str, *, presets: Sequence[str] = PRESETS) -> "Picker":
        """Return the picker of the page at *path*, as it is asked for."""
        fields = [
            (name, value) for name, value in request.query_params.multi_items() if value and name not in _NOT_KEPT
        ]
        others = [(name, value) for name, value in fields if name not in {"since", "until", "range"}]
        words = request.query_params
        since, until = words.get("since", ""), words.get("until", "")
        every = words.get("since", "") if not until else ""
        return cls(
            path=path,
            query=urlencode(fields),
            others=others,
            presets=[Preset(one, f"{path}?{urlencode([*others, ('since', one)])}", one == every) for one in presets],
            since=_as_input(since),
            until=_as_input(until),
            saved=saved_filter_control.of_page(ledger_of(request), path, who.name),
        )


def _as_input(words: str) -> str:
    """Return an instant as `datetime-local` takes it, in UTC; nothing for an age, or what is no instant."""
    try:
        at = datetime.fromisoformat(words.strip())
    except ValueError:
        return ""
    return f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m-%dT%H:%M}"


@router.post("/saved-filters")
def save(request: Request, who: Visitor, form: Posted) -> Response:
    """Save a filter by name; an operator's may be shared."""
    page, shared = form.get("page", ""), "shared" in form
    query = urlencode([(name, value) for name, value in parse_qsl(form.get("query", "")) if name not in _NOT_KEPT])
    back = local(f"{page}?{query}", "/") if page in PAGES else "/"
    if shared:
        permit(request, who, SHARE, {"page": page[:100]})
    new = NewFilter(who.name, shared, page, form.get("name", "").strip(), query)
    try:
        saved_filter_control.save(ledger_of(request), Operator(who.name, who.role), new)
    except AskError as error:
        return redirect(request, back, f"Nothing is saved: {error.field} {error.reason}.", good=False)
    return redirect(request, back, f"Saved as {new.name}{', for all' if shared else ''}.")


@router.post("/saved-filters/{filter_id}/remove")
def remove(request: Request, who: Visitor, form: Posted, filter_id: str) -> Response:
    """Remove one's own filter; an operator removes any that is shared."""
    number, may_all = id_of(filter_id), who.may(Right.OPERATE)
    operator = Operator(who.name, who.role)
    found = (
        None if number is None else saved_filter_control.remove(ledger_of(request), operator, number, may_all=may_all)
    )
    if found is None:
        return redirect(request, local(form.get("back", ""), "/"), "There is no such filter of yours.", good=False)
    return redirect(request, found.page, f"Removed: {found.name}.")
