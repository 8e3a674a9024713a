"""The roll-up of activity: every line counted once, whoever counts, whoever writes, whoever dies."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from producers.dispatch.bookkeeper import Bookkeeper
from shared.errors import BudgetSpentError
from shared.ledger import tallies
from shared.ledger.engine import transaction
from shared.ledger.jobs import Kind
from shared.ledger.tallies import OUTCOMES
from shared.settings import Settings
from tests.rig import DISPATCHER, Pipeline, eventually, member_event
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, REFUSED, Road, dying, start

BY_OUTCOME = "select stage, outcome, sum(count)::int from tally group by 1, 2"
BY_MINUTE = "select stage, outcome, sum(count)::int from minute group by 1, 2"
LINE = "insert into activity (instance_id, stage, attempt, state, what, took_ms{}) values (:id, 'oic', 1, 'running', 'mapped', 7{})"  # noqa: E501
WRITE = text(LINE.format("", ""))
WRITE_AT = text(LINE.format(", at", ", :at"))


@pytest.fixture
def settings(ledger_url: str) -> Settings:
    return Settings(ledger_url=ledger_url)


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def counted(road: Road, settings: Settings) -> dict[tuple[str, str], int]:
    """Let a bookkeeper catch up, and give the count of each stage and outcome; both tables must agree on it."""
    bookkeeper = Bookkeeper(settings)
    while bookkeeper.turn():
        pass
    counts = {(stage, outcome): count for stage, outcome, count in road.sql(BY_OUTCOME)}
    assert {(stage, outcome): count for stage, outcome, count in road.sql(BY_MINUTE)} == counts
    return counts


@contextmanager
def running(settings: Settings, **terms: float) -> Iterator[None]:
    """Let a bookkeeper run beside the block."""
    stop = threading.Event()
    thread = threading.Thread(target=Bookkeeper(settings, **terms).run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def turning(settings: Settings) -> Iterator[None]:
    """Let a bookkeeper take turn after turn beside the block."""
    over = threading.Event()

    def turn() -> None:
        bookkeeper = Bookkeeper(settings)
        while not over.is_set():
            bookkeeper.turn()

    with ThreadPoolExecutor(1) as pool:
        turned = pool.submit(turn)
        try:
            yield
        finally:
            over.set()
            turned.result()


def write(ledger: Engine, *ids: int, open_for_s: float = 0) -> None:
    """Write a line for each of *ids*, as workers do: something else first, and the commit a while later."""
    with ledger.begin() as tx:
        tx.execute(text("select pg_current_xact_id()"))
        for instance_id in ids:
            tx.execute(WRITE, {"id": instance_id})
        threading.Event().wait(open_for_s)


def test_two_bookkeepers_count_every_line_once_while_transactions_overlap(
    road: Road, ledger: Engine, settings: Settings
) -> None:
    with turning(settings), turning(settings), ThreadPoolExecutor(8) as writers:
        slow = writers.submit(write, ledger, *range(100), open_for_s=0.7)
        quick = [
            writers.submit(write, ledger, *range(number, number + 3), open_for_s=0.001 * (number % 30))
            for number in range(100, 1000, 3)
        ]
        for writer in [slow, *quick]:
            writer.result()
    assert counted(road, settings) == {("oic", "done"): 1000}


def test_a_line_is_not_counted_before_its_transaction_commits_nor_missed_after(
    road: Road, ledger: Engine, settings: Settings
) -> None:
    with ledger.begin() as tx:
        tx.execute(WRITE, {"id": 1})
        write(ledger, 2)
        assert counted(road, settings) == {}  # the line of 2 is later than one that may still come
    assert counted(road, settings) == {("oic", "done"): 2}


def test_a_transaction_that_somebody_forgot_does_not_stop_the_counting(
    road: Road, ledger: Engine, settings: Settings
) -> None:
    with ledger.begin() as forgotten:
        forgotten.execute(text("select pg_current_xact_id()"))
        write(ledger, 1)
        bookkeeper = Bookkeeper(settings, behind_max_s=0.2)
        eventually(
            lambda: not bookkeeper.turn() and road.sql(BY_OUTCOME) == [("oic", "done", 1)], "counted all the same"
        )


def test_a_bookkeeper_that_dies_at_its_work_has_counted_nothing(road: Road, ledger: Engine, settings: Settings) -> None:
    write(ledger, 1, 2)
    with dying(ledger) as connection:
        since = tallies.take_up(connection)
        assert since is not None
        tallies.count(connection, since=since, until=datetime.now(UTC))
    eventually(lambda: counted(road, settings) == {("oic", "done"): 2}, "the next one counts")
    write(ledger, 3)
    assert counted(road, settings) == {("oic", "done"): 3}


def test_what_happened_while_nobody_counted_is_made_up_for_minute_by_minute(
    road: Road, ledger: Engine, settings: Settings
) -> None:
    began = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=3)
    with ledger.begin() as tx:
        tx.execute(text("update bookmark set upto = :at where name = 'tally'"), {"at": began})
        lines = [{"id": number, "at": began + timedelta(seconds=number)} for number in range(7200)]
        tx.execute(WRITE_AT, lines)
    assert counted(road, settings) == {("oic", "done"): 7200}
    rows = road.sql("select at, count from minute order by at")
    assert rows == [(began + timedelta(minutes=minute), 60) for minute in range(120)]
    assert road.sql("select count, took_s from tally") == [(7200, pytest.approx(7200 * 0.007))]


def test_it_lives_on_when_the_ledger_fails(
    road: Road, ledger: Engine, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(settings), running(settings):
        write(ledger, 1)
        eventually(lambda: road.sql(BY_OUTCOME) == [("oic", "done", 1)], "counted")
        road.sql("alter table tally rename to away")
        try:
            write(ledger, 2)
            eventually(lambda: "nothing is counted" in capsys.readouterr().out, "it failed")
        finally:
            road.sql("alter table away rename to tally")
        eventually(lambda: road.sql(BY_OUTCOME) == [("oic", "done", 2)], "counted again")


def test_a_dispatcher_counts_beside_its_turns(pipeline: Pipeline) -> None:
    with pipeline.process(*DISPATCHER):
        pipeline.send(member_event("M-1"), member_event("M-2"))
        eventually(lambda: pipeline.sql(BY_OUTCOME) == [("intake", "accepted", 2)], "counted")


def test_without_a_bookmark_it_begins_to_count_now(road: Road, ledger: Engine, settings: Settings) -> None:
    write(ledger, 1)
    road.sql("delete from bookmark where name = 'tally'")
    assert counted(road, settings) == {}
    write(ledger, 2)
    assert counted(road, settings) == {("oic", "done"): 1}


def test_minutes_older_than_eight_days_go_and_tallies_stay(road: Road, settings: Settings) -> None:
    for table, at in (("minute", "at, "), ("tally", "bucket, took_s, ")):
        for age in ("7 days", "9 days"):
            value = f"now() - interval '{age}', " if table == "minute" else f"{age[0]}, 1, "
            road.sql(f"insert into {table} ({at}stage, outcome, count) values ({value}'oic', 'done', 1)")
    with running(settings):
        eventually(lambda: road.sql("select count(*) from minute") == [1], "pruned")
    assert road.sql("select count(*) from tally") == [2]


def test_history_older_than_the_retention_goes_but_how_each_connection_stands(road: Road, settings: Settings) -> None:
    at = "now() - interval '{} days'"
    for age, what in ((95, "down"), (94, "up"), (93, "paused"), (92, "down"), (3, "up"), (2, "down")):
        road.sql(f"insert into connection_change (at, name, what) values ({at.format(age)}, 'oic', '{what}')")
    for age in (91, 89):
        road.sql(
            f"insert into stray_message (at, queue, reason, headers, body) values ({at.format(age)}, '', '', '', '')"
        )
    road.dead("M-1", "M-2")
    for instance_id in (1, 2):
        start(road, instance_id, kind=Kind.DISCARD)
    road.turn()
    road.sql(f"update job set ended_at = {at.format(91)} where id = 1")
    with running(settings):
        eventually(lambda: road.sql("select id from job") == [2], "pruned")
    assert road.sql("select what from connection_change order by id") == ["paused", "up", "down"]
    assert road.sql("select count(*) from job_item") == [1]
    assert road.sql("select count(*) from stray_message") == [1]


def test_outcomes_are_what_became_of_the_instances(road: Road, settings: Settings) -> None:
    road.accept("M-1", "M-2", "M-3")
    road.accept("M-3", minute=1)
    road.travel(lambda work: REFUSED if work.member_number == "M-2" else None)
    assert counted(road, settings) == {
        ("intake", "accepted"): 4,
        ("oic", "superseded"): 1,
        ("oic", "done"): 3,
        ("crowdtwist", "done"): 2,
        ("crowdtwist", "data_error"): 1,
        ("siebel", "completed"): 2,
        ("siebel", "rejected"): 1,
    }


def test_failures_are_told_from_requeues_lost_workers_and_holds(road: Road, settings: Settings) -> None:
    road.accept("M-1", "M-2")
    road.travel(ALWAYS_DOWN, attempts_max=2)
    road.sql("update instance set due_at = now()")
    road.travel(ALWAYS_DOWN)
    before = counted(road, settings)
    assert (before["crowdtwist", "waiting"], before["crowdtwist", "dead"]) == (2, 2)
    road.note(stage="crowdtwist", state="dead")
    road.note(stage="siebel", state="waiting", took_ms=3)
    road.note(stage="siebel", state="pending")
    road.note(stage="crowdtwist", state="pending", attempt=2, code="worker_lost")
    road.note(stage="crowdtwist", state="held")
    road.note(state="skipped")
    after = counted(road, settings)
    news = {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
    assert news == {
        ("crowdtwist", "aside"): 1,
        ("siebel", "aside"): 1,
        ("siebel", "due_again"): 1,
        ("crowdtwist", "due_again"): 1,
        ("crowdtwist", "held"): 1,
        ("intake", "skipped"): 1,
    }


def test_every_outcome_that_comes_up_is_one_of_those_listed(road: Road, settings: Settings) -> None:
    for minute, fate in enumerate((ALWAYS_DOWN, ALWAYS_REFUSED, lambda _work: BudgetSpentError("CrowdTwist", 1.0))):
        road.accept("M-1", "M-2", "M-3", minute=minute)
        road.travel(fate, attempts_max=2)
        road.sql("update instance set due_at = now() where state = 'waiting'")
        road.travel()
    assert {outcome for stage, outcome in counted(road, settings) if outcome not in OUTCOMES[stage]} == set()


def test_durations_fall_into_their_buckets(road: Road, settings: Settings) -> None:
    for took_ms in (4.9, 5.0, 30_000.0, 29_999.0):
        road.note(stage="oic", attempt=1, state="running", took_ms=took_ms)
    counted(road, settings)
    with transaction(road.ledger) as tx:
        found = {one.bucket: one.count for one in tallies.tallies(tx)}
    assert found == {0: 1, 1: 1, 11: 1, 12: 1}
