"""The tables of the ledger; `Base.metadata` knows them all."""

from shared.ledger.models import cases, guards, incidents, operations, pipeline, reconciling
from shared.ledger.models.pipeline import Base

__all__ = ["Base", "cases", "guards", "incidents", "operations", "pipeline", "reconciling"]
