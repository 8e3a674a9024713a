"""Somebody at the console: logs in, opens pages, and sends their forms."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any

import httpx

from producers.console.live import Streams
from producers.site import create_app
from shared.settings import Settings, Token
from tests.calling import served

HTML = {"Accept": "text/html"}

_KEY = re.compile(r'name="form_key" value="([0-9a-f]+)"')


@contextmanager
def console(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the console to vera (viewer), oscar (operator) and ada (admin); gives a client that is nobody yet."""
    tokens = {
        f"tok-{name}": Token(name=name, role=role)
        for name, role in (("vera", "viewer"), ("oscar", "operator"), ("ada", "admin"))
    }
    api = settings.api.model_copy(update={"tokens": tokens})
    app = create_app(settings.model_copy(update={"api": api}))
    app.state.streams = Streams(every_s=0.2)
    with served(app) as client:
        client.headers.update(HTML)
        yield client


def logged_in(client: httpx.Client, token: str) -> httpx.Client:
    """Log *client* in; give it back."""
    assert post(client, "/login", "/login", token=token).status_code == 303
    return client


def post(client: httpx.Client, page_address: str, action_address: str, **fields: str | list[str]) -> httpx.Response:
    """Send *fields* as a form of the page at *page_address* does; gives the answer, a redirection not followed."""
    found = _KEY.search(client.get(page_address, headers=HTML).text)
    assert found, f"{page_address} has no form"
    return client.post(action_address, data={"form_key": found[1], **fields}, headers=HTML)


def hidden(page: httpx.Response, action: str = "/jobs") -> dict[str, Any]:
    """Return the hidden fields of a page's form, but for its key."""
    (form,) = re.findall(rf'<form[^>]* action="{action}".*?</form>', page.text, re.DOTALL)
    fields: dict[str, Any] = {}
    for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form):
        fields.setdefault(name, []).append(unescape(value))
    return {name: values for name, values in fields.items() if name != "form_key"}


def link(page: httpx.Response, words: str, number: int = 0) -> str:
    """Return where a link with these *words* leads, the first of them by default."""
    found = re.findall(rf'<a [^>]*href="([^"]*)"[^>]*>{re.escape(words)}</a>', page.text)
    assert len(found) > number, f"no such link: {words}"
    return unescape(found[number])


def said(answer: httpx.Response) -> str:
    """Return what can be read on a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())
