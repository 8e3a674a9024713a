"""What readers of the ledger see: filters and their paging, one instance, one member, and how it goes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from producers.dispatch.bookkeeper import Bookkeeper
from producers.intake.accept import IntakeRules, accept
from producers.operations import reads
from producers.operations.reads import filter_of, id_of
from shared.events import parse_event
from shared.ledger import views
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter
from shared.ledger.records import InstanceRecord, MemberRecord, Overview, Page, UnsentMail
from shared.pipeline import Lane, Stage, State, SyncStatus
from shared.settings import Settings
from tests.road import REFUSED, Road

CALL = {"method": "PUT", "url": "/v2/users/M-1", "http_status": 200, "took_ms": 12.5, "request": {}, "response": None}


def take(ledger: Engine, *numbers: str, lane: Lane = Lane.LIVE, ago: timedelta = timedelta()) -> list[int]:
    """Take in an event of each member, as if that had been so long *ago*; return the instances."""
    at = datetime.now(UTC) - ago
    members: list[dict[str, Any]] = [
        {"member_number": number, "last_name": "Cole", "email_address": "andy.cole@example.org"} for number in numbers
    ]
    raw = [
        {
            "event_id": f"E-{member['member_number']}",
            "operation": "update",
            "occurred_at": at.isoformat(),
            "member": member,
        }
        for member in members
    ]
    events = [parse_event(one, max_bytes=64_000) for one in raw]
    receipts = accept(ledger, enumerate(events), IntakeRules(lane))
    ids = [int(receipt.instance_id or 0) for receipt in receipts]
    with ledger.begin() as tx:
        times = text("update instance set accepted_at = :at, due_at = :at where id = any(cast(:ids as bigint[]))")
        tx.execute(times, {"at": at, "ids": ids})
    return ids


def put(ledger: Engine, instance_id: int, state: State, **columns: object) -> None:
    """Put an instance where a test needs it."""
    values: dict[str, object] = {"state": state, **columns}
    if state not in {State.PENDING, State.WAITING, State.HELD}:
        values.setdefault("finished_at", datetime.now(UTC))
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    with ledger.begin() as tx:
        tx.execute(text(f"update instance set {assignments} where id = :id"), {**values, "id": instance_id})


def note(ledger: Engine, instance_id: int, **columns: object) -> None:
    """Add a line of activity."""
    values = {"instance_id": instance_id, "state": "running", "what": "mapped", **columns}
    names = ", ".join(values)
    bound = ", ".join(f":{name}" if name != "calls" else "cast(:calls as jsonb)" for name in values)
    with ledger.begin() as tx:
        tx.execute(text(f"insert into activity ({names}) values ({bound})"), values)


def page(ledger: Engine, where: Filter, *, limit: int = 50, before: int | None = None) -> Page:
    with transaction(ledger) as tx:
        return views.instances(tx, where, limit=limit, before=before)


def found(ledger: Engine, **words: Any) -> list[str]:  # noqa: ANN401
    """Return the members whose instances match, newest first."""
    return [one.member_number for one in page(ledger, filter_of(now=datetime.now(UTC), **words)).items]


def member_of(ledger: Engine, number: str) -> MemberRecord | None:
    with transaction(ledger) as tx:
        return views.member(tx, number, limit=10)


def overview_of(ledger: Engine) -> Overview:
    with transaction(ledger) as tx:
        return views.overview(tx, {}, snapshot_max_s=300)


@pytest.fixture
def zoo(ledger: Engine) -> Engine:
    """One instance of each kind that a filter tells apart."""
    take(ledger, "OLD-1", ago=timedelta(days=2))
    dead, rejected, waiting, completed = take(ledger, "M-1", "M-2", "M-3", "N_4")
    take(ledger, "BULK-5", lane=Lane.BULK)
    put(
        ledger,
        dead,
        State.DEAD,
        stage="crowdtwist",
        failed_stage="crowdtwist",
        code="unavailable",
        status="CT Failure",
        error="CrowdTwist: answered 503",
    )
    put(
        ledger,
        rejected,
        State.REJECTED,
        stage="siebel",
        failed_stage="crowdtwist",
        code="data_error",
        status="Data Error",
        error="Email 100% taken: andy.cole@example.org",
    )
    put(
        ledger,
        waiting,
        State.WAITING,
        stage="oic",
        failed_stage="oic",
        code="throttled",
        status="OIC Failure",
        error="OIC: answered 429",
    )
    put(ledger, completed, State.COMPLETED, stage="siebel", status="Success")
    return ledger


@pytest.mark.parametrize(
    ("words", "members"),
    [
        ({}, ["BULK-5", "N_4", "M-3", "M-2", "M-1", "OLD-1"]),
        ({"state": [State.DEAD]}, ["M-1"]),
        ({"state": [State.DEAD, State.PENDING]}, ["BULK-5", "M-1", "OLD-1"]),
        ({"stage": [Stage.CROWDTWIST]}, ["M-2", "M-1"]),
        ({"stage": [Stage.SIEBEL]}, ["N_4"]),
        ({"status": [SyncStatus.SUCCESS]}, ["N_4"]),
        ({"status": [SyncStatus.OIC_FAILURE, SyncStatus.DATA_ERROR]}, ["M-3", "M-2"]),
        ({"code": ["data_error", "throttled"]}, ["M-3", "M-2"]),
        ({"member": ["M-2", "N_4"]}, ["N_4", "M-2"]),
        ({"lane": Lane.BULK}, ["BULK-5"]),
        ({"since": "1d"}, ["BULK-5", "N_4", "M-3", "M-2", "M-1"]),
        ({"until": "1d"}, ["OLD-1"]),
        ({"since": "3d", "until": "1d", "state": [State.PENDING]}, ["OLD-1"]),
        ({"text": "M-"}, ["M-3", "M-2", "M-1"]),
        ({"text": "E-OLD"}, ["OLD-1"]),
        ({"text": "100% TAKEN"}, ["M-2"]),
        ({"text": "taken: "}, ["M-2"]),
        ({"text": "cole@exa"}, []),
        ({"text": "andy"}, []),
        ({"text": "answered", "state": [State.DEAD]}, ["M-1"]),
        ({"text": "N_"}, ["N_4"]),
        ({"text": "N%"}, []),
        ({"text": "nothing like it"}, []),
    ],
)
def test_a_filter_finds_what_it_names_newest_first(zoo: Engine, words: dict[str, Any], members: list[str]) -> None:
    assert found(zoo, **words) == members


def test_paging_gives_every_instance_once_while_new_ones_arrive(ledger: Engine) -> None:
    ids = take(ledger, *(f"M-{number}" for number in range(25)))
    where = Filter(states=(State.PENDING, State.WAITING), text="M-")
    seen: list[InstanceRecord] = []
    cursor: str | None = "9" * 18
    while cursor:
        got = page(ledger, where, limit=10, before=int(cursor))
        seen += got.items
        cursor = got.next
        take(ledger, f"M-late-{len(seen)}")
    assert [int(one.instance_id) for one in seen] == ids[::-1]


def test_a_page_that_ends_exactly_at_the_last_instance_has_no_next(ledger: Engine) -> None:
    take(ledger, "M-1", "M-2")
    assert page(ledger, Filter(), limit=2).next is None


@pytest.mark.parametrize(
    "words", [{"since": "yesterday"}, {"until": "2026-13-01"}, {"text": "a\x00"}, {"code": ["\n"]}]
)
def test_a_filter_that_cannot_be_meant_is_refused_by_name(words: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(words))}: "):
        filter_of(now=datetime.now(UTC), **words)


def test_instants_are_utc_unless_they_say_otherwise() -> None:
    expected = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
    for words in ("2026-11-23T07:00", "2026-11-23T08:00+01:00", "2026-11-23T08:00:00 01:00", "2026-11-23T07:00:00Z"):
        assert filter_of(now=datetime.now(UTC), since=words).since == expected


def test_an_id_that_no_instance_can_have_is_none() -> None:
    assert [id_of(words) for words in ("12", "", "-1", "1e3", "9" * 30)] == [12, None, None, None, None]


def test_an_instance_shows_what_happened_to_it_in_order(ledger: Engine) -> None:
    (instance_id,) = take(ledger, "M-1")
    note(ledger, instance_id, stage="oic", attempt=1, took_ms=1.5)
    note(ledger, instance_id, stage="crowdtwist", attempt=1, what="answered for a@b.org", calls='[{"method": "PUT"}]')
    with transaction(ledger) as tx:
        detail = views.instance(tx, instance_id)
        missing = views.instance(tx, instance_id + 1)
        masked = reads.instance(tx, instance_id)
    assert detail is not None
    assert missing is None
    assert [(line.stage, line.what) for line in detail.activity][:2] == [(None, "accepted"), ("oic", "mapped")]
    assert detail.activity[2].calls == [{"method": "PUT"}]
    assert detail.event is not None
    assert detail.event["member"]["email_address"] == "andy.cole@example.org"
    assert masked is not None
    assert "andy" not in str(masked)
    assert "a@b.org" not in str(masked)


def test_a_member_shows_its_instances_newest_first_each_with_its_activity(ledger: Engine) -> None:
    first, *_ = take(ledger, "M-1")
    put(ledger, first, State.COMPLETED, status="Success")
    with ledger.begin() as tx:
        tx.execute(text("update member set told_status = 'Data Error', told_error = 'is andy.cole@example.org'"))
        tx.execute(text("update instance set event_id = 'E-first'"))
    (second,) = take(ledger, "M-1", ago=timedelta(minutes=-1))
    member = member_of(ledger, "M-1")
    assert member is not None
    assert [one.instance_id for one in member.instances] == [str(second), str(first)]
    assert all(one.activity for one in member.instances)
    assert member.newest_instance_id == str(second)
    with transaction(ledger) as tx:
        masked = reads.member(tx, "M-1", limit=10)
    assert "andy" in str(member)
    assert "told_error" in str(masked)
    assert "andy" not in str(masked)
    assert member_of(ledger, "M-2") is None


def test_the_overview_counts_the_backlog_the_dead_and_the_pace(zoo: Engine) -> None:
    with zoo.begin() as tx:
        tx.execute(
            text("""update connection set paused = true, paused_by = 'ann', paused_reason = 'moving', paused_at = now()
                    where name = 'siebel'""")
        )
    overview = overview_of(zoo)
    assert [(one.name, one.state) for one in overview.connections] == [
        ("oic", "up"),
        ("crowdtwist", "up"),
        ("siebel", "paused"),
    ]
    assert {(one.lane, one.state): one.count for one in overview.backlog} == {
        ("live", "pending"): 1,
        ("live", "waiting"): 1,
        ("bulk", "pending"): 1,
    }
    oldest = {(one.lane, one.state): one.oldest_s for one in overview.backlog}
    assert oldest["live", "pending"] == pytest.approx(2 * 86_400, abs=7_200)
    assert [(one.stage, one.code, one.count) for one in overview.dead_letters] == [("crowdtwist", "unavailable", 1)]


def test_the_overview_tells_suspects_that_were_given_up_and_mail_that_nobody_took(zoo: Engine) -> None:
    assert overview_of(zoo).unsent_mail == UnsentMail(0, None)
    with zoo.begin() as tx:
        tx.execute(text("update instance set suspect = true where state in ('waiting', 'dead')"))
        tx.execute(
            text("""insert into mail (kind, subject, plain, html, created_at, sent_at)
                    values ('down', '', '', '', '2026-11-23T08:00Z', null),
                           ('up', '', '', '', '2026-11-23T09:00Z', null),
                           ('up', '', '', '', '2026-11-22T09:00Z', now())""")
        )
    overview = overview_of(zoo)
    assert overview.unsent_mail == UnsentMail(2, datetime(2026, 11, 23, 8, tzinfo=UTC))
    assert sum(one.suspects for one in overview.connections) == 2
    assert sum(one.suspects_given_up for one in overview.connections) == 1


def test_the_pace_of_the_last_hour_is_that_of_the_roll_up(ledger: Engine, ledger_url: str) -> None:
    road = Road(ledger)
    road.accept("M-1", "M-2", "M-3")
    road.travel(lambda work: REFUSED if work.member_number == "M-2" else None)
    road.dead("M-4")
    take(ledger, "M-5", ago=timedelta(days=1))
    road.sql("insert into minute values (now() - interval '63 minutes', 'siebel', 'completed', 500)")
    road.sql("insert into minute values (now() - interval '59 minutes', 'siebel', 'completed', 40)")
    Bookkeeper(Settings(ledger_url=ledger_url)).turn()
    hour = overview_of(ledger).rates[1]
    assert (hour.period_s, hour.accepted) == (3600, 5)
    assert hour.finished == {"completed": 42, "dead": 1, "rejected": 1}


def test_an_empty_ledger_has_an_overview(ledger: Engine) -> None:
    overview = overview_of(ledger)
    assert (overview.backlog, overview.dead_letters) == ([], [])
    assert [one.accepted for one in overview.rates] == [0, 0]
