"""Runs and differences as people read them: masked, unless it says whom they are shown to as they are."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from producers.operations.job_control import Operator
from shared.ledger import reconciliations
from shared.ledger.audit import Action, record
from shared.ledger.engine import Transaction
from shared.ledger.reconciliations import Difference, DifferencePage
from shared.masking import mask, mask_text
from shared.personal import unmarked
from shared.reconciling import DriftClass, Presence

_WORDS = frozenset(Presence)


def differences(  # noqa: PLR0913  # the ways to choose among them
    tx: Transaction,
    run_id: int,
    *,
    classes: Sequence[str] = (),
    members: Sequence[str] = (),
    limit: int,
    after: int | None = None,
    unmasked_for: Operator | None = None,
) -> DifferencePage:
    """List the differences of a run; *unmasked_for* names who is shown their values, which is recorded."""
    page = reconciliations.differences(tx, run_id, classes=classes, members=members, limit=limit, after=after)
    if unmasked_for is None:
        return replace(page, items=[_masked(one) for one in page.items])
    if page.items:
        asked = {"reconciliation": str(run_id)}
        record(tx, Action(unmasked_for.name, unmasked_for.role, "unmask", "shown", None, asked, len(page.items)))
    return replace(page, items=[_changed(one, unmarked_value) for one in page.items])


def unmarked_value(_: str | None, value: Any) -> Any:  # noqa: ANN401  # JSON
    """Return a value as it is."""
    return unmarked(value) if isinstance(value, str) else value


def _masked(one: Difference) -> Difference:
    is_status = one.drift_class == DriftClass.STATUS_LIES
    return _changed(one, _masked_status if is_status else _masked_value)


def _masked_value(field: str | None, value: Any) -> Any:  # noqa: ANN401  # JSON
    if value is None or (field is None and value in _WORDS):
        return value
    return mask({field or "": value})[field or ""]


def _masked_status(_: str | None, value: Any) -> Any:  # noqa: ANN401  # JSON
    return mask_text(value) if isinstance(value, str) else value


def _changed(one: Difference, how: Any) -> Difference:  # noqa: ANN401
    return replace(
        one,
        siebel=how(one.field, one.siebel),
        crowdtwist=how(one.field, one.crowdtwist),
        ledger=how(one.field, one.ledger),
    )
