"""The list of instances: the filter, and what matches it, newest first."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from producers.console.filter_bar import CHOICES, NAMES, FilterBar
from producers.console.newer import COUNTED_MAX, AsDrawn, Drawn, follow, instances_drawn
from producers.console.pages import page
from producers.console.visitors import Visitor
from producers.http.dependencies import ledger_of
from producers.operations.filtering import LIMIT_DEFAULT
from producers.operations.masked import masked_page
from shared.ledger import lookups, views
from shared.ledger.engine import transaction

router = APIRouter()

_PATH = "/instances"
_AGES = ("15m", "1h", "4h", "24h", "7d", "30d")


@router.get(_PATH)
def list_instances(request: Request, _: Visitor) -> Response:
    """List what matches, or say what of the filter cannot be understood."""
    query = request.query_params
    bar = FilterBar.of(query)
    if any(name in NAMES and not value.strip() for name, value in query.multi_items()):
        # A form sends its empty fields too; the address that people hand on goes without.
        return RedirectResponse(bar.asked.address(_PATH), 303)
    found, untold = None, set[str]()
    if bar.mistake is None:
        with transaction(ledger_of(request)) as tx:
            found = masked_page(views.instances(tx, bar.where, limit=LIMIT_DEFAULT, before=bar.before))
            untold = lookups.untold(tx, [int(one.instance_id) for one in found.items])
    drawn = instances_drawn(found.items) if found and not bar.before else None
    return page(
        request,
        "instances/list.html",
        status=400 if bar.mistake else 200,
        bar=bar,
        chips=bar.chips(_PATH),
        found=found,
        untold=untold,
        names=NAMES,
        choices=CHOICES,
        ages=_AGES,
        follow=bar.asked.address(f"/live{_PATH}", after=str(drawn.after), seen=drawn.seen) if drawn else "",
    )


@router.get(f"/live{_PATH}")
async def follow_instances(request: Request, _: Visitor, drawn: AsDrawn) -> StreamingResponse:
    """Stream what is newer than the list that a page shows.

    Raises:
        AskError: the filter cannot be understood.
    """
    bar = FilterBar.of(request.query_params)
    if bar.mistake:
        raise bar.mistake
    ledger = ledger_of(request)

    def look() -> tuple[int, Drawn]:
        with transaction(ledger) as tx:
            newest = views.instances(tx, bar.where, limit=COUNTED_MAX)
            shown = views.instances(tx, bar.where, limit=LIMIT_DEFAULT, before=drawn.after + 1)
        return sum(int(one.instance_id) > drawn.after for one in newest.items), instances_drawn(shown.items)

    return follow(request, drawn, look, bar.asked.address(_PATH))
