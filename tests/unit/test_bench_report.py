"""What `make bench` makes of its laps: ratios, keys, spreads, the table."""

import pytest

from tests.bench import scenarios
from tests.bench.contestants import CELERY, Who
from tests.bench.report import (
    BOUND,
    GOALS,
    NEW_MEMBERS,
    OURS,
    SAME_CALLS,
    Result,
    Spread,
    against_goals,
    document,
    figures,
    table,
)


def ran(name: str, events_per_s: float, per_message: int = 1, commits: float | None = None) -> Result:
    return Result(
        Who(name, name.upper(), "1.2", per_message),
        1000,
        Spread(events_per_s, events_per_s - 10, events_per_s + 10),
        {"worker": 0.25, "ledger": 0.125},
        calls_per_event=2.0,
        stub_ms_per_call=0.02,
        wal_bytes_per_event=None if commits is None else 5000.0,
        commits_per_event=commits,
    )


RACE = [
    ran(OURS, 3000, commits=0.04),
    ran(SAME_CALLS, 2000),
    ran(NEW_MEMBERS, 1000),
    ran(BOUND, 8000),
    ran(CELERY, 100),
    ran("quick", 500),
    ran("batched", 6000, per_message=50),
]


def test_a_spread_is_of_the_middle_and_both_ends() -> None:
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert Spread.of([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)


def test_the_ratios_are_to_celery_the_best_peer_the_batched_one_and_the_bound() -> None:
    assert figures(RACE) == {
        "ratio_vs_celery": 30.0,
        "ratio_vs_best_peer": 6.0,
        "ratio_vs_celery_same_calls": 20.0,
        "ratio_vs_best_peer_same_calls": 4.0,
        "ratio_vs_bound": 0.25,
        "ratio_vs_batched_peer": 0.5,
        "cpu_ms_per_event": 0.375,
        "wal_bytes_per_event": 5000.0,
        "commits_per_event": 0.04,
    }


def test_who_did_not_run_gives_no_ratio() -> None:
    assert figures([ran(SAME_CALLS, 2000), ran("quick", 500)]) == {"ratio_vs_best_peer_same_calls": 4.0}
    assert figures([]) == {}


def test_the_file_has_every_key_and_null_for_what_was_not_measured() -> None:
    shown = document({"idle_p50_ms": 17.123456, "wal_bytes_per_event": 5123.4}, RACE[-2:], {"cores": 2})
    assert [*shown] == [*GOALS, "contestants", "machine"]
    assert {key for key in GOALS if shown[key] is not None} == {"idle_p50_ms", "wal_bytes_per_event"}
    assert (shown["idle_p50_ms"], shown["wal_bytes_per_event"], shown["machine"]) == (17.12, 5123, {"cores": 2})
    assert shown["contestants"]["batched"] == {
        "title": "BATCHED",
        "version": "1.2",
        "events_per_message": 50,
        "events": 1000,
        "events_per_s": {"median": 6000, "min": 5990, "max": 6010},
        "cpu_ms_per_event": 0.375,
        "cpu_ms_per_event_by_process": {"ledger": 0.125, "worker": 0.25},
        "calls_per_event": 2.0,
        "stub_ms_per_call": 0.02,
    }


def test_a_figure_that_the_file_has_no_key_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="idle_p75_ms"):
        document({"idle_p75_ms": 1.0}, [], {})


def test_the_table_begins_with_the_fastest() -> None:
    lines = table(RACE).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:5]] == ["BOUND", "BATCHED", "MEMBERSYNC"]
    assert lines[2] == "| BOUND | 8,000 | 7,990 | 8,010 | 0.38 | 2.00 | 1.2 |"


def test_what_misses_its_goal_is_bold_and_what_was_not_measured_a_dash() -> None:
    found = {"commits_per_event": 0.04, "ratio_vs_celery": 19.96, "budget_overruns": 0.0, "accepts_per_s": 12_345.6}
    cells = [line.split(" | ")[1:] for line in against_goals(found).splitlines()[2:]]
    assert cells[0] == ["≥ 20; ≥ 3", "**19.96**; - |"]
    assert cells[3] == ["≤ 0.4; ≤ 5,120; ≤ 0.05", "-; -; 0.04 |"]
    assert cells[5] == ["≥ 10,000; ≤ 25", "12,346; - |"]
    assert cells[9] == ["≥ 0.98; ≤ 0", "-; 0 |"]


def test_race_and_scenarios_give_every_figure_of_the_file_and_no_two_the_same() -> None:
    given = [key for name in scenarios.names() for key in scenarios.scenario(name).KEYS]
    assert len(given) == len(set(given))
    assert set(given) == GOALS.keys() - figures(RACE).keys()
