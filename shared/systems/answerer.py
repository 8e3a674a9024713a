"""Who answered, when it was not the system that was asked: host, server and the title of its page.  Pure.

A proxy, a gateway, a login page: whoever puts it right has to know which.  Only the title of a page is shown, masked:
the rest may repeat what was sent.
"""

import re
from html import unescape
from urllib.parse import urlsplit

from shared.masking import mask_text

_LOOKED_AT = 4_000
_LONGEST = 60
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,300})", re.IGNORECASE)
_SERVER = re.compile(r"[A-Za-z][\w.+-]{0,30}", re.ASCII)


def who_answered(base_url: str, server: str | None, body: bytes) -> str:
    """Give it in a few words: `nginx at proxy.example, Bad Gateway`."""
    host = urlsplit(base_url).hostname or ""
    name = _SERVER.match(server or "")
    title = _TITLE.search(body[:_LOOKED_AT])
    words = " ".join(unescape(title[1].decode("utf-8", "replace")).split()) if title else ""
    shown = _cut(mask_text("".join(one for one in words if one.isprintable())))
    place = f"{name[0]} at {host}" if name else host
    return ", ".join(part for part in (place, shown) if part)


def _cut(title: str) -> str:
    """Give the beginning of *title*, of whole words where it has any: half a name would not be found and masked."""
    if len(title) <= _LONGEST:
        return title
    return title[: _LONGEST + 1].rpartition(" ")[0] or title[:_LONGEST]
