"""When Siebel has been silent for too long: pure."""

from datetime import UTC, datetime, timedelta

import pytest

from producers.operations.hold_advice import lasting, used_to
from shared.lifecycle.silence import Silence, SilenceRules, silence

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
RULES = SilenceRules(absolute_s=86_400, factor=3, least_s=1800)
USED = {1: 600.0, 2: 1200.0, 3: 60.0, 4: 900.0}


def quiet(lasts_s: float, weeks: dict[int, float], rules: SilenceRules = RULES, *, excused: bool = False) -> Silence:
    return silence(NOW - timedelta(seconds=lasts_s), NOW, weeks, rules, excused=excused)


@pytest.mark.parametrize(
    ("lasts_s", "weeks", "too_long"),
    [
        (3599, USED, False),  # three times the longest, 1200 s
        (3601, USED, True),
        (1801, dict.fromkeys(USED, 5.0), True),  # a busy hour: never less than 1800 s
        (1799, dict.fromkeys(USED, 5.0), False),
        (86_399, {1: 1.0, 2: 1.0, 3: 1.0}, False),  # three weeks tell too little
        (86_401, {}, True),
    ],
)
def test_much_longer_than_ever_at_this_hour_is_too_long(
    lasts_s: float, weeks: dict[int, float], *, too_long: bool
) -> None:
    assert quiet(lasts_s, weeks).is_too_long is too_long
    assert not quiet(lasts_s, weeks, excused=True).is_too_long
    assert not quiet(lasts_s, weeks, SilenceRules(0, 3, 1800)).is_too_long


def test_a_ledger_without_an_event_is_not_silent_and_a_clock_behind_is_no_time() -> None:
    assert not silence(None, NOW, {}, RULES).is_too_long
    assert quiet(-5, USED).lasts_s == 0


def test_too_long_a_silence_is_learned_as_the_limit_that_it_broke() -> None:
    assert (quiet(50_000, USED).to_learn_s, quiet(2000, USED).to_learn_s) == (3600, 2000)


def test_it_is_said_in_words() -> None:
    assert [lasting(seconds) for seconds in (90, 150, 7200, 200_000)] == ["90 s", "2 min", "2 h", "2 days"]
    assert used_to(quiet(1, USED)) == "at most 20 min at this hour of the week, in 4 weeks"
    learned = "what is usual at this hour of the week is still being learned; until then"
    assert used_to(quiet(1, {})) == f"{learned} more than 24 h is too long"
    assert used_to(quiet(1, {1: 600.0}, SilenceRules(0, 3, 1800))) == f"{learned} nothing is too long"
