"""Render pages: one Jinja environment, how values read in it, and what every page begins with."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadData, URLSafeSerializer
from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape
from markupsafe import Markup

from producers.console.session import Cookies, expected_key, new_seed
from producers.http.auth import Principal, Right
from producers.http.request import settings_of
from producers.operations import foretelling, guard_control
from producers.operations.verdict import Standing, unseen
from shared.errors import LedgerError
from shared.lifecycle.forecasts import Forecast, LaneForecast
from shared.pipeline import is_a, spoken

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_SECOND_MS = 1000
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def instant(value: datetime | None) -> str:
    """Return an instant in UTC, to the second."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(value: datetime | None) -> str:
    """Return the time of day of an instant in UTC."""
    return "" if value is None else value.astimezone(UTC).strftime("%H:%M:%S")


def machine(value: datetime | None) -> str:
    """Return an instant for the `datetime` attribute."""
    return "" if value is None else value.astimezone(UTC).isoformat()


def span(seconds: float | None) -> str:
    """Return a duration in its two largest units, without the smaller one where there is nothing of it."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    units = (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S), ("s", 1))
    at = next(at for at, (_, unit_s) in enumerate(units) if whole >= unit_s)
    (large, large_s), (small, small_s) = units[at : at + 2]
    rest = whole % large_s // small_s
    return f"{whole // large_s} {large} {rest} {small}" if rest else f"{whole // large_s} {large}"


def seconds(value: float | None) -> str:
    """Return a duration, short ones to the millisecond."""
    return "" if value is None else took(value * _SECOND_MS)


def since(value: datetime | None, now: datetime) -> str:
    """Return how long ago."""
    return "" if value is None else span((now - value).total_seconds())


def took(milliseconds: float | None) -> str:
    """Return the duration of a call or an attempt."""
    if milliseconds is None:
        return ""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / _SECOND_MS
    return f"{seconds:.1f} s" if seconds < _MINUTE_S else span(seconds)


def number(value: float | None) -> str:
    """Return a number with its thousands apart."""
    return "" if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def percent(part: float, whole: float) -> str:
    """Return *part* of *whole*."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def pretty(value: object) -> str:
    """Return JSON with a line for each member."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False, default=str)


def coded(value: str) -> Markup:
    """Return a sentence of ours with what stands between backticks set as code."""
    pieces = str(visible(value)).split("`")
    return Markup("").join(  # each piece is escaped
        Markup("<code>{}</code>").format(piece) if at % 2 and at + 1 < len(pieces) else piece
        for at, piece in enumerate(pieces)
    )


def visible(value: object) -> object:
    """Return a text without what is not seen but changes how the rest is read: control characters, directions."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", value) if type(value) is str else value


def foretold(forecast: Forecast) -> str:
    """Return a forecast as a sentence, without its full stop."""
    return _begun(foretelling.said(forecast))


def lane_foretold(lane: LaneForecast) -> str:
    """Return how a lane goes as a sentence, without its full stop."""
    return _begun(foretelling.lane_said(lane))


def _begun(words: str) -> str:
    return words[:1].upper() + words[1:]


FILTERS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        *(instant, clock, machine, span, seconds, since, took, number, percent),
        *(spoken, is_a, pretty, coded, foretold, lane_foretold),
    )
}


_HERE = Path(__file__).parent
STATIC = _HERE / "static"
_CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "Referrer-Policy": "same-origin",  # with none at all a browser's forms would not say where they come from
}
_LEADING = re.compile(r'\b(href|src|action|formaction|data-live|data-prefix)="/(?!/)')
_FLASH_S = 60
_FLASH_LONGEST = 600


def page(request: Request, template: str, *, status: int = 200, **content: object) -> Response:
    """Return the page *template* with *content*."""
    cookies = Cookies.of(request)
    has_seed = cookies.seed in request.cookies
    if not has_seed:
        request.state.seed = new_seed()
    html = environment().get_template(template).render(**_surroundings(request), **content)
    response = HTMLResponse(_under_prefix(html, request), status, _HEADERS)
    if not has_seed:
        cookies.put(response, cookies.seed, request.state.seed)
    if cookies.flash in request.cookies:
        cookies.drop(response, cookies.flash)
    return response


def fragments(request: Request, templates: Mapping[str, str], **content: object) -> dict[str, str]:
    """Render parts of a page: by the id of their element."""
    around = _surroundings(request)
    pages = environment()
    return {
        name: _under_prefix(pages.get_template(one).render(**around, **content), request)
        for name, one in templates.items()
    }


def heading(request: Request) -> dict[str, str]:
    """Render what every page begins with, by the id of its element."""
    around = _surroundings(request)
    if around["verdict"] is None:
        return {}
    counted = {f"count-{name}": f"{count or ''}" for name, count in around["page_counts"].items()}
    return {"verdict": _under_prefix(environment().get_template("verdict.html").render(**around), request)} | counted


def _under_prefix(html: str, request: Request) -> str:
    """Let the links and forms of *html* lead through the path that a proxy has us under.

    Pages are written without it; nothing but markup of ours has these quotes, for what is put into it is escaped.
    """
    prefix = settings_of(request).api.prefix
    return _LEADING.sub(rf'\1="{prefix}/', html) if prefix else html


def redirect(request: Request, url: str, said: str = "", *, good: bool = True) -> Response:
    """Send the browser to *url*, which shows once what was *said*."""
    response = RedirectResponse(url, 303)
    if said:
        cookies = Cookies.of(request)
        signer = URLSafeSerializer(expected_key(request) or "-", salt="flash")
        cookies.put(response, cookies.flash, signer.dumps([said[:_FLASH_LONGEST], good]), max_age_s=_FLASH_S)
    return response


def local(address: str, otherwise: str) -> str:
    """Return *address* if it is a page of ours, else the *otherwise*."""
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours else otherwise


def _surroundings(request: Request) -> dict[str, Any]:
    """Return what every template can use."""
    settings = settings_of(request)
    who: Principal | None = getattr(request.state, "principal", None)
    return {
        "who": who,
        "may_operate": who is not None and who.may(Right.OPERATE),
        "may_forget": who is not None and who.may(Right.FORGET),
        "may_unmask": who is not None and who.may(Right.UNMASKED),
        "can_log_out": request.app.state.sessions.wanted,
        "form_key": expected_key(request),
        "flash": _flash(request),
        "flower": settings.flower.url,
        "path": request.url.path,
        "now": datetime.now(UTC),
        **_standing(request, who),
    }


def _standing(request: Request, who: Principal | None) -> dict[str, Any]:
    """Return the verdict, how many of what stand beside the names of the pages, and what guards hold."""
    if who is None:
        return {"verdict": None, "page_counts": {}, "guard_holds": ()}
    try:
        found: Standing = request.app.state.overviews.standing()
    except LedgerError as error:
        return {"verdict": unseen(error), "page_counts": {}, "guard_holds": ()}
    counts = {
        "dead-letters": sum(one.count for one in found.dead_letters),
        "refusals": found.refused_last_day,
        "connections": sum(one.held for one in found.connections),
        "guards": sum(one.held for one in found.guards),
        "cases": sum(found.cases.values()),
        "incidents": len(found.incidents),
    }
    return {"verdict": found.verdict, "page_counts": counts, "guard_holds": found.guards}


def _flash(request: Request) -> tuple[str, bool] | None:
    signed = request.cookies.get(Cookies.of(request).flash)
    if not signed:
        return None
    try:
        said, good = URLSafeSerializer(expected_key(request) or "-", salt="flash").loads(signed)
    except (BadData, TypeError, ValueError):
        return None
    return said, good


@cache
def environment() -> Environment:
    """Return what pages are made with.

    All templates are read the first time, when the api starts: those of a newer version that is installed under a
    running api would want values of it that this one does not have.
    """
    folder = _HERE / "templates"
    texts = {str(file.relative_to(folder)): file.read_text(encoding="utf-8") for file in folder.rglob("*.html")}
    made = Environment(
        loader=DictLoader(texts),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= FILTERS
    made.globals |= {"static": static, "query": query}
    made.globals |= {"for_failure_now": guard_control.for_failure_now, "by_guard": guard_control.by_guard}
    return made


@cache
def static(name: str) -> str:
    """Return the address of a file of ours; it changes with the file, so that browsers may keep it."""
    return f"/static/{name}?v={sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def query(**values: object) -> str:
    """Return a query of those *values* that say something; a list is a parameter for each of its values."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "", [], ())}, doseq=True)
