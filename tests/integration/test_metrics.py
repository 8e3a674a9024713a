"""The metrics: what they count, that they never go back, and that they are there before anything happens."""

from itertools import pairwise

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine

from producers.dispatch.bookkeeper import Bookkeeper
from producers.metrics import LedgerCollector
from shared.ledger import call_limits, spending
from shared.ledger.call_limits import Shown
from shared.ledger.engine import transaction
from shared.ledger.spending import Budget
from shared.lifecycle.concurrency import START, Rules
from shared.lifecycle.windows import Answers, Window
from shared.pipeline import Lane, Stage
from shared.settings import Settings
from tests.road import Road


def registry_of_now(settings: Settings) -> CollectorRegistry:
    """Return a registry that looks whenever it is asked."""
    registry = CollectorRegistry()
    registry.register(LedgerCollector(settings, ttl_s=0))
    return registry


def scrape(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_metrics_count_what_happens_and_never_go_back(ledger: Engine, ledger_url: str) -> None:
    settings = Settings(ledger_url=ledger_url)
    bookkeeper, registry = Bookkeeper(settings), registry_of_now(settings)
    road = Road(ledger)
    road.accept("M-1", "M-2")
    road.note(stage="crowdtwist", attempt=1, state="running", took_ms=30.0)
    road.note(stage="oic", attempt=1, state="running", took_ms=2.0, code="data_error")
    road.note(stage="oic", state="pending")
    with transaction(ledger) as tx:
        spending.pay(tx, Budget(Stage.CROWDTWIST, 10_000, 0.2), Lane.LIVE, 2)
        lost = Shown(Window(1.0, {"PUT": Answers(timed_out=9)}, 8, reached=True), 8, START)
        call_limits.tell(tx, "w/1", 0, {Stage.CROWDTWIST: lost})
    road.sql("update call_limit set looked_at = looked_at - interval '1 s', upto = upto - interval '1 s'")
    with transaction(ledger) as tx:
        call_limits.look(tx, {Stage.CROWDTWIST: Rules(1, 500, 10.0)})
    bookkeeper.turn()
    scrapes = [scrape(registry)]
    road.sql("""update instance set state = 'dead', failed_stage = 'siebel', code = 'bug', status = 'Success',
                                    finished_at = now() where id = 1""")
    road.sql("delete from activity")
    bookkeeper.turn()
    scrapes.append(scrape(registry))
    road.note(stage="siebel", attempt=1, state="completed", took_ms=99_000.0)
    bookkeeper.turn()
    scrapes.append(scrape(registry))
    before, after = scrapes[0], scrapes[-1]
    assert before['membersync_instances_total{outcome="accepted",stage="intake"}'] == 2
    assert before['membersync_instances_total{outcome="done",stage="crowdtwist"}'] == 1
    assert before['membersync_instances_total{outcome="data_error",stage="oic"}'] == 1
    assert before['membersync_instances_total{outcome="due_again",stage="oic"}'] == 1
    assert before['membersync_stage_seconds_bucket{le="0.025",stage="crowdtwist"}'] == 0
    assert before['membersync_stage_seconds_bucket{le="0.05",stage="crowdtwist"}'] == 1
    assert before['membersync_stage_seconds_sum{stage="crowdtwist"}'] == pytest.approx(0.03)
    assert before['membersync_budget_used_ratio{name="crowdtwist"}'] == pytest.approx(2 / 10_000)
    assert before['membersync_pending{lane="live",stage="oic",state="pending"}'] == 2
    assert before['membersync_oldest_seconds{lane="live",state="pending"}'] >= 0
    assert before['membersync_connection_up{name="siebel"}'] == 1
    assert before['membersync_call_limit{name="crowdtwist"}'] == START // 8
    assert before['membersync_calls_in_flight{name="crowdtwist"}'] == 8
    assert before['membersync_call_backoffs_total{name="crowdtwist"}'] == 1
    assert after['membersync_dead_letters{code="bug",stage="siebel"}'] == 1
    assert after['membersync_stage_seconds_bucket{le="30.0",stage="siebel"}'] == 0
    assert after['membersync_stage_seconds_bucket{le="+Inf",stage="siebel"}'] == 1
    for older, newer in pairwise(scrapes):
        counters = [name for name in older if "_total" in name or "_bucket" in name]
        assert all(newer[name] >= older[name] for name in counters)


def test_every_process_counts_the_same_also_one_that_was_started_later(ledger: Engine, ledger_url: str) -> None:
    settings = Settings(ledger_url=ledger_url)
    road = Road(ledger)
    road.accept("M-1")
    road.travel()
    Bookkeeper(settings).turn()
    first = scrape(registry_of_now(settings))
    assert first['membersync_instances_total{outcome="completed",stage="siebel"}'] == 1
    counters = {name: value for name, value in first.items() if "_total" in name or "_stage_seconds" in name}
    assert counters.items() <= scrape(registry_of_now(settings)).items()


def test_what_has_not_happened_yet_is_counted_as_zero(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    nothing = scrape(registry_of_now(Settings(ledger_url=ledger_url)))
    for name in (
        'membersync_instances_total{outcome="completed",stage="siebel"}',
        'membersync_stage_seconds_count{stage="oic"}',
        'membersync_pending{lane="bulk",stage="crowdtwist",state="held"}',
        'membersync_oldest_seconds{lane="live",state="pending"}',
        'membersync_dead_letters{code="bug",stage="oic"}',
        "membersync_mail_unsent",
        "membersync_mail_oldest_seconds",
    ):
        assert nothing[name] == 0


def test_mail_that_nobody_takes_is_counted_with_its_age(ledger: Engine, ledger_url: str) -> None:
    for age, sent in (("3 hours", "null"), ("1 hour", "null"), ("9 hours", "now()")):
        values = f"now() - interval '{age}', 'digest', 's', 'p', 'h', {sent}"
        Road(ledger).sql(f"insert into mail (created_at, kind, subject, plain, html, sent_at) values ({values})")
    found = scrape(registry_of_now(Settings(ledger_url=ledger_url)))
    assert found["membersync_mail_unsent"] == 2
    assert found["membersync_mail_oldest_seconds"] == pytest.approx(3 * 3600, abs=60)


def test_metrics_of_a_ledger_that_is_away_say_so() -> None:
    registry = registry_of_now(Settings(ledger_url="postgresql://nobody@127.0.0.1:1/none"))
    assert scrape(registry) == {"membersync_ledger_up": 0.0}
