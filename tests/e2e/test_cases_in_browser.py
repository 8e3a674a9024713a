"""Each kind of case in a real browser: found, explained, exported, taken up, and gone when its condition is.

And compare now: one click on the member's page asks both systems.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.local.programs import free_port
from deploy.sandbox.server import RunningSandbox
from producers.operations import cases
from producers.operations.cases import Sees
from shared.ledger.case_facts import CaseFilter
from shared.lifecycle.cases import CaseKind
from tests.browser import page_in, picture
from tests.conftest import emptied
from tests.console_stack import Stack, serves, watched
from tests.rig import DISPATCHER, Pipeline, eventually, flush, member_event
from tests.road import Road


@pytest.fixture(scope="module")
def stack(
    ledger_url: str, broker_url: str, running_simulators: RunningSandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A member for each kind of case."""
    ledger = emptied(ledger_url)
    flush(broker_url)
    running_simulators.control.reset()
    home: Path = tmp_path_factory.mktemp("cases")
    pipeline = Pipeline(ledger, ledger_url, broker_url, running_simulators, home)
    port = free_port()
    with ExitStack() as running:
        running.enter_context(pipeline.process("-m", "producers.cli", "api", "--port", str(port)))
        running.enter_context(pipeline.process(*DISPATCHER))
        running.enter_context(pipeline.worker())
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: serves(url), "the api's start")
        stack = Stack(url, pipeline, Road(ledger))
        plant(pipeline)
        yield stack


def at(name: str) -> str:
    return f"{name}@example.org"


def plant(pipeline: Pipeline) -> None:
    holders = ("ACTIVE", "GONE", "C-1", "C-2", "R-1", "R-2", "R-3")
    pipeline.send(*(member_event(name, email_address=at(name.lower())) for name in holders))
    eventually(lambda: pipeline.states() == {"completed": len(holders)}, "they have their addresses")
    outsider = {"first_name": "Una", "last_name": "Foreign", "email_address": at("outside"), "postal_code": "10010"}
    users = f"{pipeline.sandbox.crowdtwist}/v2/users"
    assert httpx.post(users, params={"api_key": "sandbox-key"}, json=outsider, trust_env=False).is_success
    pipeline.send(member_event("GONE", minute=1, email_address=at("gone")) | {"operation": "delete"})
    body = {"error": "input_error", "message": "You are too young"}
    pipeline.sandbox.control.fault("crowdtwist", "status", status=400, body=body, member="OTHER")
    eventually(lambda: pipeline.states() == {"completed": len(holders) + 1}, "it is deleted")
    wanted = {
        "B-ACTIVE": "active",
        "B-GONE": "gone",
        "C-2": "c-1",
        "B-CHAIN": "c-2",
        "R-1": "r-2",
        "R-2": "r-3",
        "R-3": "r-1",
        "B-OUTSIDE": "outside",
    }
    pipeline.send(*(member_event(name, minute=2, email_address=at(of)) for name, of in wanted.items()))
    pipeline.send(member_event("MISSING", last_name=""), member_event("FORMAT", first_name="Ann<b>"))
    pipeline.send(member_event("OTHER"))
    eventually(lambda: kinds(pipeline) == set(CaseKind), "a case of each kind")


def kinds(pipeline: Pipeline) -> set[str]:
    return {one.kind for one in cases.listed(pipeline.ledger, CaseFilter(), Sees(), limit=100).items}


def row_of(page: Page, number: str) -> str:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=number, exact=True)).first.inner_text()


def test_each_kind_is_listed_and_explained(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        complaints = watched(page.context, page)
        page.goto(f"{stack.url}/cases")
        picture(page, "console-cases-each-kind")
        main = page.get_by_role("main")
        for kind in CaseKind:
            expect(main.locator("table")).to_contain_text(kind.replace("_", " "))
        expect(main).not_to_contain_text("example.org")
        assert "GONE" in row_of(page, "B-GONE")
        assert "(LESS-THAN SIGN, U+003C)" in row_of(page, "FORMAT")
        page.get_by_label("Kind").select_option("cycle")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url(re.compile("kind=cycle"))
        expect(page.locator("tbody tr")).to_have_count(3)
        with page.expect_download() as export:
            page.get_by_role("link", name="Export CSV").click()
        assert len(export.value.path().read_text(encoding="utf-8").splitlines()) == 4
        assert complaints == []


def test_a_case_shows_both_members_and_is_taken_up(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        page.goto(f"{stack.url}/cases/B-GONE")
        main = page.get_by_role("main")
        expect(main).to_contain_text("taken by inactive")
        expect(main.get_by_role("link", name="GONE", exact=True).first).to_be_visible()
        expect(page.get_by_role("row").filter(has_text="Email Address")).to_contain_text("same")
        page.get_by_placeholder("reason (optional)").fill("asked Member Care")
        page.get_by_role("button", name="Take it up").click()
        expect(page.locator(".flash")).to_contain_text("acknowledged")
        expect(main).to_contain_text("asked Member Care")
        page.get_by_role("button", name="Ask CrowdTwist now").click()
        expect(page.locator(".flash")).to_contain_text("CrowdTwist shows: who has the address")
        picture(page, "console-case")
        page.goto(f"{stack.url}/cases/R-1")
        expect(page.get_by_role("main")).to_contain_text("R-1 → R-2 → R-3 → R-1")
        picture(page, "console-case-cycle")


def test_a_case_goes_when_the_member_is_corrected(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        page.goto(f"{stack.url}/cases/MISSING")
        expect(page.get_by_role("main")).to_contain_text("Fill in Contact Last Name of member MISSING in Siebel.")
        address = page.url
        stack.pipeline.send(member_event("MISSING", minute=3))
        eventually(lambda: CaseKind.MISSING not in kinds(stack.pipeline), "it is corrected")
        page.goto(f"{stack.url}/cases?state=closed")
        expect(page.get_by_role("main")).to_contain_text("corrected")
        page.goto(address)
        assert "no open one" in page.get_by_role("main").inner_text()


SIEBEL_ROW = {
    "Status": "Active",
    "Contact First Name": "Ann",
    "Contact Last Name": "Lee",
    "Email Address": "compared@example.org",
    "Primary Postal Code": "10010",
    "Primary Country Code": "US",
}


def test_a_member_is_compared_in_one_click_and_each_side_is_shown(stack: Stack, browser: Browser) -> None:
    number = "B-1"
    stack.pipeline.sandbox.control.seed({"member_number": number, "row_id": f"1-{number}", **SIEBEL_ROW})
    stack.pipeline.send(member_event(number, email_address="compared@example.org"))
    eventually(stack.pipeline.settled, "it is synced")
    stack.pipeline.sandbox.control.seed(
        {"member_number": number, "row_id": f"1-{number}", "Contact Last Name": "Quixote"}
    )
    with page_in(browser) as page:
        complaints = watched(page.context, page)
        page.goto(f"{stack.url}/members/{number}")
        page.get_by_role("link", name="Compare now").click()
        expect(page.get_by_role("status")).to_contain_text("Different")
        expect(page.get_by_role("heading", name="Siebel", exact=True)).to_be_visible()
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="last_name"))
        expect(row.get_by_role("cell").nth(0)).to_contain_text("Q***")
        expect(row.get_by_role("cell").nth(0)).to_contain_text("differs")
        expect(row.get_by_role("cell").nth(1)).to_have_text("L***")
        expect(row.get_by_role("cell").nth(2)).to_have_text("L***")
        picture(page, "console-member-compared-different")

        fault = stack.pipeline.sandbox.control.fault("crowdtwist", "status", status=503, method="GET")
        page.get_by_role("link", name="Compare again").click()
        expect(page.get_by_role("main")).to_contain_text("CrowdTwist: could not serve us (HTTP 503)")
        expect(row.get_by_role("cell").nth(0)).to_contain_text("Q***")
        stack.pipeline.sandbox.control.heal("crowdtwist", fault)
        assert complaints == []
