"""Probes: who hangs is restarted, who waits for ledger, broker or schema is not, and says for what it waits."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from deploy.health import main
from shared.ledger.schema import WANTED
from tests.chaos.suite.links import Link, links
from tests.forked import Forked
from tests.rig import Pipeline, eventually, member_event

CLI = ("-m", "producers.cli")
SILENT_S = 16.0
PROCESSES = {
    "dispatcher": ("dispatcher",),
    "worker-live": ("worker", "--lane", "live", "--concurrency", "1"),
    "api": ("api", "--port", "0"),
    "flower": ("flower", "--port", "0"),
}
Probe = Callable[[str, str], str | None]


@pytest.fixture
def probe(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Probe:
    """Ask as a container's probe does; returns why not, None: yes."""
    monkeypatch.setenv("MEMBERSYNC_HEALTH__FOLDER", str(pipeline.logs))

    def asked(question: str, process: str) -> str | None:
        capsys.readouterr()
        code = main([question, process])
        said = capsys.readouterr().out.removeprefix(f"{process}: ").rstrip("\n")
        assert (said == question) == (code == 0)
        return said if code else None

    return asked


@contextmanager
def wired(pipeline: Pipeline) -> Iterator[tuple[Link, Link]]:
    """Have what the pipeline starts reach ledger and broker by wires that can be silent."""
    ledger, broker = urlsplit(pipeline.ledger_url), urlsplit(pipeline.broker_url)
    targets = {name: (str(url.hostname), int(url.port or 0)) for name, url in (("ledger", ledger), ("broker", broker))}
    with links(targets) as wires:
        of_ledger, of_broker = wires["ledger"], wires["broker"]
        url = ledger._replace(netloc=ledger.netloc.replace(f":{ledger.port}", f":{of_ledger.port}")).geturl()
        pipeline.settings |= {
            "MEMBERSYNC_LEDGER_URL": f"{url}{'&' if ledger.query else '?'}connect_timeout=2",
            "MEMBERSYNC_BROKER_URL": broker._replace(
                netloc=broker.netloc.replace(f":{broker.port}", f":{of_broker.port}")
            ).geturl(),
            "MEMBERSYNC_LEDGER_ANSWER_S": "1",
            "MEMBERSYNC_HEALTH__SILENT_S": str(SILENT_S),
            "MEMBERSYNC_HOME": str(pipeline.logs),
            "MEMBERSYNC_FLOWER__PASSWORD": "flower-secret",
        }
        yield of_ledger, of_broker


@contextmanager
def schema_of(pipeline: Pipeline, revision: str) -> Iterator[None]:
    """The ledger as it is before somebody migrates it."""
    pipeline.sql(f"update alembic_version set version_num = '{revision}'")
    try:
        yield
    finally:
        pipeline.sql(f"update alembic_version set version_num = '{WANTED}'")


@pytest.fixture
def started(pipeline: Pipeline) -> Iterator[Callable[[], dict[str, Forked]]]:
    with ExitStack() as running:
        yield lambda: {name: running.enter_context(pipeline.process(*CLI, *its)) for name, its in PROCESSES.items()}


def test_nobody_is_restarted_for_what_is_away_and_each_says_what_it_waits_for(
    pipeline: Pipeline, probe: Probe, started: Callable[[], dict[str, Forked]]
) -> None:
    of_the_ledger = ("dispatcher", "worker-live", "api")

    def what_waits(*names: str) -> set[str]:
        """Return for what they wait, without the details; nothing: all are ready."""
        found = {str(probe("ready", name) or "").partition(":")[0] for name in names}
        return {one.removesuffix(" cannot be reached") for one in found if one}

    with wired(pipeline) as (ledger, broker):
        with schema_of(pipeline, "0001"):
            processes = started()
            old = {f"the ledger's schema is 0001, and this version needs {WANTED}"}
            eventually(lambda: what_waits(*of_the_ledger) == old, "all wait for the schema")
            eventually(lambda: not what_waits("flower"), "Flower needs none")
        eventually(lambda: not what_waits(*processes), "all are ready")

        for wire in (ledger, broker):
            wire.be_silent(silent=True)
        pipeline.send(member_event("M-1"))
        until = time.monotonic() + 1.5 * SILENT_S
        while time.monotonic() < until:
            assert {(one.poll(), probe("alive", name)) for name, one in processes.items()} == {(None, None)}
            time.sleep(0.1)
        assert what_waits("dispatcher", "api") == {"the ledger"}
        assert what_waits("worker-live") in ({"the ledger"}, {"the broker"})

        for wire in (ledger, broker):
            wire.be_silent(silent=False)
            wire.cut()
        eventually(lambda: not what_waits(*processes), "all are ready again")
        eventually(lambda: pipeline.states() == {"completed": 1}, "the member is through")

        hangs = processes.pop("dispatcher")
        os.kill(hangs.pid, signal.SIGSTOP)
        eventually(lambda: "has not gone round" in str(probe("alive", "dispatcher")), "it is to be restarted")
        assert {probe("alive", name) for name in processes} == {None}
        hangs.kill()
        for one in processes.values():
            one.terminate()
        assert [one.wait(60) for one in processes.values()] == [0, 0, 0]
    said = [line for line in pipeline.log_text().splitlines() if "migrate" in line and "not ready" in line]
    assert len(said) == len(of_the_ledger), "once each"
