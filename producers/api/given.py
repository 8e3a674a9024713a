"""What a request finds in its app: the settings and the ledger."""

from fastapi import Request

from shared.ledger.engine import Ledger, engine
from shared.settings import Settings


def settings_of(request: Request) -> Settings:
    """Give the settings of the app that serves *request*."""
    settings: Settings = request.app.state.settings
    return settings


def ledger_of(request: Request) -> Ledger:
    """Give its ledger."""
    return engine(settings_of(request).ledger_url)
