"""Each class of difference from what the three sides say of a member; and what is no difference."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.operations.reconcile.causes import (
    Cause,
    InCrowdTwist,
    InLedger,
    InSiebel,
    Order,
    Standing,
    Unlike,
    causes,
    stratum_of,
)
from shared.reconciling import DriftClass, Stratum

THEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
NAME = Unlike("first_name", siebel="Ann", ledger="Anna")
CT_NAME = Unlike("first_name", crowdtwist="Hanna", ledger="Ann")
STATUS = Unlike("CT Sync Status", siebel="Success", ledger="CT Failure")
MEMBER = InSiebel(is_member=True)
SYNCED = InLedger(has_event=True, acknowledged=True, acknowledged_at=THEN, was_there=True)
THERE = InCrowdTwist(is_there=True, is_active=True, agrees=True)


def classes(siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger) -> list[str]:
    return [cause.drift_class.value for cause in causes(siebel, crowdtwist, ledger)]


def in_crowdtwist(*, agrees: bool = False, updated_at: datetime | None = None) -> InCrowdTwist:
    return InCrowdTwist(is_there=True, is_active=True, unlike=[CT_NAME], agrees=agrees, updated_at=updated_at)


GONE = InCrowdTwist(is_there=False)
UNSENT = InLedger(has_event=False)
CHANGED = InSiebel(is_member=True, unlike=[NAME], order=Order.NEWER)
STRANGER = InSiebel(is_member=False)
FAILED = InLedger(has_event=True)


@pytest.mark.parametrize(
    ("siebel", "crowdtwist", "ledger", "expected"),
    [
        (MEMBER, THERE, SYNCED, []),
        (MEMBER, None, SYNCED, []),
        (MEMBER, None, UNSENT, ["never_sent"]),
        (MEMBER, GONE, UNSENT, ["never_sent"]),
        (MEMBER, in_crowdtwist(), UNSENT, ["never_sent"]),
        (MEMBER, THERE, UNSENT, ["ledger_behind"]),
        (CHANGED, None, SYNCED, ["missed_event"]),
        (CHANGED, in_crowdtwist(), SYNCED, ["missed_event"]),
        (CHANGED, GONE, SYNCED, ["missed_event"]),
        (CHANGED, THERE, SYNCED, ["ledger_behind"]),
        (MEMBER, GONE, SYNCED, ["gone_at_destination"]),
        (MEMBER, in_crowdtwist(), SYNCED, ["changed_at_destination"]),
        (MEMBER, in_crowdtwist(updated_at=THEN + timedelta(hours=1)), SYNCED, ["changed_at_destination"]),
        (MEMBER, in_crowdtwist(updated_at=THEN - timedelta(hours=1)), SYNCED, ["rolled_back"]),
        (MEMBER, in_crowdtwist(agrees=True), SYNCED, ["ledger_behind"]),
        (MEMBER, THERE, FAILED, ["ledger_behind"]),
        (MEMBER, in_crowdtwist(), FAILED, []),
        (MEMBER, GONE, FAILED, []),
        (MEMBER, GONE, InLedger(has_event=True, acknowledged=True, acknowledged_at=THEN), []),
        (STRANGER, THERE, SYNCED, ["orphan"]),
        (STRANGER, InCrowdTwist(is_there=True, is_active=False), SYNCED, []),
        (STRANGER, GONE, SYNCED, []),
        (STRANGER, None, SYNCED, []),
    ],
)
def test_the_class_of_a_difference(
    siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger, expected: list[str]
) -> None:
    assert classes(siebel, crowdtwist, ledger) == expected


@pytest.mark.parametrize(
    ("siebel", "crowdtwist", "ledger", "values"),
    [
        (MEMBER, None, UNSENT, ("present", None, "no event")),
        (MEMBER, GONE, UNSENT, ("present", "absent", "no event")),
        (MEMBER, GONE, SYNCED, ("present", "absent", "acknowledged")),
        (MEMBER, THERE, FAILED, ("present", "active", "accepted")),
        (STRANGER, THERE, SYNCED, ("absent", "active", "acknowledged")),
        (replace(STRANGER, has_row=True), THERE, SYNCED, ("no member", "active", "acknowledged")),
        (InSiebel(is_member=True, unlike=[Unlike(None)]), None, SYNCED, ("present", None, "acknowledged")),
    ],
)
def test_what_no_field_tells_says_what_each_side_has_of_the_member(
    siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger, values: tuple[str | None, ...]
) -> None:
    (found,) = causes(siebel, crowdtwist, ledger)
    assert (found.field, (found.siebel, found.crowdtwist, found.ledger)) == (None, values)


def test_a_status_that_lies_stands_beside_any_other_difference() -> None:
    liar = InSiebel(is_member=True, status=[STATUS])
    assert classes(liar, None, SYNCED) == ["status_lies"]
    assert classes(liar, in_crowdtwist(), SYNCED) == ["changed_at_destination", "status_lies"]


def test_the_first_field_tells_a_difference_and_the_others_are_named() -> None:
    unlike = [NAME, Unlike("city", siebel="Rome", ledger="Oslo"), Unlike("gender", siebel="F", ledger="M")]
    (found,) = causes(InSiebel(is_member=True, unlike=unlike, order=Order.NEWER), None, SYNCED)
    assert found == Cause(
        DriftClass.MISSED_EVENT,
        "Siebel's row is newer than the newest accepted event; also city, gender",
        "first_name",
        "Ann",
        None,
        "Anna",
    )


@pytest.mark.parametrize(
    ("seconds", "is_earlier", "expected"),
    [
        (-3, False, "changed_at_destination"),
        (-3, True, "rolled_back"),
        (3, True, "rolled_back"),
        (60, True, "changed_at_destination"),
        (-60, False, "rolled_back"),
    ],
)
def test_near_the_acknowledgement_what_it_took_before_tells_a_restore(
    *, seconds: int, is_earlier: bool, expected: str
) -> None:
    found = replace(in_crowdtwist(updated_at=THEN + timedelta(seconds=seconds)), is_earlier=is_earlier)
    assert classes(MEMBER, found, SYNCED) == [expected]


def test_without_dates_what_it_took_before_tells_a_restore() -> None:
    assert classes(MEMBER, replace(in_crowdtwist(), is_earlier=True), SYNCED) == ["rolled_back"]
    undated = InLedger(has_event=True, acknowledged=True, was_there=True)
    assert classes(MEMBER, in_crowdtwist(updated_at=THEN), undated) == ["changed_at_destination"]


SIEBELS = st.builds(
    InSiebel,
    is_member=st.booleans(),
    unlike=st.lists(st.just(NAME), max_size=2),
    order=st.sampled_from(Order),
    status=st.lists(st.just(STATUS), max_size=1),
)
CROWDTWISTS = st.none() | st.builds(
    InCrowdTwist,
    is_there=st.booleans(),
    is_active=st.booleans(),
    unlike=st.lists(st.just(CT_NAME), max_size=2),
    agrees=st.none() | st.booleans(),
    updated_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
LEDGERS = st.builds(
    InLedger,
    has_event=st.booleans(),
    acknowledged=st.booleans(),
    acknowledged_at=st.none() | st.just(THEN),
    was_there=st.booleans(),
)


@given(SIEBELS, CROWDTWISTS, LEDGERS)
def test_a_member_differs_in_its_content_in_one_way_and_the_evidence_names_nobody(
    siebel: InSiebel, crowdtwist: InCrowdTwist | None, ledger: InLedger
) -> None:
    found = causes(siebel, crowdtwist, ledger)
    assert len(found) <= 2
    assert [cause.drift_class for cause in found[1:]] in ([], [DriftClass.STATUS_LIES])
    assert not any(name in cause.evidence for cause in found for name in ("Ann", "Anna", "Hanna"))


@given(SIEBELS, LEDGERS)
def test_what_crowdtwist_alone_can_tell_is_never_said_without_asking_it(siebel: InSiebel, ledger: InLedger) -> None:
    assert {cause.drift_class for cause in causes(siebel, None, ledger)} <= {
        DriftClass.NEVER_SENT,
        DriftClass.MISSED_EVENT,
        DriftClass.STATUS_LIES,
    }


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (Standing(in_siebel=True, in_ledger=True), Stratum.LONG_UNTOUCHED),
        (Standing(in_siebel=True, in_ledger=True, is_recent=True, is_requeued=True), Stratum.REQUEUED),
        (Standing(in_siebel=True, in_ledger=True, is_unsure=True, is_requeued=True), Stratum.UNSURE),
        (Standing(in_siebel=True, in_ledger=True, differs_in_siebel=True, is_given_up=True), Stratum.NEWER_IN_SIEBEL),
        (Standing(in_siebel=True, in_ledger=False), Stratum.NEVER_IN_LEDGER),
        (Standing(in_siebel=False, in_ledger=True, is_recent=True), Stratum.NOT_IN_SIEBEL),
        (Standing(in_siebel=False, in_ledger=False), Stratum.ONLY_IN_FILE),
    ],
)
def test_the_stratum_is_the_first_that_applies(standing: Standing, expected: Stratum) -> None:
    assert stratum_of(standing) is expected
