"""Filters saved by name: list, save, remove.  What is shared with all is recorded like any operator's action."""

from producers.operations.job_control import AskError, Operator
from shared.ledger import saved_filters
from shared.ledger.audit import Action, record
from shared.ledger.engine import Ledger, repeated, transaction
from shared.ledger.filters import has_control
from shared.ledger.saved_filters import OWN_MAX, NewFilter, SavedFilter
from shared.masking import mask_text

SHARE, UNSHARE = "share filter", "remove shared filter"
"""What the audit calls them."""
PAGES = ("/instances", "/dead-letters", "/refusals", "/audit", "/history", "/incidents")
"""The pages whose filters can be saved."""
NAME_MAX, QUERY_MAX = 60, 4_000


def of_page(ledger: Ledger, page: str, who: str) -> list[SavedFilter]:
    """List the filters of a page that *who* may use."""
    with transaction(ledger) as tx:
        return saved_filters.of_page(tx, page, who)


def save(ledger: Ledger, operator: Operator, new: NewFilter) -> int:
    """Save a filter; whoever shares one has been permitted to.

    Raises:
        AskError: it has no name, is of no page of ours, names a person, or there are too many.
    """
    if new.page not in PAGES:
        raise AskError("page", "has no filters")
    if not new.name or len(new.name) > NAME_MAX or has_control(new.name):
        raise AskError("name", f"must have 1 to {NAME_MAX} letters and no control characters")
    if len(new.query) > QUERY_MAX or has_control(new.query):
        raise AskError("filter", "is too long to be saved")
    if "%40" in new.query or mask_text(new.name) != new.name:
        raise AskError("filter", "names a person: leave the e-mail address out")

    def saved() -> int:
        with transaction(ledger) as tx:
            filter_id = saved_filters.save(tx, new)
            if filter_id is None:
                raise AskError("name", f"would be one more than the {OWN_MAX} filters of a login: remove one first")
            if new.shared:
                asked = {"page": new.page, "name": new.name, "query": new.query}
                record(tx, Action(operator.name, operator.role, SHARE, f"filter {filter_id}", None, asked))
            return filter_id

    return repeated(saved)


def remove(ledger: Ledger, operator: Operator, filter_id: int, *, may_all: bool) -> SavedFilter | None:
    """Remove a filter of the *operator*, or with *may_all* a shared one; None: there is none that may be."""

    def removed() -> SavedFilter | None:
        with transaction(ledger) as tx:
            found = saved_filters.remove(tx, filter_id, who=operator.name, may_all=may_all)
            if found is not None and found.shared:
                asked = {"page": found.page, "name": found.name, "query": found.query}
                record(tx, Action(operator.name, operator.role, UNSHARE, "removed", None, asked))
        return found

    return repeated(removed)
