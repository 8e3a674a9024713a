"""What an undo, a resend or a repair is about: what a job discarded, what was acknowledged in a time, differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from producers.operations.job_control import AskError, Selection
from shared.ledger import reconciliations
from shared.ledger.engine import Transaction
from shared.ledger.filters import Filter
from shared.ledger.transitions import repairs, resends, undos
from shared.reconciling import DriftClass

RESENT_MAX = 1_000_000
"""Members of one resend."""


@dataclass(frozen=True, slots=True)
class Discarded(Selection):
    """What the discard of *job_id* discarded."""

    job_id: int = 0

    def __post_init__(self) -> None:
        """Nothing is missing."""

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        return {"job_id": str(self.job_id)}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Return the ids."""
        return undos.discarded(tx, self.job_id)


@dataclass(frozen=True, slots=True)
class Acknowledged(Selection):
    """The newest acknowledged content of whom CrowdTwist acknowledged from *since* on, *until* not included.

    Shape: *where* a filter of the instances that brought it, which may let everything through.

    Raises:
        AskError: there is no *since*, or *until* is not after it.
    """

    limit: int = RESENT_MAX + 1
    since: datetime | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.since is None:
            raise AskError("acknowledged_since", "say since when")
        if self.until is not None and self.until <= self.since:
            raise AskError("acknowledged_until", "must be after acknowledged_since")

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        bounds = {"acknowledged_since": self.since, "acknowledged_until": self.until}
        said: dict[str, Any] = {name: at.isoformat() for name, at in bounds.items() if at is not None}
        return said if self.where is None or self.where.is_empty else said | {"filter": self.where.stored()}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Return the ids.

        Raises:
            AskError: they are more than one job takes, and nobody said how many.
        """
        if self.since is None:
            return []
        where = self.where or Filter()
        found = resends.acknowledged(tx, where, self.since, self.until, limit=min(self.limit, RESENT_MAX + 1))
        if len(found) > RESENT_MAX:
            raise AskError("limit", f"more than {RESENT_MAX} members match: name a limit, a filter or an end")
        return found


@dataclass(frozen=True, slots=True)
class Differences(Selection):
    """What the reconciliation *run_id* found, of some *classes* where given.

    Shape: *where* a filter of the members' newest instances, which may let everything through.
    """

    run_id: int = 0
    classes: tuple[DriftClass, ...] = ()

    def __post_init__(self) -> None:
        """Nothing is missing."""

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked, to be kept and shown."""
        said: dict[str, Any] = {"run": str(self.run_id)}
        if self.classes:
            said["class"] = [one.value for one in self.classes]
        return said if self.where is None or self.where.is_empty else said | {"filter": self.where.stored()}

    def pick(self, tx: Transaction) -> Sequence[int]:
        """Return the ids of the differences.

        Raises:
            AskError: there is no such run.
        """
        if reconciliations.read_run(tx, self.run_id) is None:
            raise AskError("run", "is no reconciliation of ours")
        return repairs.select(tx, self.run_id, self.classes, self.where or Filter())[: self.limit]
