"""What a guard holds as operators have it: typed, over HTTP, in the console, by mail, metric and doctor."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from producers.cli.command import DONE, IMPOSSIBLE, NOTHING
from producers.doctor import work
from producers.doctor.check import Level, Subject
from producers.mail.mailer import Mailer
from producers.operations import cases
from producers.operations.cases import Sees
from shared.ledger.engine import transaction
from shared.ledger.transitions import holds
from shared.settings import MailSettings, Settings
from tests.calling import assert_problem
from tests.console import post, said
from tests.flooding import BROKEN, RULES, Flood, numbers
from tests.mailbox import SETTINGS
from tests.terminal import Terminal


@pytest.fixture
def held(flood: Flood) -> Flood:
    """Sixty members that a guard holds."""
    flood.send(*numbers(60), error=BROKEN)
    return flood


@pytest.fixture
def cli(cli: Terminal, held: Flood) -> Terminal:
    assert held.hold.held == 60
    return cli


def test_the_command_shows_the_plan_and_releases_by_id(cli: Terminal, held: Flood) -> None:
    shown = cli("guards")
    assert shown.code == DONE
    assert "Country Code is invalid" in shown.out
    assert "Mend the mapping, then release: 60 members sent again" in " ".join(shown.out.split())
    (item,) = cli("guards", "--json").json["items"]
    assert (item["id"], item["kind"], item["state"], item["held"]) == ("1", "flood", "holding", 60)
    assert cli("guards", "release", "1").code == IMPOSSIBLE
    assert cli("guards", "release", "--reason", "which?").code == IMPOSSIBLE
    ignored = cli("guards", "--reason", "so that it is released")
    assert (ignored.code, "--reason" in ignored.err) == (IMPOSSIBLE, True)
    assert cli("guards", "discard", "9", "--reason", "none").code == NOTHING
    held.refused = {}
    released = cli("guards", "release", "1", "--reason", "the lookup row is mended")
    assert (released.code, "membersync jobs 1" in released.out) == (DONE, True)
    held.travel()
    assert held.hold.state == "released"
    assert cli("guards", "discard", "1", "--reason", "too late").code == NOTHING


def test_the_command_discards_by_id(cli: Terminal, held: Flood) -> None:
    done = cli("guards", "discard", "1", "--reason", "wrong in Siebel", "--json")
    assert (done.code, done.json["hold"]["state"]) == (DONE, "discarding")
    held.travel()
    assert (held.hold.state, held.told()) == ("discarded", 60)


def test_over_http_operators_decide_and_viewers_look(held: Flood, client: httpx.Client) -> None:
    vera, oscar = ({"Authorization": f"Bearer tok-{name}", "Accept": "application/json"} for name in ("vera", "oscar"))
    (item,) = client.get("/v1/guards", headers=vera).json()["items"]
    assert client.get("/v1/guards/1", headers=vera).json() == item
    assert item["message"] == "Country Code is invalid"
    assert_problem(client.get("/v1/guards/7", headers=vera), 404, "no_such_guard")
    why = {"reason": "mended"}
    assert_problem(client.post("/v1/guards/1/release", headers=vera, json=why), 403, "forbidden")
    assert_problem(client.post("/v1/guards/1/release", headers=oscar, json={}), 400, "invalid_parameter")
    assert_problem(client.post("/v1/guards/7/discard", headers=oscar, json=why), 404, "no_such_guard")
    done = client.post("/v1/guards/1/release", headers=oscar, json=why).json()
    assert (done["changed"], done["hold"]["state"], done["hold"]["decided_by"]) == (True, "releasing", "oscar")
    again = client.post("/v1/guards/1/release", headers=oscar, json=why).json()
    assert (again["changed"], again["answer"]) == (False, "refused: it is being released already")
    assert held.road.sql("select who, what, denied, answer from operator_action order by id") == [
        ("vera", "release guard", True, "the role viewer may not do this"),
        ("oscar", "discard guard", False, "refused: there is no such hold"),
        ("oscar", "release guard", False, done["answer"]),
        ("oscar", "release guard", False, again["answer"]),
    ]


def test_the_console_shows_why_and_decides_in_one_click(held: Flood, oscar: httpx.Client) -> None:
    page = oscar.get("/guards")
    assert "Country Code is invalid" in page.text
    assert "60 members held by guard 1" in said(page)
    post(oscar, "/guards", "/guards/1/release", reason=" ")
    assert "Nothing is done: say why." in said(oscar.get("/guards"))
    answer = post(oscar, "/guards", "/guards/1/discard", reason="wrong in Siebel")
    assert (answer.status_code, answer.headers["location"]) == (303, "/guards#guard-1")
    assert "condemned: its members are Data Errors" in said(oscar.get("/guards"))
    held.travel()
    page = oscar.get("/guards")
    assert "Discarded by oscar" in said(page)
    assert "Release" not in page.text.split('id="holds"')[1]


def test_a_held_member_says_why_on_its_page(held: Flood, oscar: httpx.Client) -> None:
    assert held.hold.held == 60
    assert "held by guard 1, and not told: too many members meet this at once" in said(oscar.get("/members/M-7"))


def test_a_case_whose_member_is_held_leads_to_the_guard(flood: Flood, ledger: Engine, oscar: httpx.Client) -> None:
    flood.send("M-0", error=BROKEN)
    flood.send(*numbers(60), minute=1, error=BROKEN)
    one = cases.find(ledger, "M-0", Sees())
    assert one is not None
    assert (one.state, one.who, one.held_by_guard) == ("open", "nobody", flood.hold.id)
    assert f"is held by guard {flood.hold.id}; it is released or discarded there" in one.what_to_do
    page = said(oscar.get(f"/cases/{one.case_id}"))
    assert (f"is held by guard {flood.hold.id}" in page, "is on its way" in page) == (True, False)


def test_the_first_line_everywhere_needs_a_person_until_it_is_decided(cli: Terminal, held: Flood) -> None:
    verdict = cli("status", "--json").json["verdict"]
    assert (verdict["level"], verdict["short"], verdict["needs_person"]) == ("person", "no dispatcher (+2)", True)
    trouble = next(one for one in verdict["troubles"] if one["short"] == "a guard holds")
    assert (trouble["level"], trouble["waiting"]) == ("person", 60)
    assert trouble["what"].endswith("which looks like a broken mapping: Country Code is invalid")
    cli("guards", "release", "1", "--reason", "mended")
    after = cli("status", "--json").json["verdict"]["troubles"]
    assert [one["level"] for one in after if one["short"] == "a guard holds"] == ["waits"]
    assert held.hold.state == "releasing"


def test_metric_doctor_and_one_mail_tell_of_it(held: Flood, client: httpx.Client) -> None:
    ada = {"Authorization": "Bearer tok-ada", "Accept": "text/plain"}
    families = text_string_to_metric_families(client.get("/metrics", headers=ada).text)
    (family,) = [one for one in families if one.name == "membersync_guard_held"]
    assert {one.labels["stage"]: one.value for one in family.samples} == {"oic": 0, "crowdtwist": 60}
    url = held.ledger.url.render_as_string(hide_password=False)
    of = Settings(_env_file=None, ledger_url=url, mail=MailSettings.model_validate(SETTINGS))
    (finding,) = work.look_at_guards(Subject(of))
    assert (finding.level, "60 held" in finding.found, "guards release 1" in finding.remedy) == (Level.WARN, True, True)
    for _ in range(3):
        Mailer(of).write()
    (mail,) = held.road.sql("select subject, plain from mail where kind = 'guard'")
    assert mail[0] == "membersync: guard 1 holds members: one Data Error of many at CrowdTwist"
    assert 'membersync guards release 1 --reason "the lookup row is mended"' in mail[1]
    assert "Held by now  60 members" in mail[1]


def test_nobody_is_to_be_corrected_for_what_a_guard_holds(held: Flood, oscar: httpx.Client) -> None:
    (of_it,) = held.road.sql("select id from instance where state = 'held' order by id limit 1")
    held.road.sql(f"update instance set state = 'rejected', hold_id = null, finished_at = now() where id = {of_it}")
    still = "select id, member_number from instance where state = 'held' order by id limit 1"
    ((other, number),) = held.road.sql(still)
    pages = [oscar.get(path).text for path in (f"/instances/{of_it}", f"/instances/{other}", "/")]
    for page in pages:
        assert "in Siebel; the update is sent by itself" not in page
        assert "Nothing for this member alone:" in page
    assert "guard 1 holds the newest event" in oscar.get(f"/members/{number}").text


def test_two_dispatchers_take_turns_on_one_hold(held: Flood, ledger: Engine) -> None:
    with transaction(ledger) as one, transaction(ledger) as other:
        holds.release(one, 1, holds.Decision("ann", "mended"))
        assert not holds.turn(other, RULES)
    held.refused = {}
    held.travel()
    assert held.hold.state == "released"
