"""The console in a real browser, on a running stack: every page as every role, and what operators do there."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import text

from shared.ledger.engine import engine
from tests.browser import COLOURS, barriers, page_in, picture
from tests.console_stack import HOSTILE, HOSTILE_NUMBER, LETTERS, Stack, watched
from tests.rig import eventually

PAGES = {
    "overview": "/",
    "instances": "/instances",
    "instances-filtered": "/instances?state=dead&state=rejected&stage=crowdtwist&since=1d",
    "instances-bad-filter": "/instances?since=yesterday",
    "instance-dead": "/instances/{dead}",
    "member": "/members/R-1",
    "member-compared": "/members/R-1/comparison",
    "member-changes": "/members/R-1/changes",
    "member-person": "/members/R-1/person",
    "dead-letters": "/dead-letters",
    "data-errors": "/dead-letters?state=rejected",
    "cases": "/cases",
    "case": "/cases/R-2",
    "incidents": "/incidents",
    "incident": "/incidents/{incident}",
    "plan": "/dead-letters/plan?kind=requeue&state=dead&stage=crowdtwist",
    "jobs": "/jobs",
    "connections": "/connections",
    "audit": "/audit",
    "history": "/history?range=6h",
    "outcomes": "/outcomes?outcome=completed&since=6h",
    "nowhere": "/nowhere",
}
OPERATORS_ONLY = {"plan"}


def addresses(stack: Stack, role: str) -> dict[str, str]:
    dead = stack.road.sql("select max(id) from instance where member_number = 'D-0007'")[0]
    (incident,) = stack.road.sql("select min(id) from incident")
    hidden = OPERATORS_ONLY if role == "viewer" else set()
    return {name: address.format(dead=dead, incident=incident) for name, address in PAGES.items() if name not in hidden}


@pytest.mark.parametrize(
    ("role", "look"),
    [
        ("viewer", {}),
        ("operator", {}),
        ("operator", {"phone": True}),
        ("admin", {"phone": True, "dark": True}),
    ],
)
def test_every_page_reads_well(stack: Stack, browser: Browser, role: str, look: dict[str, Any]) -> None:
    with page_in(browser, **look) as page:
        complaints = watched(page.context, page)
        stack.logged_in(page, role)
        for name, address in addresses(stack, role).items():
            page.goto(stack.url + address)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            picture(page, "-".join(["console", name, role, *sorted(look)]))
            if role == "operator":
                assert barriers(page) == [], name
            if role == "viewer":
                actions = page.locator("main form[method=post]:not([action^='/saved-filters']) button")
                assert actions.count() == 0, f"{name} offers an action"
            too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert too_wide <= 0, f"{name} scrolls sideways"
            torn = page.evaluate(
                "[...document.querySelectorAll('main label')].filter(one => one.getClientRects().length > 1)"
                ".map(one => one.textContent.trim())"
            )
            assert torn == [], f"{name}: a field stands on another line than what it is called"
            if "phone" in look and name in {"cases", "jobs"}:
                hidden = page.evaluate(
                    "Math.max(0, ...[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth - e.clientWidth))"
                )
                assert hidden == 0, f"{name} hides a part of its table"
            if role == "operator" and not look:
                page.emulate_media(color_scheme="dark")
                picture(page, f"console-{name}-{role}-dark")
                assert barriers(page, COLOURS) == [], f"{name} in the dark"
                page.emulate_media(color_scheme="light")
        assert [one for one in complaints if not re.search(r"status of 4(00|04|22)", one)] == []


def test_a_viewer_does_nothing_however_it_is_asked(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.log_in(page, "viewer")
        form_key = page.locator("input[name=form_key]").first.input_value()
        for action in ("/connections/oic/pause", "/jobs", "/dead-letters/plan"):
            fields: dict[str, str | float | bool] = {"form_key": form_key, "reason": "x", "kind": "requeue", "ids": "1"}
            origin = {"Origin": stack.url, "Accept": "text/html"}
            assert page.request.post(stack.url + action, form=fields, headers=origin).status == 403, action
    denied = stack.road.sql("select what from operator_action where who = 'vera' and denied")
    assert "pause" in denied
    assert "requeue" in denied


def test_nothing_of_a_member_becomes_markup(stack: Stack, browser: Browser) -> None:
    hostile = stack.road.sql("select max(id) from instance where member_number like '<%'")[0]
    with page_in(browser) as page:
        complaints = watched(page.context, page)
        stack.logged_in(page, "admin")
        for address in ("/", "/instances", "/dead-letters", "/audit", f"/dead-letters/plan?kind=discard&ids={hostile}"):
            page.goto(stack.url + address)
            assert page.evaluate("window.pwned") is None, address
        page.goto(f"{stack.url}/instances/{hostile}")
        page.get_by_role("button", name="Show people").click()
        expect(page.get_by_role("main")).to_contain_text(HOSTILE)
        assert page.evaluate("window.pwned") is None
        picture(page, "console-hostile-unmasked")
        page.get_by_label("Member number, ROW_ID, CrowdTwist id, instance or event id").fill(HOSTILE_NUMBER)
        page.get_by_label("Member number, ROW_ID, CrowdTwist id, instance or event id").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE_NUMBER)
        assert page.evaluate("window.pwned") is None
        assert complaints == []


def test_showing_people_is_recorded_and_only_an_admin_can(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "admin")
        page.goto(f"{stack.url}/members/D-0009")
        expect(page.get_by_role("main")).not_to_contain_text("Lee")
        instance = stack.road.sql("select id from instance where member_number = 'D-0009'")[0]
        page.goto(f"{stack.url}/instances/{instance}")
        expect(page.get_by_role("main")).not_to_contain_text("Lee")
        page.get_by_role("button", name="Show people").click()
        expect(page.get_by_role("main")).to_contain_text("Lee")
    with page_in(browser) as page:
        stack.logged_in(page, "operator")
        page.goto(f"{stack.url}/instances/{instance}")
        expect(page.get_by_role("button", name="Show people")).to_have_count(0)
    recorded = stack.road.sql("select asked::text from operator_action where what = 'unmask' and who = 'ada'")
    assert any(str(instance) in asked for asked in recorded)


def test_a_connection_is_paused_tested_and_resumed_and_other_pages_see_it_live(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as watcher, page_in(browser) as page:
        stack.log_in(watcher, "viewer")
        stack.logged_in(page, "operator")
        page.goto(f"{stack.url}/connections")
        siebel = page.locator("article").filter(has=page.get_by_role("heading", name="siebel"))
        siebel.get_by_placeholder("reason").fill("maintenance of Siebel")
        siebel.get_by_role("button", name="Pause").click()
        expect(page.locator(".flash")).to_contain_text("paused")
        expect(watcher.locator("#connections")).to_contain_text("maintenance of Siebel")
        picture(watcher, "console-overview-paused")
        siebel.get_by_role("button", name="Test").click()
        expect(page.locator(".flash")).to_contain_text("passed")
        siebel.get_by_role("button", name="Resume").click()
        expect(page.locator(".flash")).to_contain_text("resumed")
        expect(watcher.locator("#connections")).not_to_contain_text("maintenance of Siebel")
        page.goto(f"{stack.url}/audit")
        expect(page.get_by_role("main")).to_contain_text("maintenance of Siebel")


def test_a_requeue_that_is_stopped_puts_back_what_has_not_begun(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "operator")
        page.goto(f"{stack.url}/dead-letters/plan?kind=requeue&state=dead&code=unavailable")
        page.get_by_label("Reason").fill("a try")
        page.get_by_label("At most so many a minute").fill("60")
        page.get_by_label("From the start").check()
        page.get_by_role("button", name=re.compile("^Requeue")).click()
        page.wait_for_url(re.compile(r"/jobs/\d+$"))
        page.get_by_role("button", name="Stop").click()
        expect(page.locator("#job")).to_contain_text("Stopped by oscar")
        expect(page.locator("#job")).to_contain_text("put back")
    assert stack.road.states()["dead"] > LETTERS / 2


def test_a_thousand_letters_are_requeued_by_keyboard_and_counted_live(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "operator")
        page.goto(f"{stack.url}/dead-letters?stage=crowdtwist&code=unavailable&text=503")
        tab_to(page, "Requeue …")
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile("/dead-letters/plan"))
        expect(page.get_by_role("heading", level=1)).to_contain_text("Requeue: what would happen")
        expect(page.get_by_role("main")).to_contain_text(
            re.compile(r"Done in about .+ sets the pace|No forecast: only")
        )
        tab_to(page, "reason")
        page.keyboard.type("CrowdTwist is well again")
        tab_to(page, "rate")
        page.keyboard.type("9000")
        tab_to(page, "from_start")
        page.keyboard.press("Space")
        picture(page, "console-plan-of-a-thousand")
        tab_to(page, re.compile("^Requeue "))
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/jobs/\d+$"))
        seen = follow(page)
        picture(page, "console-job-done")
    assert len(seen) > 2, f"progress came in steps, without a reload: {seen}"
    assert seen == sorted(seen)
    eventually(stack.pipeline.settled, "everything has ended")
    done = stack.road.sql("select count(*) from instance where state = 'completed' and member_number like 'D-%'")[0]
    assert done >= LETTERS - 1


def tab_to(page: Page, name: str | re.Pattern[str]) -> None:
    """Press the tabulator until the focus is on the element of this name, as it reads or as its field is called."""
    page.locator("body").focus()
    for _ in range(120):
        page.keyboard.press("Tab")
        label, field = page.evaluate("[document.activeElement.textContent.trim(), document.activeElement.name || '']")
        if (name in {label, field}) if isinstance(name, str) else name.search(label):
            return
    raise AssertionError(f"no way by keyboard to {name}")


def follow(page: Page) -> list[int]:
    """Read the progress until the job is over; gives the numbers that were shown."""
    page.evaluate("window.stayed = true")
    seen: list[int] = []

    def is_over() -> bool:
        shown = int(page.locator("#job progress").get_attribute("value") or 0)
        if shown not in seen:
            seen.append(shown)
        page.wait_for_timeout(40)
        return "Over" in page.locator("#job").inner_text()

    eventually(is_over, "the job is over", within_s=90)
    assert page.evaluate("window.stayed"), "the page was loaded anew"
    return seen


def test_everything_works_without_scripts(stack: Stack, browser: Browser) -> None:
    with page_in(browser, java_script_enabled=False) as page:
        stack.log_in(page, "operator")
        page.goto(f"{stack.url}/instances")
        page.get_by_label("Text").fill("already taken")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_role("main")).to_contain_text("R-3")
        page.get_by_role("link", name="R-3", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Member R-3")
        page.goto(f"{stack.url}/dead-letters?state=rejected")
        page.locator("input[type=checkbox][name=ids]").first.check()
        page.get_by_role("button", name="Discard selected").click()
        page.get_by_label("Reason").fill("a test member")
        page.get_by_role("button", name=re.compile("^Discard 1")).click()
        page.wait_for_url(re.compile(r"/jobs/\d+$"))
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Your token")).to_be_visible()


def test_beside_the_bulk_buttons_stands_how_many_are_selected(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "operator")
        page.goto(f"{stack.url}/dead-letters?state=rejected")
        said, boxes = page.locator(".bulk [data-count]"), page.locator("input[type=checkbox][name=ids]")
        expect(said).to_be_hidden()
        boxes.nth(0).check()
        boxes.nth(1).check()
        expect(said).to_have_text("2 selected")
        page.locator("input[type=checkbox][data-all]").check()
        expect(said).to_have_text(f"{boxes.count()} selected")
        page.locator("input[type=checkbox][data-all]").uncheck()
        expect(said).to_be_hidden()


def test_a_field_suggests_what_the_ledger_knows(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/instances")
        page.get_by_label("Code").press_sequentially("data")
        expect(page.locator("datalist option[value=data_error]")).to_have_count(1)


def test_the_export_is_what_the_filter_shows(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/instances?member=R-5")
        with page.expect_download() as download:
            page.get_by_role("link", name="Export as CSV").click()
        lines = Path(download.value.path()).read_text().splitlines()
    with engine(stack.pipeline.ledger_url).connect() as tx:
        count = tx.execute(text("select count(*) from instance where member_number = 'R-5'")).scalar_one()
    assert len(lines) == count + 1


def test_rows_are_put_into_the_order_of_a_head(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "operator")
        page.goto(f"{stack.url}/instances")
        members = page.locator("tbody tr td:nth-child(2) a")
        before = members.all_inner_texts()
        page.get_by_role("button", name="Member").click()
        assert members.all_inner_texts() == sorted(before)
        expect(page.get_by_role("columnheader", name="Member")).to_have_attribute("aria-sort", "ascending")
        page.get_by_role("button", name="Member").click()
        assert members.all_inner_texts() == sorted(before, reverse=True)


def test_keys_lead_to_the_search_to_pages_and_say_which_they_are(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/instances")
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type("?")  # in a field it is a letter like any other
        expect(page.locator("#search")).to_have_value("?")
        page.locator("h1").click()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        picture(page, "console-keys")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_url("**/dead-letters")


def test_beside_utc_stands_the_time_on_the_wall(stack: Stack, browser: Browser) -> None:
    with page_in(browser, timezone_id="America/New_York", locale="en-US") as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/instances?state=dead")
        shown = page.locator("tbody time").first
        at = datetime.fromisoformat(str(shown.get_attribute("datetime")))
        expect(shown).to_contain_text(f"{at:%Y-%m-%d %H:%M:%S}")
        expect(shown.locator(".local")).to_contain_text(f"{at.astimezone(ZoneInfo('America/New_York')):%H:%M:%S} E")
        picture(page, "console-instances-new-york")
    with page_in(browser, timezone_id="UTC") as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/instances?state=dead")
        expect(page.locator(".local")).to_have_count(0)


def test_the_time_on_the_wall_never_parts_an_instant_from_its_zone(stack: Stack, browser: Browser) -> None:
    (dead,) = stack.road.sql("select max(id) from instance where member_number = 'D-0007'")
    stack.road.sql("update connection set healed_at = now() where name = 'oic'")
    facts = {"/connections": "main", f"/instances/{dead}": "main dl", "/members/R-1": "main dl"}
    with page_in(browser, timezone_id="America/New_York", locale="en-US") as page:
        stack.logged_in(page, "viewer")
        for address, where in facts.items():
            page.goto(f"{stack.url}{address}")
            expect(page.locator(f"{where} .local").first).to_be_visible()
            words = " ".join(" ".join(page.locator(where).all_inner_texts()).split())
            assert re.search(r"\d\d:\d\d:\d\d UTC \((\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d E[SD]T\)", words), words
            assert not re.search(r"E[SD]T\W{0,3}UTC", words), words


def test_a_list_that_stands_open_says_that_there_is_more(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/instances?member=N-1")
        expect(page.locator("html")).to_have_attribute("data-live", "on")
        stack.road.accept("N-1")
        page.get_by_role("link", name="1 new: show").click()
        expect(page.locator("tbody tr")).to_have_count(1)


def test_a_bar_of_the_plot_leads_to_its_instances(stack: Stack, browser: Browser) -> None:
    with page_in(browser) as page:
        stack.logged_in(page, "viewer")
        page.goto(f"{stack.url}/history?range=24h")
        page.locator(".plot.broad .color-4 a.bar").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Dead letter")
        expect(page.locator("tbody tr").first).to_contain_text("dead")
        page.goto(f"{stack.url}/history?range=24h")
        page.locator(".plot.broad a.zoom").first.click(position={"x": 3, "y": 3})
        page.wait_for_url("**/history?range=1h**")
