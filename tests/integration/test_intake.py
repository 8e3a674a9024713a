"""The six rules of intake, against a real ledger."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.intake import Outcome, Receipt, accept
from shared.errors import InvalidEventError
from shared.events import MemberEvent, parse_event
from shared.pipeline import Lane

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def event(number: str = "M-1", minute: int = 0, **changes: Any) -> MemberEvent:  # noqa: ANN401
    member = {"member_number": number, "first_name": "Ann", "last_name": "Lee", "status": "Active"}
    member |= changes.pop("member", {})
    raw = {"operation": "update", "occurred_at": (NOW + timedelta(minutes=minute)).isoformat(), "member": member}
    return parse_event(raw | changes, max_bytes=64_000)


def take(ledger: Engine, *events: MemberEvent | InvalidEventError, program_id: str = "") -> list[Receipt]:
    return accept(ledger, enumerate(events), lane=Lane.LIVE, program_id=program_id, now=NOW)


def outcomes(receipts: list[Receipt]) -> list[str]:
    return [receipt.outcome.value for receipt in receipts]


def states(ledger: Engine) -> list[str]:
    with ledger.connect() as connection:
        return list(connection.execute(text("select state from instance order by id")).scalars())


def finish(ledger: Engine, **columns: object) -> None:
    """Pretend that the newest instance of M-1 went through."""
    with ledger.begin() as connection:
        connection.execute(text("update instance set state = 'completed', finished_at = now() where state = 'pending'"))
        connection.execute(
            text("""update member m set synced = true, applied_id = i.id, applied_hash = i.content_hash
                    from instance i where i.id = (select max(id) from instance where state = 'completed')""")
        )
        for name, value in columns.items():
            connection.execute(text(f"update member set {name} = :value"), {"value": value})


def test_a_good_event_beside_a_bad_one_is_accepted_and_each_gets_its_answer(ledger: Engine) -> None:
    receipts = take(ledger, event(), InvalidEventError("member.last_name", "is required"), event("M-2"))
    assert outcomes(receipts) == ["accepted", "refused", "accepted"]
    assert [receipt.position for receipt in receipts] == [0, 1, 2]
    assert (receipts[1].field, receipts[1].reason) == ("member.last_name", "is required")
    assert states(ledger) == ["pending", "pending"]


def test_the_same_event_id_with_the_same_content_is_a_duplicate_of_the_first(ledger: Engine) -> None:
    first = take(ledger, event(event_id="E-1"))[0]
    second = take(ledger, event(event_id="E-1"))[0]
    assert (second.outcome, second.instance_id) == (Outcome.DUPLICATE, first.instance_id)
    assert states(ledger) == ["pending"]


def test_the_same_event_id_with_other_content_is_a_conflict_and_the_first_stands(ledger: Engine) -> None:
    take(ledger, event(event_id="E-1"))
    receipt = take(ledger, event(event_id="E-1", member={"last_name": "Other"}))[0]
    assert (receipt.outcome, receipt.field) == (Outcome.CONFLICT, "event_id")
    assert states(ledger) == ["pending"]


def test_an_event_without_an_id_sent_twice_is_a_duplicate(ledger: Engine) -> None:
    assert outcomes(take(ledger, event(), event())) == ["accepted", "duplicate"]


@pytest.mark.parametrize(
    ("member", "reason"),
    [({"member_type": "Household"}, "Household"), ({"program_id": "1-OTHER"}, "programme"), ({}, "programme")],
)
def test_who_is_not_an_individual_of_the_programme_is_skipped_with_the_reason(
    ledger: Engine, member: Mapping[str, str], reason: str
) -> None:
    receipt = take(ledger, event(member=dict(member)), program_id="" if "member_type" in member else "1-PROG")[0]
    assert receipt.outcome is Outcome.SKIPPED
    assert reason in (receipt.reason or "")
    assert states(ledger) == ["skipped"]


def test_an_older_event_than_the_newest_is_superseded_at_once(ledger: Engine) -> None:
    take(ledger, event(minute=5))
    assert outcomes(take(ledger, event(minute=4))) == ["superseded"]
    assert states(ledger) == ["pending", "superseded"]


def test_modification_orders_before_the_clock(ledger: Engine) -> None:
    take(ledger, event(minute=5, modification=7))
    assert outcomes(take(ledger, event(minute=9, modification=6), event(minute=1, modification=8))) == [
        "superseded",
        "accepted",
    ]


def test_a_newer_event_supersedes_the_pending_one(ledger: Engine) -> None:
    take(ledger, event(minute=1))
    take(ledger, event(minute=2, member={"last_name": "New"}))
    assert states(ledger) == ["superseded", "pending"]


def test_within_one_call_only_the_newest_of_a_member_stays_pending(ledger: Engine) -> None:
    events = [event(minute=minute, member={"last_name": f"L{minute}"}) for minute in range(50)]
    assert set(outcomes(take(ledger, *events))) == {"accepted"}
    assert states(ledger) == ["superseded"] * 49 + ["pending"]


def test_what_crowdtwist_accepted_already_is_unchanged_and_supersedes_what_is_pending(ledger: Engine) -> None:
    take(ledger, event(minute=1))
    finish(ledger)
    assert outcomes(take(ledger, event(minute=2))) == ["unchanged"]
    take(ledger, event(minute=3, member={"last_name": "New"}))
    assert outcomes(take(ledger, event(minute=4))) == ["unchanged"]
    assert states(ledger) == ["completed", "unchanged", "superseded", "unchanged"]


@pytest.mark.parametrize("later", [{}, {"last_name": "Other"}])
def test_a_deletion_counts_for_its_flag_alone_and_not_for_its_content(ledger: Engine, later: dict[str, str]) -> None:
    take(ledger, event(minute=1, operation="enroll"))
    finish(ledger)
    inactive = {"status": "Inactive", "first_name": "New"}
    assert outcomes(take(ledger, event(minute=2, operation="delete", member=inactive))) == ["accepted"]
    finish(ledger)
    assert outcomes(take(ledger, event(minute=3, operation="delete", member=inactive | later))) == ["unchanged"]
    assert outcomes(take(ledger, event(minute=4, member=inactive))) == ["accepted"]
    finish(ledger)
    assert outcomes(take(ledger, event(minute=5, member=inactive))) == ["unchanged"]
    assert outcomes(take(ledger, event(minute=6, operation="delete", member=inactive))) == ["accepted"]


def test_a_deletion_of_one_who_was_never_there_leaves_its_content_to_be_sent(ledger: Engine) -> None:
    take(ledger, event(minute=1, operation="delete", member={"status": "Inactive"}))
    finish(ledger)
    assert outcomes(take(ledger, event(minute=2, member={"status": "Inactive"}))) == ["accepted"]


def test_force_sends_what_is_unchanged(ledger: Engine) -> None:
    take(ledger, event(minute=1))
    finish(ledger)
    assert outcomes(take(ledger, event(minute=2, force=True))) == ["accepted"]


def test_after_a_sync_that_failed_the_same_content_is_sent_again(ledger: Engine) -> None:
    take(ledger, event(minute=1))
    finish(ledger, synced=False)
    assert outcomes(take(ledger, event(minute=2))) == ["accepted"]


def test_nothing_is_judged_unchanged_while_an_event_of_the_member_is_in_flight(ledger: Engine) -> None:
    take(ledger, event(minute=1))
    finish(ledger)
    take(ledger, event(minute=2, member={"last_name": "New"}))
    with ledger.begin() as connection:
        connection.execute(
            text("update instance set state = 'running', token = 1, lease_until = now() where state = 'pending'")
        )
    assert outcomes(take(ledger, event(minute=3))) == ["accepted"]


def test_a_rejected_member_that_is_deleted_is_sent_once_more(ledger: Engine) -> None:
    take(ledger, event(minute=1))
    finish(ledger)
    assert outcomes(take(ledger, event(minute=2, operation="delete"))) == ["accepted"]


def test_a_hundred_intakes_at_once_lose_and_double_nothing(ledger: Engine) -> None:
    def shuffled(seed: int) -> list[Receipt]:
        events = [event(f"M-{(seed + step) % 10}", minute=seed * 20 + step) for step in range(20)]
        return take(ledger, *events, event("M-0", event_id="SAME", minute=-1))

    with ThreadPoolExecutor(8) as pool:
        receipts = [receipt for some in pool.map(shuffled, range(100)) for receipt in some]
    assert len({receipt.instance_id for receipt in receipts if receipt.event_id != "SAME"}) == 2000
    assert len({receipt.instance_id for receipt in receipts if receipt.event_id == "SAME"}) == 1
    with ledger.connect() as connection:
        newest = connection.execute(
            text("""select count(*) from instance i where state = 'pending' and occurred_at =
                    (select max(occurred_at) from instance n where n.member_number = i.member_number)""")
        )
        assert newest.scalar() == 10
        assert connection.execute(text("select count(*) from instance where state = 'pending'")).scalar() == 10
