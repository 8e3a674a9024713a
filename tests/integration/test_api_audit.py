"""What operators did as the api tells it, who was shown people unmasked, and what a filter may be completed to."""

import getpass
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.site import create_app
from shared.ledger.audit import Action, record
from shared.ledger.engine import transaction
from shared.ledger.filters import suggested
from shared.settings import Settings, settings
from tests.calling import assert_problem, event, outcomes, served
from tests.road import ALWAYS_REFUSED, Road
from tests.terminal import Terminal

TOKENS = {
    "p-token": {"name": "siebel", "role": "producer"},
    "v-token": {"name": "vera", "role": "viewer"},
    "o-token": {"name": "oscar", "role": "operator"},
    "a-token": {"name": "ada", "role": "admin"},
}
VERA, OSCAR, ADA = ({"Authorization": f"Bearer {name}-token"} for name in "voa")


@pytest.fixture
def road(ledger: Engine) -> Road:
    return Road(ledger)


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    """An api with tokens."""
    assert ledger.url.database
    of = Settings(ledger_url=ledger_url)
    with served(create_app(of.model_copy(update={"api": of.api.model_validate({"tokens": TOKENS})}))) as opened:
        yield opened


@pytest.fixture
def cli(
    ledger: Engine, ledger_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    assert ledger.url.database
    for name in [name for name in os.environ if name.startswith("MEMBERSYNC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MEMBERSYNC_LEDGER_URL", ledger_url)
    settings.cache_clear()
    yield Terminal(capsys)
    settings.cache_clear()


def file(ledger: Engine, who: str, what: str, *, denied: bool = False) -> None:
    with transaction(ledger) as tx:
        record(tx, Action(who, "operator", what, "done", "well again", {"ids": ["1"]}, 1, denied))


def listed(client: httpx.Client, **where: Any) -> list[str]:  # noqa: ANN401
    answer = client.get("/v1/audit", params=where, headers=VERA)
    assert answer.status_code == 200, answer.text
    return [f"{one['who']} {one['what']}" for one in answer.json()["items"]]


def unmaskings(road: Road) -> list[tuple[Any, ...]]:
    return road.sql("select who, role, asked, count, answer from operator_action where what = 'unmask' order by id")


def test_actions_are_listed_newest_first_and_paged(client: httpx.Client, ledger: Engine) -> None:
    for number in range(5):
        file(ledger, "oscar", f"act-{number}")
    first = client.get("/v1/audit", params={"limit": 3}, headers=VERA).json()
    second = client.get("/v1/audit", params={"limit": 3, "cursor": first["next"]}, headers=VERA).json()
    assert [one["what"] for one in first["items"]] == ["act-4", "act-3", "act-2"]
    assert [one["what"] for one in second["items"]] == ["act-1", "act-0"]
    assert second["next"] is None
    shown = first["items"][0]
    assert (shown["action_id"], shown["reason"], shown["asked"]) == ("5", "well again", {"ids": ["1"]})
    assert (shown["count"], shown["answer"], shown["denied"], shown["role"]) == (1, "done", False, "operator")


def test_actions_are_filtered_by_all_that_is_asked(client: httpx.Client, ledger: Engine, road: Road) -> None:
    file(ledger, "ada", "unmask")
    file(ledger, "oscar", "requeue")
    file(ledger, "vera", "requeue", denied=True)
    for number, days in ((1, 3), (2, 2)):
        road.sql(f"update operator_action set at = now() - interval '{days} days' where id = {number}")
    assert listed(client, who=["ada", "oscar"]) == ["oscar requeue", "ada unmask"]
    assert listed(client, what="requeue", who="vera") == ["vera requeue"]
    assert listed(client, denied=True) == ["vera requeue"]
    assert listed(client, denied=False) == ["oscar requeue", "ada unmask"]
    between = (datetime.now(UTC) - timedelta(days=2, hours=12)).isoformat()
    assert listed(client, since=between) == ["vera requeue", "oscar requeue"]
    assert listed(client, until=between) == ["ada unmask"]
    assert listed(client, since="1h") == ["vera requeue"]
    assert listed(client, since="0001-01-01T00:00:00+14:00", until="9999-12-31") == listed(client)
    assert listed(client, until="1w") == []


def test_who_may_not_read_is_told_no_actions(client: httpx.Client) -> None:
    for path in ("/v1/audit", "/v1/suggestions?field=who"):
        assert_problem(client.get(path), 401, "unauthorised")
        assert_problem(client.get(path, headers={"Authorization": "Bearer p-token"}), 403, "forbidden")
    assert_problem(client.get("/v1/audit?since=soon", headers=VERA), 400, "invalid_parameter")


def test_each_look_at_people_unmasked_is_recorded_with_what_was_shown(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    for path in ("/v1/instances", "/v1/instances/1", "/v1/members/M-2", "/v1/dead-letters?list=true&member=M-1"):
        assert client.get(path, headers=ADA).status_code == 200
    assert unmaskings(road) == [
        ("ada", "admin", {"ids": ["2", "1"]}, 2, "shown"),
        ("ada", "admin", {"ids": ["1"]}, 1, "shown"),
        ("ada", "admin", {"member": "M-2"}, 1, "shown"),
        ("ada", "admin", {"ids": ["1"]}, 1, "shown"),
    ]


def test_where_nobody_is_shown_unmasked_nothing_is_recorded(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    for path in ("/v1/instances", "/v1/instances/1", "/v1/members/M-1", "/v1/dead-letters?list=true"):
        assert client.get(path, headers=OSCAR).status_code == 200
    for path in ("/v1/instances?member=M-9", "/v1/instances/99", "/v1/members/M-9", "/v1/dead-letters"):
        client.get(path, headers=ADA)
    assert unmaskings(road) == []


def test_of_a_long_list_shown_unmasked_the_first_fifty_are_recorded(client: httpx.Client, road: Road) -> None:
    road.accept(*(f"M-{number}" for number in range(60)))
    client.get("/v1/instances?limit=60", headers=ADA)
    ((_, _, asked, count, _),) = unmaskings(road)
    assert (len(asked["ids"]), asked["ids"][0], asked["and_more"], count) == (50, "60", 10, 60)


def test_nobody_is_shown_unmasked_when_it_cannot_be_recorded(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    road.sql("alter table operator_action rename to gone")
    try:
        assert_problem(client.get("/v1/instances/1", headers=ADA), 503, "ledger")
        assert client.get("/v1/instances/1", headers=VERA).status_code == 200
    finally:
        road.sql("alter table gone rename to operator_action")


def test_the_command_line_records_its_unmasking_too(cli: Terminal, road: Road) -> None:
    road.dead("M-1")
    for command in (["instances"], ["show", "1"], ["member", "M-1"], ["dead-letters", "--list"]):
        cli(*command, "--json")
    assert unmaskings(road) == []
    for command in (["instances"], ["show", "1"], ["member", "M-1"], ["dead-letters", "--list"]):
        cli(*command, "--unmasked", "--json")
    assert [row[:3] for row in unmaskings(road)] == [
        (getpass.getuser(), "cli", asked)
        for asked in ({"ids": ["1"]}, {"ids": ["1"]}, {"member": "M-1"}, {"ids": ["1"]})
    ]


def test_suggestions_are_what_begins_so(client: httpx.Client, ledger: Engine, road: Road) -> None:
    road.dead("M-1", "M-2", "N-3")
    road.accept("M-4")
    road.travel(ALWAYS_REFUSED)
    file(ledger, "oscar", "requeue")
    file(ledger, "ada", "resume")
    file(ledger, "oscar", "pause")

    def suggestions(field: str, beginning: str = "", **more: int) -> list[tuple[str, int | None]]:
        params: dict[str, str | int] = {"field": field, "beginning": beginning, **more}
        answer = client.get("/v1/suggestions", params=params, headers=VERA).json()
        assert answer["next"] is None
        return [(one["value"], one["count"]) for one in answer["items"]]

    assert suggestions("code") == [("unavailable", 3), ("data_error", 1)]
    assert suggestions("code", "da") == [("data_error", 1)]
    assert suggestions("member", "M-") == [("M-1", None), ("M-2", None), ("M-4", None)]
    assert suggestions("member", "M-", limit=2) == [("M-1", None), ("M-2", None)]
    assert suggestions("member", "M-%") == []
    assert suggestions("who") == [("oscar", 2), ("ada", 1)]
    assert suggestions("what", "re") == [("requeue", 1), ("resume", 1)]
    for query in ("", "field=error", "field=code&beginning=%00", "field=code&limit=0"):
        assert_problem(client.get(f"/v1/suggestions?{query}", headers=VERA), 400, "invalid_parameter")


def test_members_are_suggested_by_looking_at_no_others(ledger: Engine) -> None:
    with ledger.begin() as tx:
        tx.execute(
            text("insert into member (member_number) select lpad(i::text, 6, '0') from generate_series(1, 20000) as i")
        )
        tx.execute(text("analyze member"))  # a look that came when the table had just been emptied: it sorts one row
    with ledger.begin() as tx:
        tx.execute(text("set local plan_cache_mode = force_generic_plan"))
        read = text("select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables where relname = 'member'")
        before = tx.execute(read).scalar_one()  # what this session did before is not all reported yet
        for _ in range(8):  # the driver prepares a statement after some runs, for any value
            found = suggested(tx, "member", "0190")
        looked_at = tx.execute(read).scalar_one() - before
    assert [one.value for one in found] == [f"01900{digit}" for digit in range(10)]
    assert looked_at <= 8 * 10


@pytest.mark.parametrize(
    ("token", "outcome", "recorded"),
    [
        ("p-token", "superseded", []),
        ("o-token", "accepted", [("oscar", "operator")]),
        ("a-token", "accepted", [("ada", "admin")]),
    ],
)
def test_force_goes_before_order_for_those_who_operate_and_is_recorded(
    client: httpx.Client, road: Road, token: str, outcome: str, recorded: list[tuple[str, str]]
) -> None:
    def post(token: str, modification: int, **more: object) -> httpx.Response:
        sent = event("M-1", modification=modification, event_id=f"E-{modification}", **more)
        return client.post("/v1/member-events", json=sent, headers={"Authorization": f"Bearer {token}"})

    assert outcomes(post("p-token", 9)) == ["accepted"]
    assert outcomes(post(token, 5, force=True)) == [outcome]
    assert road.sql("select who, role from operator_action where what = 'force'") == recorded
    assert outcomes(post("p-token", 6)) == [outcome]


def test_who_only_operates_posts_nothing_without_force(client: httpx.Client, road: Road) -> None:
    mixed = [event("M-1", force=True), event("M-2")]
    for body in (mixed[1], mixed, []):
        answer = client.post("/v1/member-events", json=body, headers=OSCAR)
        assert answer.status_code == (403 if body else 202)
    assert client.post("/v1/member-events", json=mixed[0], headers=VERA).status_code == 403
    assert road.states() == {}
