"""The tables of the ledger; `Base.metadata` knows them all."""

from shared.ledger.models import intake, operating, pipeline, watching
from shared.ledger.models.columns import Base

__all__ = ["Base", "intake", "operating", "pipeline", "watching"]
