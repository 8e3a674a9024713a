"""At the console an operator starts a reconciliation, stops it, and has sent again what CrowdTwist may have lost."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from shared.settings import Settings, SiebelSettings
from tests.console import console, hidden, logged_in, post, said
from tests.resending import SINCE, taken, until_over
from tests.road import Road

RUNS = "/reconciliations"
PLAN = "/reconciliations/plan"
RESENDS = "/resends"


@pytest.fixture
def client(ledger: Engine, ledger_url: str) -> Iterator[httpx.Client]:
    assert ledger.url.database
    of = Settings(_env_file=None, ledger_url=ledger_url)
    siebel = SiebelSettings(base_url="http://siebel.invalid")
    crowdtwist = of.crowdtwist.model_copy(update={"base_url": "http://ct.invalid", "budget_per_minute": 6_000})
    with console(of.model_copy(update={"siebel": siebel, "crowdtwist": crowdtwist})) as one:
        yield one


def runs_of(ledger: Engine) -> list[tuple[object, ...]]:
    with ledger.begin() as tx:
        found = tx.execute(text("select mode, sample, share, requested_by, state from reconciliation order by id"))
        return [tuple(row) for row in found]


def audited(ledger: Engine) -> list[tuple[object, ...]]:
    with ledger.begin() as tx:
        return [tuple(row) for row in tx.execute(text("select who, what, answer from operator_action order by id"))]


def test_a_reconciliation_is_planned_started_once_and_stopped(oscar: httpx.Client, ledger: Engine) -> None:
    assert f'href="{PLAN}"' in oscar.get(RUNS).text
    assert "Start</button>" not in oscar.get(PLAN).text
    planned = oscar.get(f"{PLAN}?how=sample&sample=600&share=0.1&since=")
    assert "CrowdTwist is asked about 600 members , drawn by strata" in said(planned)
    assert "At most 600 calls to CrowdTwist a minute: 10 % of its budget" in said(planned)
    assert "About 600 calls, which take 1 min, and more" in said(planned)
    fields = hidden(planned, RUNS)
    started = [post(oscar, PLAN, RUNS, **fields) for _ in range(2)]
    assert [(one.status_code, one.headers["location"]) for one in started] == [(303, "/reconciliations/1")] * 2
    assert runs_of(ledger) == [("sample", 600, 0.1, "oscar", "planned")]
    again = said(oscar.get(f"{PLAN}?how=full"))
    assert "CrowdTwist is asked about every member" in again
    assert "waits for reconciliation 1 of oscar to end" in again
    assert "How long that takes is not known" in again
    stop = "/reconciliations/1/stop"
    assert post(oscar, "/reconciliations/1", stop).headers["location"] == "/reconciliations/1"
    assert runs_of(ledger)[0][-1] == "stopped"
    assert "Stop</button>" not in oscar.get("/reconciliations/1").text
    post(oscar, PLAN, stop)
    assert "It was over already" in said(oscar.get("/reconciliations/1"))
    assert audited(ledger) == [
        ("oscar", "reconcile", "run 1"),
        ("oscar", "stop reconcile", "stopped"),
        ("oscar", "stop reconcile", "refused: no such run, or it is over"),
    ]


@pytest.mark.parametrize(
    ("asked", "mistake"),
    [
        ("how=odd", "How: must be full or sample"),
        ("how=sample&sample=0", "Sample: must be 1 to 1000000000"),
        ("how=sample&sample=1.5", "Sample: must be a whole number"),
        ("how=sample&sample=nan", "Sample: must be a number"),
        ("how=sample&since=yesterday", "Since: must be an instant"),
        ("how=full&since=2199-12-31", "Since: lies in the future"),
        ("how=full&share=1.5", "Share: must be above 0 and at most 1"),
    ],
)
def test_what_cannot_be_meant_is_said_at_its_field(
    oscar: httpx.Client, ledger: Engine, asked: str, mistake: str
) -> None:
    answer = oscar.get(f"{PLAN}?{asked}")
    assert answer.status_code == 400
    assert f"Nothing was started. {mistake}" in said(answer)
    assert runs_of(ledger) == []


def test_a_viewer_starts_and_stops_nothing_and_a_form_from_elsewhere_neither(
    client: httpx.Client, ledger: Engine
) -> None:
    oscar = logged_in(client, "tok-oscar")
    assert oscar.post(RUNS, data={"how": "full"}).status_code == 403
    assert oscar.post(RESENDS, data={"acknowledged_since": "1h"}).status_code == 403
    fields = hidden(oscar.get(f"{PLAN}?how=full"), RUNS)
    post(oscar, PLAN, RUNS, **fields)
    vera = logged_in(client, "tok-vera")
    page = vera.get("/reconciliations/1").text
    assert "Stop</button>" not in page
    assert "Reconcile …" not in vera.get(RUNS).text
    for address in (f"{PLAN}?how=full", f"{RESENDS}/plan"):
        assert vera.get(address).status_code == 403
    for action in (RUNS, "/reconciliations/1/stop", RESENDS):
        assert post(vera, "/reconciliations/1", action, how="full", acknowledged_since="1h").status_code == 403
    assert [state for *_, state in runs_of(ledger)] == ["planned"]


def test_a_resend_shows_its_plan_first_and_is_a_job(oscar: httpx.Client, ledger: Engine) -> None:
    road = Road(ledger)
    road.accept("M-1", "M-2")
    road.travel()
    since = f"{SINCE:%Y-%m-%dT%H:%M:%SZ}"
    planned = oscar.get(f"{RESENDS}/plan?acknowledged_since={since}&rate=600")
    assert "2 will be sent: one call with what CrowdTwist acknowledged last" in said(planned)
    fields = hidden(planned, RESENDS)
    assert fields["rate"] == ["600"]
    assert fields["acknowledged_until"]
    silent = post(oscar, RESENDS + "/plan", RESENDS, **fields, reason=" ")
    assert (silent.status_code, "Reason: say why" in said(silent)) == (400, True)
    more = post(oscar, RESENDS + "/plan", RESENDS, **fields | {"planned": "1"}, reason="restored")
    assert (more.status_code, "meanwhile the plan is another" in said(more)) == (409, True)
    fields = hidden(oscar.get(f"{RESENDS}/plan?acknowledged_since={since}"), RESENDS)
    started = post(oscar, RESENDS + "/plan", RESENDS, **fields, reason="CrowdTwist was restored")
    assert (started.status_code, started.headers["location"]) == (303, "/jobs/1")
    until_over(road, 1, taken)
    assert "Finished: all 2 succeeded." in said(oscar.get("/jobs/1"))


@pytest.mark.parametrize(
    ("asked", "mistake"),
    [
        ("acknowledged_since=soon", "must be an instant"),
        ("acknowledged_since=1h&acknowledged_until=2h", "must be after acknowledged_since"),
        ("acknowledged_since=1h&rate=0", "Rate:"),
    ],
)
def test_a_resend_that_cannot_be_meant_is_said_at_its_field(oscar: httpx.Client, asked: str, mistake: str) -> None:
    answer = oscar.get(f"{RESENDS}/plan?{asked}")
    assert answer.status_code == 400
    assert "Nothing was started." in said(answer)
    assert mistake in said(answer)
