"""What tests share: a ledger with somebody who plays a worker, browsers that are logged in, and terminals."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from shared.settings import Settings, settings
from tests.console import console, logged_in
from tests.flooding import made_flood as flood
from tests.road import Road
from tests.terminal import Terminal

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


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Terminal]:
    """A terminal with no settings at all."""
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    yield Terminal(capsys)
    settings.cache_clear()


@pytest.fixture
def cli(bare: Terminal, monkeypatch: pytest.MonkeyPatch, ledger_url: str, ledger: Engine) -> Terminal:
    """A terminal whose ledger is set."""
    assert ledger.url.database
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    return bare
