"""The simulators, over real HTTP on free ports, brought back to their start before each test."""

from collections.abc import Iterator

import httpx
import pytest

from deploy.sandbox.server import RunningSandbox, SandboxControl, running_sandbox
from shared.settings import Settings
from tests.crowdtwist_stage import settings_of
from tests.network import TRUSTS_NOBODY


@pytest.fixture(scope="session")
def running() -> Iterator[RunningSandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunningSandbox) -> RunningSandbox:
    running.control.reset()
    return running


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5, trust_env=False, verify=TRUSTS_NOBODY) as client:
        yield client


@pytest.fixture
def control(sandbox: RunningSandbox) -> SandboxControl:
    return sandbox.control


@pytest.fixture
def settings(sandbox: RunningSandbox) -> Settings:
    """Settings under which the crowdtwist stage reaches its simulator."""
    return settings_of(sandbox)
