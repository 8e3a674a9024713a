"""Lists that have one page only, in the form of every list."""

from dataclasses import dataclass

from producers.operations.rehearsal import Rehearsal
from shared.ledger.causes import Cause
from shared.ledger.suggestions import Suggestion


@dataclass(frozen=True, slots=True)
class CausePage:
    """Groups of failures, the commonest first."""

    items: list[Cause]
    next: None = None


@dataclass(frozen=True, slots=True)
class RehearsalPage:
    """What a requeue would send now, one entry per instance."""

    items: list[Rehearsal]
    next: None = None


@dataclass(frozen=True, slots=True)
class SuggestionPage:
    """Values that begin as was typed."""

    items: list[Suggestion]
    next: None = None
