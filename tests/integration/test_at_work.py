"""Processes that were stopped are there still, and do nothing: it is said within seconds, wherever one looks."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import httpx
import pytest

from producers.site import create_app
from shared.settings import Settings
from tests.calling import served
from tests.console import logged_in, said
from tests.forked import run_to_end
from tests.rig import DISPATCHER, Pipeline, eventually

WITHIN_S = 60.0
LONGER_THAN_IT_TAKES_S = 15.0
"""To say that somebody stands still."""
CHILDREN = 2
NO_WORKER = "No worker is at work since"
NO_DISPATCHER = "No dispatcher is at work since"
WELL = "All well: nothing waits"


@dataclass(frozen=True)
class Watched:
    """Processes at work, and somebody who looks."""

    pipeline: Pipeline
    client: httpx.Client
    worker: int
    dispatcher: int

    def verdict(self) -> str:
        return str(
            self.client.get("/v1/status", headers={"Authorization": "Bearer tok-vera"}).json()["verdict"]["sentence"]
        )

    def processes(self) -> dict[tuple[str, ...], int]:
        """Return `membersync_processes` of /metrics, by kind, lane and state, where there are some."""
        text = self.client.get("/metrics", headers={"Authorization": "Bearer tok-vera"}).text
        lines = [line for line in text.splitlines() if line.startswith("membersync_processes{")]
        parsed = [(tuple(line.split('"')[1::2]), int(float(line.rsplit(" ", 1)[1]))) for line in lines]
        return {labels: count for labels, count in parsed if count}

    def children(self) -> list[int]:
        """Return the processes of the worker that run tasks."""
        return [int(pid) for pid in self.pipeline.sql("select pid from heartbeat where kind = 'worker' order by name")]

    def cli(self, *arguments: str) -> str:
        return run_to_end(("-m", "producers.cli", *arguments), self.pipeline.environment).stdout


@pytest.fixture
def watched(pipeline: Pipeline) -> Iterator[Watched]:
    tokens = {"tok-vera": {"name": "vera", "role": "viewer"}}
    settings = Settings(_env_file=None, ledger_url=pipeline.ledger_url, api={"tokens": tokens})
    with ExitStack() as running:
        dispatcher = running.enter_context(pipeline.process(*DISPATCHER))
        worker = running.enter_context(pipeline.worker())
        client = running.enter_context(served(create_app(settings)))
        client.headers["Accept"] = "text/html"
        logged_in(client, "tok-vera")
        found = Watched(pipeline, client, worker.pid, dispatcher.pid)
        eventually(lambda: found.verdict() == WELL and len(found.children()) == CHILDREN, "all at work")
        yield found


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Let these processes stand still for the length of the block."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def within(true: Callable[[], bool], what: str) -> None:
    eventually(true, what, within_s=WITHIN_S)


@pytest.mark.parametrize("which", ["all of it", "parent", "children"])
def test_workers_that_stand_still_are_said_within_seconds_and_forgotten_when_they_go_on(
    watched: Watched, which: str
) -> None:
    processes = {"all of it": [watched.worker, *watched.children()], "parent": [watched.worker]}
    with stopped(*processes.get(which, watched.children())):
        within(lambda: watched.verdict().startswith(NO_WORKER), "said by the api")
        page = watched.client.get("/")
        assert NO_WORKER in said(page)
        assert "<title>no worker · Overview" in page.text
        assert NO_WORKER in said(watched.client.get("/jobs"))
        assert watched.cli("status").startswith(NO_WORKER)
        examined = watched.cli("doctor", "--offline")
        assert examined.startswith(NO_WORKER)
        assert "fail  worker processes: no worker process of the live lane is at work" in examined
        within(
            lambda: (
                watched.processes()
                == {
                    ("worker", "live", "silent"): 2,
                    ("worker", "bulk", "silent"): 2,
                    ("dispatcher", "", "at_work"): 1,
                }
            ),
            "said by the metrics",
        )
    within(lambda: watched.verdict() == WELL, "that they go on")


def test_a_dispatcher_that_stands_still_is_said_within_seconds(watched: Watched) -> None:
    with stopped(watched.dispatcher):
        within(lambda: watched.verdict().startswith(NO_DISPATCHER), "said by the api")
        assert NO_DISPATCHER in said(watched.client.get("/"))
        assert watched.cli("status").startswith(NO_DISPATCHER)
        examined = json.loads(watched.cli("doctor", "--offline", "--json"))
        assert examined["verdict"]["sentence"].startswith(NO_DISPATCHER)
        (finding,) = [one for one in examined["findings"] if one["check"] == "dispatcher"]
        assert finding["level"] == "fail"
        assert "silent for" in finding["found"]
        within(lambda: ("dispatcher", "", "silent") in watched.processes(), "said by the metrics")
    within(lambda: watched.verdict() == WELL, "that it goes on")


def test_one_that_stands_still_among_others_is_said_too(watched: Watched) -> None:
    with stopped(watched.children()[0]):
        within(lambda: watched.verdict().startswith("1 of 2 worker processes silent since"), "said by the api")


def test_a_child_that_was_killed_is_no_trouble_once_another_took_its_place(watched: Watched) -> None:
    killed = watched.children()[0]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in watched.children(), "another in its place")
    ends = time.monotonic() + LONGER_THAN_IT_TAKES_S
    while time.monotonic() < ends:
        assert watched.verdict() == WELL
        time.sleep(0.5)


def test_who_ends_as_it_should_is_not_missed(pipeline: Pipeline) -> None:
    with pipeline.worker(), pipeline.process(*DISPATCHER):
        eventually(lambda: pipeline.sql("select count(*) from heartbeat") == [3], "heartbeats")
        for one in pipeline.running:
            one.terminate()
            one.wait(15)
    assert pipeline.sql("select count(*) from heartbeat") == [0]
