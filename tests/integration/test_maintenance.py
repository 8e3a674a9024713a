"""Planned windows of a connection: they pause, hold, alarm nobody and end by themselves."""

from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from producers.cli.command import DONE, IMPOSSIBLE, NOTHING
from producers.dispatch.dispatcher import Dispatcher
from producers.mail.mailer import Mailer
from shared.ledger import connections, maintenance
from shared.ledger.engine import transaction
from shared.pipeline import Stage
from shared.settings import DispatcherSettings, MailSettings, Settings
from tests.calling import assert_problem
from tests.console import post, said
from tests.mailbox import SETTINGS
from tests.rig import eventually
from tests.road import Road
from tests.terminal import Terminal

OSCAR = {"Authorization": "Bearer tok-oscar", "Accept": "application/json"}
VERA = {"Authorization": "Bearer tok-vera", "Accept": "application/json"}


def turn(road: Road) -> None:
    with transaction(road.ledger) as tx:
        maintenance.turn(tx)


def paused(road: Road) -> list[Any]:
    return road.sql("select name, paused_by, paused_reason from connection where paused")


def pass_by(road: Road, hours: int) -> None:
    """Let time pass, as the windows see it."""
    road.sql(
        f"update maintenance set from_at = from_at - interval '{hours} h', until_at = until_at - interval '{hours} h'"
    )


def test_a_window_pauses_when_it_begins_and_resumes_by_itself_when_it_ends(cli: Terminal, road: Road) -> None:
    added = cli(
        "maintenance", "add", "crowdtwist", "--from", "+2h", "--until", "+6h", "--reason", "ticket 77", "--json"
    )
    assert (added.code, added.json["state"], added.json["name"]) == (DONE, "planned", "crowdtwist")
    turn(road)
    assert paused(road) == []
    assert "CrowdTwist: maintenance planned from" in cli("connections").out
    pass_by(road, 3)
    turn(road)
    until = datetime.fromisoformat(added.json["until_at"]) - timedelta(hours=3)
    (name, by, reason) = paused(road)[0]
    assert (name, by, reason) == (
        "crowdtwist",
        added.json["added_by"],
        f"maintenance until {until:%Y-%m-%d %H:%M} UTC: ticket 77",
    )
    with transaction(road.ledger) as tx:
        assert not connections.gate(tx, Stage.CROWDTWIST).is_open
    standing = cli("status", "--json").json
    (trouble,) = [one for one in standing["verdict"]["troubles"] if one["short"] == "CrowdTwist paused"]
    assert (trouble["level"], trouble["todo"]) == ("waits", "goes on by itself when the window ends")
    assert [one["maintenance"]["state"] for one in standing["connections"] if one["maintenance"]] == ["active"]
    pass_by(road, 4)
    turn(road)
    assert paused(road) == []
    assert [one["state"] for one in cli("maintenance", "--json").json["items"]] == ["over"]
    assert road.sql("select what from connection_change order by id") == ["paused", "resumed"]


def test_a_dispatcher_begins_and_ends_it_and_holds_who_is_due(road: Road, ledger_url: str) -> None:
    of = Settings(_env_file=None, ledger_url=ledger_url, dispatcher=DispatcherSettings(tick_s=0.01))
    dispatcher = Dispatcher(of)
    road.sql("""insert into maintenance (name, from_at, until_at, reason, added_by)
                values ('oic', now(), now() + interval '1 h', 'upgrade', 'oscar')""")
    turn(road)
    road.accept("M-1")
    dispatcher.turn()
    assert road.states() == {"held": 1}
    pass_by(road, 2)
    eventually(lambda: not (dispatcher.turn() or paused(road)), "it goes on by itself")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--from", "+2h", "--until", "+1h"), "--until: lies before the window begins"),
        (("--from", "2020-01-01T00:00Z", "--until", "2020-01-02"), "--until: lies in the past"),
        (("--from", "2h", "--until", "+1h"), "--from: lies in the past; leave it out"),
        (("--from", "+5h", "--until", "+7h"), "--from: overlaps window 1 of Siebel, "),
    ],
)
def test_a_window_that_cannot_be_is_refused_with_the_option_and_why(
    cli: Terminal, options: tuple[str, ...], said: str
) -> None:
    first = ("maintenance", "add", "siebel", "--from", "+4h", "--until", "+6h", "--reason", "r")
    assert cli(*first).code == DONE
    ran = cli("maintenance", "add", "siebel", *options, "--reason", "r")
    assert (ran.code, said in ran.err) == (NOTHING, True), ran.err
    assert cli("maintenance", "add", "oic", "--from", "+5h", "--until", "+7h", "--reason", "r").code == DONE
    assert cli("maintenance", "add", "siebel", "--from", "+6h", "--until", "+7h", "--reason", "next").code == DONE


def test_what_is_not_said_or_cannot_be_read_is_named(cli: Terminal) -> None:
    for words, why in (
        (("add", "siebel", "--until", "+1h"), "--reason: say why"),
        (("add", "siebel", "--reason", "r"), "--until: say when it ends"),
        (("add", "siebel", "--reason", "r", "--until", "soon"), "--until: must be RFC 3339"),
        (
            ("add", "siebel", "--from", "noon", "--until", "soon"),
            "--from: must be RFC 3339",
        ),  # in the order of the help
        (("add", "siebel", "--until", "soon"), "--until: must be RFC 3339"),
        (("add", "siebel", "--reason", "r", "--until", "+999999w"), "--until: lies beyond the year 9999"),
        (("add", "mars", "--reason", "r", "--until", "+1h"), "name the connection"),
        (("remove",), "give the id of a window"),
    ):
        ran = cli("maintenance", *words)
        assert (ran.code, why in " ".join(ran.err.replace("│", " ").split())) == (IMPOSSIBLE, True), ran.err
    assert cli("maintenance", "remove", "9").code == NOTHING
    assert "no window is planned" in cli("maintenance").out


def test_over_http_operators_plan_and_remove_and_viewers_look(client: httpx.Client, road: Road) -> None:
    body = {"name": "crowdtwist", "until": "+2h", "reason": "their window"}
    assert_problem(client.post("/v1/maintenance", headers=VERA, json=body), 403, "forbidden")
    added = client.post("/v1/maintenance", headers=OSCAR, json=body)
    assert (added.status_code, added.json()["state"], added.json()["added_by"]) == (201, "planned", "oscar")
    turn(road)
    assert [one[0] for one in paused(road)] == ["crowdtwist"]
    (item,) = client.get("/v1/maintenance", headers=VERA).json()["items"]
    assert item["state"] == "active"
    again = client.post("/v1/maintenance", headers=OSCAR, json=body | {"from": "+1h"})
    assert_problem(again, 409, "window_refused")
    assert again.json()["field"] == "from"
    assert_problem(client.post("/v1/maintenance", headers=OSCAR, json=body | {"from": "x"}), 400, "invalid_parameter")
    removed = client.delete("/v1/maintenance/1", headers=OSCAR).json()
    assert (removed["changed"], removed["answer"]) == (True, "ended: what was held goes out")
    assert paused(road) == []
    assert client.delete("/v1/maintenance/1", headers=OSCAR).json()["answer"] == "refused: it is over"
    assert_problem(client.delete("/v1/maintenance/7", headers=OSCAR), 404, "no_such_window")
    assert road.sql("select who, what, denied from operator_action order by id")[:2] == [
        ("vera", "add maintenance", True),
        ("oscar", "add maintenance", False),
    ]


def test_the_page_of_the_connections_plans_and_ends_windows(oscar: httpx.Client, road: Road) -> None:
    post(oscar, "/connections", "/maintenance", name="oic", until="+1h", reason="")
    assert "Nothing is planned: reason say why." in said(oscar.get("/connections"))
    post(oscar, "/connections", "/maintenance", name="oic", until="+1h", reason="upgrade <b>", **{"from": "+5m"})
    page = oscar.get("/connections")
    assert "Window 1 of OIC is planned." in said(page)
    assert "Maintenance planned from" in said(page)
    assert "upgrade &lt;b&gt;" in page.text
    eventually(lambda: "Maintenance planned from" in said(oscar.get("/")), "the overview shows it too")
    post(oscar, "/connections", "/maintenance/1/remove")
    assert "Window 1: removed." in said(oscar.get("/connections"))
    turn(road)
    assert paused(road) == []


def test_who_paused_it_before_keeps_it_and_who_resumes_it_ends_the_pause(road: Road) -> None:
    with transaction(road.ledger) as tx:
        connections.pause(tx, Stage.SIEBEL, by="ann", reason="mine")
    road.sql("""insert into maintenance (name, from_at, until_at, reason, added_by)
                values ('siebel', now(), now() + interval '1 h', 'r', 'oscar'),
                       ('oic', now(), now() + interval '1 h', 'r', 'oscar')""")
    turn(road)
    with transaction(road.ledger) as tx:
        connections.resume(tx, Stage.OIC, by="bob")
    turn(road)
    assert [one[:2] for one in paused(road)] == [("siebel", "ann")]
    pass_by(road, 2)
    turn(road)
    assert [one[:2] for one in paused(road)] == [("siebel", "ann")]


def test_calls_that_fail_as_it_begins_alarm_nobody_unless_it_is_down_still_afterwards(
    road: Road, ledger_url: str, client: httpx.Client
) -> None:
    of = Settings(_env_file=None, ledger_url=ledger_url, mail=MailSettings.model_validate(SETTINGS))
    road.sql("""insert into maintenance (name, from_at, until_at, reason, added_by)
                values ('crowdtwist', now(), now() + interval '1 h', 'r', 'oscar')""")
    turn(road)
    text = client.get("/metrics", headers={"Authorization": "Bearer tok-ada", "Accept": "text/plain"}).text
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "membersync_maintenance"]
    assert {one.labels["name"]: one.value for one in family.samples} == {"oic": 0, "crowdtwist": 1, "siebel": 0}
    road.sql("insert into connection_change (name, what, why) values ('crowdtwist', 'down', 'answered 503')")
    Mailer(of).write()
    assert road.sql("select kind from mail") == [], "while it lasts"
    for was_back, told in ((True, []), (False, ["down"])):
        road.sql("delete from connection_change; delete from maintenance; delete from mail")
        road.sql("""insert into maintenance (name, from_at, until_at, reason, added_by, began_at, ended_at)
                    values ('crowdtwist', now() - interval '1 h', now() - interval '5 min', 'r', 'oscar',
                            now() - interval '1 h', now() - interval '5 min')""")
        road.sql("""insert into connection_change (name, what, why, at)
                    values ('crowdtwist', 'down', 'answered 503', now() - interval '1 h')""")
        if was_back:
            road.sql("""insert into connection_change (name, what, at)
                        values ('crowdtwist', 'up', now() - interval '290 s')""")
        Mailer(of).write()
        assert road.sql("select kind from mail") == told
