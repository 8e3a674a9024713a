"""What the sizing guide computes follows from its formulas and from the defaults of the settings."""

import re
from math import ceil

from shared.pipeline import Lane
from shared.settings import Settings
from tests.deployed import DEPLOY

GUIDE = (DEPLOY / "SIZING.md").read_text(encoding="utf-8")
OF = Settings(_env_file=None)
PER_S = OF.crowdtwist.budget_per_minute / 60
YEAR = 1_000_000_000
DAYS = 365


def rows(heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading that begin with a number."""
    part = GUIDE.split(f"\n## {heading}")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if re.match(r"[\d.]+$", cells[0])]


def test_the_table_of_workers_follows_from_its_formula() -> None:
    table = rows("Workers")
    assert len(table) > 5
    for slowest, bulk, live, *needed in table:
        bulk_rate = OF.dispatcher.batch(Lane.BULK) / (0.64 + 2 * float(slowest))
        live_rate = OF.dispatcher.batch(Lane.LIVE) / (0.1 + 2 * float(slowest))
        assert [int(bulk), int(live)] == [round(bulk_rate), round(live_rate)]
        wanted = (PER_S * (1 - OF.crowdtwist.live_share), 500, 1000)
        assert [int(one) for one in needed] == [ceil(round(rate / bulk_rate, 2)) for rate in wanted]


def test_what_is_said_of_the_contract_is_that_of_the_settings() -> None:
    assert f"{round(PER_S)} events/s of known members" in GUIDE
    assert f"| {round(PER_S * (1 - OF.crowdtwist.live_share))} events/s" in GUIDE
    assert f"ADAPTIVE_MAX = {OF.crowdtwist.adaptive_max}" in GUIDE
    assert round(OF.crowdtwist.adaptive_max / PER_S) == 3
    assert OF.worker.concurrency == 4
    assert OF.worker.patience_s == 2


def test_a_year_of_a_thousand_million_events_is_computed_right() -> None:
    mean = YEAR / DAYS / 86_400
    assert f"{round(mean)} events/s in the mean" in GUIDE
    left = round((10 * mean - PER_S) * 3600, -4)
    assert f"leaves {left:,.0f} events waiting, gone {round(left / (PER_S - mean) / 60)} minutes later" in GUIDE
    kept = {days: YEAR / DAYS * days * 4000 / 1e9 for days in (OF.dispatcher.retention_days, 30)}
    assert [round(size, -1) for size in kept.values()] == [990, 330]
    assert f"990 GB at {OF.dispatcher.retention_days} days, 330 at 30, and 13 for the members" in GUIDE
    less = YEAR / DAYS * (OF.dispatcher.retention_days - 7) * (1100 + 480) / 1e9
    assert f"take {round(less, -1):.0f} GB from the 990" in GUIDE
    assert f"{round(mean * 9300 * 86_400 / 1e9)} GB of WAL a day" in GUIDE
    loads = OF.crowdtwist.budget_per_minute * (1 - OF.crowdtwist.live_share)
    assert f"{1e7 / loads / 60:.1f} h at {loads:,.0f} a minute" in GUIDE
    assert f"| {1e7 / OF.crowdtwist.budget_per_minute / 60:.1f} h | of those" in GUIDE
    share = OF.crowdtwist.budget_per_minute * OF.reconcile.share
    assert f"{share:.0f} calls a minute: {round(1e7 / share / 60 / 24)} days" in GUIDE
    assert f"a sample ({OF.reconcile.sample:,} calls, {OF.reconcile.sample / share:.0f} minutes)" in GUIDE


def test_the_sessions_of_the_ledger_are_added_up_right() -> None:
    apis, dispatchers, workers = 2, 2, 2
    sessions = 20 * apis + 6 * dispatchers + 6 * OF.worker.concurrency * workers + 10
    assert f"are {sessions} (c)" in GUIDE
