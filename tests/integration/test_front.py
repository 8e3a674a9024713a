"""Who looks for what is due begins where that begins, misses nothing by it, and does not walk past what has died."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.ledger import agenda
from shared.ledger.engine import json_rows, transaction
from shared.ledger.front import Front, due_from, out_from
from shared.ledger.learned import DOCUMENTS
from shared.ledger.transitions import claims, outages
from shared.ledger.transitions.attempts import ADVANCE
from shared.pipeline import Lane, Stage
from tests.rig import eventually
from tests.road import Road

PLACES = [(lane, stage) for lane in Lane for stage in Stage]


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


def advance(road: Road, front: Front, times: int = 2) -> None:
    """Let a front move on; it lags by a look."""
    for _ in range(times):
        with transaction(road.ledger) as tx:
            agenda.look(tx, front)


def claim(road: Road, front: Front | None, *, lease_s: float = 60) -> list[str]:
    with transaction(road.ledger) as tx:
        found = claims.claim(tx, dict.fromkeys(PLACES, 100), token=7, lease_s=lease_s, front=front)
    return [one.member_number for some in found.values() for one in some]


def expired(road: Road, front: Front) -> list[str]:
    with transaction(road.ledger) as tx:
        return [one.member_number for one in claims.expired(tx, limit=100, front=front)]


def test_what_comes_after_is_found_and_so_is_what_stayed(road: Road) -> None:
    front = Front()
    road.accept("M-1", "M-2")
    with road.ledger.begin() as busy:
        busy.execute(text("select from member where member_number = 'M-1' for update"))
        advance(road, front)
        assert claim(road, front) == ["M-2"]
        road.accept("M-3", lane=Lane.BULK)
        advance(road, front)
        assert claim(road, front) == ["M-3"]
    advance(road, front)
    assert claim(road, front) == ["M-1"]
    with transaction(road.ledger) as tx:
        assert agenda.look(tx, front).unbegun == {Lane.LIVE: 2, Lane.BULK: 1}


def test_who_was_accepted_earlier_and_committed_later_is_not_passed(road: Road) -> None:
    front = Front()
    road.accept("M-1", "M-2")
    with road.ledger.begin() as late:
        late.execute(text("update instance set state = 'waiting', due_at = now() where member_number = 'M-1'"))
        road.sql("update instance set due_at = now() + interval '1 ms' where member_number = 'M-2'")
        advance(road, front, times=3)
        assert claim(road, front) == ["M-2"]
        advance(road, front, times=3)
    assert claim(road, front) == ["M-1"]


def test_who_is_out_is_found_when_the_lease_is_over_whoever_claimed(road: Road) -> None:
    front, other = Front(), Front()
    road.accept("M-1", "M-2", "M-3")
    for one in (front, other):
        advance(road, one)
    road.sql("""update instance set state = 'held' where member_number = 'M-3'""")
    assert claim(road, other, lease_s=0) == ["M-1", "M-2"]
    advance(road, front)
    with transaction(road.ledger) as tx:
        probe = outages.claim_probe(tx, Stage.OIC, token=8, lease_s=0)
    assert probe is None, "the connection is up"
    road.sql("update connection set breaker = 'open', opened_at = now(), probe_at = now() where name = 'oic'")
    road.sql("update connection set failures = 1, failing_since = now() where name = 'oic'")
    with transaction(road.ledger) as tx:
        assert outages.claim_probe(tx, Stage.OIC, token=8, lease_s=0) is not None
    assert sorted(expired(road, front)) == ["M-1", "M-2", "M-3"]


def test_what_somebody_wrote_by_hand_is_found_a_moment_later(road: Road) -> None:
    front = Front()
    advance(road, front)
    road.accept("M-1")
    advance(road, front)
    road.sql("update instance set due_at = now() - interval '1 day'")
    assert claim(road, front) == []

    def found() -> bool:
        advance(road, front)
        return claim(road, front) == ["M-1"]

    eventually(found, "the look from the beginning")


def test_a_snapshot_that_somebody_holds_does_not_make_a_look_longer(road: Road) -> None:
    front = Front()
    with road.ledger.connect().execution_options(isolation_level="REPEATABLE READ") as somebody:
        somebody.execute(text("set local application_name = 'a report'"))
        somebody.execute(text("set local idle_in_transaction_session_timeout = 0"))  # theirs, not one of ours
        somebody.execute(text("select count(*) from secret"))
        for some in range(3):
            road.accept(*(f"M-{some}-{number}" for number in range(500)))
            advance(road, front)
            road.travel()
        road.accept("M-1")
        advance(road, front)
        road.sql("analyze instance")
        whole, begun = pages(road, None), pages(road, front)
        assert begun["claim"] < whole["claim"] / 2, (whole, begun)
        assert begun["expired"] < 30 < whole["expired"], (whole, begun)


def pages(road: Road, front: Front | None) -> dict[str, int]:
    """Count the pages that looks read, in the plan that is made for any parameters."""
    limits = dict.fromkeys(PLACES, 100)
    looks: dict[str, tuple[Any, dict[str, Any]]] = {
        "claim": (
            claims.CLAIM,
            {"lanes": [lane for lane, _ in limits], "stages": [stage for _, stage in limits], "token": 9}
            | {"limits": list(limits.values()), "lease_s": 60, **due_from(front, limits)},
        ),
        "expired": (claims.EXPIRED, {"limit": 100, **out_from(front)}),
    }
    found = {}
    for name, (statement, parameters) in looks.items():
        with road.ledger.begin() as tx:
            tx.execute(text("set local plan_cache_mode = force_generic_plan"))
            explained = tx.execute(text(f"explain (analyze, buffers, format json) {statement.text}"), parameters)
            plan = explained.scalar_one()[0]["Plan"]
            found[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            tx.rollback()
    return found


@pytest.mark.parametrize("stage", Stage)
def test_a_batch_is_written_row_by_row_though_statistics_know_nobody_at_its_stage(road: Road, stage: Stage) -> None:
    road.accept(*(f"M-{number}" for number in range(500)))
    road.travel()
    elsewhere = Stage.OIC if stage is not Stage.OIC else Stage.SIEBEL
    road.sql(f"update instance set stage = '{elsewhere}'")
    road.sql("analyze instance")
    rows = json_rows({"id": number, "token": 1} for number in range(200))
    of_batch = {"rows": rows, "at": stage, "lease_s": 60.0, "settle_s": 60.0, "task_id": None, "task_uuid": None}
    of_batch |= dict.fromkeys(["calls", "packed", *DOCUMENTS[stage]], "\n" * 199)
    with road.ledger.begin() as tx:
        plan = tx.execute(text(f"explain (format json) {ADVANCE[stage].text}"), of_batch).scalar_one()[0]["Plan"]
    assert not [node for node in nodes(plan) if node["Node Type"] == "Nested Loop" and is_product(node)], plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def is_product(loop: dict[str, Any]) -> bool:
    """Tell whether each of all instances is compared with each row of the batch."""
    return [below["Node Type"] for below in loop["Plans"]].count("Function Scan") == 1 and "Join Filter" in loop


def test_a_front_is_never_ahead_of_now(road: Road) -> None:
    front = Front()
    road.accept("M-1")
    road.sql("update instance set state = 'waiting', due_at = now() + interval '1 hour'")
    advance(road, front, times=3)
    assert all(mark.due_at <= datetime.now(UTC) + timedelta(seconds=1) for mark in front.due.values())


def test_what_changes_with_every_event_is_vacuumed_early_and_without_naps(road: Road) -> None:
    options = dict(road.sql("select relname::text, array_to_string(reloptions, ' ') from pg_class where relkind = 'r'"))
    for table in ("instance", "member", "errand"):
        assert "autovacuum_vacuum_cost_delay=0" in options[table]
        assert "autovacuum_vacuum_scale_factor=0.01" in options[table]
    for table in ("payload", "mapping", "activity"):
        assert "autovacuum_vacuum_insert_scale_factor=0.05" in options[table]
