"""When one Data Error of many members is a flood, and what makes two of them one cause; tried with anything."""

import string
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from shared.errors import DataError
from shared.guard_settings import GuardSettings
from shared.instances import Done, Failed, Result, Work
from shared.lifecycle.floods import FloodRules, decided, fingerprint, held_back, is_flood, message_of, met
from shared.lifecycle.retry import RetryPolicy
from shared.lifecycle.verdicts import Advanced, Ending, Parked, Rules, conclude
from shared.pipeline import Stage, State, SyncStatus
from tests.road import OUTAGE

RULES = FloodRules(count=50, share=0.2, window_s=600, try_s=600, held_max_s=86_400)
AT_CROWDTWIST = Rules(Stage.CROWDTWIST, RetryPolicy(1, 2, 3), 300, 0.5, carried=True)
TEMPLATES = (
    "Country Code is invalid",
    "Postal Code '{postal_code}' is invalid for country",
    "Email Address {email_address} is already taken",
    "{first_name} {last_name} (born {date_of_birth}) of {city} cannot be stored",
    "user {member_number} was refused: {last_name}, {first_name}",
    "Last Name {last_name}: contains what is not allowed",
)
WORDS = {word.strip(string.punctuation).casefold() for template in TEMPLATES for word in template.split()}
NAMES = st.text(st.characters(categories=["Lu", "Ll", "Lo"], max_codepoint=0x9FFF), min_size=1, max_size=12)


@st.composite
def members(draw: st.DrawFn) -> dict[str, str]:
    """Return a member of any name whose values are no word of a refusal."""
    first, last, city = draw(NAMES), draw(NAMES), draw(NAMES)
    assume(not {first.casefold(), last.casefold(), city.casefold()} & WORDS)
    number = f"M-{draw(st.integers(0, 10**9))}"
    return {
        "member_number": number,
        "first_name": first,
        "last_name": last,
        "city": city,
        "email_address": f"{number.lower()}@example.org",
        "postal_code": f"{draw(st.integers(10_000, 99_999))}",
        "date_of_birth": draw(st.dates()).isoformat(),
    }


def ending(member: dict[str, str], said: str, instance_id: int = 1, **told: Any) -> Ending:  # noqa: ANN401
    work = Work(instance_id, 7, 1, member["member_number"], "update", {"member": member}, user={}, **told)
    return conclude(work, Failed(DataError("CrowdTwist", said, 400)), AT_CROWDTWIST)


@given(st.sampled_from(TEMPLATES), st.lists(members(), min_size=2, max_size=5))
@example(TEMPLATES[3], [{**dict.fromkeys(("email_address", "postal_code", "date_of_birth"), ""), **one} for one in (
    {"member_number": "M-1", "first_name": "\u4f1f", "last_name": "\u738b", "city": "A"},
    {"member_number": "M-2", "first_name": "Ann Marie", "last_name": "Lee-Smith", "city": "New York"},
)])  # fmt: skip
def test_what_a_member_is_called_does_not_split_one_cause(template: str, some: list[dict[str, str]]) -> None:
    endings = [ending(one, template.format(**one), index) for index, one in enumerate(some)]
    (cause,) = met(endings)
    assert cause.ids == frozenset(range(len(some)))
    assert not any(one["first_name"] in cause.message.split() for one in some)


def test_another_stage_or_other_words_are_another_cause() -> None:
    said = message_of("Postal Code is invalid", None)
    assert fingerprint(Stage.OIC, said) != fingerprint(Stage.CROWDTWIST, said)
    assert fingerprint(Stage.OIC, said) != fingerprint(Stage.OIC, message_of("Country Code is invalid", None))


@given(st.integers(0, 10**6), st.integers(0, 10**7))
def test_a_flood_is_more_than_the_count_and_more_than_the_share(alike: int, others: int) -> None:
    went_out = alike + others
    assert is_flood(alike, went_out, RULES) == (alike > 50 and alike / max(1, went_out) > 0.2)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_more_alike_never_ends_a_flood_and_more_others_never_make_one(alike: int, went_out: int, more: int) -> None:
    if is_flood(alike, went_out, RULES):
        assert is_flood(alike + more, went_out, RULES)
    else:
        assert not is_flood(alike, went_out + more, RULES)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_switched_off_nothing_is_a_flood(alike: int, went_out: int) -> None:
    off = GuardSettings(same_error_count=0).flood_rules
    assert not off.is_on
    assert not is_flood(alike, went_out, off)


def test_by_default_it_is_on_with_fifty_in_ten_minutes_and_a_fifth() -> None:
    assert GuardSettings().flood_rules == RULES


SAID = "Country Code is invalid"
GONE_WELL = Done("done", {"ct_user_id": 1})
RESULTS: dict[str, Result] = {
    "well": GONE_WELL,
    "refused": Failed(DataError("CrowdTwist", SAID, 400)),
    "failed": Failed(OUTAGE),
}


@given(st.lists(st.sampled_from(sorted(RESULTS)), max_size=30))
def test_what_went_out_is_what_was_taken_or_refused_and_nothing_else(kinds: list[str]) -> None:
    endings = [
        conclude(Work(at, 7, 1, f"M-{at}", "update", {"member": {}}, user={}), RESULTS[kind], AT_CROWDTWIST)
        for at, kind in enumerate(kinds)
    ]
    assert decided(endings) == len(kinds) - kinds.count("failed")
    assert sum(one.fresh for one in met(endings)) == kinds.count("refused")


def test_who_was_told_the_same_before_is_not_counted_again_but_is_held_with_the_others() -> None:
    told = {"told_status": SyncStatus.DATA_ERROR, "told_error": f"{SAID} [instance 12]"}
    (cause,) = met([ending({"member_number": "M-1"}, SAID, 1, **told), ending({"member_number": "M-2"}, SAID, 2)])
    assert (cause.fresh, sorted(cause.ids)) == (1, [1, 2])


def test_one_member_that_is_refused_again_and_again_counts_once_in_a_batch() -> None:
    (cause,) = met([ending({"member_number": "M-1"}, SAID, at) for at in range(60)])
    assert cause.fresh == 1


def test_who_is_held_back_says_why_and_is_told_nothing() -> None:
    before = [ending({"member_number": "M-1"}, SAID, 1), ending({"member_number": "M-2"}, "Other", 2)]
    held, other = held_back(before, {1: 9})
    assert other is before[1]
    assert isinstance(other, Advanced)
    assert isinstance(held, Parked)
    assert (held.state, held.hold_id, held.stage, held.status) == (State.HELD, 9, Stage.CROWDTWIST, None)
    assert (held.error, held.code, held.report_after_s) == (SAID, "data_error", None)
    assert held.line.what == f"held by guard 9, and not told: too many members meet this at once: CrowdTwist: {SAID}"


@given(st.integers(0, 200))
def test_it_is_tried_ever_more_seldom_and_never_less_than_every_two_hours(tries: int) -> None:
    assert RULES.next_try_s(0) == 600
    assert RULES.next_try_s(tries) <= RULES.next_try_s(tries + 1) <= 7_200
