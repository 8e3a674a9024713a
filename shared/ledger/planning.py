"""What a plan shows: counts, reasons, and the first instances of each verdict."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Any

from sqlalchemy import Row

from shared.jobs import Item, Kind, Plan, Reason, Verdict
from shared.ledger.records import id_text

SHOWN = 100
"""Instances of each verdict that a plan lists."""

_VERDICTS = {
    Kind.REQUEUE: (Verdict.REFUSED, Verdict.SUPERSEDED, Verdict.MERGED, Verdict.SEND),
    Kind.DISCARD: (Verdict.REFUSED, Verdict.DISCARD),
}


def plan_of(kind: Kind, rows: Iterable[Row[Any]]) -> Plan:
    """Sum up judged instances."""
    counts: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    shown: dict[str, list[Item]] = {verdict: [] for verdict in _VERDICTS[kind]}
    for row in rows:
        counts[row.verdict] += 1
        if row.reason:
            reasons[row.verdict, row.reason] += 1
        if len(shown[row.verdict]) < SHOWN:
            shown[row.verdict].append(
                Item(str(row.id), row.member_number, row.verdict, row.reason, id_text(row.newer_id))
            )
    return Plan(
        kind=kind,
        matched=counts.total(),
        counts={verdict.value: counts[verdict] for verdict in reversed(_VERDICTS[kind])},
        reasons=[Reason(verdict, reason, count) for (verdict, reason), count in reasons.most_common()],
        items=list(chain.from_iterable(shown.values())),
    )
