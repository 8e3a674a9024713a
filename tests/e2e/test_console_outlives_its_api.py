"""A page of the console in a browser, while the api that serves it goes away and comes back."""

import signal

from playwright.sync_api import Browser, expect

from deploy.local.programs import free_port
from tests.browser import page_in
from tests.console_stack import serves
from tests.rig import Pipeline, eventually


def test_an_open_page_says_that_it_is_old_and_goes_on_by_itself(pipeline: Pipeline, browser: Browser) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = ("-m", "producers.cli", "api", "--port", str(port))
    with page_in(browser) as page:
        trouble, live = page.locator("#trouble"), page.locator("html")
        with pipeline.process(*api):
            eventually(lambda: serves(url), "the api's start")
            page.goto(url)
            expect(live).to_have_attribute("data-live", "on")
        expect(trouble).to_contain_text("What you see may be old", timeout=20_000)
        with pipeline.process(*api):
            expect(trouble).to_have_text("", timeout=30_000)
            expect(live).to_have_attribute("data-live", "on")


def test_a_stream_that_is_refused_is_asked_for_again(pipeline: Pipeline, browser: Browser) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with page_in(browser) as page, pipeline.process("-m", "producers.cli", "api", "--port", str(port)):
        eventually(lambda: serves(url), "the api's start")
        page.route("**/live/**", lambda route: route.fulfill(status=503))
        page.goto(url)
        expect(page.locator("#trouble")).to_contain_text("What you see may be old", timeout=20_000)
        page.unroute("**/live/**")
        expect(page.locator("#trouble")).to_have_text("", timeout=20_000)
        expect(page.locator("html")).to_have_attribute("data-live", "on")


def test_an_api_that_hangs_is_told_from_one_that_has_nothing_new(pipeline: Pipeline, browser: Browser) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with page_in(browser) as page, pipeline.process("-m", "producers.cli", "api", "--port", str(port)) as api:
        eventually(lambda: serves(url), "the api's start")
        page.goto(url)
        expect(page.locator("html")).to_have_attribute("data-live", "on")
        page.wait_for_timeout(16_000)
        expect(page.locator("#trouble")).to_have_text("")
        api.send_signal(signal.SIGSTOP)
        try:
            expect(page.locator("#trouble")).to_contain_text("What you see may be old", timeout=20_000)
        finally:
            api.send_signal(signal.SIGCONT)
        expect(page.locator("#trouble")).to_have_text("", timeout=20_000)
