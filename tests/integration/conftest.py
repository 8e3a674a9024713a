"""What tests of the console share: its ledger with somebody who plays a worker, and browsers that are logged in."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from shared.settings import Settings
from tests.console import console, logged_in
from tests.flooding import made_flood as flood
from tests.road import Road

__all__ = ["flood"]


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    with console(Settings(_env_file=None, ledger_url=ledger_url)) as one:
        yield one


@pytest.fixture
def oscar(client: httpx.Client) -> httpx.Client:
    return logged_in(client, "tok-oscar")
