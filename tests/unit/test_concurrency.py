"""The limit of calls in flight: what it learns of a system with a hidden knee, by a fast clock (`tests/knee.py`)."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.concurrency import Limit, Rules, after, first, tells
from shared.lifecycle.windows import Answers, Window, bucket, quantile_s
from tests.knee import RULES, Second, System, drive, p95_s, per_second

KNEES = [(4, 0.2), (10, 0.05), (30, 0.2), (100, 0.2), (100, 1.0), (250, 0.3)]


def settled(capacity: int, service_s: float = 0.2) -> Limit:
    return drive(System(capacity, service_s), 60)[-1].limit


def limits(shown: list[Second]) -> list[int]:
    return [second.limit.limit for second in shown]


def at(second: float, change: Callable[[System], None]) -> Callable[[System, float], None]:
    return lambda system, at_s: change(system) if at_s == second else None


@pytest.mark.parametrize(("capacity", "service_s"), KNEES)
def test_finds_the_knee_within_30_s_and_keeps_latency_near_what_it_is_unloaded(capacity: int, service_s: float) -> None:
    shown = drive(System(capacity, service_s), 120)[30:]

    best = max(per_second(drive(System(capacity, service_s), 60, fixed=capacity * 2)[30:]), 1e-9)
    unloaded = p95_s(drive(System(capacity, service_s), 60, fixed=1))
    assert per_second(shown) >= 0.9 * best
    assert p95_s(shown) <= 2 * unloaded


@pytest.mark.parametrize(("capacity", "service_s"), [(100, 0.05), (100, 0.2), (100, 1.0), (300, 0.2), (300, 1.0)])
def test_is_below_twice_the_new_knee_within_10_s_of_a_tenth_of_the_capacity(capacity: int, service_s: float) -> None:
    def shrink(system: System) -> None:
        system.capacity = capacity // 10

    shown = drive(System(capacity, service_s), 90, known=settled(capacity, service_s), change=at(20, shrink))

    assert max(limits(shown)[30:]) < 2 * capacity / 10
    assert sum(second.timed_out for second in shown) <= 0.01 * sum(second.begun for second in shown)
    assert per_second(shown[60:]) >= 0.9 * capacity / 10 / service_s


@pytest.mark.parametrize("limit", [3, 8, 64, 200, 500, 1000])
def test_every_call_timing_out_leaves_at_most_2_after_3_windows(limit: int) -> None:
    known = replace(settled(100), limit=limit)
    rules = replace(RULES, most=1000)

    for _ in range(3):
        window = Window(1.0, {"PUT": Answers(timed_out=known.limit)}, known.limit, reached=True)
        known = after(known, window, rules)

    assert known.limit <= 2
    assert "timed out" in known.reason


def test_after_an_outage_it_is_back_within_15_s() -> None:
    def hang(system: System, at_s: float) -> None:
        system.hangs = 10 <= at_s < 40

    shown = drive(System(100, timeout_s=5), 75, known=settled(100), change=hang)

    assert min(limits(shown)) == 1
    assert per_second(shown[60:]) >= 0.9 * 100 / 0.2 / 1.011


@pytest.mark.parametrize(("capacity", "service_s"), [(50, 0.2), (30, 1.0)])
def test_half_an_hour_of_a_third_too_much_does_not_creep_up(capacity: int, service_s: float) -> None:
    shown = drive(System(capacity, service_s, asked_per_s=1.3 * capacity / service_s), 1800)

    early, late = limits(shown)[60:300], limits(shown)[1500:]
    assert sum(late) / len(late) <= 1.1 * sum(early) / len(early)
    assert max(late) <= 1.8 * capacity
    assert shown[-1].limit.unloaded_s("PUT") == pytest.approx(shown[60].limit.unloaded_s("PUT"), rel=0.1)


@pytest.mark.parametrize("capacity", [4, 50])
def test_data_errors_change_nothing(capacity: int) -> None:
    def mean(refused: float) -> float:
        found = limits(drive(System(capacity, refused=refused), 180))[60:]
        return sum(found) / len(found)

    assert mean(0.2) == pytest.approx(mean(0.0), rel=0.15)


def test_only_refusals_do_not_move_it() -> None:
    shown = drive(System(50, refused=1.0), 5, known=settled(50))

    assert len(set(limits(shown))) == 1


@pytest.mark.parametrize("flaky", [0.02, 0.1, 0.3])
def test_5xx_that_have_nothing_to_do_with_load_do_not_starve_a_system(flaky: float) -> None:
    shown = drive(System(50, flaky=flaky), 250)

    assert per_second(shown[150:]) >= 0.9 * 50 / 0.2


def test_a_system_that_sheds_load_is_kept_busy_all_the_same() -> None:
    shown = drive(System(50, sheds=3), 150)

    assert per_second(shown[60:]) >= 0.85 * 50 / 0.2


@pytest.mark.parametrize("factor", [1.3, 2.0, 4.0])
def test_a_system_that_is_slower_whatever_we_do_is_not_starved(factor: float) -> None:
    def slow_down(system: System) -> None:
        system.service_s *= factor

    shown = drive(System(100), 150, known=settled(100), change=at(20, slow_down))

    assert per_second(shown[30:]) >= 0.9 * 100 / (0.2 * factor)


def test_a_limit_that_one_process_alone_reached_is_not_judged_by_what_that_carried() -> None:
    tried = replace(settled(100), limit=100, was=50, was_rate=250.0, age_s=5.0)
    half_of_it = Window(1.0, {"PUT": Answers({bucket(0.28): 250.0})}, 50, reached=True)

    assert after(tried, half_of_it, RULES).limit == 100
    assert after(tried, replace(half_of_it, in_flight=100), RULES).limit == 50


def test_calls_under_the_limit_before_say_nothing_of_the_one_in_force() -> None:
    tried = replace(settled(100), limit=100, was=50, was_rate=250.0, age_s=5.0)
    window = Window(1.0, {"PUT": Answers({bucket(0.28): 250.0})}, 100, reached=True, is_current=False)

    assert after(tried, window, RULES) == replace(
        after(tried, window, RULES), limit=100, was=50, backoffs=tried.backoffs
    )
    assert after(tried, replace(window, is_current=True), RULES).limit == 50


def test_calls_that_come_in_lumps_are_not_taken_for_a_limit_that_carries_no_more() -> None:
    tried = replace(settled(100), limit=100, was=50, was_rate=250.0, age_s=5.0)
    half_the_time_idle = Window(1.0, {"PUT": Answers({bucket(0.2): 250.0})}, 100, reached=True, busy_s=50.0)

    assert after(tried, half_the_time_idle, RULES).limit > 100


def test_a_step_that_carries_no_more_for_want_of_us_is_no_knee_of_theirs() -> None:
    tried = replace(first(RULES), limit=200, was=100, was_rate=1_000.0, was_s=0.1, age_s=5.0)
    as_quick = Window(1.0, {"PUT": Answers({bucket(0.105): 1_000.0})}, 200, reached=True)
    slower = replace(as_quick, operations={"PUT": Answers({bucket(0.2): 1_000.0})})

    assert after(tried, as_quick, RULES).limit > 200
    assert after(tried, slower, RULES).limit < 100


def test_ten_times_the_capacity_is_used_within_a_minute() -> None:
    def grow(system: System) -> None:
        system.capacity = 200

    shown = drive(System(20), 90, known=settled(20), change=at(20, grow))

    assert per_second(shown[80:]) >= 0.9 * 200 / 0.2


def test_a_quiet_service_keeps_its_limit() -> None:
    shown = drive(System(100, asked_per_s=2), 600, known=settled(100))

    assert min(limits(shown)) == max(limits(shown))


def test_a_new_measure_is_learnt_in_quiet_times_only() -> None:
    known = settled(50)
    slow = {bucket(0.3): 40.0}
    busy = Window(1.0, {"PUT": Answers(slow)}, known.limit, reached=True)
    quiet = Window(1.0, {"PUT": Answers(slow)}, known.limit // 4, reached=False)
    before = known.unloaded_s("PUT")

    def many(window: Window, times: int) -> float | None:
        found = known
        for _ in range(times):
            found = replace(after(found, window, RULES), limit=known.limit)
        return found.unloaded_s("PUT")

    assert many(busy, 2_000) == before
    assert many(quiet, 2_000) == pytest.approx(0.3, rel=0.1)


def test_operations_are_measured_each_by_itself() -> None:
    known = first(RULES)
    seen = {"GET": Answers({bucket(0.05): 30.0}), "POST": Answers({bucket(0.5): 30.0})}
    for _ in range(5):
        known = after(known, Window(1.0, seen, 2, reached=False), RULES)

    only_slow_ones = Window(1.0, {"POST": Answers({bucket(0.5): 30.0})}, known.limit, reached=True)

    assert known.unloaded_s("GET") == pytest.approx(0.05, rel=0.1)
    assert known.unloaded_s("POST") == pytest.approx(0.5, rel=0.1)
    assert after(known, only_slow_ones, RULES).limit > known.limit


def test_what_is_slower_than_the_absolute_cap_steps_back_though_it_is_usual() -> None:
    known = replace(settled(50), unloaded={"PUT": {bucket(12.0): 100.0}})
    window = Window(1.0, {"PUT": Answers({bucket(12.0): 30.0})}, known.limit, reached=True)

    assert after(known, window, RULES).limit < known.limit


def test_one_lost_call_among_good_ones_is_its_member_s() -> None:
    known = settled(50)
    window = Window(1.0, {"PUT": Answers({bucket(0.2): 20.0}, timed_out=1)}, 3, reached=False)

    assert after(known, window, RULES).limit == known.limit


latencies = st.floats(1e-4, 60.0)
histograms = st.dictionaries(latencies.map(bucket), st.integers(1, 300).map(float), max_size=6)
answers = st.builds(Answers, histograms, st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
windows = st.builds(
    Window,
    st.floats(0.5, 5.0),
    st.dictionaries(st.sampled_from(["POST", "PUT", "GET", "PUT[]50"]), answers, max_size=4),
    st.integers(0, 400),
    st.booleans(),
    st.booleans(),
    st.floats(0.0, 400.0) | st.just(inf),
)
all_rules = st.builds(
    lambda least, more, cap: Rules(least, least + more, cap),
    st.integers(1, 20),
    st.integers(0, 500),
    st.floats(0.1, 30.0),
)


@given(st.lists(windows, max_size=25), all_rules)
def test_whatever_is_seen_it_stays_within_its_bounds_and_says_why(seen: list[Window], rules: Rules) -> None:
    known = first(rules)
    for window in seen:
        if not tells(window, known.limit):
            continue
        before = known
        known = after(known, window, rules)
        assert rules.least <= known.limit <= rules.most
        assert known.reason
        assert known.backoffs - before.backoffs <= (known.limit < before.limit)
        if known.limit > before.limit:
            assert window.reached


@given(windows, windows)
def test_processes_together_show_what_each_shows(one: Window, other: Window) -> None:
    together = one.beside(other)

    assert together == other.beside(one)
    assert together.in_flight == one.in_flight + other.in_flight
    for name, both in together.operations.items():
        parts = [window.operations[name] for window in (one, other) if name in window.operations]
        assert both.count == sum(part.count for part in parts)
        assert both.lost == sum(part.lost for part in parts)


@given(st.lists(latencies, min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_a_histogram_knows_each_latency_to_4_percent(seen: list[float], share: float) -> None:
    histogram: dict[int, float] = {}
    for one in seen:
        histogram[bucket(one)] = histogram.get(bucket(one), 0.0) + 1.0

    found = quantile_s(histogram, share)

    assert min(seen) * 0.95 <= found <= max(seen) * 1.05


@given(windows, st.integers(2, 400))
def test_a_loss_of_everything_is_never_answered_with_more(window: Window, limit: int) -> None:
    lost = {name: replace(seen, good={}, timed_out=seen.timed_out + 1) for name, seen in window.operations.items()}
    known = replace(first(RULES), limit=limit)

    if lost:
        assert after(known, replace(window, operations=lost), RULES).limit < limit


@given(st.lists(windows, min_size=1, max_size=20))
def test_that_nobody_is_answered_shows_in_calls_lost_in_a_row_and_in_nothing_else(seen: list[Window]) -> None:
    known, in_a_row = first(RULES), 0
    for window in seen:
        known = after(known, window, RULES)
        answers = window.operations.values()
        in_a_row = 0 if any(one.count for one in answers) else in_a_row + sum(one.lost for one in answers)
        assert known.answers_nobody == (in_a_row >= 3)
