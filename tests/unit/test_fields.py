"""One table of fields: whatever the mapping reads is in it, and in the hash that decides `unchanged`."""

from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from producers.api.description import REQUEST_BODY, SCHEMAS
from producers.intake.formats import read_body
from producers.intake.siebel_message import OPERATIONS, Dialect, Terms
from shared.errors import DataError
from shared.events import Member, MemberEvent, Operation, content_hash, dump_event
from shared.fields import FIELDS, OF_CONTENT, Part
from shared.settings import OicSettings, SiebelSettings
from shared.systems.crowdtwist import echoed
from shared.systems.oic import map_member

SETTINGS = OicSettings()
NAMES = [field.name for field in FIELDS if field.part is not Part.EVENT]
VALUES: dict[str, st.SearchStrategy[str]] = {
    "member_number": st.sampled_from(["M-1", "M-2"]),
    "status": st.sampled_from(["", "Active", "active", "Inactive"]),
    "date_of_birth": st.sampled_from(["", "1979-11-29", "1980-01-01"]),
    "gender": st.sampled_from(["", "M", "F"]),
    "country_code": st.sampled_from(["", "USA", "CAN", "FR", "us"]),
    "postal_code": st.sampled_from(["", "12345", "12345-6789", "K1A 0B1"]),
    "ct_city_id": st.sampled_from(["", "7", "007"]),
}
MEMBERS = st.fixed_dictionaries({name: VALUES.get(name, st.sampled_from(["", "Ann", "Ånn", "Lee"])) for name in NAMES})


def event_of(operation: Operation, member: dict[str, Any]) -> MemberEvent:
    return MemberEvent(operation=operation, occurred_at=datetime(2026, 1, 1, tzinfo=UTC), member=Member(**member))


def user_of(event: MemberEvent) -> dict[str, Any]:
    try:
        return map_member(dump_event(event), SETTINGS)
    except DataError as error:
        return {"error": error.what}


@given(
    st.sampled_from(Operation), MEMBERS, st.sampled_from([name for name in NAMES if name != "member_number"]), st.data()
)
def test_whatever_changes_the_user_changes_the_hash(
    operation: Operation, member: dict[str, str], name: str, data: st.DataObject
) -> None:
    one = event_of(operation, member)
    other = event_of(operation, member | {name: data.draw(VALUES.get(name, st.sampled_from(["", "Ann", "Bob"])))})
    if user_of(one) != user_of(other):
        assert content_hash(one) != content_hash(other)


@given(MEMBERS, st.sampled_from(Operation), st.sampled_from(Operation))
def test_an_operation_that_changes_the_user_changes_the_hash(
    member: dict[str, str], one: Operation, other: Operation
) -> None:
    first, second = event_of(one, member), event_of(other, member)
    if user_of(first) != user_of(second):
        assert content_hash(first) != content_hash(second)


def test_the_table_has_the_fields_of_the_event_in_its_order_and_those_of_the_user() -> None:
    assert list(Member.model_fields) == NAMES
    user = map_member(
        dump_event(event_of(Operation.UPDATE, {"member_number": "M-1", "first_name": "A", "last_name": "B"})), SETTINGS
    )
    assert {name for field in FIELDS for name in field.sent_as} == set(user)
    assert set(OF_CONTENT) == {field.name for field in FIELDS if set(field.sent_as) - {"third_party_id", "is_active"}}


def test_whatever_crowdtwist_shows_of_a_synced_field_is_kept() -> None:
    shown_as = {"country_code": "country", "city_name": "city"}
    synced = {name for field in FIELDS for name in field.sent_as} - {"third_party_id", "city_id"}
    shown = {shown_as.get(name, name): "x" for name in synced}
    assert echoed({"id": 1, "third_party_id": "M-1", **shown, "tier": "gold"}) == shown


def test_every_default_is_a_setting() -> None:
    defaults = {f"default_{field.default}" for field in FIELDS if field.default}
    assert defaults == {name for name in OicSettings.model_fields if name.startswith("default_")}


def test_the_schema_knows_every_label_and_every_word_of_an_operation() -> None:
    message: Any = SCHEMAS["SiebelMessage"]
    described = str(message)
    assert all(repr(field.labels[0]) in described for field in FIELDS)
    assert all(repr(word) in described for word in OPERATIONS)


def test_the_examples_of_every_format_are_the_same_event() -> None:
    content = REQUEST_BODY["content"]
    shown = content["application/json"]["examples"]
    bodies = [("application/json", orjson.dumps(shown[name]["value"])) for name in ("event", "siebel")]
    bodies += [(of, content[of]["example"].encode()) for of in sorted(content.keys() - {"application/json"})]
    terms = Terms(Dialect.of(SiebelSettings()), arrival=None)
    assert len(bodies) == 5
    for of, body in bodies:
        _, event = next(iter(read_body(of, body, terms)))
        assert isinstance(event, MemberEvent), (of, event)
        said = dump_event(event) | event.member.model_dump(include=set(NAMES))
        wanted = {field.name: field.example for field in FIELDS if field.example}
        assert {name: str(said[name]) for name in wanted} == wanted, of
