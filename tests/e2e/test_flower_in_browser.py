"""Flower as people see it, in Chromium: every page looked at, each a click from the next, pictures in `.artifacts/`."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import page_in, picture
from tests.flower_traffic import BATCH, PERSON, REFUSED, WAITS, Flower, flower_of_a_stack
from tests.rig import eventually


@pytest.fixture(scope="module")
def flower(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    assert browser.is_connected()  # without one there is no need of a stack
    with flower_of_a_stack(tmp_path_factory.mktemp("home")) as started:
        started.send(*BATCH)
        eventually(lambda: len(started.tasks(state="SUCCESS", result="7 done")) == 3, "the batch of seven done")
        started.let_some_fail()
        yield started


@pytest.fixture
def page(browser: Browser, flower: Flower) -> Iterator[Page]:
    """A page with the login, in which nothing may go wrong and nothing may come from elsewhere."""
    asked: list[str] = []
    wrong: list[str] = []
    login = {"username": flower.stack.flower_user, "password": flower.stack.flower_password}
    with page_in(browser, base_url=flower.stack.flower_url, http_credentials=login) as opened:
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        yield opened
    assert not wrong
    own = (flower.stack.flower_url, flower.stack.api_url, "data:")
    assert not [url for url in asked if not url.startswith(own)]


def names_nobody(page: Page) -> bool:
    return not any(word in page.content() for word in PERSON)


def fits(page: Page, selector: str) -> bool:
    """Return whether it ends within the window."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    assert page.viewport_size is not None
    return box["x"] + box["width"] <= page.viewport_size["width"]


def test_from_the_workers_to_one_of_them_and_to_what_it_has_reserved(page: Page, flower: Flower) -> None:
    page.goto("/")
    live = page.locator("#workers-table").get_by_role("link", name="live").first
    live.wait_for()
    assert page.locator("#workers-online").inner_text() == "2"
    picture(page, "flower-workers")
    assert names_nobody(page)
    live.click()
    page.get_by_role("tab", name="Tasks").wait_for()
    assert not page.get_by_role("button", name="Actions").count()
    with flower.standing_still("45-0", "45-1"):
        flower.look_at_reserved()
        ours = re.compile(rf"\[\[.*\b{flower.instance_ids['45-0']}\b")  # another member's retry may be due before it
        reserved = page.locator("table", has_text="Reserved tasks").locator("tbody tr", has_text=ours)
        eventually(lambda: page.reload() is not None and reserved.count() > 0, "reserved tasks on the worker's page")
        page.get_by_role("tab", name="Tasks").click()
        assert re.fullmatch(r"\[\[\d+, \d+\]\]", reserved.first.locator("td").nth(2).inner_text())
        picture(page, "flower-worker-tasks")
        assert names_nobody(page)


def test_from_the_list_to_a_task_and_to_its_instances_in_the_console(page: Page, flower: Flower) -> None:
    page.goto("/tasks")
    page.locator("#tasks-table tbody tr", has_text="1 member: ").first.wait_for()
    assert fits(page, "#tasks-table th[data-column=runtime]")
    picture(page, "flower-tasks")
    assert names_nobody(page)
    page.locator(".dataTables_filter input").fill('"7 members"')
    row = page.locator("#tasks-table tbody tr", has_text="7 members").first
    row.wait_for()
    assert row.locator("td").nth(4).inner_text() == "7 done"
    row.get_by_role("link").first.click()
    page.get_by_role("heading", name="Instances in the console").wait_for()
    picture(page, "flower-task")
    links = page.locator(".membersync-instances a")
    wanted = [f"{flower.stack.api_url}/instances/{flower.instance_ids[number]}" for number in sorted(BATCH)]
    assert sorted(link.get_attribute("href") or "" for link in links.all()) == sorted(wanted)
    assert names_nobody(page)


@pytest.mark.parametrize(("number", "state"), [(WAITS, "RETRY"), (REFUSED, "FAILURE")])
def test_a_task_says_how_it_ended_in_one_line(page: Page, flower: Flower, number: str, state: str) -> None:
    row = flower.task_of(number, state=state)
    page.goto(f"/task/{row['uuid']}")
    assert page.locator(".badge").inner_text() == state
    assert page.locator("dd", has_text=row["result"]).count() == 1
    assert not page.locator("dt", has_text="Traceback").count()
    picture(page, f"flower-task-{state.lower()}")
    assert names_nobody(page)


def test_the_broker_page_has_six_queues(page: Page) -> None:
    page.goto("/broker")
    assert page.locator("#queue-table tbody tr").count() == 6
    picture(page, "flower-broker")


def test_the_way_to_the_console_is_seen_in_the_dark_too(browser: Browser, flower: Flower) -> None:
    login = {"username": flower.stack.flower_user, "password": flower.stack.flower_password}
    with page_in(browser, dark=True, base_url=flower.stack.flower_url, http_credentials=login) as page:
        page.goto("/tasks")
        page.locator("#tasks-table tbody tr").first.wait_for()
        picture(page, "flower-tasks-dark")
        page.get_by_role("link", name="membersync console").click()
        page.wait_for_url(f"{flower.stack.api_url}/**")
