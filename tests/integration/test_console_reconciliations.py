"""The console's reconciliations: the trend over runs, one run with its classes, differences side by side, masked."""

import re

import httpx
import pytest
from sqlalchemy import Engine

from shared.reconciling import DriftClass
from tests.console import hidden, logged_in, post, said
from tests.drifting import VALUES, a_run


def test_without_a_run_the_page_says_how_to_start_one(oscar: httpx.Client) -> None:
    page = oscar.get("/reconciliations")
    assert page.status_code == 200
    assert "No run yet: membersync reconcile starts one" in said(page)


def test_the_trend_has_every_run_that_says_something_of_all_with_its_interval(
    oscar: httpx.Client, ledger: Engine
) -> None:
    for number, estimate in enumerate((0.004, 0.002, 0.001)):
        a_run(ledger, number, estimate=estimate)
    a_run(ledger, 3, state="failed")
    page = oscar.get("/reconciliations")
    broad = re.search(r'<svg[^>]*class="plot broad".*?</svg>', page.text, re.DOTALL)
    assert broad
    assert re.findall(r"<title>([^<]*)</title>", broad[0]) == [
        "20 Nov 03:07 differ: 0.4 %, between 0.2 % and 0.8 %",
        "21 Nov 03:07 differ: 0.2 %, between 0.1 % and 0.4 %",
        "22 Nov 03:07 differ: 0.1 %, between 0.05 % and 0.2 %",
    ]
    assert broad[0].count('class="ci"') == 3
    assert "Siebel could not be read" in said(page)
    assert "4 sample failed" in said(page)


def test_a_run_shows_its_classes_and_each_difference_side_by_side_and_masked(
    oscar: httpx.Client, ledger: Engine
) -> None:
    run = a_run(ledger, with_differences=True)
    page = oscar.get(f"/reconciliations/{run}")
    text = said(page)
    assert "about 0.20% differ" in text
    assert "never sent 1 0.03 % 0.02 % to 0.05 %" in text
    for drift_class in DriftClass:
        assert f"?class={drift_class}#differences" in page.text
        assert VALUES[drift_class][-1] in text
    rows = dict(
        re.findall(r'<a href="/members/(M-\d)">.*?((?:<td class="value">.*?</td>\s*){3})', page.text, re.DOTALL)
    )
    values = {number: re.findall(r">([^<>\n]+)<", cells) for number, cells in rows.items()}
    assert values["M-1"] == ["C***", "L***", "L***"]
    assert values["M-6"] == ["Success", "none", "Data Error"]
    assert values["M-0"] == ["present", "none", "no event"]
    assert values["M-4"] == ["present", "absent", "acknowledged"]
    assert values["M-5"] == ["absent", "active", "acknowledged"]
    assert "Cole" not in page.text


def test_a_link_of_a_class_narrows_the_differences(oscar: httpx.Client, ledger: Engine) -> None:
    run = a_run(ledger, with_differences=True)
    page = oscar.get(f"/reconciliations/{run}?class=orphan")
    assert re.findall(r'<a href="/members/(M-\d)">', page.text) == ["M-5"]
    assert "Differences: orphan" in said(page)


def test_a_failed_run_keeps_what_it_found_and_shows_no_zero(oscar: httpx.Client, ledger: Engine) -> None:
    run = a_run(ledger, state="failed")
    text = said(oscar.get(f"/reconciliations/{run}"))
    assert "what it did not look at may differ too" in text
    assert "never sent not known" in text


@pytest.mark.parametrize(
    ("address", "status"),
    [("/reconciliations/99", 404), ("/reconciliations/x", 404), ("/reconciliations/1?class=odd", 400)],
)
def test_what_there_is_not_is_said(oscar: httpx.Client, ledger: Engine, address: str, status: int) -> None:
    a_run(ledger)
    assert oscar.get(address).status_code == status


def test_a_repair_shows_its_plan_first_and_is_a_job(oscar: httpx.Client, ledger: Engine) -> None:
    run = a_run(ledger, with_differences=True)
    address = f"/reconciliations/{run}/repair"
    assert f'href="{address}?class=never_sent"' in oscar.get(f"/reconciliations/{run}?class=never_sent").text
    whole = said(oscar.get(address))
    assert "refused: a person decides" in whole
    assert "may be a lawful erasure" in whole
    planned = oscar.get(f"{address}?class=never_sent")
    assert "Repair 1" in said(planned)
    fields = hidden(planned, address)
    nothing = post(oscar, address, address, **fields, reason=" ")
    assert (nothing.status_code, "Nothing was started: say why" in said(nothing)) == (400, True)
    other = post(oscar, address, address, **fields | {"planned": "send:9 x"}, reason="the workflow was inactive")
    assert (other.status_code, "meanwhile the plan is another" in said(other)) == (409, True)
    fields = hidden(oscar.get(f"{address}?class=never_sent"), address)
    started = post(oscar, address, address, **fields, reason="the workflow was inactive")
    assert (started.status_code, started.headers["location"]) == (303, "/jobs/1")
    assert "the workflow was inactive" in said(oscar.get("/jobs/1"))


def test_a_viewer_is_offered_no_repair(client: httpx.Client, ledger: Engine) -> None:
    run = a_run(ledger, with_differences=True)
    vera = logged_in(client, "tok-vera")
    assert "Repair" not in vera.get(f"/reconciliations/{run}").text.split("differences-title")[1].split("<table")[0]
    assert vera.get(f"/reconciliations/{run}/repair").status_code == 403
