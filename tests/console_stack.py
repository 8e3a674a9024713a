"""A whole stack with something to see at its console: a thousand dead letters, Data Errors, and a hostile member."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from playwright.sync_api import BrowserContext, Dialog, Page

from deploy.local import answering
from deploy.local.programs import free_port
from producers.intake.accept import IntakeRules, accept
from shared.events import parse_event
from shared.pipeline import Lane
from tests.browser import logged_in
from tests.rig import DISPATCHER, Pipeline, eventually, member_event
from tests.road import ALWAYS_DOWN, ALWAYS_REFUSED, Road

LETTERS = 1_000
TOKENS = {
    "tok-vera": {"name": "vera", "role": "viewer"},
    "tok-oscar": {"name": "oscar", "role": "operator"},
    "tok-ada": {"name": "ada", "role": "admin"},
}
TOKEN_OF = {owner["role"]: token for token, owner in TOKENS.items()}
HOSTILE = '"><img src=x onerror="window.pwned=1"><script>window.pwned=2</script>'
HOSTILE_NUMBER = "<script>window.pwned=3</script>"
# fmt: off
_FIELDS = (
    "row_id", "program_id", "status", "language", "first_name", "last_name", "middle_name",
    "email_address", "postal_code", "city", "country_code", "ct_city_id", "unknown",
)
# fmt: on


@dataclass(frozen=True, slots=True)
class Stack:
    """Where it listens, and its ledger with somebody who can play a worker."""

    url: str
    pipeline: Pipeline
    road: Road

    def log_in(self, page: Page, role: str) -> None:
        """Log *page* in as *role*, at the form: it shows the overview then."""
        page.goto(f"{self.url}/login")
        page.get_by_label("Your token").fill(TOKEN_OF[role])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{self.url}/")

    def logged_in(self, page: Page, role: str) -> None:
        """Let *page* be logged in as *role*; it has been nowhere yet."""
        logged_in(page, self.url, TOKEN_OF[role])


@contextmanager
def console_stack(pipeline: Pipeline) -> Iterator[Stack]:
    """Fill the ledger of *pipeline* and run api, dispatcher and a worker on it."""
    road = Road(pipeline.ledger)
    _fill(pipeline, road)
    port = free_port()
    pipeline.settings["MEMBERSYNC_API__TOKENS"] = json.dumps(TOKENS)
    with ExitStack() as running:
        running.enter_context(pipeline.process("-m", "producers.cli", "api", "--port", str(port)))
        running.enter_context(pipeline.process(*DISPATCHER))
        running.enter_context(pipeline.worker())
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: serves(url), "the api's start")
        yield Stack(url, pipeline, road)


def watched(context: BrowserContext, page: Page) -> list[str]:
    """Collect what a browser complains about: errors of scripts, what the CSP has stopped, dialogs."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)

    def refuse(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)
    context.set_default_timeout(15_000)
    return complaints


def _fill(pipeline: Pipeline, road: Road) -> None:
    pipeline.send(*(member_event(f"C-{number}") for number in range(3)))
    road.travel()
    pipeline.send(*(member_event(f"R-{number}") for number in range(12)))
    road.travel(ALWAYS_REFUSED)
    pipeline.send(member_event("R-1", minute=1))
    road.travel()
    pipeline.send(*(member_event(f"D-{number:04}") for number in range(LETTERS)))
    _accept_hostile(road)
    road.travel(ALWAYS_DOWN)
    _make_its_error_hostile(road)
    _add_an_incident(road)


def _accept_hostile(road: Road) -> None:
    member: dict[str, Any] = dict.fromkeys(_FIELDS, HOSTILE) | {"member_number": HOSTILE_NUMBER}
    event = {"event_id": HOSTILE[:64], "operation": "update", "occurred_at": "2026-11-23T08:51:00Z", "member": member}
    accept(road.ledger, [(0, parse_event(event, max_bytes=64_000))], IntakeRules(Lane.LIVE))


def _make_its_error_hostile(road: Road) -> None:
    with road.ledger.begin() as tx:
        tx.exec_driver_sql("update instance set error = %s where member_number = %s", (HOSTILE, HOSTILE_NUMBER))


def _add_an_incident(road: Road) -> None:
    """Add one that is over and settled, with a note on its cause."""
    road.sql("""
        with made as (
            insert into incident (kind, state, stage, cause, fingerprint, opened_at, from_at, counted_upto, resolved_at,
                                  closed_at, settled_at, frozen)
            select 'connection', 'closed', 'oic', 'OIC: answered 503', 'oic-1', at, at, now(), now(), now(), now(),
                   '{"live_p95_s": null, "live_p95_week_before_s": null, "time_line": []}'
            from (select now() - interval '1 hour' as at) as t returning id, from_at)
        insert into incident_span (incident_id, stage, from_at, to_at) select id, 'oic', from_at, now() from made
    """)
    road.sql("""
        insert into cause_note (fingerprint, stage, code, message, words, who)
        values ('oic-1', 'oic', '', 'OIC: answered 503', '<img src=x onerror="window.pwned=4">', 'oscar')
    """)


def serves(url: str) -> bool:
    """Return whether the api at *url* is ready."""
    try:
        return answering.get(f"{url}/readyz").is_success
    except httpx.TransportError:
        return False
