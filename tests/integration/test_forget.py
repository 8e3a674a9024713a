"""Who is forgotten is nowhere any more, nothing of it comes back, and what occurs later begins anew."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, Outcome, Receipt, accept
from producers.operations import privacy
from producers.operations.job_control import AskError, Operator
from producers.operations.privacy import Forgotten, NotNowError
from shared.events import parse_event
from shared.ledger.engine import transaction
from shared.ledger.personal_columns import TABLES, Holds
from shared.personal import unmarked
from shared.pipeline import Lane
from shared.settings import Settings
from tests.rig import member_event
from tests.road import Road
from tests.unpacking import unpack_events
from tests.whole_person import CANARIES, NUMBER, OTHER, SAID, columns, dump, filled, unfilled

ADA = Operator("ada", "admin")
SETTINGS = Settings(_env_file=None)


def forget(ledger: Engine, number: str = NUMBER, *, reason: str = "asked for", wait_s: float = 0) -> Forgotten | None:
    return privacy.forget(ledger, ADA, number, reason, SETTINGS, wait_s=wait_s)


def arrive(ledger: Engine, at: datetime, first_name: str = "Ann", **more: object) -> Receipt:
    said = member_event(NUMBER, first_name=first_name) | more | {"occurred_at": at.isoformat()}
    event = parse_event(said, max_bytes=64_000)
    return accept(ledger, [(0, event)], IntakeRules(Lane.LIVE))[0]


def found_in(ledger: Engine) -> dict[str, list[str]]:
    """Return which tables still have which words of the person."""
    tables = dump(ledger, columns(ledger))
    return {name: said for name, rows in tables.items() if (said := [one for one in CANARIES if one in rows])}


def test_every_column_of_every_table_says_what_it_holds_of_a_person(ledger: Engine) -> None:
    declared = {name: set(table.columns) for name, table in TABLES.items()}
    assert declared == columns(ledger), "say in shared/ledger/personal_columns.py what it holds"
    assert {name for name, table in TABLES.items() if not {*table.key, *table.names} <= set(table.columns)} == set()


def test_who_is_forgotten_is_in_no_column_of_any_table(ledger: Engine) -> None:
    filled(ledger)
    personal = {
        (name, column)
        for name, table in TABLES.items()
        for column, holds in table.columns.items()
        if holds is not Holds.NOTHING
    }
    assert {one for one in personal if unfilled(ledger, *one)} == set()
    assert found_in(ledger).keys() == {name for name, table in TABLES.items() if table.own or table.names}
    others = Road(ledger).sql(f"select count(*) from instance where member_number = '{OTHER}'")

    forgotten = forget(ledger, reason=f"letter of {unmarked(SAID)}")

    assert forgotten is not None
    assert (forgotten.deleted["instance"], forgotten.unsent) == (2, 1)
    assert forgotten.cleared["operator_action"] == 1
    assert found_in(ledger) == {}
    unpack_events(ledger)
    road = Road(ledger)
    assert road.sql(f"select count(*) from instance where member_number = '{OTHER}'") == others
    assert road.sql(
        "select email_address from (select event_json->'member'->>'email_address' from payload) e (email_address)"
    ) == [f"{OTHER}@example.org"]
    [kept] = road.sql("select who, what, reason, answer from operator_action where what = 'forget'")
    assert kept == ("ada", "forget", "letter of member ***, *** of ***", "forgotten, with 2 events")


def test_nothing_is_done_twice_and_who_is_not_kept_is_not_forgotten(ledger: Engine) -> None:
    filled(ledger)
    assert forget(ledger) is not None
    assert forget(ledger) is None
    assert forget(ledger, "never-heard-of") is None
    assert Road(ledger).sql("select count(*) from member where member_number <> '296-1'") == [0]
    with pytest.raises(AskError, match="reason"):
        forget(ledger, OTHER, reason=" ")


def test_what_occurred_before_is_refused_without_a_trace_and_what_occurs_later_begins_anew(ledger: Engine) -> None:
    arrive(ledger, datetime.now(UTC) - timedelta(hours=2), first_name="Zoraida")
    forgotten = forget(ledger)
    assert forgotten is not None
    before = arrive(ledger, forgotten.forgotten_at - timedelta(seconds=1), first_name="Zoraida")
    assert (before.outcome, before.field) == (Outcome.REFUSED, "occurred_at")
    assert found_in(ledger) == {}

    later = arrive(ledger, datetime.now(UTC) + timedelta(seconds=1), modification=0)
    assert later.outcome is Outcome.ACCEPTED
    old = arrive(ledger, forgotten.forgotten_at - timedelta(hours=1), first_name="Zoraida")
    assert old.outcome is Outcome.REFUSED
    assert "Zoraida" not in str(dump(ledger, columns(ledger)))
    assert Road(ledger).sql("select count(*), count(newest_id) from member") == [(1, 1)]


def test_an_event_far_ahead_of_our_clock_does_not_come_again(ledger: Engine) -> None:
    ahead = datetime.now(UTC) + timedelta(seconds=200)
    assert arrive(ledger, ahead).outcome is Outcome.ACCEPTED
    assert forget(ledger) is not None
    assert arrive(ledger, ahead).outcome is Outcome.REFUSED
    assert arrive(ledger, ahead + timedelta(seconds=5)).outcome is Outcome.ACCEPTED


def test_a_call_that_is_out_is_waited_for(road: Road) -> None:
    road.accept(NUMBER)
    some = road.claim()
    with pytest.raises(NotNowError, match="out just now"):
        forget(road.ledger)
    later = threading.Timer(0.3, lambda: road.travel_on(some))
    later.start()
    assert forget(road.ledger, wait_s=30) is not None
    later.join()
    assert road.states() == {}


def test_a_call_without_an_answer_may_still_land(road: Road) -> None:
    road.accept(NUMBER)
    road.travel()
    road.sql("update member set lost_write_id = newest_id")
    with pytest.raises(NotNowError, match="may still land until"):
        forget(road.ledger, wait_s=30)
    road.sql("update activity set at = at - interval '2 minutes'")
    assert forget(road.ledger) is not None


def test_a_reconciliation_that_is_under_way_is_not_disturbed(ledger: Engine) -> None:
    filled(ledger)
    Road(ledger).sql("update reconciliation set state = 'running', ended_at = null")
    with pytest.raises(NotNowError, match="reconciliation 1 is under way"):
        forget(ledger, wait_s=30)
    assert "Quuxley" in found_in(ledger)["payload"]


def test_a_cycle_of_addresses_is_let_loose_first(ledger: Engine) -> None:
    filled(ledger)
    Road(ledger).sql("update address_cycle set state = 'parking', ended_at = null, ended_how = null")
    with pytest.raises(NotNowError, match="cycle of addresses"):
        forget(ledger, wait_s=30)


def test_an_event_that_comes_while_the_member_is_forgotten_is_taken_in_after_it(ledger: Engine) -> None:
    arrive(ledger, datetime.now(UTC) - timedelta(hours=1))
    receipts: list[Receipt] = []
    with transaction(ledger) as tx:
        tx.execute(text("select from member where member_number = :number for update"), {"number": NUMBER})
        comes = threading.Thread(target=lambda: receipts.append(arrive(ledger, datetime.now(UTC))))
        comes.start()
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        while not Road(ledger).sql(waits)[0]:
            comes.join(0.01)
        tx.execute(text("delete from payload"))
        tx.execute(text("delete from activity"))
        tx.execute(text("delete from instance"))
        tx.execute(text("delete from member"))
    comes.join()
    assert [one.outcome for one in receipts] == [Outcome.ACCEPTED]
    assert Road(ledger).sql("select count(*) from member m join instance i using (member_number)") == [1]


def test_everything_that_is_kept_of_a_person_is_shown_masked_unless_somebody_is_named(ledger: Engine) -> None:
    filled(ledger)
    masked = privacy.person(ledger, NUMBER)
    assert masked is not None
    assert masked.rows.keys() == {name for name, table in TABLES.items() if table.own}
    assert {one.table for one in masked.elsewhere} == OTHERS_NAME
    assert masked.searched == 1
    hasty = privacy.person(ledger, NUMBER, within_s=0)
    assert hasty is not None
    assert (hasty.rows, hasty.searched) == (masked.rows, 0)
    names = ("Zoraida", "Quuxley", "zq.person", "Quuxville", "1901-02")
    assert [one for one in names if one in str(masked.kept["payload"]) + str(masked.kept["member"])] == []
    assert Road(ledger).sql("select count(*) from operator_action where what = 'unmask'") == [1]

    shown = privacy.person(ledger, NUMBER, unmasked_for=ADA)
    assert shown is not None
    assert [one for one in (*CANARIES, "24601") if one not in str(shown.kept)] == []
    assert Road(ledger).sql("select who, asked->>'member' from operator_action order by id desc limit 1") == [
        ("ada", NUMBER)
    ]
    assert privacy.person(ledger, "never-heard-of") is None


OTHERS_NAME = {name for name, table in TABLES.items() if table.names}
