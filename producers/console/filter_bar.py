"""The filter of spec section 5 as a form in a page: what somebody typed, what it means, or what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import QueryParams

from producers.console.selection_form import Asked, cursor_of
from producers.operations.job_control import AskError
from shared.ledger.filters import CONDITIONS, Filter

NAMES: Mapping[str, str] = {**{row.name: row.label for row in CONDITIONS}, "cursor": "Cursor"}
"""The fields as they are called on the page."""


@dataclass(frozen=True, slots=True)
class Chip:
    """One chosen condition, and the page's address without it."""

    name: str
    value: str
    address: str


@dataclass(frozen=True, slots=True)
class FilterBar:
    """What was typed.

    Shape: *where* and *before*, the cursor, are what it means; with a *mistake* they mean nothing.
    """

    asked: Asked
    where: Filter
    before: int | None
    mistake: AskError | None

    @classmethod
    def of(cls, query: QueryParams) -> "FilterBar":
        """Read it from a query."""
        asked = Asked.of(query).narrowed(ids=None, message=None)
        try:
            return cls(asked, asked.where(), cursor_of(query), None)
        except AskError as mistake:
            return cls(asked.shortened(), Filter(), None, mistake)

    def chips(self, path: str) -> list[Chip]:
        """Give the conditions, each with the way to be without it."""
        fields = self.asked.fields
        return [
            Chip(NAMES[name], value, Asked(tuple(other for other in fields if other != (name, value))).address(path))
            for name, value in fields
        ]
