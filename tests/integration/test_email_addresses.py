"""An address that one member gives up and another takes, whichever call comes first; and who has an address."""

from typing import Any

import pytest
from sqlalchemy import Engine

from shared.ledger import people
from shared.ledger.engine import transaction
from tests.rig import Pipeline, eventually, member_event

X, Y, Z = (f"{name}@example.org" for name in "xyz")


def moves(pipeline: Pipeline, *moves: tuple[str, str], minute: int = 1) -> None:
    pipeline.send(*(member_event(number, minute=minute, email_address=address) for number, address in moves))


def settle(pipeline: Pipeline, *have: tuple[str, str]) -> None:
    """Let members have addresses."""
    moves(pipeline, *have, minute=0)
    eventually(lambda: pipeline.states() == {"completed": len(have)}, "they have them")


def ends(pipeline: Pipeline, **expected: tuple[str | None, str]) -> None:
    """Wait until all is settled; each member must have that address in CrowdTwist and that status in Siebel."""
    eventually(pipeline.settled, "all settled")
    found = {}
    for number in expected:
        user = pipeline.sandbox.control.user(number.replace("_", "-")) or {}
        shown = pipeline.sandbox.control.call("GET", "siebel/members", row_id=f"1-{number.replace('_', '-')}").json()
        found[number] = (user.get("email_address"), shown["status"])
    assert found == expected


def waits(pipeline: Pipeline, number: str) -> bool:
    return bool(pipeline.sql(f"select 1 from instance where member_number = '{number}' and code = '{people.PENDING}'"))


def test_who_takes_an_address_waits_for_who_gives_it_up(pipeline: Pipeline) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        fault = pipeline.sandbox.control.fault("crowdtwist", "maintenance", member="A-1")
        moves(pipeline, ("A-1", Y))
        eventually(lambda: "waiting" in pipeline.states(), "A's change fails")
        moves(pipeline, ("B-1", X.upper()))
        eventually(lambda: waits(pipeline, "B-1"), "B waits")
        (error,) = pipeline.sql("select error from instance where member_number = 'B-1'")
        assert error.startswith("CrowdTwist: Email Address is already taken (waits for member A-1")
        pipeline.sandbox.control.heal("crowdtwist", fault)
        ends(pipeline, A_1=(Y, "Success"), B_1=(X.upper(), "Success"))


def test_a_chain_comes_loose_from_its_end(pipeline: Pipeline) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X), ("B-1", Y), ("C-1", Z))
        fault = pipeline.sandbox.control.fault("crowdtwist", "maintenance", member="A-1")
        moves(pipeline, ("A-1", "new@example.org"))
        eventually(lambda: "waiting" in pipeline.states(), "A's change fails")
        moves(pipeline, ("B-1", X), ("C-1", Y))
        eventually(lambda: waits(pipeline, "B-1") and waits(pipeline, "C-1"), "B and C wait")
        pipeline.sandbox.control.heal("crowdtwist", fault)
        ends(pipeline, A_1=("new@example.org", "Success"), B_1=(X, "Success"), C_1=(Y, "Success"))


def test_the_refusal_stands_when_the_holder_ends_without_giving_it_up(pipeline: Pipeline) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        body = {"error": "input_error", "message": "Email Address is not acceptable"}
        slow = pipeline.sandbox.control.fault("crowdtwist", "maintenance", member="A-1")
        moves(pipeline, ("A-1", Y))
        eventually(lambda: "waiting" in pipeline.states(), "A's change fails")
        moves(pipeline, ("B-1", X))
        eventually(lambda: waits(pipeline, "B-1"), "B waits")
        pipeline.sandbox.control.fault("crowdtwist", "status", status=400, body=body, member="A-1")
        pipeline.sandbox.control.heal("crowdtwist", slow)
        ends(pipeline, A_1=(X, "Data Error"), B_1=(None, "Data Error"))


def test_those_who_wait_for_each_other_in_a_ring_are_told_so(pipeline: Pipeline) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X), ("B-1", Y))
        moves(pipeline, ("A-1", Y), ("B-1", X))
        ends(pipeline, A_1=(X, "Data Error"), B_1=(Y, "Data Error"))


@pytest.mark.parametrize("holder", [{"email_address": X}, {"email_address": X, "last_name": "Other"}])
def test_nobody_waits_for_who_keeps_the_address(pipeline: Pipeline, holder: dict[str, Any]) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        pipeline.sandbox.control.fault("crowdtwist", "maintenance", member="A-1")
        pipeline.send(member_event("A-1", minute=1, city="Elsewhere", **holder))
        eventually(lambda: "waiting" in pipeline.states(), "A's change fails")
        moves(pipeline, ("B-1", X))
        eventually(lambda: "rejected" in pipeline.states(), "B is refused")
        assert not waits(pipeline, "B-1")


def test_a_deleted_member_keeps_its_address_and_nobody_waits_for_it(pipeline: Pipeline) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X))
        pipeline.sandbox.control.fault("crowdtwist", "maintenance", member="A-1")
        pipeline.send(member_event("A-1", minute=1, email_address=X) | {"operation": "delete"})
        eventually(lambda: "waiting" in pipeline.states(), "the deletion fails")
        moves(pipeline, ("B-1", X))
        eventually(lambda: "rejected" in pipeline.states(), "B is refused")


def test_members_are_found_by_an_exact_address_new_or_held(pipeline: Pipeline, ledger: Engine) -> None:
    with pipeline.whole():
        settle(pipeline, ("A-1", X), ("B-1", Y))
    moves(pipeline, ("A-1", Z))
    with transaction(ledger) as tx:
        found = {address: people.members_of(tx, address) for address in (X, f" {Y.upper()}", Z, "x@", "")}
    assert found == {X: ["A-1"], f" {Y.upper()}": ["B-1"], Z: ["A-1"], "x@": [], "": []}
