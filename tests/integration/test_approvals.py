"""A bulk action of more than one may do alone waits for a second person, and both names are kept."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine

from producers.cli.command import DONE, NOTHING
from producers.operations import approval_control, guard_control, job_control
from producers.operations.approval_control import OwnApprovalError
from producers.operations.job_control import Ask, Operator, Selection
from shared.ledger.filters import Filter
from shared.ledger.jobs import Job, Kind
from shared.pipeline import State
from shared.settings import OperationsSettings, Settings
from tests.calling import assert_problem
from tests.console import console, logged_in, post, said
from tests.flooding import BROKEN, Flood, numbers
from tests.road import Road
from tests.terminal import Terminal

ANN, BOB = Operator("ann", "operator"), Operator("bob", "operator")
DEAD = [f"M-{number}" for number in range(4)]


@pytest.fixture
def of(ledger: Engine, ledger_url: str) -> Settings:
    assert ledger.url.database
    return Settings(_env_file=None, ledger_url=ledger_url, operations=OperationsSettings(approval_above=3))


@pytest.fixture
def client(of: Settings) -> Iterator[httpx.Client]:
    with console(of) as one:
        yield one


def asked(road: Road, of: Settings, *states: State, ids: tuple[int, ...] = (), kind: Kind = Kind.REQUEUE) -> Job:
    selection = Selection(ids, None if ids else Filter(states=states or (State.DEAD,)))
    _, job = job_control.start(road.ledger, ANN, Ask(kind, selection, "CrowdTwist is well again"), of)
    assert job is not None
    return job


@pytest.mark.parametrize(("kind", "becomes"), [(Kind.REQUEUE, "completed"), (Kind.DISCARD, "discarded")])
def test_a_job_of_more_begins_when_another_has_approved_it(road: Road, of: Settings, kind: Kind, becomes: str) -> None:
    road.dead(*DEAD)
    job = asked(road, of, kind=kind)
    road.turn()
    assert (job.state, road.states()) == ("awaiting_approval", {"dead": 4})
    with pytest.raises(OwnApprovalError):
        approval_control.approve(road.ledger, ANN, 1)
    done = approval_control.approve(road.ledger, BOB, 1, "looked at two")
    assert done is not None
    assert (done.changed, done.answer) == (True, f"approved: {kind} 1 begins")
    ended = road.until_over(1)
    assert (ended.requested_by, ended.approved_by, road.states()) == ("ann", "bob", {becomes: 4})
    assert road.sql("select who, what, answer, denied, asked->>'asked_by' from operator_action order by id") == [
        ("ann", kind, "job 1, which waits for a second person: approval 1", False, None),
        ("ann", "approve", "refused: whoever asked for it cannot approve it", True, "ann"),
        ("bob", "approve", f"approved: {kind} 1 begins", False, "ann"),
    ]
    again = approval_control.approve(road.ledger, BOB, 1)
    assert again is not None
    assert (again.changed, again.answer) == (False, "refused: it is approved")


def test_as_many_as_one_may_and_switched_off_nothing_waits(road: Road, of: Settings) -> None:
    road.dead(*DEAD)
    assert asked(road, of, ids=(1, 2, 3)).state == "planned"
    off = of.model_copy(update={"operations": OperationsSettings()})
    assert asked(road, off).state == "planned"


def test_refused_or_stopped_nothing_of_it_is_done_and_the_instances_are_free_again(road: Road, of: Settings) -> None:
    road.dead(*DEAD)
    asked(road, of)
    assert [one.state for one in approval_control.listed(road.ledger, limit=5, waiting=True).items] == ["waiting"]
    refused = approval_control.refuse(road.ledger, BOB, 1)
    assert refused is not None
    assert (refused.changed, refused.approval.state, road.job(1).stopped_why) == (True, "refused", "refused by bob")
    second = asked(road, of)
    job_control.stop(road.ledger, ANN, Kind.REQUEUE, int(second.job_id))
    assert [one.state for one in approval_control.listed(road.ledger, limit=5).items] == ["lapsed", "refused"]
    late = approval_control.approve(road.ledger, BOB, 2)
    assert late is not None
    assert (late.changed, late.answer, road.states()) == (False, "refused: it is lapsed", {"dead": 4})
    assert approval_control.approve(road.ledger, BOB, 9) is None


def test_a_decision_on_what_a_guard_holds_waits_too(flood: Flood) -> None:
    flood.send(*numbers(60), error=BROKEN)
    guard_control.release(flood.ledger, ANN, 1, "mended?", approval_above=50)
    waits = guard_control.discard(flood.ledger, ANN, 1, "they are bad indeed", approval_above=50)
    assert waits is not None
    assert (waits.changed, waits.hold.state) == (False, "holding")
    assert waits.answer == "refused for now: a second person has to approve it, `membersync approve 2`"
    assert [one.state for one in approval_control.listed(flood.ledger, limit=5).items] == ["waiting", "lapsed"]
    done = approval_control.approve(flood.ledger, BOB, 2)
    assert done is not None
    assert done.changed
    flood.travel()
    assert (flood.hold.state, flood.hold.decided_by, flood.told()) == ("discarded", "ann, approved by bob", 60)


def test_over_http_at_the_console_and_typed(
    road: Road, client: httpx.Client, cli: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.dead(*DEAD)
    oscar, ada = ({"Authorization": f"Bearer tok-{one}", "Accept": "application/json"} for one in ("oscar", "ada"))
    body = {"filter": {"state": ["dead"]}, "reason": "well again"}
    made = client.post("/v1/requeues", headers=oscar, json=body)
    assert (made.status_code, made.json()["state"], made.json()["approved_by"]) == (202, "awaiting_approval", None)
    (item,) = client.get("/v1/approvals?waiting=true", headers=oscar).json()["items"]
    assert (item["what"], item["job_id"], item["count"], item["asked_by"]) == ("requeue", "1", 4, "oscar")
    assert_problem(client.post("/v1/approvals/1/approve", headers=oscar), 409, "own_approval")
    assert_problem(client.post("/v1/approvals/7/refuse", headers=oscar), 404, "no_such_approval")
    page = logged_in(client, "tok-oscar").get("/approvals")
    assert ("Take back" in said(page), "Approve" in page.text.split('id="approval-1"')[1]) == (True, False)
    assert "a second person has to approve it" in said(client.get("/jobs/1"))
    monkeypatch.setenv("MEMBERSYNC_OPERATIONS__APPROVAL_ABOVE", "3")
    trouble = next(one for one in cli("status", "--json").json["verdict"]["troubles"] if "approval" in one["short"])
    assert trouble["what"] == "requeue 1 of 4 instances waits for a second person"
    assert "requeue 1" in cli("approve").out
    assert client.post("/v1/approvals/1/approve", headers=ada).json()["answer"] == "approved: requeue 1 begins"
    assert cli("approve", "1").code == NOTHING
    road.until_over(1)
    road.dead(*(f"N-{number}" for number in range(4)))
    ran = cli("requeue", "--state", "dead", "--reason", "well again", "--yes", "--json")
    assert (ran.code, ran.json["job"]["state"]) == (DONE, "awaiting_approval")
    post(client, "/approvals", "/approvals/2/approve")
    assert "Approval 2: approved: requeue 2 begins." in said(client.get("/approvals"))
    assert cli("approve", "--json").json["items"][0]["decided_by"] == "oscar"
