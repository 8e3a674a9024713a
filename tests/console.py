"""Somebody at the console: logs in, opens pages, and sends their forms."""

import re

import httpx

HTML = {"Accept": "text/html"}

_KEY = re.compile(r'name="form_key" value="([0-9a-f]+)"')


def logged_in(client: httpx.Client, token: str) -> httpx.Client:
    """Log *client* in; give it back."""
    assert post(client, "/login", "/login", token=token).status_code == 303
    return client


def post(client: httpx.Client, page_address: str, action_address: str, **fields: str | list[str]) -> httpx.Response:
    """Send *fields* as a form of the page at *page_address* does; gives the answer, a redirection not followed."""
    found = _KEY.search(client.get(page_address, headers=HTML).text)
    assert found, f"{page_address} has no form"
    return client.post(action_address, data={"form_key": found[1], **fields}, headers=HTML)
