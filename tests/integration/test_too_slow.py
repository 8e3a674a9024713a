"""A question that takes the ledger too long is told from a ledger that is away, and holds up no member event."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import Engine, text

from producers.cli.command import trouble_of
from producers.site import create_app
from shared.errors import LedgerSlowError
from shared.ledger.engine import transaction
from shared.settings import Settings
from tests.calling import assert_problem, event, outcomes, served


def ask_too_much(ledger: Engine) -> None:
    with transaction(ledger) as tx:
        tx.execute(text("set local statement_timeout = '10ms'"))
        tx.execute(text("select pg_sleep(5)"))


def test_api_page_and_command_line_say_to_ask_for_less(ledger: Engine, ledger_url: str) -> None:
    app = create_app(Settings(_env_file=None, ledger_url=ledger_url))
    app.add_api_route("/v1/slow", lambda: ask_too_much(ledger))
    app.add_api_route("/slow", lambda: ask_too_much(ledger))
    with served(app) as client:
        assert_problem(client.get("/v1/slow"), 503, "too_slow")
        page = client.get("/slow", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert "narrow it by state, member or time" in page.text
    assert "refresh" not in page.headers  # the same again would be as slow
    with pytest.raises(LedgerSlowError) as caught:
        ask_too_much(ledger)
    trouble = trouble_of(caught.value)
    assert trouble is not None
    assert "narrow" in trouble.hint


def test_events_and_probes_pass_by_people_who_wait(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    app = create_app(Settings(_env_file=None, ledger_url=ledger_url))
    answered = Event()
    app.add_api_route("/slow", lambda: answered.wait(30))
    with served(app) as client, ThreadPoolExecutor(12) as people:
        waiting = [people.submit(client.get, "/slow") for _ in range(12)]
        try:
            taken = client.post("/v1/member-events", json=event(), timeout=5)
            assert outcomes(taken) == ["accepted"]
            for probe in ("/healthz", "/readyz", "/metrics"):
                assert client.get(probe, timeout=5).is_success
        finally:
            answered.set()
        assert all(one.result().is_success for one in waiting)
