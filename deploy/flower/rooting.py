"""Flower under a proxy's path: its handlers have the path before them, and a request may come without it."""

import re
from collections.abc import Callable
from typing import Any

from flower.urls import handlers


def rooted(prefix: str, find: Callable[..., Any]) -> Callable[..., Any]:
    """Give a `find_handler` that puts *prefix* before the path of a request whose proxy has taken it off.

    Raises:
        SystemExit: one of Flower's own paths begins like it: it could not be told whether the proxy has.
    """
    patterns = [getattr(one, "regex", None) or re.compile(one[0]) for one in handlers]
    first = prefix.split("/")[1]
    if first in {pattern.pattern.lstrip("^/").partition("/")[0].rstrip("$") for pattern in patterns} | {"static"}:
        raise SystemExit(
            f"MEMBERSYNC_FLOWER__PUBLIC_URL must not have a path that begins with /{first}, as a page of Flower does; "
            "let the proxy have it under /flower, say"
        )

    def find_rooted(application: Any, request: Any, **more: Any) -> Any:  # noqa: ANN401  # tornado's, untyped
        if request.path == prefix:
            request.path += "/"
        elif not request.path.startswith(f"{prefix}/"):
            request.path = prefix + request.path
        return find(application, request, **more)

    return find_rooted
