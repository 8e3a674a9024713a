"""Compare now, in a real browser: one click on the member's page asks both systems."""

from playwright.sync_api import Browser, expect

from tests.browser import page_in, picture
from tests.console_stack import Stack, watched
from tests.rig import eventually, member_event

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
        stack.logged_in(page, "viewer")
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
