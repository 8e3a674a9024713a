"""Schemathesis finds nothing: whatever the description allows is taken, whatever it does not is refused, as it says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from producers.site import create_app
from shared.ledger.jobs import Kind
from shared.pipeline import Stage, State
from shared.settings import Settings
from tests.calling import served
from tests.road import ALWAYS_REFUSED, Road, start

ROOT = Path(__file__).parents[2]
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
NOBODY = "http://127.0.0.1:9"
TOKENS = {"a-token": {"name": "ada", "role": "admin"}, "v-token": {"name": "vera", "role": "viewer"}}


@pytest.fixture
def road(ledger: Engine) -> Road:
    """A ledger with instances in every state, and a job of each kind in every state."""
    road = Road(ledger)
    road.accept("M-1")
    road.travel()
    road.dead("M-2", "M-3", "M-4", "M-5")
    road.accept("M-6")
    road.travel(ALWAYS_REFUSED)
    road.accept("M-7")
    road.accept("M-7", minute=1)
    for kind, number in ((Kind.REQUEUE, 2), (Kind.DISCARD, 3)):
        road.until_over(start(road, number, kind=kind))
        start(road, number + 2, kind=kind)
    road.accept("M-8")
    road.claim()
    for state in (State.HELD, State.WAITING, State.SKIPPED, State.UNCHANGED):
        road.accept(f"M-{state}")
        ended = "null" if state in {State.HELD, State.WAITING} else "now()"
        road.sql(f"update instance set state = '{state}', finished_at = {ended} where member_number = 'M-{state}'")
    road.accept("M-9")
    assert set(State) <= road.states().keys()
    return road


@pytest.fixture
def client(road: Road, ledger_url: str) -> Iterator[httpx.Client]:
    """An api with tokens, whose connections lead nowhere."""
    assert road.states()
    of = Settings(ledger_url=ledger_url)
    nowhere = {
        stage.value: of.connection(stage).model_copy(update={"base_url": NOBODY, "timeout_s": 1}) for stage in Stage
    }
    api = of.api.model_validate({"tokens": TOKENS, "wrong_tokens_per_minute": 1_000})
    with served(create_app(of.model_copy(update={**nowhere, "api": api}))) as opened:
        yield opened


@pytest.mark.timeout(500)
def test_schemathesis_finds_nothing(client: httpx.Client, tmp_path: Path) -> None:
    ran = subprocess.run(
        [
            SCHEMATHESIS,
            *("--config-file", ROOT / "tests/integration/schemathesis.toml"),
            *("run", f"{client.base_url}/openapi.json"),
            *("--header", "Authorization: Bearer a-token"),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.schemathesis_bodies", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    described = client.get("/openapi.json").json()["paths"].values()
    assert f"Tested: {sum(map(len, described))}\n" in ran.stdout
