"""Members that an event of the future shuts out, as the doctor tells them."""

from sqlalchemy import Engine

from producers.doctor.check import Finding, Subject
from producers.doctor.work import look_for_shut_members
from shared.settings import Settings
from tests.road import Road


def looked(ledger_url: str) -> Finding:
    (found,) = look_for_shut_members(Subject(Settings(ledger_url=ledger_url)))
    return found


def test_members_that_an_event_of_the_future_shuts_are_told(ledger: Engine, ledger_url: str) -> None:
    road = Road(ledger)
    road.accept("M-1", "M-2", "M-3", "M-4")
    assert looked(ledger_url).level == "ok"
    road.sql("update member set newest_occurred_at = '2062-01-01' where member_number = 'M-2'")
    road.sql("update member set newest_modification = 10000000000 where member_number = 'M-3'")
    road.sql("update member set sequence_from = '9999-01-01' where member_number = 'M-4'")
    found = looked(ledger_url)
    assert (found.level, found.found) == ("warn", "3, M-2 for one")
    assert "force" in found.remedy
