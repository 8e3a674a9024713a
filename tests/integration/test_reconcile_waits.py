"""Runs go one at a time: whoever waits says for whom, may be stopped, and goes on soon when a carrier is dead."""

import io
import multiprocessing
import sys
import threading
from dataclasses import replace
from typing import cast

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.operations import connection_control
from producers.operations.reconcile.outside import LEASE_S
from producers.operations.reconcile.runner import Runner
from producers.operations.reconcile.runs import Ask, read, start, stop
from shared.ledger import run_turns
from shared.ledger.engine import transaction
from shared.pipeline import Stage
from shared.settings import Settings, SiebelSettings
from tests.console import said
from tests.reconciling import OSCAR
from tests.rig import eventually
from tests.terminal import Terminal

OF = Settings(_env_file=None).model_copy(update={"siebel": SiebelSettings(base_url="http://siebel.invalid")})


def waiting(ledger: Engine, run_id: str) -> str | None:
    run = read(ledger, int(run_id))
    assert run is not None
    return run.waiting


def test_a_run_says_for_whom_it_waits_until_it_is_its_turn(ledger: Engine, oscar: httpx.Client) -> None:
    first, second = (start(ledger, OSCAR, Ask(full=True), OF) for _ in range(2))
    assert (first.waiting, second.waiting) == (None, "reconciliation 1 of oscar to end")
    with transaction(ledger) as tx:
        tx.execute(text("update reconciliation set created_at = now() - interval '1 min' where id = 1"))
    assert waiting(ledger, first.id) == "a dispatcher that takes it"
    with transaction(ledger) as tx:
        run_turns.take(tx, 7, lease_s=LEASE_S)
    assert waiting(ledger, first.id) is None
    assert waiting(ledger, second.id) == "reconciliation 1 of oscar to end"
    assert "It waits for reconciliation 1 of oscar to end." in said(oscar.get("/reconciliations/2"))
    assert "planned waits for reconciliation 1 of oscar to end" in said(oscar.get("/reconciliations"))
    with transaction(ledger) as tx:
        tx.execute(text("update reconciliation set lease_until = now() - interval '1 s' where id = 1"))
    assert "a dispatcher that carries it on; the one that did was last heard of before" in str(waiting(ledger, "1"))
    assert stop(ledger, OSCAR, 1)
    assert waiting(ledger, second.id) is None


def test_whoever_waits_at_a_terminal_is_told_for_whom(
    cli: Terminal, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBERSYNC_SIEBEL__BASE_URL", "http://siebel.invalid")
    start(ledger, OSCAR, Ask(full=True), OF)

    def stop_once_it_is_said() -> None:
        try:
            eventually(lambda: "waits for" in cast("io.StringIO", sys.stderr).getvalue(), "a word", within_s=20)
        finally:
            stop(ledger, OSCAR, 2)

    ending = threading.Thread(target=stop_once_it_is_said)
    ending.start()
    waited = cli("reconcile", "--member", "M-1", "--wait")
    ending.join()
    assert waited.code == 1
    assert "reconciliation 2 waits for reconciliation 1 of oscar to end" in waited.err
    assert "stopped by oscar" in waited.out


def test_a_run_that_waits_is_stopped_and_lets_the_next_go_on(ledger: Engine) -> None:
    for _ in range(3):
        start(ledger, OSCAR, Ask(full=True), OF)
    with transaction(ledger) as tx:
        run_turns.take(tx, 7, lease_s=LEASE_S)
    assert stop(ledger, OSCAR, 2)
    stopped = read(ledger, 2)
    assert stopped is not None
    assert (stopped.state, stopped.why, stopped.waiting) == ("stopped", "stopped by oscar", None)
    assert (stopped.drift["estimate"], stopped.covered, stopped.started_at) == (None, 0.0, None)
    assert not stop(ledger, OSCAR, 2)
    assert stop(ledger, OSCAR, 1)
    with transaction(ledger) as tx:
        taken = run_turns.take(tx, 8, lease_s=LEASE_S)
    assert taken is not None
    assert taken.id == 3


def test_a_run_whose_file_is_being_handed_over_holds_up_nobody(ledger: Engine) -> None:
    with transaction(ledger) as tx:
        run_turns.create(tx, replace(Ask(full=True).request("oscar", OF), asked={"files": {"siebel": "m.csv"}}))
    second = start(ledger, OSCAR, Ask(full=True), OF)
    assert waiting(ledger, "1") == "the rows of its file"
    assert second.waiting is None


def test_a_beat_keeps_the_lease_of_its_own_run_only(ledger: Engine) -> None:
    start(ledger, OSCAR, Ask(full=True), OF)
    with transaction(ledger) as tx:
        run_turns.take(tx, 7, lease_s=0)
        run_turns.beat(tx, 8, lease_s=LEASE_S)
        assert run_turns.left_over(tx).takeable
        run_turns.beat(tx, 7, lease_s=LEASE_S)
        assert not run_turns.left_over(tx).takeable
        run_turns.let_go(tx, 7)
        assert run_turns.left_over(tx).takeable


def test_whoever_carries_a_run_on_is_ready_when_its_file_is_there(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    with transaction(ledger) as tx:
        asked = replace(Ask().request("oscar", OF), asked={"files": {"siebel": "m.csv"}, "partial": True})
        run_id = run_turns.create(tx, asked)
    runner = Runner(Settings(_env_file=None))
    try:
        runner.turn()
        assert multiprocessing.active_children()
        with transaction(ledger) as tx:
            run_turns.loaded(tx, run_id)
        eventually(lambda: said_over(ledger, run_id), "the run to end without another turn of the runner")
    finally:
        runner.close()


def said_over(ledger: Engine, run_id: int) -> bool:
    run = read(ledger, run_id)
    return run is not None and run.over


def test_a_run_goes_on_at_once_when_its_process_was_killed(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    monkeypatch.setenv("MEMBERSYNC_SIEBEL__BASE_URL", "http://siebel.invalid")
    of = Settings(_env_file=None)
    begun = start(ledger, OSCAR, Ask(full=True), of)
    connection_control.pause(ledger, OSCAR, Stage.SIEBEL, "so that it goes on for ever", of)
    runner = Runner(of)

    def token() -> int:
        with transaction(ledger) as tx:
            return int(tx.execute(text("select token from reconciliation")).scalar_one())

    try:
        runner.turn()
        eventually(lambda: waiting(ledger, begun.id) == "the connection Siebel is paused", "taken")
        first = token()
        (child,) = multiprocessing.active_children()
        child.kill()
        child.join()
        runner.turn()
        eventually(lambda: token() != first, "taken again", within_s=LEASE_S - 1)
    finally:
        runner.close()
