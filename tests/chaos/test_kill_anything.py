"""The short run of chaos: anything is killed at any moment, and every promise still holds at the end."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from deploy.local.servers import embedded_postgres
from shared.errors import LedgerError
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from tests.rig import DISPATCHER, WORKER, Pipeline, eventually, flush, member_event

MEMBERS = 60
TARGETS = ["worker", "child", "child", "dispatcher", "ledger", "broker"] * 2
SETTINGS = {
    "MEMBERSYNC_DISPATCHER__LEASE_S": "8",
    "MEMBERSYNC_DISPATCHER__UNBEGUN_LEASE_S": "3",
    "MEMBERSYNC_OIC__TIMEOUT_S": "2",
    "MEMBERSYNC_CROWDTWIST__TIMEOUT_S": "2",
    "MEMBERSYNC_SIEBEL__TIMEOUT_S": "2",
    "MEMBERSYNC_CROWDTWIST__PROBE_FIRST_S": "0.2",
    "MEMBERSYNC_SIEBEL__PROBE_FIRST_S": "0.2",
    "MEMBERSYNC_CROWDTWIST__SETTLE_S": "1",
    "MEMBERSYNC_SIEBEL__SETTLE_S": "1",
    "MEMBERSYNC_SIEBEL__REPORT_AFTER_S": "0",
}
LOST_PERCENT = 8
"""Of the calls to both systems the answer is lost, so that errands are out among what is killed."""
MARKED = """
    select count(*) from member
    where lost_write_id is not null or lost_tell_id is not null or errand_id is not null
"""


@pytest.fixture
def durable(pipeline: Pipeline, tmp_path: Path) -> Iterator[tuple[Pipeline, Path]]:
    """The pipeline on a ledger that survives the death of its server."""
    home = tmp_path / "home"
    with embedded_postgres(home, port=0) as url:
        migrate(url)
        settings = pipeline.settings | SETTINGS
        yield replace(pipeline, ledger=engine(url), ledger_url=url, settings=settings), home
        engine(url).dispose()


def send_in_any_case(pipeline: Pipeline, *events: dict[str, object]) -> None:
    """Send as a producer does: until it is accepted; the same event again is a duplicate."""

    def accepted() -> bool:
        try:
            pipeline.send(*events)
        except (LedgerError, OperationalError):
            return False
        return True

    eventually(accepted, "accepted", within_s=30)


def kill(target: str, pipeline: Pipeline, home: Path, dice: random.Random) -> None:
    """Kill a worker with its children, one child, a dispatcher, or PostgreSQL; or empty the broker."""
    processes = [one for one in pipeline.running if one.poll() is None]
    workers = [one for one in processes if "celery" in str(one.args)]
    if target == "broker":
        flush(pipeline.broker_url)
    elif target == "ledger":
        os.kill(int((home / "postgres/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    elif target == "child":
        children = [child for worker in workers for child in psutil.Process(worker.pid).children()]
        if children:
            children[dice.randrange(len(children))].kill()
    else:
        chosen = [one for one in processes if (one in workers) == (target == "worker")]
        if chosen:
            os.killpg(dice.choice(chosen).pid, signal.SIGKILL)


def test_whatever_is_killed_newest_content_wins_and_nothing_is_lost(durable: tuple[Pipeline, Path]) -> None:
    pipeline, home = durable
    dice = random.Random(7264)  # noqa: S311
    control = pipeline.sandbox.control
    control.set("crowdtwist", latency_ms=60, latency_jitter_ms=80)
    for system in ("crowdtwist", "siebel"):
        control.fault(system, "drop_after", percent=LOST_PERCENT)
    newest: dict[str, str] = {}
    targets = dice.sample(TARGETS, len(TARGETS))
    with ExitStack() as stack:
        for number, target in enumerate(targets):
            alive = [str(one.args) for one in pipeline.running if one.poll() is None]
            if sum("celery" in arguments for arguments in alive) < 2:
                stack.enter_context(pipeline.process(*WORKER, "-n", f"w{number}@test"))
            if sum("dispatcher" in arguments for arguments in alive) < 2:
                stack.enter_context(pipeline.process(*DISPATCHER))
            batch = []
            for member in dice.sample(range(MEMBERS), 25):
                newest[f"M-{member}"] = f"R{number}"
                batch.append(member_event(f"M-{member}", minute=number, last_name=f"R{number}"))
            send_in_any_case(pipeline, *batch)
            until = time.monotonic() + dice.uniform(0.6, 1.6)
            while time.monotonic() < until:
                time.sleep(0.05)
            kill(target, pipeline, home, dice)
        stack.enter_context(pipeline.process(*DISPATCHER))
        stack.enter_context(pipeline.worker("last"))
        control.set("crowdtwist", latency_ms=0, latency_jitter_ms=0)
        for system in ("crowdtwist", "siebel"):
            control.heal(system)

        def settled() -> bool:
            try:
                return pipeline.settled()
            except OperationalError:
                return False

        eventually(settled, f"everything final after {targets}", within_s=90)
        eventually(lambda: pipeline.sql(MARKED) == [0], "what was lost is checked", within_s=60)
    assert pipeline.sql("select last_value from errand_id_seq")[0] < -10
    assert pipeline.states().keys() <= {"completed", "superseded"}, pipeline.states()
    assert {user["third_party_id"]: user["last_name"] for user in control.users()} == newest
    assert control.state("crowdtwist")["overlapping_keys"] == []
    assert control.state("siebel")["overlapping_keys"] == []
    assert {member["status"] for member in control.members()} == {"Success"}
