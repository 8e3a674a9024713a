"""What a reconciliation found is repaired with real processes, from what Siebel has at that moment."""

from collections.abc import Iterator

import pytest

from producers.operations import job_control
from producers.operations.job_control import Ask
from producers.operations.job_selections import Differences
from producers.operations.reconcile.runs import read
from shared.ledger.filters import Filter
from shared.ledger.jobs import Job, Kind
from shared.ledger.reconciliations import Run
from shared.reconciling import DriftClass
from tests.integration.test_reconcile import plant
from tests.reconciling import OSCAR, Programme
from tests.rig import Pipeline, eventually


@pytest.fixture
def programme(pipeline: Pipeline) -> Iterator[Programme]:
    pipeline.sandbox.control.set("siebel", auto_members=False)  # who is asked for would come into being
    with pipeline.whole():
        yield Programme(pipeline, {})


def repaired(programme: Programme, run: Run, *classes: DriftClass, members: tuple[str, ...] = ()) -> Job:
    """Repair what *run* found, and wait for the end."""
    ledger = programme.pipeline.ledger
    selection = Differences(run_id=int(run.id), classes=classes, where=Filter(members=members))
    _, job = job_control.start(ledger, OSCAR, Ask(Kind.REPAIR, selection, "ticket 77"), programme.of)
    assert job is not None
    eventually(lambda: progress(programme, job).over, "repaired")
    return progress(programme, job)


def progress(programme: Programme, job: Job) -> Job:
    found = job_control.progress(programme.pipeline.ledger, Kind.REPAIR, int(job.job_id))
    assert found is not None
    return found


def counts(job: Job) -> dict[str, int]:
    return {state: count for state, count in job.counts.items() if count}


def test_every_class_but_those_of_a_person_is_repaired_and_nothing_differs_any_more(programme: Programme) -> None:
    members = plant(programme)
    run = programme.run()
    ledger, control = programme.pipeline.ledger, programme.pipeline.sandbox.control
    ask = Ask(Kind.REPAIR, Differences(run_id=int(run.id)), "ticket 77")
    plan = job_control.plan(ledger, ask, programme.of)
    assert plan.counts == {"send": 18, "overtaken": 0, "moving": 0, "refused": 6}
    posts = control.state("crowdtwist")["posts"]
    job = repaired(programme, run)
    assert (job.state, counts(job)) == ("done", {"succeeded": 18, "refused": 6})
    eventually(programme.pipeline.settled, "all settled")
    again = programme.run()
    assert programme.classes(again) == {"gone_at_destination": members["gone"], "orphan": members["orphan"]}
    assert control.state("crowdtwist")["posts"] - posts == len(members["never"])
    found = programme.pipeline.sql("select origin, count(*) from instance where origin is not null group by origin")
    assert found == [("reconcile", 15)]
    assert {one["status"] for one in control.members() if not one["member_number"].startswith("orphan")} == {"Success"}
    first = read_run(programme, run)
    assert first.repaired == 18
    plan = job_control.plan(ledger, ask, programme.of)
    assert plan.counts == {"send": 0, "overtaken": 0, "moving": 0, "refused": 24}


def read_run(programme: Programme, run: Run) -> Run:
    found = read(programme.pipeline.ledger, int(run.id))
    assert found is not None
    return found


def test_a_newer_event_that_came_meanwhile_wins_and_siebels_row_of_now_is_sent(programme: Programme) -> None:
    control = programme.pipeline.sandbox.control
    programme.sync("M-1", "M-2", "M-3")
    programme.seed("M-1", "M-2", "M-3", first_name="Hanna")
    run = programme.run()
    assert programme.classes(run) == {"missed_event": ["M-1", "M-2", "M-3"]}
    programme.send("M-1", minute=5, first_name="Berta")
    programme.seed("M-2", first_name="Carla")
    job = repaired(programme, run)
    assert counts(job) == {"succeeded": 2, "closed": 1}
    eventually(programme.pipeline.settled, "all settled")
    names = {user["third_party_id"]: user["first_name"] for user in control.users()}
    assert names == {"M-1": "Berta", "M-2": "Carla", "M-3": "Hanna"}


def test_what_siebels_row_does_not_tell_stays_as_it_is(programme: Programme) -> None:
    control = programme.pipeline.sandbox.control
    programme.seed("M-1")
    programme.send("M-1", language="fr")  # of which these rows have no field
    (before,) = control.users()
    programme.seed("M-1", first_name="Hanna")
    job = repaired(programme, programme.run(), DriftClass.MISSED_EVENT)
    assert counts(job) == {"succeeded": 1}
    (after,) = control.users()
    assert (after["first_name"], after["lang_pref"]) == ("Hanna", before["lang_pref"])
    assert before["lang_pref"] == "fr"


def test_who_is_not_in_siebel_any_more_is_refused_and_does_not_count_as_repaired(programme: Programme) -> None:
    programme.sync("M-1", "M-2")
    programme.seed("M-1", "M-2", first_name="Hanna")
    run = programme.run()
    programme.pipeline.sandbox.control.remove("M-1")
    job = repaired(programme, run, DriftClass.MISSED_EVENT)
    assert counts(job) == {"succeeded": 1, "refused": 1}
    assert [item.reason for item in job.troubled] == ["Siebel has no such member any more"]
    assert read_run(programme, run).repaired == 1


def test_a_scheduled_run_is_repaired_by_itself_where_that_is_set(pipeline: Pipeline) -> None:
    pipeline.sandbox.control.set("siebel", auto_members=False)
    pipeline.settings |= {
        "MEMBERSYNC_RECONCILE__AUTO_REPAIR": "never_sent",
        "MEMBERSYNC_RECONCILE__SETTLE_S": "0.2",
    }
    with pipeline.whole():
        programme = Programme(pipeline, {})
        programme.sync("M-1")
        programme.seed("M-1", first_name="Hanna")
        programme.seed("M-2")
        run = programme.run()
        assert programme.classes(run) == {"missed_event": ["M-1"], "never_sent": ["M-2"]}
        pipeline.sql(f"update reconciliation set scheduled = true where id = {run.id}")
        eventually(lambda: pipeline.sandbox.control.user("M-2") is not None, "M-2 is sent", within_s=90)
        eventually(pipeline.settled, "all settled")
    (job,) = pipeline.sql("select requested_by, asked from job where kind = 'repair'")
    assert job == ("schedule", {"run": run.id, "class": ["never_sent"]})
    user = pipeline.sandbox.control.user("M-1")
    assert user is not None
    assert user["first_name"] == "Ann"
