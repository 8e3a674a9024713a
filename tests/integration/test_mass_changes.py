"""A broken job in Siebel deactivates or blanks many members at once: they are held, and nothing of it goes out."""

from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from producers.cli.command import DONE
from producers.doctor import work
from producers.doctor.check import Subject
from producers.intake.accept import accept
from producers.mail.mailer import Mailer
from producers.operations import guard_control
from producers.operations.job_control import Operator
from shared.events import parse_event
from shared.ledger.jobs import Kind
from shared.ledger.transitions import mass_changes
from shared.settings import MailSettings, Settings
from tests.console import said
from tests.mailbox import SETTINGS
from tests.programme import FULL, GUARDED, Programme
from tests.road import NOW, start
from tests.terminal import Terminal

ANN = Operator("ann", "operator")


@pytest.fixture
def programme(ledger: Engine) -> Programme:
    return Programme(ledger, 1000)


def test_five_per_cent_at_once_are_held_with_one_alert_and_nothing_reaches_crowdtwist(programme: Programme) -> None:
    receipts = programme.send(range(50), status="Inactive")
    assert {(one.outcome, one.reason) for one in receipts} == {("accepted", f"held by guard 1: {mass_changes.WHY}")}
    programme.travel()
    (hold,) = programme.holds
    assert (hold.kind, hold.state, hold.held, hold.alike, hold.went_out, hold.told) == (
        "mass_change", "holding", 50, 50, 1000, 0,
    )  # fmt: skip
    assert programme.reached() == 0
    programme.send(range(100, 110), operation="delete")  # it goes on, and is held under the same hold
    programme.send(range(200, 300), city="Leeds")  # all others pass
    programme.travel()
    assert [(one.held, one.kind) for one in programme.holds] == [(60, "mass_change")]
    assert programme.road.states() == {"completed": 1100, "held": 60}
    assert programme.reached() == 0


def test_one_by_one_the_first_two_per_cent_pass_and_the_rest_is_held_with_what_is_still_queued(
    programme: Programme,
) -> None:
    for one in range(15):
        programme.send([one], city="")
    programme.travel()
    for one in range(15, 40):
        programme.send([one], city="", email_address="")
    programme.travel()
    (hold,) = programme.holds
    assert (hold.kind, hold.held, hold.alike, hold.told) == ("blanking", 25, 21, 15)
    assert hold.message == "fields become empty: city, email_address"
    assert programme.reached() == 15


def test_a_tiny_programme_and_what_was_inactive_or_empty_before_hold_nobody(ledger: Engine) -> None:
    programme = Programme(ledger, 30)
    programme.send(range(10), operation="delete")
    programme.travel()
    for _ in range(3):
        programme.send(range(10), operation="delete", city="Leeds")
        programme.travel()
    programme.send(range(100, 150), status="Inactive", city="")  # nobody has seen them before
    assert programme.holds == []


def test_released_they_are_sent_step_by_step_and_what_follows_counts_anew(programme: Programme) -> None:
    programme.send(range(50), status="Inactive")
    done = guard_control.release(programme.ledger, ANN, 1, "the campaign has ended")
    assert done is not None
    assert done.changed
    programme.send(range(50, 80), status="Inactive")  # while it is released nothing of the kind is held
    programme.travel()
    assert [(one.state, one.decided_by) for one in programme.holds] == [("released", "ann")]
    assert (programme.road.states(), programme.reached()) == ({"completed": 1080}, 80)
    programme.send(range(80, 90), status="Inactive")
    programme.travel()
    assert len(programme.holds) == 1
    programme.send(range(90, 140), status="Inactive")
    assert [one.state for one in programme.holds] == ["holding", "released"]


def test_discarded_nothing_is_sent_nobody_is_told_and_the_same_job_is_held_at_once(programme: Programme) -> None:
    told = programme.road.sql("select member_number, told_id from member order by 1")
    programme.send(range(50), city="")
    guard_control.discard(programme.ledger, ANN, 1, "the view was broken")
    programme.travel()
    assert programme.road.states() == {"completed": 1000, "discarded": 50}
    assert programme.road.sql("select member_number, told_id from member order by 1") == told
    programme.send([7], city="")
    assert [(one.state, one.held) for one in programme.holds] == [("holding", 1), ("discarded", 0)]
    mended = programme.send(range(50))
    assert {one.outcome for one in mended} == {"unchanged"}, "CrowdTwist has it still"
    programme.travel()
    assert [one.state for one in programme.holds] == ["released", "discarded"]


def test_a_newer_event_that_is_well_goes_its_own_way_and_one_that_is_not_is_held_again(programme: Programme) -> None:
    programme.send(range(50), status="Inactive")
    assert programme.send([3], city="Leeds")[0].reason is None
    assert programme.send([4], status="Inactive", city="Leeds")[0].reason is not None
    programme.send([5], status="Inactive", city="Leeds")
    programme.send([5], city="Leeds")
    programme.travel()
    assert programme.road.states() == {"completed": 1002, "held": 48, "superseded": 4}
    assert programme.reached() == 0


def test_a_member_deactivated_and_well_again_in_one_delivery_counts_as_nothing(programme: Programme) -> None:
    at = [(NOW + timedelta(minutes=5, seconds=second)).isoformat() for second in range(2)]
    raws = [
        {"operation": "update", "occurred_at": moment, "member": {"member_number": f"M-{one}", **FULL, **change}}
        for one in range(50)
        for moment, change in zip(at, ({"status": "Inactive"}, {"city": "Leeds"}), strict=True)
    ]
    accept(programme.ledger, [(index, parse_event(raw, max_bytes=64_000)) for index, raw in enumerate(raws)], GUARDED)
    assert programme.holds == []


def test_an_ordinary_discard_gives_back_what_would_have_been_cleared(programme: Programme) -> None:
    (receipt,) = programme.send([1], city="")
    shown = "select shown from member where member_number in ('M-1', 'M-2') order by 1"
    assert len(set(programme.road.sql(shown))) == 2
    start(programme.road, int(receipt.instance_id or 0), kind=Kind.DISCARD)
    programme.road.turn()
    assert len(set(programme.road.sql(shown))) == 1


def test_members_known_before_this_was_noted_are_read_from_what_they_sent(programme: Programme) -> None:
    programme.road.sql("update member set shown = null")
    programme.send(range(50), status="Inactive")
    assert [(one.held, one.went_out) for one in programme.holds] == [(50, 1000)]


def test_command_api_page_metric_doctor_status_and_one_mail_tell_of_it(
    programme: Programme, cli: Terminal, client: httpx.Client, oscar: httpx.Client
) -> None:
    programme.send(range(50), city="")
    shown = " ".join(cli("guards").out.split())
    assert "fields become empty: city" in shown
    assert "Is it meant? Then release: 50 members sent, first 1, then 10, then all." in shown
    (item,) = client.get("/v1/guards", headers={"Authorization": "Bearer tok-vera"}).json()["items"]
    assert (item["kind"], item["held"], item["try_at"]) == ("blanking", 50, None)
    page = said(oscar.get("/guards"))
    assert "active members changed so; for 0 it was too late." in page
    assert "Discard: send nothing" in page
    text = client.get("/metrics", headers={"Authorization": "Bearer tok-ada", "Accept": "text/plain"}).text
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "membersync_guard_held"]
    assert {one.labels["guard"]: one.value for one in family.samples if one.labels["stage"] == "oic"} == {
        "flood": 0, "mass_change": 0, "blanking": 50,
    }  # fmt: skip
    url = programme.ledger.url.render_as_string(hide_password=False)
    of = Settings(_env_file=None, ledger_url=url, mail=MailSettings.model_validate(SETTINGS))
    (finding,) = work.look_at_guards(Subject(of))
    assert "a broken job or view in Siebel" in finding.why
    troubles = cli("status", "--json").json["verdict"]["troubles"]
    trouble = next(one for one in troubles if one["short"] == "a guard holds")
    assert trouble["what"].endswith("fields become empty: city, too many at once: 50 of 1000 that are active")
    for _ in range(2):
        Mailer(of).write()
    (mail,) = programme.road.sql("select subject, plain from mail where kind = 'guard'")
    assert mail[0] == "membersync: guard 1 holds members: fields become empty: city"
    assert 'membersync guards discard 1 --reason "the view was broken"' in mail[1]
    assert cli("guards", "discard", "1", "--reason", "the view was broken", "--json").code == DONE
