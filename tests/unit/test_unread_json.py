"""JSON of the ledger that is read when somebody looks into it."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.packed_events import Unread
from shared.personal import Company

DOCUMENTS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(0, 9) | st.text() | st.lists(st.text()))


@given(DOCUMENTS)
def test_it_is_what_was_written(document: dict[str, object]) -> None:
    unread = Unread(orjson.dumps(document))
    assert unread == document
    assert (len(unread), list(unread)) == (len(document), list(document))
    assert unread.get("missing there") == document.get("missing there")


def test_nobody_looks_into_it_until_then() -> None:
    unread = Unread(b"{")
    company = Company(lambda: [(None, {"last_name": str(unread["member"])})])
    assert company is not None  # neither has been read: the text is no JSON


def test_a_company_that_is_asked_for_names_its_members() -> None:
    unread = Unread(b'{"member": {"last_name": "Lindqvist"}}')
    asked = []

    def members() -> list[tuple[dict[str, object]]]:
        asked.append(1)
        member = unread["member"]
        assert isinstance(member, dict)
        return [(member,)]

    company = Company(members)
    assert not asked
    assert "Lindqvist" in company.values_in("the name Lindqvist is taken")
    assert not company.values_in("nobody is named")
    assert len(asked) == 1
