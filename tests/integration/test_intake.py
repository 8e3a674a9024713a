"""The six rules of intake, against a real ledger."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, Outcome, Receipt, accept
from producers.intake.siebel_message import Dialect, Terms, read_member
from shared.errors import InvalidEventError
from shared.events import MemberEvent, parse_event
from shared.pipeline import Lane
from shared.settings import SiebelSettings
from tests.unpacking import unpack_events

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def event(number: str = "M-1", minute: int = 0, **changes: Any) -> MemberEvent:  # noqa: ANN401
    member = {"member_number": number, "first_name": "Ann", "last_name": "Lee", "status": "Active"}
    member |= changes.pop("member", {})
    raw = {"operation": "update", "occurred_at": (NOW + timedelta(minutes=minute)).isoformat(), "member": member}
    return parse_event(raw | changes, max_bytes=64_000)


def take(
    ledger: Engine,
    *events: MemberEvent | InvalidEventError,
    program_id: str = "",
    forced_by: tuple[str, str] | None = None,
) -> list[Receipt]:
    return accept(ledger, enumerate(events), IntakeRules(Lane.LIVE, program_id, forced_by=forced_by))


def outcomes(receipts: list[Receipt]) -> list[str]:
    return [receipt.outcome.value for receipt in receipts]


def states(ledger: Engine) -> list[str]:
    with ledger.connect() as tx:
        return list(tx.execute(text("select state from instance order by id")).scalars())


def finish(ledger: Engine, **columns: object) -> None:
    """Pretend that the newest instance of M-1 went through."""
    with ledger.begin() as tx:
        tx.execute(text("update instance set state = 'completed', finished_at = now() where state = 'pending'"))
        tx.execute(
            text("""update member m set synced = true, applied_id = i.id, applied_hash = i.content_hash
                    from instance i where i.id = (select max(id) from instance where state = 'completed')""")
        )
        for name, value in columns.items():
            tx.execute(text(f"update member set {name} = :value"), {"value": value})


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
    with ledger.begin() as tx:
        tx.execute(
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
    with ledger.connect() as tx:
        newest = tx.execute(
            text("""select count(*) from instance i where state = 'pending' and occurred_at =
                    (select max(occurred_at) from instance n where n.member_number = i.member_number)""")
        )
        assert newest.scalar() == 10
        assert tx.execute(text("select count(*) from instance where state = 'pending'")).scalar() == 10


def row(row_id: str, **fields: str) -> dict[str, str]:
    return {"row_id": row_id, "last_name": row_id, **fields}


def test_what_lies_in_the_future_of_the_ledgers_clock_is_refused_and_shuts_nobody_out(ledger: Engine) -> None:
    ahead = int((datetime.now(UTC) - NOW).total_seconds() / 60)
    early, far = take(ledger, event(minute=ahead + 7), event(minute=ahead + 10**7))
    assert {early.outcome, far.outcome} == {Outcome.REFUSED}
    assert (early.field, early.instance_id, early.member_number) == ("occurred_at", None, "M-1")
    assert "MEMBERSYNC_GUARD__FUTURE_S (300)" in (early.reason or "")
    assert outcomes(take(ledger, event(minute=ahead + 4), event("M-2", minute=ahead - 1))) == ["accepted", "accepted"]
    assert states(ledger) == ["pending", "pending"]


SHUT = [
    {"newest_occurred_at": datetime(2062, 1, 1, tzinfo=UTC), "newest_modification": None},
    {"newest_occurred_at": datetime(9999, 1, 1, tzinfo=UTC), "newest_modification": 9},
    {"newest_modification": 2**63 - 1},
    {"newest_modification": 9_999_999_999, "sequence_from": datetime(2062, 1, 1, tzinfo=UTC), "row_id": "1-OTHER"},
    {"newest_occurred_until": datetime(2062, 1, 1, tzinfo=UTC), "newest_modification": 10},
]


@pytest.mark.parametrize("shut", SHUT)
def test_an_operators_force_opens_a_member_that_is_shut_and_is_recorded(ledger: Engine, shut: dict[str, Any]) -> None:
    take(ledger, event(minute=0, modification=8))
    with ledger.begin() as tx:
        for name, value in shut.items():
            tx.execute(text(f"update member set {name} = :value"), {"value": value})
    late = event(minute=1, modification=9, member={"last_name": "New"}, force=True)
    assert outcomes(take(ledger, late)) == ["superseded"]
    again = event(minute=1, modification=9, member={"last_name": "New"}, force=True, event_id="again")
    receipt = take(ledger, again, forced_by=("olga", "operator"))[0]
    assert receipt.outcome is Outcome.ACCEPTED
    later = event(minute=2, modification=10, member={"last_name": "Newer"})
    assert outcomes(take(ledger, later)) == ["accepted"]
    assert states(ledger) == ["superseded", "superseded", "superseded", "pending"]
    with ledger.connect() as tx:
        (action,) = tx.execute(text("select who, role, what, asked, count, answer from operator_action"))
    assert tuple(action) == ("olga", "operator", "force", {"ids": [receipt.instance_id]}, 1, "1 accepted")


def test_the_row_of_another_member_begins_no_sequence_neither_coming_nor_going(ledger: Engine) -> None:
    take(ledger, event(modification=3, member={"member_number": "M-2", "row_id": "1-OTHER"}))
    with ledger.begin() as tx:
        tx.execute(text("update member set proven_row_id = '1-OTHER' where member_number = 'M-2'"))
    assert outcomes(take(ledger, event(modification=7, member=row("1-OWN")))) == ["accepted"]
    foreign = event(minute=1, modification=4, member=row("1-OTHER"))
    back = event(minute=2, modification=5, member=row("1-OWN"))
    assert outcomes(take(ledger, foreign)) == ["superseded"]
    assert outcomes(take(ledger, back)) == ["superseded"]
    together = (
        event(minute=3, modification=8, member=row("1-OTHER")),
        event(minute=4, modification=6, member=row("1-OWN")),
    )
    assert outcomes(take(ledger, *together)) == ["accepted", "superseded"]
    assert outcomes(take(ledger, event(minute=5, modification=0, member=row("1-NEW")))) == ["accepted"]


@pytest.mark.parametrize("row_id", ["1-NEW", "1-OLD", ""])
def test_a_member_that_is_deleted_and_enrolled_again_counts_anew(ledger: Engine, row_id: str) -> None:
    take(ledger, event(minute=1, modification=40, member=row("1-OLD")))
    take(ledger, event(minute=2, modification=41, operation="delete", member=row("1-OLD")))
    enrolled = event(minute=3, modification=0, operation="enroll", member=row(row_id, last_name="Back"))
    assert outcomes(take(ledger, enrolled)) == ["accepted"]
    assert outcomes(take(ledger, event(minute=4, modification=1, member=row(row_id)))) == ["accepted"]
    late = [event(minute=2, modification=42 + more, member=row(old)) for more, old in enumerate(["1-OLD", ""])]
    assert outcomes(take(ledger, *late)) == ["superseded", "superseded"]


def test_another_row_counts_anew_also_without_a_deletion_and_its_own_order_holds(ledger: Engine) -> None:
    take(ledger, event(minute=1, modification=40, member=row("1-OLD")))
    rows = [event(minute=minute, modification=minute, member=row("1-NEW")) for minute in (5, 3, 6)]
    assert outcomes(take(ledger, *rows)) == ["accepted", "superseded", "accepted"]
    assert outcomes(take(ledger, event(minute=4, modification=41, member=row("1-OLD")))) == ["superseded"]


def test_an_enrolment_that_comes_late_after_its_deletion_begins_nothing(ledger: Engine) -> None:
    take(ledger, event(minute=5, modification=6, operation="delete"))
    assert outcomes(take(ledger, event(minute=1, modification=0, operation="enroll"))) == ["superseded"]


def test_an_update_after_a_deletion_is_of_the_same_sequence(ledger: Engine) -> None:
    take(ledger, event(minute=5, modification=6, operation="delete"))
    assert outcomes(take(ledger, event(minute=6, modification=5))) == ["superseded"]


def siebel(updated: str, zone: str, name: str, **more: str) -> MemberEvent:
    record = {"Member Number": "M-1", "Last Name": name, "First Name": "A", "Status": "Active", "Updated": updated}
    dialect = Dialect.of(SiebelSettings(timezone=zone))
    return read_member(record | more, Terms(dialect, datetime.now(UTC)))


@pytest.mark.parametrize(
    ("zone", "updates", "wanted"),
    [
        ("America/New_York", ["11/01/2026 01:45:00", "11/01/2026 01:15:00"], ["accepted", "accepted"]),
        ("America/New_York", ["11/01/2026 00:59:59", "11/01/2026 01:00:00"], ["accepted", "accepted"]),
        ("America/New_York", ["11/01/2026 01:00:00", "11/01/2026 00:59:59"], ["accepted", "superseded"]),
        ("America/New_York", ["11/01/2026 02:00:00", "11/01/2026 01:59:59"], ["accepted", "superseded"]),
        ("America/New_York", ["11/01/2026 01:59:59", "11/01/2026 02:00:00"], ["accepted", "accepted"]),
        ("America/New_York", ["2026-11-01T01:45:00-04:00", "11/01/2026 01:15:00"], ["accepted", "accepted"]),
        ("America/New_York", ["10/31/2026 01:45:00", "10/31/2026 01:15:00"], ["accepted", "superseded"]),
        ("America/New_York", ["03/08/2026 01:59:00", "03/08/2026 02:30:00"], ["accepted", "accepted"]),
        ("America/New_York", ["03/08/2026 02:30:00", "03/08/2026 03:01:00"], ["accepted", "accepted"]),
        ("Europe/Berlin", ["10/25/2026 02:59:00", "10/25/2026 02:00:00"], ["accepted", "accepted"]),
        ("Australia/Sydney", ["04/05/2026 02:45:00", "04/05/2026 02:15:00"], ["accepted", "accepted"]),
        ("Australia/Sydney", ["04/05/2026 03:00:00", "04/05/2026 02:15:00"], ["accepted", "superseded"]),
        ("Australia/Lord_Howe", ["04/05/2026 01:55:00", "04/05/2026 01:35:00"], ["accepted", "accepted"]),
        ("Australia/Lord_Howe", ["04/05/2026 01:55:00", "04/05/2026 01:25:00"], ["accepted", "superseded"]),
        ("UTC", ["11/01/2026 01:45:00", "11/01/2026 01:15:00"], ["accepted", "superseded"]),
        ("Asia/Kolkata", ["11/01/2026 01:45:00", "11/01/2026 01:15:00"], ["accepted", "superseded"]),
    ],
)
def test_within_an_hour_that_a_clock_change_repeats_arrival_decides(
    ledger: Engine, zone: str, updates: list[str], wanted: list[str]
) -> None:
    assert [outcomes(take(ledger, siebel(one, zone, f"L{n}")))[0] for n, one in enumerate(updates)] == wanted


def test_in_the_repeated_hour_a_stated_modification_still_decides(ledger: Engine) -> None:
    updates = [("01:45:00", "7"), ("01:15:00", "6"), ("01:15:00", "8"), ("01:05:00", "8"), ("00:30:00", "8")]
    events = [siebel(f"11/01/2026 {at}", "America/New_York", f"{at}{mod}", **{"Mod Id": mod}) for at, mod in updates]
    assert outcomes(take(ledger, *events)) == ["accepted", "superseded", "accepted", "accepted", "superseded"]


@pytest.mark.parametrize("astray", [timedelta(hours=1), timedelta(hours=-1)], ids=["ahead", "behind"])
def test_what_states_no_instant_occurred_when_the_ledger_got_it_whatever_the_callers_clock(
    ledger: Engine, astray: timedelta
) -> None:
    take(ledger, event(minute=0))

    def arrived(name: str, clock: datetime) -> MemberEvent:
        record = {"Member Number": "M-1", "Last Name": name, "First Name": "A"}
        dialect = Dialect.of(SiebelSettings())
        return read_member(record, Terms(dialect, clock))

    assert outcomes(take(ledger, arrived("astray", datetime.now(UTC) + astray))) == ["accepted"]
    assert outcomes(take(ledger, arrived("right", datetime.now(UTC)))) == ["accepted"]
    assert outcomes(take(ledger, arrived("astray again", datetime.now(UTC) + astray))) == ["accepted"]
    unpack_events(ledger)
    with ledger.connect() as tx:
        off_s = tx.execute(
            text("""select max(abs(extract(epoch from i.occurred_at - clock_timestamp()))
                               + abs(extract(epoch from i.due_at - clock_timestamp()))
                               + abs(extract(epoch from (p.event_json ->> 'occurred_at')::timestamptz - i.occurred_at)))
                    from instance i join payload p on p.instance_id = i.id where i.id > 1""")
        )
        assert off_s.scalar_one() < 60


def test_an_event_with_an_id_and_no_instant_is_its_own_duplicate(ledger: Engine) -> None:
    record = {"event_id": "E-1", "Member Number": "M-1", "Last Name": "L", "First Name": "A"}
    dialect = Dialect.of(SiebelSettings())
    arrivals = [datetime.now(UTC), datetime.now(UTC) + timedelta(seconds=9)]
    events = [read_member(record, Terms(dialect, at)) for at in arrivals]
    assert outcomes(take(ledger, events[0])) + outcomes(take(ledger, events[1])) == ["accepted", "duplicate"]
