"""What a guard holds and what differs, in a real browser: readable on a desk and on a phone, decided in one click."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from producers.operations import guard_control
from producers.operations.job_control import Operator
from shared.settings import Settings
from tests.browser import barriers, logged_in, page_in, picture
from tests.console import console
from tests.drifting import VALUES, a_run
from tests.flooding import BROKEN, Flood, numbers
from tests.flooding import made_flood as flood
from tests.programme import Programme

__all__ = ["flood"]


@pytest.fixture
def url(ledger: Engine) -> Iterator[str]:
    of = Settings(_env_file=None, ledger_url=ledger.url.render_as_string(hide_password=False))
    with console(of) as client:
        yield str(client.base_url).rstrip("/")


def opened(page: Page, url: str, address: str) -> Page:
    """Log *page* in as an operator, and open *address*."""
    logged_in(page, url, "tok-oscar")
    page.goto(f"{url}{address}")
    return page


def assert_reads_well(page: Page, name: str) -> None:
    """Look for barriers and for what is too wide; leave a picture."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    picture(page, name)
    assert barriers(page) == []
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0, f"{name} scrolls sideways"


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_a_hold_reads_well_and_is_released_in_one_click(
    flood: Flood, browser: Browser, url: str, *, phone: bool
) -> None:
    flood.send(*numbers(60), error=BROKEN)
    with page_in(browser, phone=phone) as page:
        opened(page, url, "/guards")
        assert_reads_well(page, f"guards-{'phone' if phone else 'desk'}")
        expect(page.locator("#guard-1")).to_contain_text("Country Code is invalid")
        flood.refused = {}
        page.get_by_placeholder("reason").first.fill("the lookup row is mended")
        page.get_by_role("button", name="Release").click()
        expect(page.get_by_role("status")).to_contain_text("Guard 1: released")
        flood.travel()
        expect(page.locator("#guard-1")).to_contain_text("Released by oscar")
        assert_reads_well(page, f"guards-released-{'phone' if phone else 'desk'}")
    assert flood.road.states() == {"completed": 60}


def test_a_window_is_planned_and_a_mass_change_is_discarded_by_two_on_a_phone(
    ledger: Engine, browser: Browser, url: str
) -> None:
    programme = Programme(ledger, 300)
    programme.send(range(20), city="")
    guard_control.discard(ledger, Operator("ann", "operator"), 1, "the view was broken", approval_above=10)
    with page_in(browser, phone=True) as page:
        opened(page, url, "/guards")
        expect(page.locator("#guard-1")).to_contain_text("fields become empty: city")
        assert_reads_well(page, "guard-mass-phone")
        page.goto(f"{url}/approvals")
        assert_reads_well(page, "approvals-phone")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("nothing of it is sent, nobody is told")
        page.goto(f"{url}/connections")
        assert_reads_well(page, "maintenance-phone")
        page.get_by_label("Connection").select_option("crowdtwist")
        page.get_by_label("From").fill("+2h")
        page.get_by_label("Until").fill("+6h")
        page.locator("#plan-window").get_by_label("Reason").fill("ticket 77")
        page.get_by_role("button", name="Plan it").click()
        expect(page.locator("#windows")).to_contain_text("ticket 77")
    programme.travel()
    assert programme.road.states() == {"completed": 300, "discarded": 20}
    assert [one.decided_by for one in programme.holds] == ["ann, approved by oscar"]


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_runs_and_a_difference_of_every_class_read_well(
    ledger: Engine, browser: Browser, url: str, *, phone: bool
) -> None:
    look = "phone" if phone else "desk"
    for number, estimate in enumerate((0.004, 0.0035, 0.002, 0.0022)):
        a_run(ledger, number, estimate=estimate)
    a_run(ledger, 4, state="failed")
    run = a_run(ledger, 5, estimate=0.001, with_differences=True)
    with page_in(browser, phone=phone) as page:
        opened(page, url, "/reconciliations")
        assert_reads_well(page, f"reconciliations-{look}")
        page.get_by_role("link", name=f"{run}", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Reconciliation {run}")
        for *_, evidence in VALUES.values():
            expect(page.locator("#differences")).to_contain_text(evidence)
        assert_reads_well(page, f"reconciliation-{look}")
        page.get_by_role("link", name="orphan", exact=True).click()
        expect(page.get_by_role("heading", name="Differences: orphan")).to_be_visible()
        expect(page.locator("#differences").locator("tbody tr")).to_have_count(1)
        page.go_back()
        page.get_by_role("link", name="never sent", exact=True).click()
        page.get_by_role("link", name="Repair these").click()
        assert_reads_well(page, f"repair-{look}")
        page.get_by_label("Reason").fill("the workflow was inactive")
        page.get_by_role("button", name="Repair 1").click()
        expect(page.get_by_role("status").first).to_contain_text("The repair was started")
