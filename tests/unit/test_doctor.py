"""How the doctor judges what it was shown."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from producers.doctor import broker, configuration, failover, servers, work
from producers.doctor.check import Check, Finding, Level, Subject, UnlookedError, ok, place
from producers.doctor.examination import examine, is_well
from shared.errors import LedgerError
from shared.ledger.availability import Standbys
from shared.ledger.case_facts import Parked
from shared.ledger.checkup import Server
from shared.ledger.clock import Step
from shared.settings import Settings

GIB = 1024**3
SUBJECT = Subject(Settings())


def server(number: int) -> Server:
    return Server(f"{number // 10_000}.1", number, datetime.now(UTC))


@pytest.mark.parametrize(
    ("number", "took_ms", "level"),
    [(140_000, 1.0, Level.OK), (180_006, 50.0, Level.OK), (180_006, 51.0, Level.WARN), (130_014, 1.0, Level.FAIL)],
)
def test_a_ledger_is_judged_by_version_and_speed(number: int, took_ms: float, level: Level) -> None:
    assert servers.judge_ledger(server(number), took_ms, "here").level is level


@pytest.mark.parametrize(
    ("standbys", "level", "said"),
    [
        (Standbys(2, "ANY 1 (*)"), Level.OK, "a commit waits for ANY 1 (*)"),
        (Standbys(1, ""), Level.WARN, "a commit waits for none of them"),
        (Standbys(0, "two"), Level.WARN, "0 receive what is written"),
    ],
)
def test_a_standby_is_one_if_a_commit_waits_for_it(standbys: Standbys, level: Level, said: str) -> None:
    found = failover.judge_standbys(standbys, "here")
    assert (found.level, said in found.found) == (level, True)


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({"redis_version": "6.2.0", "maxmemory_policy": "noeviction"}, Level.OK),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2", "maxmemory_policy": "noeviction"}, Level.OK),
        ({"redis_version": "6.0.16", "maxmemory_policy": "noeviction"}, Level.FAIL),
        ({"redis_version": "7.4.0", "maxmemory_policy": "allkeys-lru"}, Level.FAIL),
        ({"redis_version": "7.4.0"}, Level.FAIL),
    ],
)
def test_a_broker_is_judged_by_version_and_by_whether_it_drops_messages(said: dict[str, str], level: Level) -> None:
    assert broker.judge_broker(said, "here").level is level


@pytest.mark.parametrize(
    ("ahead_s", "level"),
    [
        (0.0, Level.OK),
        (-2.0, Level.OK),
        (2.1, Level.WARN),
        (-30.0, Level.WARN),
        (31.0, Level.FAIL),
        (-31.0, Level.FAIL),
    ],
)
def test_a_clock_is_judged_by_how_far_it_is_off(ahead_s: float, level: Level) -> None:
    found = servers.judge_clock("clock of the ledger", ahead_s)
    assert found.level is level
    assert level is Level.OK or ("ahead of" if ahead_s > 0 else "behind") in found.found


@pytest.mark.parametrize(("by_s", "said"), [(3_600.0, "set ahead by 3600 s"), (-90.25, "set back by 90.25 s")])
def test_a_step_of_the_ledgers_clock_is_said_with_when_and_by_how_much(by_s: float, said: str) -> None:
    found = servers.judge_step(Step(datetime(2026, 11, 29, 3, 4, 5, tzinfo=UTC), by_s))
    assert found.level is Level.WARN
    assert found.found.startswith(f"{said}, to 2026-11-29 03:04:05 UTC")
    assert servers.judge_step(None).level is Level.OK


def test_a_step_that_may_be_another_clocks_is_said_to_be_one_of_them() -> None:
    found = servers.judge_step(Step(datetime(2026, 11, 29, 3, 4, 5, tzinfo=UTC), 3_600.0, is_doubted=True))
    assert found.level is Level.WARN
    assert found.found.startswith(
        "it seems set ahead by 3600 s while no dispatcher ran, as seen at 2026-11-29 03:04:05"
    )
    assert "one of them was set" in found.why


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [(3 * GIB, 100 * GIB, Level.OK), (GIB, 100 * GIB, Level.WARN), (GIB, 10 * GIB, Level.OK), (0, GIB, Level.FAIL)],
)
def test_a_disk_is_judged_by_the_room_that_is_left(free: int, total: int, level: Level) -> None:
    assert work.judge_disk(free, total, Path("/home")).level is level


@pytest.mark.parametrize("level", [Level.WARN, Level.FAIL])
def test_nothing_is_said_to_be_wrong_without_a_reason_and_a_remedy(level: Level) -> None:
    with pytest.raises(ValueError, match="without a reason or a remedy"):
        Finding("ledger", level, "here", "it is away")


def test_a_place_has_no_user_and_no_password() -> None:
    assert place("postgresql+psycopg://ann:secret@db:5432/m?sslmode=require") == "postgresql://db:5432/m"
    assert place("redis://:secret@broker/0") == "redis://broker/0"


def test_each_check_is_told_of_whatever_becomes_of_the_others() -> None:
    def breaks(_subject: Subject) -> list[Finding]:
        raise RuntimeError("has the api key k-1 in it")

    def has_no_ledger(_subject: Subject) -> list[Finding]:
        raise LedgerError("OperationalError")

    def has_no_url(_subject: Subject) -> list[Finding]:
        raise UnlookedError("MEMBERSYNC_BROKER_URL is not set", "set it")

    def is_fine(_subject: Subject) -> list[Finding]:
        return [ok("fine", "it", "is fine")]

    looks = {"breaks": breaks, "ledger away": has_no_ledger, "no url": has_no_url, "fine": is_fine}
    found = examine(SUBJECT, checks=[Check(name, look) for name, look in looks.items()])
    assert [(one.check, one.level) for one in found] == [
        ("breaks", Level.FAIL),
        ("ledger away", Level.WARN),
        ("no url", Level.WARN),
        ("fine", Level.OK),
    ]
    assert "k-1" not in str(found)
    assert not is_well(found)
    assert is_well(found[1:])


def test_a_check_that_hangs_is_told_of_at_the_deadline() -> None:
    let_go = Event()

    def hangs(_subject: Subject) -> list[Finding]:
        let_go.wait(30)
        return []

    checks = [Check("hung", hangs), Check("fine", lambda _: [ok("fine", "it", "is fine")])]
    found = examine(SUBJECT, checks=checks, within_s=0.05)
    let_go.set()
    assert [(one.check, one.level) for one in found] == [("hung", Level.FAIL), ("fine", Level.OK)]


@pytest.mark.parametrize(
    ("stage", "ends_in", "said"),
    [
        ("crowdtwist", "/v2", True),
        ("siebel", "/siebel/", True),
        ("siebel", "/SIEBEL", True),
        ("oic", "/ic", True),
        ("crowdtwist", "/v2x", False),
        ("siebel", "/siebel-gateway", False),
        ("oic", "", False),
    ],
)
def test_a_base_url_that_ends_in_what_is_added_to_it_is_said(stage: str, ends_in: str, said: bool) -> None:  # noqa: FBT001
    of = Settings.model_validate({stage: {"base_url": f"https://{stage}.example.org{ends_in}"}})
    names = [one.looked_at for one in configuration.look_at_settings(Subject(of)) if "is added to it" in one.found]
    assert names == ([f"MEMBERSYNC_{stage.upper()}__BASE_URL"] if said else [])


def test_open_cases_and_parked_members_are_named() -> None:
    (none,) = work.judge_cases({}, Parked(0, 0))
    assert (none.level, none.found) == (Level.OK, "none")
    some, parked = work.judge_cases({"taken_by_active": 2, "cycle": 3}, Parked(0, 1))
    assert (some.level, some.found) == (Level.WARN, "5: 3 cycle, 2 taken by active")
    assert (parked.level, parked.found) == (Level.FAIL, "1 past the deadline")
