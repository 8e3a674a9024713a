"""An outage is one object: opened with the breaker, however often it flaps, with whom it affected and what it cost."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from producers.cli.command import DONE, IMPOSSIBLE, NOTHING
from producers.doctor import work
from producers.doctor.check import Level, Subject
from producers.mail.mailer import Mailer
from shared.ledger import incident_story, marks
from shared.ledger.engine import transaction
from shared.ledger.filters import Filter
from shared.ledger.transitions import outages
from shared.ledger.views import instances
from shared.pipeline import Stage
from shared.settings import CrowdTwistSettings, IncidentsSettings, Settings
from shared.shown_settings import shown
from tests.console import post, said
from tests.flooding import numbers
from tests.outages import Outage
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED
from tests.terminal import Terminal

AFFECTED = """
    select count(distinct instance_id) from activity
    where stage = 'crowdtwist' and (state = 'held' and took_ms is null or attempt is not null and code = 'unavailable')
"""
VERA = {"Authorization": "Bearer tok-vera", "Accept": "application/json"}


@pytest.fixture
def outage(ledger: Engine, ledger_url: str) -> Outage:
    return Outage(ledger, Settings(_env_file=None, ledger_url=ledger_url))


def listed(outage: Outage, *incidents: str) -> set[str]:
    with transaction(outage.ledger) as tx:
        return {one.member_number for one in instances(tx, Filter(incidents=incidents), limit=100).items}


def test_twenty_flaps_in_ten_minutes_are_one_incident_whose_counts_are_those_of_the_activity(outage: Outage) -> None:
    outage.road.accept("W-1")
    outage.road.travel()
    for number in range(20):
        outage.ages(0.5)
        outage.begins()
        outage.road.accept(f"F-{number}")
        outage.road.travel(ALWAYS_DOWN, attempts_max=9)
        outage.holds(*numbers(3, f"M{number}"), "M")
        assert outage.one().state == "open", "opened by the breaker's own transaction"
        if number == 10:
            outage.kept()
        outage.ends()
    outage.is_over()
    outage.road.sql("update instance set due_at = now() where state = 'waiting'")
    outage.is_over()
    for _ in range(2):  # as read, then as counted
        (one,) = outage.all()
        assert (one.state, one.counts.openings, one.counts.flaps) == ("resolved", 20, 19)
        assert outage.road.sql(AFFECTED) == [one.counts.instances]
        assert (one.counts.instances, one.counts.waiting, one.cost.dead_letters) == (81, 0, 0)
        outage.kept()
    assert len(listed(outage, one.id)) == 81, "M, 60 that were held at once, 20 that failed"
    assert listed(outage, one.id) == listed(outage, one.fingerprint)
    assert "W-1" not in listed(outage, one.id)
    windows = one.windows
    (truth,) = outage.road.sql("""
        select min(at) filter (where what = 'down'), max(at) filter (where what = 'up') from connection_change
    """)
    for seen, true in zip((windows.connection.from_at, windows.connection.to_at), truth, strict=True):
        assert seen is not None
        assert abs(seen - true) < timedelta(seconds=1)
    (last,) = outage.road.sql("select max(at) from activity where state = 'completed'")
    assert windows.impact.to_at == last
    assert listed(outage, "77") == set()


def test_member_minutes_stale_and_the_worst_age_are_counted_while_it_goes_on_and_after(outage: Outage) -> None:
    outage.begins()
    outage.holds(*numbers(6))
    outage.kept()
    outage.ages(10)
    going_on = outage.one()
    assert going_on.cost.member_minutes_stale == pytest.approx(60, abs=0.5)
    assert going_on.cost.worst_age_s == pytest.approx(600, abs=5)
    assert (going_on.counts.waiting, going_on.windows.impact.to_at, going_on.windows.connection.to_at) == (
        6,
        None,
        None,
    )
    outage.is_over()
    outage.kept()
    outage.ages(20)
    over = outage.one()
    (stale_s,) = outage.road.sql("select sum(extract(epoch from finished_at - accepted_at))::float from instance")
    assert over.cost.member_minutes_stale == pytest.approx(stale_s / 60, abs=0.1)
    assert over.cost.worst_age_s == pytest.approx(600, abs=5)
    assert over.cost.live_p95_s == pytest.approx(900, abs=301), "within its bucket"
    assert over.cost.live_p95_week_before_s is None


def test_resolved_is_reversible_for_as_long_as_a_flap_then_closed_and_what_comes_is_another(outage: Outage) -> None:
    outage.begins()
    outage.is_over()
    outage.kept()
    assert outage.one().state == "resolved"
    outage.ages(14)
    outage.kept()
    outage.begins()
    assert (outage.one().state, len(outage.all())) == ("open", 1)
    outage.is_over()
    outage.ages(16)
    outage.kept()
    assert outage.one().state == "closed"
    closed = outage.one()
    assert closed.closed_at is not None
    assert closed.resolved_at is not None
    assert closed.closed_at - closed.resolved_at == timedelta(seconds=900)
    outage.begins()
    newest = outage.all()[0]
    assert (newest.id, newest.state, newest.same_before) == ("2", "open", ["1"])
    assert newest.fingerprint == closed.fingerprint
    outage.kept()
    frozen = outage.one()
    assert outage.road.sql("select settled_at is not null from incident order by id") == [True, False]
    outage.road.sql("delete from activity; delete from wait")
    assert outage.one() == frozen, "whatever is pruned"


def test_whoever_is_given_up_while_it_is_down_counts_until_sent_again(outage: Outage) -> None:
    outage.begins()
    outage.road.accept("M-1", "M-2")
    outage.road.travel(ALWAYS_DOWN)
    outage.kept()
    assert (outage.one().cost.dead_letters, outage.one().counts.waiting) == (2, 0)
    with transaction(outage.ledger) as tx:
        since = outage.one().windows.connection.from_at
        assert since is not None
        assert outages.hold_failed(tx, Stage.CROWDTWIST, since) == 2
    assert (outage.one().cost.dead_letters, outage.one().counts.waiting) == (0, 2)
    outage.kept()
    assert (outage.one().cost.dead_letters, outage.one().counts.instances) == (0, 2)


def test_two_connections_are_two_incidents_and_a_pause_is_none(outage: Outage) -> None:
    outage.begins(Stage.OIC)
    outage.begins(Stage.SIEBEL)
    outage.road.sql("update connection set paused = true, paused_by = 'ann', paused_reason = 'r' where name = 'oic'")
    assert [one.stage for one in outage.all()] == ["siebel", "oic"]
    assert len({one.fingerprint for one in outage.all()}) == 2


def test_a_cause_that_passes_a_rate_is_an_incident_until_there_is_no_more_of_it(
    ledger: Engine, ledger_url: str
) -> None:
    rules = IncidentsSettings(cause_count=20, cause_share=0.2)
    outage = Outage(ledger, Settings(_env_file=None, ledger_url=ledger_url, incidents=rules))
    outage.road.accept(*numbers(20, "R"))
    outage.road.travel(ALWAYS_REFUSED)
    outage.kept()
    assert outage.all() == [], "not more than the setting says"
    outage.road.accept("R-20", "W-1")
    outage.road.travel(lambda work: None if work.member_number == "W-1" else ALWAYS_REFUSED(work))
    outage.kept()
    outage.kept()
    one = outage.one()
    assert (one.kind, one.state, one.stage) == ("cause", "open", "crowdtwist")
    assert one.cause == "data_error: Email Address is already taken"
    assert (one.counts.instances, one.cost.late_events) == (21, 21)
    assert listed(outage, "1") == {*numbers(21, "R")}
    (first,) = outage.road.sql("select min(at) from activity where code = 'data_error'")
    assert one.windows.connection.from_at == first
    outage.ages(12)
    outage.kept()
    assert (outage.one().state, len(outage.all())) == ("resolved", 1)


def test_the_command_and_the_api_show_it_to_whoever_may_look(
    outage: Outage, cli: Terminal, client: httpx.Client
) -> None:
    assert "there was no incident" in cli("incidents").out
    outage.begins()
    outage.holds(*numbers(3))
    shown = cli("incidents")
    assert (shown.code, "could not serve us (HTTP 503)" in shown.out) == (DONE, True)
    assert "ann.lee" not in shown.out
    whole = " ".join(cli("incidents", "1").out.split())
    assert "late events 3, of which 3 wait" in whole
    assert cli("incidents", "9").code == NOTHING
    (item,) = cli("incidents", "--json").json["items"]
    assert cli("incidents", "1", "--json").json["counts"] == item["counts"]
    (listed_item,) = client.get("/v1/incidents", headers=VERA).json()["items"]
    assert (listed_item["id"], listed_item["counts"]["filter"]) == ("1", "incident=1")
    assert client.get("/v1/incidents/1", headers=VERA).json()["fingerprint"] == item["fingerprint"]
    assert client.get("/v1/incidents/7", headers=VERA).json()["code"] == "no_such_incident"
    assert client.get("/v1/incidents").status_code == 401
    found = client.get(f"/v1/instances?{item['counts']['filter']}&state=held", headers=VERA).json()["items"]
    assert {one["member_number"] for one in found} == {*numbers(3)}
    assert len(cli("instances", "--incident", item["fingerprint"], "--json").json["items"]) == 3


def test_its_time_line_has_what_happened_and_what_people_note_and_is_exported_alike(
    outage: Outage, cli: Terminal
) -> None:
    outage.begins()
    outage.holds(*numbers(3))
    with transaction(outage.ledger) as tx:
        outage.road.sql("update connection set probe_at = now() where name = 'crowdtwist'")
        assert outages.claim_probe(tx, Stage.CROWDTWIST, token=5, lease_s=60) is not None
    outage.begins()  # the probe fails
    outage.road.sql("update instance set state = 'held', token = 0, lease_until = null where token = 5")
    assert cli("incidents", "1", "--note", "their status page, says ann.lee@example.org", "--at", "2h").code == DONE
    assert cli("incidents", "1", "--acknowledge").code == DONE
    assert cli("incidents", "1", "--acknowledge").code == NOTHING
    outage.is_over()
    outage.kept()
    outage.ages(20)
    outage.kept()
    found = cli("incidents", "1", "--json").json
    assert found["state"] == "closed"
    kinds = [line["kind"] for line in found["time_line"]]
    assert sorted(kinds) == sorted(["note", "down", "held", "probe", "probe_failed", "acknowledged", "up"])
    assert kinds[0] == "note", "where it happened, not where it was written"
    note = found["time_line"][0]
    assert "ann.lee" not in note["what"]
    documents = {form: cli("incidents", "1", "--export", form).out for form in ("md", "json")}
    assert "# Incident 1: CrowdTwist" in documents["md"]
    assert "| Late events | 3, of which 0 wait |" in documents["md"]
    outage.road.sql("delete from connection_change; delete from minute; delete from activity")
    assert {form: cli("incidents", "1", "--export", form).out for form in ("md", "json")} == documents, "byte for byte"
    assert cli("incidents", "1", "--change", note["note"], "--at", "1900-01-01").code == DONE
    assert cli("incidents", "1", "--json").json["time_line"][0]["at"].startswith("1900-01-01")
    assert cli("incidents", "1", "--change", "99", "--at", "1h").code == NOTHING
    for wrong in (("--note", " "), ("--at", "1h"), ("--acknowledge", "--export", "md"), ("--note", "x", "--at", "now")):
        assert cli("incidents", "1", *wrong).code == IMPOSSIBLE
    assert cli("incidents", "--acknowledge").code == IMPOSSIBLE


def test_incidents_are_merged_and_split_and_counted_anew(outage: Outage, client: httpx.Client) -> None:
    outage.begins()
    outage.holds(*numbers(3))
    outage.is_over()
    outage.ages(30)
    outage.kept()
    outage.begins()
    outage.holds(*numbers(5, "N"), minute=1)
    outage.is_over()
    outage.kept()
    assert [one.counts.instances for one in outage.all()] == [5, 3]
    oscar = {"Authorization": "Bearer tok-oscar", "Accept": "application/json"}

    def post(path: str, headers: dict[str, str] = oscar, **body: object) -> httpx.Response:
        return client.post(f"/v1/incidents/{path}", headers=headers, json=body)

    assert post("2/merge", VERA, into=1, reason="one cause").status_code == 403
    assert post("2/merge", into=1, reason=" ").json()["code"] == "invalid_parameter"
    assert post("2/merge", into=2, reason="one cause").json()["code"] == "invalid_parameter"
    assert post("2/merge", into=9, reason="one cause").json()["changed"] is False
    merged = post("2/merge", into=1, reason="one cause").json()
    assert (merged["changed"], merged["incident"]["id"]) == (True, "1")
    outage.kept()
    (one,) = outage.all()
    assert (one.id, one.counts.instances, one.counts.openings, one.state) == ("1", 8, 2, "resolved")
    assert listed(outage, "2") == listed(outage, "1") == {*numbers(3), *numbers(5, "N")}
    assert client.get("/v1/incidents/2", headers=VERA).json()["merged_into"] == "1"
    assert post("2/split", at="1h", reason="after all not").json()["answer"].startswith("refused: incident 2 is a part")
    assert post("1/split", at="5h", reason="all of it?").json()["changed"] is False
    split = post("1/split", at="10m", reason="after all not").json()
    assert (split["changed"], split["incident"]["id"], split["incident"]["counts"]["instances"]) == (True, "3", 5)
    outage.kept()
    assert [(one.id, one.counts.instances) for one in outage.all()] == [("3", 5), ("1", 3)]
    outage.ages(100)
    outage.road.sql("delete from activity where at < now() - interval '119 minutes'")
    assert "was pruned" in post("3/merge", into=1, reason="and back").json()["answer"]
    noted = post("3/notes", text="ticket 4711", at="2026-11-01T08:00:00Z").json()["incident"]["time_line"]
    (note,) = (line for line in noted if line["kind"] == "note")
    assert (note["what"], note["who"]) == ("ticket 4711", "oscar")
    assert post(f"3/notes/{note['note']}", text="ticket 4712").json()["changed"]
    assert post("3/acknowledge").json()["incident"]["acknowledged_by"] == "oscar"
    export = client.get("/v1/incidents/3/export?format=md", headers=VERA)
    assert (export.headers["content-type"], "ticket 4712" in export.text) == ("text/markdown; charset=utf-8", True)
    assert client.get("/v1/incidents/3/export", headers=VERA).json()["id"] == "3"
    audited = outage.road.sql("select what, answer from operator_action where what ~ 'incident' and not denied")
    assert ("merge incident", "merged into incident 1") in audited
    assert ("split incident", "split off as incident 3") in audited


def test_mail_tells_of_a_cause_and_once_of_what_is_still_open(outage: Outage) -> None:
    def mailed() -> list[str]:
        outage.kept()
        Mailer(outage.settings).write()
        found = outage.road.sql("select subject || plain from mail where kind = 'incident' order by id")
        outage.road.sql("delete from mail")
        return found

    outage.begins()
    assert mailed() == [], "the change of the connection says so"
    outage.ages(61)
    (still,) = mailed()
    assert f"CrowdTwist: still open after 1 h 1 min [{outage.one().fingerprint}]" in still
    assert mailed() == []
    outage.is_over()
    outage.ages(60)
    outage.kept()
    outage.road.accept(*numbers(120, "R"))
    outage.road.travel(ALWAYS_REFUSED)
    (opened,) = mailed()
    assert f"many fail at CrowdTwist for one cause [{outage.one(2).fingerprint}]" in opened
    assert "membersync instances --incident 2" in opened
    outage.ages(12)
    (resolved,) = mailed()
    assert "CrowdTwist: resolved after 1" in resolved
    assert mailed() == []


def test_the_console_shows_it_and_people_work_on_it_there(outage: Outage, oscar: httpx.Client) -> None:
    assert "There was no incident." in said(oscar.get("/incidents"))
    outage.begins()
    outage.holds(*numbers(3))
    first = said(oscar.get("/incidents/1"))
    assert "open CrowdTwist: could not serve us (HTTP 503), says <e-mail>" in first
    assert "Late events 3 , of which 3 wait" in first
    post(oscar, "/incidents/1", "/incidents/1/acknowledge")
    post(oscar, "/incidents/1", "/incidents/1/notes", reason="ticket 4711", at="2026-11-01T08:00Z")
    shown = said(oscar.get("/incidents/1"))
    assert "Taken up by oscar" in shown
    assert "2026-11-01 08:00:00 ticket 4711 (note" in shown
    post(oscar, "/incidents/1", "/incidents/1/notes", reason="", at="1h")
    assert "Nothing is done: text: say what is to be noted." in said(oscar.get("/incidents/1"))
    post(oscar, "/incidents/1", "/incidents/1/merge", into="one", reason="r")
    assert "Nothing is done: into: is no incident." in said(oscar.get("/incidents/1"))
    assert "3" in said(oscar.get("/instances?incident=1"))
    assert oscar.get("/incidents/1/export/md").text.startswith("# Incident 1: CrowdTwist")
    assert oscar.get("/incidents/9").status_code == 404
    (row,) = [line for line in oscar.get("/incidents").text.split("<tr>") if 'href="/incidents/1"' in line]
    assert "oscar" in row


def test_metric_doctor_and_verdict_say_what_goes_on(outage: Outage, client: httpx.Client, cli: Terminal) -> None:
    outage.begins()
    outage.holds(*numbers(3))
    text = client.get("/metrics", headers={"Authorization": "Bearer tok-ada", "Accept": "text/plain"}).text
    assert 'membersync_incidents_open{kind="connection",stage="crowdtwist"} 1.0' in text
    assert 'membersync_incidents_open{kind="cause",stage="crowdtwist"} 0.0' in text
    subject = Subject(outage.settings)
    (found,) = work.look_at_incidents(subject)
    assert (found.level, "3 late, 3 wait" in found.found) == (Level.WARN, True)
    assert "(incident 1)" in work.verdict_on(subject).sentence
    cli("incidents", "1", "--acknowledge")
    (found,) = work.look_at_incidents(subject)
    assert found.level is Level.OK
    outage.is_over()
    outage.ages(60)
    outage.road.accept(*numbers(120, "R"))
    outage.road.travel(ALWAYS_REFUSED)
    outage.kept()
    verdict = work.verdict_on(subject)
    assert "Many end at CrowdTwist for one cause since" in verdict.sentence
    assert "see `membersync incidents 2`" in verdict.sentence


def test_a_deployment_and_a_changed_setting_are_marked_on_its_time_line(outage: Outage) -> None:
    def begins(**changes: Any) -> list[str]:  # noqa: ANN401  # settings as they are written
        settings = outage.settings.model_copy(update=changes)
        with transaction(outage.ledger) as tx:
            return marks.begun(tx, changes.get("release", "1"), shown(settings))

    assert begins() == []
    outage.begins()
    patient = CrowdTwistSettings(timeout_s=45, api_key="a-secret", base_url="https://api.example.org")
    assert begins(crowdtwist=patient) == [
        "MEMBERSYNC_CROWDTWIST__BASE_URL: not there became https://api.example.org",
        "MEMBERSYNC_CROWDTWIST__TIMEOUT_S: 30 became 45",
    ]
    another = outage.settings.dispatcher.model_copy(update={"metrics_port": 9092})
    assert begins(crowdtwist=patient, dispatcher=another) == [], (
        "another dispatcher that is set alike, on the same host"
    )
    assert begins(crowdtwist=patient, release="2") == ["version 1 became version 2"]
    with transaction(outage.ledger) as tx:
        line = incident_story.time_line(tx, 1)
    assert [one.kind for one in line] == ["down", "setting", "setting", "deploy"]
    (kept,) = outage.road.sql("select settings::text from installation")
    assert not [word for word in ("a-secret", "LEDGER_URL", "API_KEY", "PASSWORD", "API__TOKENS") if word in kept]
