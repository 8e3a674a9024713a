"""Whose row a ROW_ID is: what events say orders them, what Siebel showed is written to."""

from sqlalchemy import Engine

from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.ledger.transitions import attempts
from shared.pipeline import Lane, Stage
from tests.rig import Pipeline, eventually, member_event
from tests.road import Road


def send(ledger: Engine, row_id: str, minute: int, last_name: str = "Lee", **more: object) -> str:
    event = parse_event({**member_event("M-1", minute, row_id=row_id, last_name=last_name), **more}, max_bytes=64_000)
    (receipt,) = accept(ledger, [(0, event)], IntakeRules(Lane.LIVE))
    return receipt.outcome


def test_what_the_event_says_is_a_claim_and_what_siebel_showed_is_kept_beside_it(ledger: Engine) -> None:
    road = Road(ledger)
    send(ledger, "1-CLAIMED", 0)
    road.travel()
    assert road.sql("select row_id, proven_row_id from member") == [("1-CLAIMED", "1-R")]
    send(ledger, "", 1, "New")
    (claimed,) = road.claim().values()
    road.sql("update instance set stage = 'siebel', status = 'Success' where state = 'running'")
    with ledger.begin() as tx:
        (work,) = attempts.begin(tx, Stage.SIEBEL, [one.instance_id for one in claimed], lease_s=60).works
    assert (work.row_id, work.claimed_row_id) == ("1-R", "1-CLAIMED")


def test_an_older_outcome_does_not_undo_the_row_of_a_newer_event(ledger: Engine) -> None:
    road = Road(ledger)
    send(ledger, "1-OLD", 0)
    road.travel(limit=1)
    send(ledger, "1-NEW", 1)
    assert road.sql("select row_id, proven_row_id from member") == [("1-NEW", "1-R")]


def test_the_same_content_on_another_row_is_sent_since_that_row_shows_no_status(ledger: Engine) -> None:
    road = Road(ledger)
    send(ledger, "1-R", 0)
    road.travel()
    assert send(ledger, "1-R", 1) == "unchanged"
    assert send(ledger, "1-NEW", 2) == "accepted"


def test_a_members_data_error_never_shows_on_the_row_that_its_event_names_wrongly(pipeline: Pipeline) -> None:
    siebel = pipeline.sandbox.control
    siebel.seed({"member_number": "M-1", "row_id": "1-A"}, {"member_number": "M-2", "row_id": "1-B"})
    with pipeline.whole():
        pipeline.send(member_event("M-1", row_id="1-A"))
        eventually(pipeline.settled, "the first is through")
        pipeline.send(member_event("M-2", row_id="1-A", last_name=""))
        eventually(pipeline.settled, "the second is through")
    shown = {number: siebel.member(number) for number in ("M-1", "M-2")}
    assert {number: found and found["status"] for number, found in shown.items()} == {
        "M-1": "Success",
        "M-2": "Data Error",
    }
    assert pipeline.sql("select member_number, proven_row_id from member order by 1") == [
        ("M-1", "1-A"),
        ("M-2", "1-B"),
    ]
