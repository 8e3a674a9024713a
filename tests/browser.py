"""Chromium for the tests that look at pages; with `PICTURES=1` in the environment they leave some in `.artifacts/`.

A module that needs it makes one browser for all its tests, with a fixture of scope "module"::

    @pytest.fixture(scope="module")
    def browser() -> Iterator[Browser]:
        with chromium() as started:
            yield started

Not wider: while the browser runs, its event loop counts as running in this thread, and `asyncio.run` refuses to start.
"""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

PICTURES = Path(__file__).parents[1] / ".artifacts"
DESK: ViewportSize = {"width": 1366, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
_NAMES = ("chromium", "chromium-browser")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-proxy-server")
_PATIENCE_MS = 15_000
"""Playwright's own expectations give up after 5 s, which a stack and a browser on a busy machine may need."""
WCAG_AA = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
COLOURS = ("color-contrast", "link-in-text-block")
"""The rules that judge colours: all that can be otherwise in the dark."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run the system's Chromium, headless; without one the test skips, and in CI it fails."""
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium on this machine")
    expect.set_options(timeout=_PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_in(browser: Browser, *, dark: bool = False, phone: bool = False, **context: Any) -> Iterator[Page]:  # noqa: ANN401 - playwright's
    """Yield a page that shares nothing with any other: no cookies, no cache, no login.

    Args:
        browser: From `chromium`.
        dark: As one who prefers dark colours.
        phone: In the width of a phone, with touch.
        context: More for `browser.new_context`, such as `http_credentials`.
    """
    settings = {
        "color_scheme": "dark" if dark else "light",
        "viewport": PHONE if phone else DESK,
        "is_mobile": phone,
        "has_touch": phone,
        "reduced_motion": "reduce",  # nothing is half faded in when it is looked at
        **context,
    }
    opened = browser.new_context(**settings)
    try:
        page = opened.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        yield page
    finally:
        opened.close()


def picture(page: Page, name: str) -> None:
    """Save the whole page as `.artifacts/NAME.png`, for people to look at, where pictures are asked for."""
    if not os.environ.get("PICTURES"):
        return
    page.wait_for_load_state()
    page.evaluate("window.scrollTo(0, 0)")  # what sticks to the window would be drawn where it was scrolled to
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def logged_in(page: Page, url: str, token: str) -> None:
    """Log *page* in at the console of *url*, as its form does, without looking at a page."""
    (key,) = re.findall(r'name="form_key" value="([0-9a-f]+)"', page.request.get(f"{url}/login").text())
    fields: dict[str, str | float | bool] = {"form_key": key, "token": token}
    assert page.request.post(f"{url}/login", form=fields, headers={"Origin": url}, max_redirects=0).status == 303


def barriers(page: Page, rules: Sequence[str] = WCAG_AA) -> list[str]:
    """Return what stands in the way of people with disabilities, by *rules* of axe, or tags of them.

    Of a long table the first rows are looked at: the others are of the same making.
    """
    options = {"runOnly": list(rules), "resultTypes": ["violations"]}
    found = Axe().run(page, {"exclude": [["tbody tr:nth-child(n+9)"]]}, options).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
