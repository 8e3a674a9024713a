"""What a request finds: the settings and the ledger of its app, and whose machine sent it."""

from fastapi import Request

from shared.ledger.engine import Ledger, engine
from shared.settings import Settings


def settings_of(request: Request) -> Settings:
    """Return the settings of the app that serves *request*."""
    settings: Settings = request.app.state.settings
    return settings


def ledger_of(request: Request) -> Ledger:
    """Return the ledger of that app."""
    return engine(settings_of(request).ledger_url)


def client_of(request: Request) -> str:
    """Return the address that *request* comes from: of the connection, or what a trusted proxy says (`Proxied`)."""
    return request.client.host if request.client else "unknown"
