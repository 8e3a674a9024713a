"""A worker that is silent may still send what it began: what it called for is checked until it has come or gone."""

import os
import subprocess
import sys

import pytest
from sqlalchemy import Engine, text

from shared.instances import Errand, Failed, Result, Work
from shared.ledger import heartbeats
from shared.ledger.heartbeats import Kind, Who
from shared.ledger.transitions.errands import prune
from shared.pipeline import Lane, Stage
from shared.process_table import process_table
from tests.integration.test_attempts import SILENCE, errands, good, make_due, rows, send, travel

SILENT = """
    insert into heartbeat (kind, name, lanes, pid, started_at, beat_at)
    values (:kind, 'w/1', '{live}', 1, now() - interval '1 h', now() - make_interval(secs => :silent_s))
"""
REPLACED = "update heartbeat set pid = 2, started_at = now(), beat_at = now()"
CHECKS = {
    Stage.CROWDTWIST: (Errand.READ_BACK, "lost_write_id", "read_back_at"),
    Stage.SIEBEL: (Errand.TELL_AGAIN, "lost_tell_id", "tell_again_at"),
}


def tell(ledger: Engine, statement: str, **values: object) -> None:
    with ledger.begin() as tx:
        tx.execute(text(statement), values)


def lose_one(ledger: Engine, stage: Stage) -> None:
    """Lose a call at *stage*, and succeed with the one after it."""
    send(ledger)
    travel(ledger, {stage: SILENCE})
    make_due(ledger)
    travel(ledger)


@pytest.mark.parametrize("stage", CHECKS)
def test_who_was_well_is_checked_again_until_a_silent_worker_is_accounted_for(ledger: Engine, stage: Stage) -> None:
    check, mark, due = CHECKS[stage]
    lose_one(ledger, stage)
    tell(ledger, SILENT, kind="worker", silent_s=3_000)
    as_long_again = f"{due} - (select beat_at from heartbeat) between interval '100 min' and interval '3 h'"
    for _ in range(2):
        assert errands(ledger) == [check]
        assert rows(ledger, f"{mark}, {as_long_again}", "member") == [(1, True)]
        tell(ledger, f"update member set {due} = now()")
    tell(ledger, REPLACED)
    assert errands(ledger) == [check]  # it may have woken, sent and been killed since this check was due
    assert rows(ledger, f"{mark}, {due} < now() + interval '10 min'", "member") == [(1, True)]
    tell(ledger, f"update member set {due} = now()")
    assert errands(ledger) == [check]
    assert rows(ledger, f"{mark}, {due}", "member") == [(None, None)]


@pytest.mark.parametrize("stage", CHECKS)
def test_of_one_that_was_found_to_have_ended_a_check_is_repeated_once(ledger: Engine, stage: Stage) -> None:
    check, mark, due = CHECKS[stage]
    lose_one(ledger, stage)
    tell(ledger, SILENT, kind="worker", silent_s=3_000)
    tell(ledger, "update heartbeat set ended_at = now()")
    assert errands(ledger) == [check]  # it may have woken and sent right before it ended
    assert rows(ledger, f"{mark}, {due} < now() + interval '10 min'", "member") == [(1, True)]
    tell(ledger, f"update member set {due} = now()")
    assert errands(ledger) == [check]
    assert rows(ledger, f"{mark}, {due}", "member") == [(None, None)]


def test_who_beats_beside_it_finds_that_a_silent_worker_has_ended(ledger: Engine) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    beside, elsewhere = process_table(), "another machine"
    for name, pid, table, silent_s in (
        ("killed", ended.pid, beside, 60),
        ("frozen", os.getppid(), beside, 60),
        ("elsewhere", ended.pid, elsewhere, 60),
        ("unknown", ended.pid, None, 60),
        ("at work", ended.pid, beside, 0),
    ):
        tell(ledger, SILENT.replace("'w/1'", ":name"), kind="worker", name=name, silent_s=silent_s)
        tell(ledger, "update heartbeat set pid = :pid, process_table = :table where name = :name",
             pid=pid, table=table, name=name)  # fmt: skip
    me = Who(Kind.DISPATCHER, "me")
    with ledger.begin() as tx:
        heartbeats.beat(tx, me)
    assert beside
    assert rows(ledger, "name", "heartbeat where ended_at is not null") == ["killed"]
    with ledger.begin() as tx:
        heartbeats.beat(tx, Who(Kind.WORKER, "killed", (Lane.LIVE,)))
    assert rows(ledger, "pid", "heartbeat where name = 'killed' and ended_at is null") == [os.getpid()]


@pytest.mark.parametrize("stage", CHECKS)
@pytest.mark.parametrize(("kind", "silent_s"), [("dispatcher", 3_000), ("worker", 0)])
def test_nobody_else_delays_the_end_of_a_check(ledger: Engine, stage: Stage, kind: str, silent_s: float) -> None:
    lose_one(ledger, stage)
    tell(ledger, SILENT, kind=kind, silent_s=silent_s)
    assert errands(ledger) == [CHECKS[stage][0]]
    assert rows(ledger, "lost_write_id, lost_tell_id", "member") == [(None, None)]


@pytest.mark.parametrize("stage", CHECKS)
def test_a_check_that_was_out_while_the_clock_was_set_back_leaves_nothing(ledger: Engine, stage: Stage) -> None:
    check, mark, due = CHECKS[stage]
    lose_one(ledger, stage)

    def set_back(stage: Stage, work: Work) -> Result:
        tell(ledger, "update errand set due_at = lease_until + interval '1 h'")
        return good(stage, work)

    assert errands(ledger, set_back) == [check]
    assert rows(ledger, "kind", "errand") == []
    assert rows(ledger, f"{mark}, {due}", "member") == [(None, None)]


@pytest.mark.parametrize("stage", CHECKS)
def test_a_row_that_nobody_will_claim_again_is_pruned_and_no_other(ledger: Engine, stage: Stage) -> None:
    check, _, due = CHECKS[stage]
    lose_one(ledger, stage)
    assert errands(ledger, lambda *_: Failed(SILENCE)) == [check]
    for is_left in (True, False):
        with ledger.begin() as tx:
            assert prune(tx) == (not is_left)
        assert (rows(ledger, "kind", "errand") == [check]) is is_left
        tell(ledger, f"update member set {due} = null")
