"""Of which kind a Data Error is, who waits for whom, and how a case ends: pure, whatever is thrown at it."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.cases import (
    LONGEST_PATH,
    CaseKind,
    Closing,
    Holder,
    LookUp,
    Refused,
    Standing,
    closing,
    field_named,
    is_about_address,
    is_coming,
    judge,
    path,
    unblocked,
)
from shared.pipeline import Stage, State, SyncStatus
from shared.published_rules import broken, character_said

TAKEN = "Email Address is already taken"
USER = {
    "first_name": "Ann",
    "last_name": "Lee",
    "email_address": "ann@example.org",
    "postal_code": "10010",
    "country_code": None,
}


def refused(words: str, **changes: object) -> Refused:
    return Refused(words, {**USER, **changes}, {})


def holder(*, number: str | None = "A-1", ours: bool = True, active: bool | None = True, moves: bool = False) -> Holder:
    return Holder(number, ours, active, moves)


@pytest.mark.parametrize(
    ("held", "looked", "in_ring", "kind"),
    [
        (holder(), LookUp.FOUND, False, CaseKind.TAKEN_BY_ACTIVE),
        (holder(active=None), None, False, CaseKind.TAKEN_BY_ACTIVE),
        (holder(active=False), LookUp.FOUND, False, CaseKind.TAKEN_BY_INACTIVE),
        (holder(moves=True), None, False, CaseKind.CHAIN),
        (holder(moves=True, active=False), None, False, CaseKind.CHAIN),
        (holder(moves=True), None, True, CaseKind.CYCLE),
        (holder(number=None, ours=False), LookUp.FOUND, False, CaseKind.OUTSIDE_HOLDER),
        (holder(number="9", ours=False, active=False), LookUp.FOUND, False, CaseKind.OUTSIDE_HOLDER),
        (None, LookUp.NOBODY, False, CaseKind.OUTSIDE_HOLDER),
        (None, LookUp.OWN, False, CaseKind.OTHER),
        (None, None, False, CaseKind.OTHER),
    ],
)
def test_who_has_the_address_decides(held: Holder | None, looked: LookUp | None, *, in_ring: bool, kind: str) -> None:
    finding = judge(refused(TAKEN), held, looked, in_ring=in_ring)
    assert (finding.kind, finding.field) == (kind, "email_address")
    assert is_about_address(finding)


@pytest.mark.parametrize(
    ("words", "changes", "kind", "field", "character"),
    [
        ("Email Address is invalid", {"email_address": "o'brien@example.org"}, "format", "email_address", "'"),
        ("Email Address is invalid", {"email_address": "ann@example.technology"}, "format", "email_address", None),
        ("First Name is invalid", {"first_name": "Ann;"}, "format", "first_name", ";"),
        ("Missing the last_name parameter", {"last_name": None}, "missing", "last_name", None),
        ("Postal Code is invalid", {"postal_code": "1001O"}, "format", "postal_code", "O"),
        ("Postal Code is invalid", {}, "format", "postal_code", None),
        ("Third Party Id is already taken", {"third_party_id": "1"}, "other", "member_number", None),
        ("Nope", {}, "other", None, None),
        ("Nope", {"first_name": ""}, "missing", "first_name", None),
        ("Nope", {"last_name": "Lee*"}, "format", "last_name", "*"),
    ],
)
def test_the_value_decides(
    words: str, changes: dict[str, object], kind: str, field: str | None, character: str | None
) -> None:
    finding = judge(refused(words, **changes), None, None, in_ring=False)
    assert (finding.kind, finding.field, finding.character) == (kind, field, character)


@pytest.mark.parametrize(
    ("words", "kind", "field"),
    [
        ("Contact Last Name is missing", "missing", "last_name"),
        ("Primary Postal Code is missing; a Canadian address needs one of the form LXL XLX", "missing", "postal_code"),
        ("Date of Birth is not a date", "format", "date_of_birth"),
        ("CT City Id has more than 15 digits", "format", "ct_city_id"),
    ],
)
def test_what_could_not_be_mapped_is_told_by_the_event(words: str, kind: str, field: str) -> None:
    member = {"first_name": "Ann", "last_name": "", "date_of_birth": "1979-02-30", "ct_city_id": "9" * 16}
    finding = judge(Refused(words, None, member), None, None, in_ring=False)
    assert (finding.kind, finding.field) == (kind, field)


def test_what_siebel_has_and_the_flow_left_out_is_not_missing() -> None:
    of = Refused("Country Code is invalid", USER, {"country_code": "US"})
    finding = judge(of, None, None, in_ring=False)
    assert (finding.kind, finding.field) == ("format", "country_code")
    filled = Refused("Nope", {**USER, "first_name": None}, {"first_name": "Ann"})
    assert judge(filled, None, None, in_ring=False).kind == "other"


WORDS = st.one_of(st.text(max_size=60), st.sampled_from([TAKEN, "Email Address is invalid", "Missing the x parameter"]))
VALUES = st.dictionaries(st.sampled_from([*USER, "city_id", "middle_name"]), st.one_of(st.none(), st.text(max_size=12)))
HOLDERS = st.one_of(
    st.none(),
    st.builds(Holder, st.one_of(st.none(), st.just("A-1")), st.booleans(), st.sampled_from([None, True, False]),
              st.booleans()),
)  # fmt: skip


REFUSALS = st.builds(Refused, WORDS, st.one_of(st.none(), VALUES), VALUES)


@given(of=REFUSALS, held=HOLDERS, looked=st.sampled_from([None, *LookUp]), in_ring=st.booleans())
def test_every_refusal_has_one_kind_and_no_value_in_it(
    of: Refused, held: Holder | None, looked: LookUp | None, *, in_ring: bool
) -> None:
    finding = judge(of, held, looked, in_ring=in_ring)
    assert finding.character is None or len(finding.character) == 1
    assert (finding.rule is None) or finding.kind is CaseKind.FORMAT
    if finding.kind is CaseKind.CYCLE:
        assert in_ring
    if finding.kind in (CaseKind.FORMAT, CaseKind.MISSING):
        assert finding.field is not None
        assert not is_about_address(finding)


MEMBERS = [f"M-{at}" for at in range(7)]
EDGES = st.dictionaries(st.sampled_from(MEMBERS), st.sampled_from(MEMBERS)).map(
    lambda edges: {member: to for member, to in edges.items() if member != to}
)


@given(EDGES)
def test_who_waits_is_counted_as_one_would_by_hand(edges: dict[str, str]) -> None:
    def leads_to(member: str, other: str) -> bool:
        at, steps = edges.get(member), 0
        while at is not None and steps <= len(MEMBERS):
            if at == other:
                return True
            at, steps = edges.get(at), steps + 1
        return False

    by_hand = {one: sum(leads_to(other, one) for other in MEMBERS if other != one) for one in MEMBERS}
    assert unblocked(edges) == {one: count for one, count in by_hand.items() if count}


@given(EDGES, st.sampled_from(MEMBERS))
def test_a_path_follows_who_has_what_and_knows_a_ring(edges: dict[str, str], member: str) -> None:
    found, in_ring = path(member, edges)
    assert len(set(found)) == len(found) <= LONGEST_PATH
    assert member not in found
    for one, after in zip((member, *found), found, strict=False):
        assert edges[one] == after
    assert in_ring == (bool(found) and edges.get(found[-1]) == member)


def test_long_chains_and_rings_cost_little() -> None:
    chain = {f"{at}": f"{at + 1}" for at in range(50_000)}
    assert unblocked(chain)["50000"] == 50_000
    ring = chain | {"50000": "0"}
    assert set(unblocked(ring).values()) == {50_000}
    assert len(path("0", chain)[0]) == LONGEST_PATH
    assert not path("0", ring)[1]


STATES = [None, *State]


def standing(state: State | None, *, same: bool = True, operation: str = "update", **more: bool) -> Standing:
    return Standing(
        state,
        Stage.SIEBEL,
        SyncStatus.DATA_ERROR,
        operation,
        same,
        more.get("content", False),
        more.get("retried", False),
    )


@pytest.mark.parametrize(
    ("of", "how"),
    [
        (standing(State.REJECTED), None),
        (standing(State.RUNNING, same=False), None),
        (standing(State.DEAD), None),
        (standing(State.COMPLETED, same=False), Closing.CORRECTED),
        (standing(State.COMPLETED, same=False, content=True), Closing.SENT_AGAIN),
        (standing(State.COMPLETED, same=False, operation="delete"), Closing.DELETED),
        (standing(State.COMPLETED), Closing.SENT_AGAIN),
        (standing(State.COMPLETED, retried=True), Closing.HOLDER_MOVED),
        (standing(State.DEAD, same=False), Closing.OVERTAKEN),
        (standing(State.DISCARDED), Closing.DISCARDED),
        (standing(None), Closing.PRUNED),
    ],
)
def test_a_case_ends_where_its_condition_is_gone(of: Standing, how: Closing | None) -> None:
    assert closing(of) == how


def test_what_is_coming_is_open() -> None:
    for state, stage, same in product(STATES, [None, *Stage], [True, False]):
        of = Standing(state, stage, SyncStatus.DATA_ERROR, "update", same, is_same_content=False, retried=False)
        if is_coming(of):
            assert closing(of) is None


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("EMAIL ADDRESS is already taken", "email_address"),
        ("your e-mail is in use", "email_address"),
        ("Missing the city_id parameter", "ct_city_id"),
        ("City is not allowed with a US Postal Code", "postal_code"),
        ("Third Party Id is invalid", "member_number"),
        ("email_addresses", None),
        ("", None),
    ],
)
def test_a_refusal_names_a_field_in_whoevers_words(words: str, field: str | None) -> None:
    assert field_named(words) == field


@pytest.mark.parametrize(
    ("address", "character"),
    [
        ("o'brien@example.org", "'"),
        ("jürgen@example.org", "ü"),
        ("a b@example.org", " "),
        (".ann@example.org", "."),
        ("ann..lee@example.org", "."),
        ("ann@-example.org", "-"),
        ("ann@exam_ple.org", "_"),
        ("ann@lee@example.org", "@"),
        ("ann@example", None),
        ("ann@example.technology", None),
        ("ann@example.c0m", None),
        ("ann@example..org", "."),
        ("ann", None),
        ("@example.org", None),
    ],
)
def test_an_address_breaks_one_rule(address: str, character: str | None) -> None:
    (flaw,) = broken({"email_address": address})
    assert (flaw.field, flaw.character) == ("email_address", character)
    assert flaw.rule


@pytest.mark.parametrize("address", ["a@b.de", "a.b_c%d+e-f@g-h.example.museum", "A1@B2.CO"])
def test_an_address_by_the_rules_breaks_none(address: str) -> None:
    assert broken({"email_address": address}) == []


@given(
    st.from_regex(
        r"\A[a-z0-9_%+-]{1,8}(\.[a-z0-9_%+-]{1,8}){0,2}@[a-z0-9]{1,8}(\.[a-z0-9-]{0}[a-z0-9]{1,5}){0,2}\.[a-z]{2,6}\Z"
    )
)
def test_what_is_built_by_the_rules_breaks_none(address: str) -> None:
    assert broken({"email_address": address}) == []


@pytest.mark.parametrize(
    ("user", "fields"),
    [
        ({"postal_code": "10010-1234"}, []),
        ({"postal_code": "K1A 0B1"}, ["postal_code"]),
        ({"postal_code": "K1A 0B1", "country_code": "CA"}, []),
        ({"postal_code": "K1A0B1", "country_code": "CA"}, ["postal_code"]),
        ({"postal_code": "anything", "country_code": "GB"}, []),
        ({"first_name": "Ren\u00e9e", "last_name": "O\u2019Neil-Smith, Jr."}, []),
        ({"first_name": "A/B", "last_name": "C\tD"}, ["first_name", "last_name"]),
    ],
)
def test_names_and_postal_codes(user: dict[str, str], fields: list[str]) -> None:
    assert [one.field for one in broken(user)] == fields


def test_a_character_is_said_so_that_it_is_found() -> None:
    assert character_said("'") == "' (APOSTROPHE, U+0027)"
    assert character_said("\u00a0") == "(NO-BREAK SPACE, U+00A0)"
    assert character_said("\t") == "(U+0009)"
