"""What tests in a browser share: the browser, and a console with the whole pipeline behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from deploy.sandbox.server import RunningSandbox
from tests.browser import chromium
from tests.conftest import emptied
from tests.console_stack import Stack, console_stack
from tests.rig import Pipeline, flush


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def stack(
    ledger_url: str, broker_url: str, running_simulators: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    ledger = emptied(ledger_url)
    flush(broker_url)
    running_simulators.control.reset()
    home: Path = tmp_path_factory.mktemp("console")
    with console_stack(Pipeline(ledger, ledger_url, broker_url, running_simulators, home)) as running:
        yield running
