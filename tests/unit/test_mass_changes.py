"""What an event shows of its member and takes from it, and when that is taken from too many: pure."""

from typing import Any

import pytest

from shared.events import MemberEvent, parse_event
from shared.fields import OF_CONTENT, NullPolicy
from shared.guard_settings import GuardSettings
from shared.lifecycle.mass_changes import ACTIVE, PLACES, Change, is_mass, shown, shown_of, spared_by, words

RULES = GuardSettings().change_rules
FULL = {"status": "Active", "last_name": "Lee", "email_address": "ann@example.org", "city": "York"}


def event(operation: str = "update", **member: str) -> MemberEvent:
    raw: dict[str, Any] = {
        "operation": operation,
        "occurred_at": "2026-11-23T08:51:00Z",
        "member": {"member_number": "M-1", **member},
    }
    return parse_event(raw, max_bytes=64_000)


def test_every_synced_field_has_a_place_of_its_own_that_never_moves() -> None:
    assert set(PLACES) == set(OF_CONTENT)
    assert (PLACES["language"], PLACES["email_address"], PLACES["ct_city_id"]) == (2, 64, 2048)


def test_what_is_filled_and_active_is_shown_alike_of_events_and_of_payloads() -> None:
    expected = ACTIVE | PLACES["last_name"] | PLACES["email_address"] | PLACES["city"]
    assert shown(event(**FULL), None) == shown_of("update", FULL) == expected
    assert shown(event("enroll"), None) == shown_of("enroll", {}) == ACTIVE
    assert shown(event("delete"), expected) == expected & ~ACTIVE, "a deletion says nothing of the fields"
    assert Change.DEACTIVATION.mask | Change.BLANKING.mask == (1 << 12) - 1


@pytest.mark.parametrize(
    ("members", "programme", "held"), [(10, 20, False), (11, 20, True), (20, 1000, False), (21, 1000, True)]
)
def test_more_than_the_share_and_than_the_least_is_a_mass_change(members: int, programme: int, *, held: bool) -> None:
    assert {is_mass(change, members, programme, RULES) for change in Change} == {held}
    off = GuardSettings(deactivations_share=1, blanked_share=1).change_rules
    assert not is_mass(Change.BLANKING, members, 0, off)


def test_a_field_that_is_kept_or_has_a_default_loses_nothing() -> None:
    nulls = {"city": NullPolicy.KEEP, "language": NullPolicy.DEFAULT, "gender": NullPolicy.CLEAR}
    assert spared_by(nulls) == PLACES["city"] | PLACES["language"]


def test_words_name_the_fields_that_become_empty_the_commonest_first() -> None:
    email, city = PLACES["email_address"], PLACES["city"]
    assert words(Change.BLANKING, {email: 3, email | city: 2}) == "fields become empty: email_address, city"
    assert words(Change.BLANKING, {Change.BLANKING.mask: 1}).endswith(" and 6 more")
    assert words(Change.DEACTIVATION, {ACTIVE: 5}) == "members become inactive"
