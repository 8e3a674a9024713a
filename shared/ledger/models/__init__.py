"""The tables of the ledger; `Base.metadata` knows them all."""

from shared.ledger.models import operating, pipeline, watching
from shared.ledger.models.columns import Base

__all__ = ["Base", "operating", "pipeline", "watching"]
