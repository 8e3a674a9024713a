"""Reconciliations watch themselves: metrics, the first line of all, doctor and mail say what was found, or was not."""

import pytest
from prometheus_client import generate_latest

from producers.doctor.check import Level
from producers.doctor.work import judge_reconciliations
from producers.mail.mailer import Mailer
from producers.metrics import registry_of
from producers.operations.reconcile import runs
from producers.operations.reconcile.runs import Ask
from producers.operations.verdict import standing
from shared.ledger import reconciliations
from shared.ledger.engine import transaction
from tests.reconciling import Programme, named
from tests.rig import Pipeline

MAIL = {"mail": {"host": "mail.invalid", "from": "membersync@example.org", "recipients": "ops@example.org"}}
EARLIER = "update instance set accepted_at = accepted_at - interval '71 hours'"


@pytest.fixture
def programme(pipeline: Pipeline) -> Programme:
    pipeline.sandbox.control.set("siebel", auto_members=False)
    programme = Programme(pipeline, MAIL)
    with pipeline.whole():
        programme.sync(*named("fine", 4))
    return programme


def metrics(programme: Programme) -> dict[str, float]:
    lines = generate_latest(registry_of(programme.of)).decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith(("membersync_reconcile", "membersync_drift"))]
    return {name: float(value) for name, value in pairs}


def mails(programme: Programme) -> list[str]:
    """Return the subjects of the mails about reconciliations, once they are written."""
    Mailer(programme.of).write()
    return list(programme.pipeline.sql("select subject from mail where kind = 'reconciled' order by id"))


def said(programme: Programme) -> tuple[Level, str, str]:
    """Return what the doctor finds, and the first line of all."""
    with transaction(programme.pipeline.ledger) as tx:
        finding = judge_reconciliations(reconciliations.watched(tx), programme.of)
        return finding.level, finding.found, standing(tx, programme.of).verdict.sentence


def test_a_run_without_a_difference_is_no_trouble(programme: Programme) -> None:
    assert "membersync_drift_ratio" not in str(metrics(programme))  # nobody has looked
    programme.run()
    found = metrics(programme)
    assert 0 <= found.pop("membersync_reconcile_age_seconds") < 60
    assert found
    assert set(found.values()) == {0.0}
    assert found['membersync_drift_ratio{bound="high",class="orphan"}'] == 0.0
    level, words, first = said(programme)
    assert (level, "all of 4 members were looked at: 0 differ" in words) == (Level.OK, True)
    assert "reconciliation" not in first
    assert mails(programme) == []


def test_differences_are_told_by_metric_doctor_verdict_and_one_mail(programme: Programme) -> None:
    programme.in_crowdtwist("DELETE", "fine-001")
    run = programme.run()
    found = metrics(programme)
    assert found['membersync_drift_ratio{bound="estimate",class="gone_at_destination"}'] == 0.25
    assert found['membersync_drift_ratio{bound="low",class="any"}'] == 0.25
    level, words, first = said(programme)
    assert level is Level.WARN
    assert "1 differ" in words
    assert f"see `membersync reconciliations {run.id}`" in first
    assert mails(programme) == [f"membersync: reconciliation {run.id}: 1 difference"]
    assert len(mails(programme)) == 1
    (body,) = programme.pipeline.sql("select plain from mail")
    assert "Gone at destination" in body
    assert "fine-001" not in body


def test_a_run_that_failed_says_so_and_the_figures_stay_those_of_the_last_one(programme: Programme) -> None:
    programme.in_crowdtwist("DELETE", "fine-001")
    programme.run()
    programme.pipeline.sandbox.control.fault("crowdtwist", "status", status=500, body="away")
    failed = programme.run(patience_s=0.5)
    assert failed.state == "failed"
    assert metrics(programme)['membersync_drift_ratio{bound="low",class="any"}'] == 0.25
    level, words, first = said(programme)
    assert level is Level.WARN
    assert "CrowdTwist could not be read" in words
    assert "The last reconciliation failed" in first
    assert f"membersync: reconciliation {failed.id} failed" in mails(programme)


def test_one_that_is_overdue_is_told_once(programme: Programme) -> None:
    assert said(programme)[0] is Level.OK
    programme.pipeline.sql(EARLIER)
    level, words, first = said(programme)
    assert level is Level.WARN
    assert "none has come to its end for 71 h, of 24 h" in words
    assert "No reconciliation has come to its end for 3 d" in first
    assert mails(programme) == ["membersync: no reconciliation for 2 d 23 h"]
    assert len(mails(programme)) == 1
    assert metrics(programme)["membersync_reconcile_age_seconds"] > 2 * 86_400


def scheduled(programme: Programme) -> int | None:
    with transaction(programme.pipeline.ledger) as tx:
        return runs.schedule(tx, programme.of)


def test_runs_are_made_by_themselves_when_it_is_time(programme: Programme) -> None:
    assert scheduled(programme) is None  # the ledger is too young
    programme.pipeline.sql(EARLIER)
    assert scheduled(programme) == 1
    assert scheduled(programme) is None  # one is under way
    run = programme.carried("1")
    assert (run.state, run.mode, run.scheduled, run.requested_by) == ("done", "sample", True, "schedule")
    assert scheduled(programme) is None
    programme.run(Ask(members=["fine-000"]))
    programme.pipeline.sql("update reconciliation set created_at = created_at - interval '25 hours' where id = 1")
    assert scheduled(programme) == 3  # what somebody asked of one member does not count


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"reconcile": {"every_h": 0}}, "MEMBERSYNC_RECONCILE__EVERY_H is 0"),
        ({"siebel": {"base_url": None}}, "MEMBERSYNC_SIEBEL__BASE_URL not set"),
        ({"crowdtwist": {"base_url": None}}, "MEMBERSYNC_CROWDTWIST__BASE_URL not set"),
    ],
)
def test_a_programme_that_is_not_set_up_says_so_and_is_never_overdue(
    programme: Programme, settings: dict[str, dict[str, object]], why: str
) -> None:
    programme.settings = MAIL | settings
    programme.pipeline.sql(EARLIER)
    assert runs.why_not_scheduled(programme.of) == why
    level, words, first = said(programme)
    assert (level, words) == (Level.OK, f"none is made by itself: {why}")
    assert "reconciliation" not in first
    assert mails(programme) == []
