"""Every route that there is, asked by everybody: who may is served, who may not is told so, and that is recorded."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import get_args

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, text

from producers.console.session import Sessions, form_key
from producers.site import create_app
from shared.settings import Role, Settings
from tests.calling import served
from tests.roles import OPERATORS, ROWS, WHO

ROLES = get_args(Role)
EVERYBODY = ("nobody", *ROLES)
SEED = "a-seed"
KEEP_NO_TEXT = {"POST /dead-letters/plan", "POST /jobs/{job_id}/stop"}
BY_TOKEN = ("/v1/", "/metrics")
"""What machines ask with a token; everything else is the console's, for whoever has logged in."""


class Caller:
    """Asks one api as anybody, each time newly logged in, as its own pages would."""

    def __init__(self, client: httpx.Client, app: FastAPI) -> None:
        self._client = client
        self._sessions: Sessions = app.state.sessions
        self._known = {who.name: (who, digest) for digest, who in app.state.authenticator.known}

    def ask(self, route: str, who: str, *, keyed: bool = True, named: str = "0", **typed: str) -> httpx.Response:
        """Ask for *route*; *keyed*: with the key that a form of ours carries; *named*: what the path names."""
        method, path = route.split()
        session = "" if who == "nobody" else self._sessions.opened(*self._known[who])
        headers = {"Cookie": f"membersync_seed={SEED}; membersync_session={session}"}
        if who != "nobody" and path.startswith(BY_TOKEN):
            headers["Authorization"] = f"Bearer {who}-token"
        address = re.sub(r"{.*?}", named, path)
        if method == "GET":
            return self._client.get(address, headers=headers)
        if path.startswith(BY_TOKEN):
            return self._client.request(method, address, json={}, headers=headers)
        form = {"token": f"{who}-token"} | ({"form_key": form_key(SEED, session)} if keyed else {}) | typed
        return self._client.post(address, data=form, headers=headers)


@pytest.fixture
def caller(ledger: Engine, ledger_url: str) -> Iterator[Caller]:
    assert ledger.url.database
    of = Settings(_env_file=None, ledger_url=ledger_url)
    tokens = {f"{role}-token": {"name": role, "role": role} for role in ROLES}
    app = create_app(of.model_copy(update={"api": of.api.model_validate({"tokens": tokens})}))
    app.state.streams.stop()  # live pages end after their first look
    with served(app) as client:
        yield Caller(client, app)


def judged(route: str, answer: httpx.Response) -> str:
    """Say what became of whoever asked: let in, sent to the login, or refused with a word of the api's."""
    location = answer.headers.get("location", "")
    if answer.status_code == 303 and location.partition("?")[0] == "/login" and route != "POST /logout":
        return "login"
    if answer.status_code in {401, 403}:
        return str(answer.json()["code"]) if "json" in answer.headers["content-type"] else "said on a page"
    assert answer.status_code < 500, answer.text
    return "in"


def refusal(route: str, who: str) -> str:
    """Say what becomes of somebody who may not."""
    if route == "POST /login":
        return "said on a page"
    if who != "nobody":
        return "forbidden"
    return "unauthorised" if route.split()[1].startswith(BY_TOKEN) else "login"


def test_whoever_may_is_served_and_nobody_else_which_is_recorded(caller: Caller, ledger: Engine) -> None:
    expected, found, denied = {}, {}, Counter[str]()
    for route, those in ROWS:
        # An operator may send, but nothing without force.
        may = those - {"operator"} if "member-events" in route else those
        for who in EVERYBODY:
            expected[route, who] = "in" if who in may else refusal(route, who)
            found[route, who] = judged(route, caller.ask(route, who))
            if those <= WHO[OPERATORS] and found[route, who] == "forbidden":
                denied[who] += route.split()[1].startswith(BY_TOKEN) or who != "producer"  # who may not look at all
    different = {one: said for one, said in found.items() if said != expected[one]}
    assert different == {}
    with ledger.connect() as tx:
        kept = tx.execute(text("select role, count(*) from operator_action where denied group by role"))
        assert dict(map(tuple, kept)) == denied


@pytest.mark.parametrize("named", ["%00", "x%00y", "%ED%A0%80", "9" * 30, "%EF%BB%BF1", "%2e%2e"])
def test_whatever_a_path_names_is_found_or_not_and_never_an_outage(caller: Caller, named: str) -> None:
    naming = [route for route, _ in ROWS if "{" in route]
    assert len(naming) > 50
    answers = {route: caller.ask(route, "admin", named=named).status_code for route in naming}
    assert not {route: status for route, status in answers.items() if status >= 500}


def test_what_no_text_may_hold_is_refused_in_every_form_and_nothing_is_done(caller: Caller, ledger: Engine) -> None:
    forms = [route for route, those in ROWS if those == WHO[OPERATORS] and route.startswith("POST ")]
    forms = [route for route in forms if not route.split()[1].startswith(BY_TOKEN) and route not in KEEP_NO_TEXT]
    assert len(forms) > 15
    answers = {route: caller.ask(route, "admin", reason="a\0b").status_code for route in forms}
    assert answers == dict.fromkeys(forms, 400)
    with ledger.connect() as tx:
        assert tx.execute(text("select count(*) from operator_action")).scalar_one() == 0


def test_no_form_is_taken_from_a_page_that_is_not_ours(caller: Caller) -> None:
    forms = [route for route, _ in ROWS if route.startswith("POST ") and not route.split()[1].startswith(BY_TOKEN)]
    assert len(forms) > 15
    assert {route: judged(route, caller.ask(route, "admin", keyed=False)) for route in forms} == dict.fromkeys(
        forms, "stale_form"
    )
