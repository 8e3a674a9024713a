"""What is done next about a cycle of addresses: pure, in whatever state it is met."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.lifecycle.cycles import (
    RETURN_EVERY_S,
    STUCK_S,
    CycleEnd,
    CycleFacts,
    CycleState,
    End,
    PutBack,
    StayParked,
    Wait,
    next_step,
)
from shared.settings import Settings

PARKING = CycleFacts(
    CycleState.PARKING,
    is_sending=True,
    is_out=False,
    was_tried=False,
    is_own=False,
    all_moved=False,
    is_whole=True,
    is_moving=False,
    is_taken=False,
    is_back=False,
    still_s=0,
    late_s=-60,
    returned_s=None,
)
PARKED = replace(PARKING, state=CycleState.PARKED, is_sending=False)
RETURNING = replace(PARKED, state=CycleState.RETURNING, returned_s=0)


@pytest.mark.parametrize(
    ("of", "what"),
    [
        (PARKING, Wait()),
        (replace(PARKING, is_out=True, late_s=1), Wait()),
        (replace(PARKING, late_s=0), End(CycleEnd.GIVEN_UP)),
        (replace(PARKING, is_whole=False), End(CycleEnd.GIVEN_UP)),
        (replace(PARKING, is_whole=False, was_tried=True), PutBack()),  # it may be parked
        (replace(PARKING, is_sending=False), PutBack()),  # the errand was given up
        (replace(PARKING, is_own=True), End(CycleEnd.OVERTAKEN)),
        (PARKED, Wait()),
        (replace(PARKED, still_s=STUCK_S), PutBack()),
        (replace(PARKED, still_s=STUCK_S, is_moving=True), Wait()),
        (replace(PARKED, late_s=0, is_moving=True), PutBack()),
        (replace(PARKED, late_s=0, is_taken=True), Wait()),
        (replace(PARKED, late_s=0, returned_s=1), Wait()),
        (replace(PARKED, late_s=0, returned_s=RETURN_EVERY_S), PutBack()),
        (replace(PARKED, is_own=True), End(CycleEnd.OVERTAKEN)),
        (replace(PARKED, is_own=True, all_moved=True), End(CycleEnd.RESOLVED)),
        (replace(RETURNING, is_sending=True), Wait()),
        (replace(RETURNING, is_back=True), End(CycleEnd.PUT_BACK)),
        (RETURNING, StayParked()),
        (replace(RETURNING, is_own=True), End(CycleEnd.OVERTAKEN)),
    ],
)
def test_what_is_done_next(of: CycleFacts, what: object) -> None:
    assert next_step(of) == what


ANY = st.builds(
    CycleFacts,
    st.sampled_from([CycleState.PARKING, CycleState.PARKED, CycleState.RETURNING]),
    *[st.booleans()] * 9,
    st.floats(0, 1e6),
    st.floats(-1e6, 1e6),
    st.none() | st.floats(0, 1e6),
)


@given(ANY)
def test_no_cycle_ends_while_its_member_may_be_parked(of: CycleFacts) -> None:
    what = next_step(of)
    if isinstance(what, End) and not of.is_own:
        is_untouched = of.state is CycleState.PARKING and of.is_sending and not of.was_tried
        assert is_untouched or (of.state is CycleState.RETURNING and of.is_back)
    if of.is_out:
        assert what == Wait()


@pytest.mark.parametrize(("domain", "is_taken"), [("no-email.invalid", False), ("@parked.example.org", True)])
def test_members_are_parked_only_where_crowdtwist_takes_the_address(domain: str, *, is_taken: bool) -> None:
    def read() -> Settings:
        return Settings.model_validate({"oic": {"default_email_domain": domain}, "cases": {"heal_cycles": True}})

    if is_taken:
        assert read().oic.default_email("M-1") == "M-1@parked.example.org"
        return
    with pytest.raises(ValidationError, match=r"HEAL_CYCLES needs a MEMBERSYNC_OIC__DEFAULT_EMAIL_DOMAIN that Crowd"):
        read()
