"""The console's page of refused events."""

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.intake.accept import IntakeRules, Sender, accept
from producers.intake.refused import RefusedEventError
from shared.pipeline import Lane
from tests.console import link, logged_in
from tests.rig import eventually


@pytest.fixture
def vera(client: httpx.Client, ledger: Engine) -> httpx.Client:
    """A viewer, with two refusals of one field and one of another sender."""
    rules = IntakeRules(Lane.LIVE)
    bad = [(at, RefusedEventError("City", "is bad", at + 2, f"M-{at}", '{"City": "***"}')) for at in range(2)]
    accept(ledger, bad, rules, Sender("siebel", "request R-1"))
    accept(ledger, [(7, RefusedEventError("<b>", "is <b>worse</b>"))], rules, Sender("files", "file a.csv"))
    return logged_in(client, "tok-vera")


def test_refusals_are_grouped_by_field_and_sender_and_listed(vera: httpx.Client) -> None:
    page = vera.get("/refusals")
    assert page.status_code == 200
    assert '<a href="/refusals" aria-current="page">Refused <span' in page.text
    assert "<b>worse" not in page.text
    assert "request R-1" in page.text
    assert "line 3" in page.text
    assert "event 7" in page.text
    narrowed = vera.get(link(page, "City"))
    assert "file a.csv" not in narrowed.text
    assert "request R-1" in narrowed.text
    assert "M-1" in vera.get("/refusals?member=M-1").text
    assert "Nothing matches the filter" in vera.get("/refusals?member=M-9").text


def test_how_many_were_refused_of_late_stands_beside_the_name_of_the_page(vera: httpx.Client, ledger: Engine) -> None:
    counted = 'id="count-refusals" class="number-of" title="within 24 h">{}</span>'
    assert counted.format(3) in vera.get("/audit").text
    with ledger.begin() as tx:
        tx.execute(text("update refusal set at = at - interval '25 hours' where sender = 'siebel'"))
        tx.execute(text("update refusal set count = 40 where sender = 'files'"))
    eventually(lambda: counted.format(40) in vera.get("/audit").text, "counted anew")


def test_a_member_of_whom_all_was_refused_has_a_page_that_says_so(vera: httpx.Client) -> None:
    page = vera.get(link(vera.get("/refusals"), "M-1"))
    assert page.status_code == 404
    assert "No event of this member was accepted, 1 refused" in page.text


def test_a_filter_that_cannot_be_read_is_named(vera: httpx.Client) -> None:
    page = vera.get("/refusals?since=soon")
    assert (page.status_code, "since: must be an instant" in page.text) == (400, True)
