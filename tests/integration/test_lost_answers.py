"""What a lost answer leaves in the ledger: a mark, an unknown status, and a check that depends on nothing else."""

import pytest
from sqlalchemy import Engine

from shared.errors import DataError, OutcomeUnknownError, StageError
from shared.instances import Errand, Failed, Result, Work
from shared.ledger.transitions import attempts
from shared.lifecycle.verdicts import Rules, bug, conclude
from shared.pipeline import Stage, SyncStatus
from tests.integration.test_attempts import (
    OUTAGE,
    POLICY,
    REFUSED,
    SILENCE,
    TERMS,
    begin,
    claim,
    end,
    errands,
    good,
    lapse,
    make_due,
    rows,
    send,
    travel,
)


def test_a_report_that_a_newer_status_has_overtaken_is_dropped(ledger: Engine) -> None:
    send(ledger)
    for _ in range(3):
        travel(ledger, {Stage.CROWDTWIST: OUTAGE}, report_s=300)
        make_due(ledger)
    send(ledger, minute=1, last_name="Other")
    travel(ledger)
    assert rows(ledger) == ["dead", "completed"]
    assert rows(ledger, "instance_id, due_at <= now()", "errand") == [(1, True)]
    assert errands(ledger) == []
    assert rows(ledger, "*", "errand") == []
    assert rows(ledger, "told_status", "member") == ["Success"]


def test_a_status_that_got_no_answer_is_unknown_until_it_is_told_again(ledger: Engine) -> None:
    send(ledger)
    travel(ledger)
    send(ledger, minute=1, last_name="Other")
    travel(ledger, {Stage.CROWDTWIST: REFUSED, Stage.SIEBEL: OutcomeUnknownError("Siebel", "no answer")})
    assert rows(ledger, "told_status, told_id, lost_tell_id", "member") == [(None, 1, 2)]
    send(ledger, minute=2, last_name="Third")
    ((_, ids),) = claim(ledger).items()
    for stage in Stage:
        (work,) = begin(ledger, stage, ids)
        if stage is Stage.SIEBEL:
            assert (work.status, work.told_status) == (SyncStatus.SUCCESS, None)
        end(ledger, stage, work, good(stage, work))
    assert errands(ledger) == [Errand.TELL_AGAIN]
    assert rows(ledger, "told_status, lost_tell_id, tell_again_at, synced", "member") == [("Success", None, None, True)]


def test_a_worker_lost_in_a_call_to_siebel_leaves_unknown_what_siebel_shows(ledger: Engine) -> None:
    send(ledger)
    travel(ledger)
    send(ledger, minute=1, last_name="Other")
    ((_, ids),) = claim(ledger).items()
    for stage in (Stage.OIC, Stage.CROWDTWIST):
        (work,) = begin(ledger, stage, ids)
        end(ledger, stage, work, good(stage, work))
    begin(ledger, Stage.SIEBEL, ids)
    lapse(ledger)
    assert rows(ledger, "told_status, lost_tell_id", "member") == [(None, 2)]


def test_a_member_whose_status_siebel_refuses_is_read_back_all_the_same(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: SILENCE}, report_s=300)
    make_due(ledger)
    travel(ledger, {Stage.SIEBEL: DataError("Siebel", "no member with this Member Number", 404)})
    assert rows(ledger) == ["dead"]
    assert errands(ledger) == [Errand.READ_BACK]
    assert rows(ledger, "state, stage, code") == [("dead", "siebel", "data_error")]


@pytest.mark.parametrize("unknown", [OutcomeUnknownError("membersync", "no end within the lease"), RuntimeError()])
def test_a_worker_that_wakes_and_does_not_know_what_it_sent_has_it_read_back(
    ledger: Engine, unknown: StageError | RuntimeError
) -> None:
    send(ledger)
    travel(ledger)
    send(ledger, minute=1, last_name="Older")
    ((_, ids),) = claim(ledger).items()
    (work,) = begin(ledger, Stage.OIC, ids)
    end(ledger, Stage.OIC, work, good(Stage.OIC, work))
    (frozen,) = begin(ledger, Stage.CROWDTWIST, ids)
    lapse(ledger)
    send(ledger, minute=2, last_name="Newest")
    make_due(ledger)
    travel(ledger)
    assert errands(ledger) == [Errand.READ_BACK]  # for the lost lease
    assert errands(ledger) == []
    failed = Failed(unknown) if isinstance(unknown, StageError) else unknown
    with ledger.begin() as tx:
        rules = Rules(Stage.CROWDTWIST, POLICY, report_after_s=300, jitter=0.5, carried=False)
        ending = conclude(frozen, failed, rules) if isinstance(failed, Failed) else bug(frozen, failed, rules.stage)
        assert attempts.finish(tx, Stage.CROWDTWIST, [ending], TERMS) == 0
    assert errands(ledger) == [Errand.READ_BACK]
    assert rows(ledger) == ["completed", "superseded", "completed"]


@pytest.mark.parametrize("stage", [Stage.CROWDTWIST, Stage.SIEBEL])
def test_a_check_does_not_clear_what_landed_while_it_was_out(ledger: Engine, stage: Stage) -> None:
    send(ledger)
    travel(ledger)
    send(ledger, minute=1, last_name="Older")
    ((_, ids),) = claim(ledger).items()
    for before in Stage:
        (frozen,) = begin(ledger, before, ids)
        if before is stage:
            break
        end(ledger, before, frozen, good(before, frozen))
    lapse(ledger)
    send(ledger, minute=2, last_name="Newest")
    make_due(ledger)
    travel(ledger)
    check = Errand.READ_BACK if stage is Stage.CROWDTWIST else Errand.TELL_AGAIN
    unanswered = Failed(OutcomeUnknownError(stage, "no answer"), {"unknown_outcome": True})

    def landing_late(_: Stage, work: Work) -> Result:
        """It has looked, and then the frozen worker wakes and writes over what it saw."""
        assert end(ledger, stage, frozen, unanswered) == 0
        return good(stage, work)

    assert errands(ledger, landing_late) == [check]
    assert errands(ledger) == [check]
    assert errands(ledger) == []


def test_a_newer_event_inherits_the_failure_of_an_attempt_whose_worker_was_lost(ledger: Engine) -> None:
    send(ledger)
    travel(ledger, {Stage.CROWDTWIST: OUTAGE}, report_s=300)
    (since,), (report_at,) = rows(ledger, "failing_since"), rows(ledger, "due_at", "errand")
    make_due(ledger)
    ((_, ids),) = claim(ledger).items()
    begin(ledger, Stage.CROWDTWIST, ids)
    send(ledger, minute=1, last_name="Newer")
    lapse(ledger)
    assert rows(ledger) == ["superseded", "pending"]
    assert rows(ledger, "failing_since, status")[-1] == (since, "CT Failure")
    assert rows(ledger, "instance_id, due_at", "errand") == [(2, report_at)]
    assert rows(ledger, "lost_write_id", "member") == [1]
