"""The tables of the ledger; `Base.metadata` knows them all."""

from shared.ledger.models import cases, forecasts, guards, incidents, operations, pipeline, reconciling
from shared.ledger.models.pipeline import Base

__all__ = ["Base", "cases", "forecasts", "guards", "incidents", "operations", "pipeline", "reconciling"]
