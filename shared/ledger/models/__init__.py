"""The tables of the ledger; `Base.metadata` knows them all."""

from shared.ledger.models import cases, clock, forecasts, guards, incidents, operations, pipeline, reconciling
from shared.ledger.models.pipeline import Base

__all__ = ["Base", "cases", "clock", "forecasts", "guards", "incidents", "operations", "pipeline", "reconciling"]
