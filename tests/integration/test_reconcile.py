"""A reconciliation finds planted differences of every class, and no others."""

from collections.abc import Iterator

import pytest

from producers.operations.reconcile.runs import Ask
from tests.reconciling import Programme, named
from tests.rig import Pipeline


@pytest.fixture
def programme(pipeline: Pipeline) -> Iterator[Programme]:
    pipeline.sandbox.control.set("siebel", auto_members=False)  # who is asked for would come into being
    with pipeline.whole():
        yield Programme(pipeline, {})


def plant(programme: Programme) -> dict[str, list[str]]:
    """Spoil some members, three of each class; return who they are."""
    kinds = ("missed", "changed", "rolled", "gone", "orphan", "lies", "behind", "fine")
    members = {kind: list(named(kind, 3)) for kind in kinds}
    members["never"] = list(named("never", 3))
    programme.sync(*(number for kind in kinds for number in members[kind]))
    control = programme.pipeline.sandbox.control
    programme.seed(*members["never"])
    programme.seed(*members["missed"], first_name="Hanna")
    programme.seed(*members["behind"], first_name="Berta")
    for number in members["behind"]:
        programme.in_crowdtwist("PUT", number, first_name="Berta")
    for number in members["changed"]:
        programme.in_crowdtwist("PUT", number, last_name="Cole")
    for number in members["rolled"]:
        programme.rolled_back(number, last_name="Older")
    for number in members["gone"]:
        programme.in_crowdtwist("DELETE", number)
    control.remove(*members["orphan"])
    programme.seed(*members["lies"])
    control.seed(
        *({"member_number": one, "row_id": f"1-{one}", "CT Sync Status": "Data Error"} for one in members["lies"])
    )
    return members


def expected(members: dict[str, list[str]]) -> dict[str, list[str]]:
    return {
        "never_sent": members["never"],
        "missed_event": members["missed"],
        "changed_at_destination": members["changed"],
        "rolled_back": members["rolled"],
        "gone_at_destination": members["gone"],
        "orphan": members["orphan"],
        "status_lies": members["lies"],
        "ledger_behind": members["behind"],
    }


def test_every_class_is_found_and_nothing_else(programme: Programme) -> None:
    members = plant(programme)
    run = programme.run()
    assert (run.state, run.why) == ("done", None)
    assert programme.classes(run) == expected(members)
    assert run.differences == dict.fromkeys(expected(members), 3)
    sides = {one.drift_class: (one.field, one.siebel, one.crowdtwist, one.ledger) for one in programme.differences(run)}
    assert sides == {
        "never_sent": (None, "present", "absent", "no event"),
        "missed_event": ("first_name", "Hanna", "Ann", "Ann"),
        "changed_at_destination": ("last_name", "Lee", "Cole", "Lee"),
        "rolled_back": ("last_name", "Lee", "Older", "Lee"),
        "gone_at_destination": (None, "present", "absent", "acknowledged"),
        "orphan": (None, "absent", "active", "acknowledged"),
        "status_lies": ("CT Sync Status", "Data Error", None, "Success"),
        "ledger_behind": ("first_name", "Berta", "Berta", "Ann"),
    }
    assert (run.compared, run.covered, run.moving, run.unread) == (27, 1.0, 0, 0)
    assert run.members == {"siebel": 24, "ledger": 24, "crowdtwist": 21}
    assert run.drift["estimate"] == run.drift["low"] == run.drift["high"] == pytest.approx(24 / 27)
    assert run.classes["never_sent"]["estimate"] == pytest.approx(3 / 27)
    assert programme.run(Ask(full=True)).differences == run.differences


def test_who_could_not_be_looked_at_is_not_called_equal(programme: Programme) -> None:
    programme.sync(*named("fine", 3))
    control = programme.pipeline.sandbox.control
    control.fault("crowdtwist", kind="html", status=200, member=["fine-001"])
    run = programme.run()
    assert (run.state, run.found, run.compared, run.unread) == ("done", 0, 2, 1)
    assert run.covered == pytest.approx(2 / 3)
    assert (run.drift["low"], run.drift["high"]) == (0.0, pytest.approx(1 / 3))
    assert run.meaning == "2 of 3 members were looked at: 0 differ; 1 could not be looked at, and may differ"
    alone = programme.run(Ask(members=("fine-001",)))
    assert (alone.meaning, alone.covered) == ("nobody was compared; 1 could not be looked at, and may differ", 0.0)

    control.heal("crowdtwist")
    rows = programme.rows()
    flawed = [{**rows[0], "Id": 7}, rows[0], {**rows[1], "Member Number": 7}, None, rows[2]]
    control.fault("siebel", "status", status=200, body={"items": flawed}, times=1)
    run = programme.run()
    assert (run.state, run.members["siebel"], run.compared, run.unread) == ("done", 2, 3, 3)
    assert programme.classes(run) == {}


def test_a_programme_in_sync_has_no_difference(programme: Programme) -> None:
    programme.sync(*named("fine", 5))
    run = programme.run()
    assert (run.state, run.found, run.drift["high"]) == ("done", 0, 0.0)
    assert run.meaning == "all of 5 members were looked at: 0 differ"
