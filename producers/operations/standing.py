"""How it goes, with the verdict on it: what `status`, `doctor`, `GET /v1/status` and every page begin with."""

from dataclasses import dataclass, fields

from producers.operations.advice import TOLD_APART
from producers.operations.verdict import Verdict, judge
from shared.budgets import budgets
from shared.ledger import causes, views
from shared.ledger.engine import Transaction
from shared.ledger.records import Overview
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Standing(Overview):
    """One look at the ledger, and what it comes to."""

    verdict: Verdict


def standing(tx: Transaction, of: Settings) -> Standing:
    """Look at the ledger, and judge."""
    found = views.overview(tx, budgets(of))
    values = {one.name: getattr(found, one.name) for one in fields(found)}
    return Standing(**values, verdict=judge(found, causes.dead_alike(tx, TOLD_APART)))
