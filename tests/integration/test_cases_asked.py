"""CrowdTwist is asked who has an address: what comes of it where it says nothing, or says what is no more."""

import pytest
from sqlalchemy import Engine, text

from producers.dispatch.desk import LEASE_S, Desk
from shared.errors import StageError, UnavailableError
from shared.ledger import cases
from shared.ledger.engine import transaction
from shared.ledger.transitions import member_queue
from shared.lifecycle.cases import LookUp
from shared.settings import Settings
from tests.integration.test_cases import (
    NOT_BY_ITSELF,
    X,
    Y,
    Z,
    addresses,
    closed,
    moves,
    refused,
    settings_of,
    settle,
)
from tests.rig import Pipeline, eventually


def refused_one(pipeline: Pipeline, ledger: Engine) -> Settings:
    """Have B refused for the address of A, and nothing asked by itself; return the settings."""
    pipeline.settings.update(NOT_BY_ITSELF)
    settle(pipeline, ("A", X), ("B", Y))
    moves(pipeline, ("B", X))
    refused(pipeline, ledger, "B")
    return settings_of(pipeline)


def test_a_look_up_without_an_answer_is_made_again_soon(
    pipeline: Pipeline, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pipeline.whole():
        of = refused_one(pipeline, ledger)

    async def nobody_answers(*_: object) -> list[StageError]:
        return [UnavailableError("CrowdTwist", "it is away")]

    monkeypatch.setattr("producers.dispatch.desk._asked", nobody_answers)
    desk = Desk(of.model_copy(update={"cases": of.cases.model_copy(update={"look_ups_per_minute": 3})}))
    soon = "look_at between now() and now() + interval '15 s'"

    def is_asked_again_soon() -> bool:
        desk.turn()  # it passes over what the ended dispatcher's session still holds
        return pipeline.sql(f"select looked is null and {soon} from data_case") == [True]

    eventually(is_asked_again_soon, "asked, and to be asked again")


def test_a_holder_that_moves_while_crowdtwist_is_asked_has_moved_since(pipeline: Pipeline, ledger: Engine) -> None:
    with pipeline.whole():
        of = refused_one(pipeline, ledger)
        (case_id,) = pipeline.sql("select id from data_case")
        with transaction(ledger) as tx:
            assert cases.take_look_up(tx, case_id, lease_s=LEASE_S) is not None
            # The ledger does not know who has the address, so what CrowdTwist shows is all there is to go by.
            tx.execute(text("update member set held_email_key = null where member_number = 'A'"))
            tx.execute(text("update data_case set held_by = null"))
        moves(pipeline, ("A", Z), minute=2)
        eventually(lambda: addresses(pipeline, "A") == [Z] and pipeline.settled(), "it has moved")
        assert addresses(pipeline, "B") == [Y]
        with transaction(ledger) as tx:
            before = {"id": 1, "third_party_id": "A", "is_active": True, "email_address": X}
            cases.looked_up(tx, case_id, LookUp.FOUND, before, fresh_s=of.cases.holder_fresh_s)
        eventually(lambda: addresses(pipeline, "B") == [X], "it is sent again")
        eventually(lambda: closed(ledger) == {"B": "holder_moved"}, "and its case is over")


@pytest.mark.parametrize(
    ("before", "shown", "goes"),
    [
        ((None, 0), LookUp.NOBODY, True),
        ((None, 2), LookUp.NOBODY, True),
        ((None, 3), LookUp.NOBODY, False),
        (("found", 3), LookUp.NOBODY, True),
        ((None, 0), LookUp.FOUND, False),
    ],
)
def test_who_is_refused_for_what_nobody_has_is_sent_again_a_few_times(
    pipeline: Pipeline, ledger: Engine, before: tuple[str | None, int], shown: LookUp, *, goes: bool
) -> None:
    with pipeline.whole():
        of = refused_one(pipeline, ledger)
    (case_id,) = pipeline.sql("select id from data_case")
    with transaction(ledger) as tx:
        tx.execute(
            text("update data_case set retries = :retries, looked = :was"), {"was": before[0], "retries": before[1]}
        )
        cases.looked_up(tx, case_id, shown, None, fresh_s=of.cases.holder_fresh_s)
        assert (member_queue.send_all_freed(tx, limit=9) == 1) is goes


def test_who_cannot_be_sent_at_once_is_sent_by_a_later_turn(pipeline: Pipeline, ledger: Engine) -> None:
    """Siebel is told of the refusal just then, or the member is locked."""
    with pipeline.whole():
        of = refused_one(pipeline, ledger)
    (case_id,) = pipeline.sql("select id from data_case")
    with transaction(ledger) as other:
        other.execute(text("select from member where member_number = 'B' for update"))
        with transaction(ledger) as tx:
            cases.looked_up(tx, case_id, LookUp.NOBODY, None, fresh_s=of.cases.holder_fresh_s)
            assert member_queue.send_all_freed(tx, limit=9) == 0
    newest = "select i.state from instance i join member m on m.newest_id = i.id where m.member_number = 'B'"
    assert pipeline.sql(newest) == ["rejected"]
    Desk(of).turn()
    assert pipeline.sql(newest) == ["pending"]
