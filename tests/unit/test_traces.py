"""What names one person is found in the words of others, and nothing else is taken for it."""

import re

import pytest

from shared.personal import CLOSE, OPEN
from shared.traces import Traces

ANNA = {"first_name": "Anna", "last_name": "Quux", "email_address": "Anna.Quux@example.org"}
OF_ANNA = Traces(["296-1", "1-ROW", "7"], [ANNA])


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("waits for member 296-1, whose change", "waits for member ***, whose change"),
        ("member 296-12 and 1-296-1", "member 296-12 and 1-296-1"),
        ("anna.quux@EXAMPLE.org is taken", "*** is taken"),
        ("Quux, Anna called; Anna Quux again", "*** called; *** again"),
        (f"{OPEN}Anna{CLOSE} {OPEN}Quux{CLOSE} was refused", f"{OPEN}***{CLOSE} was refused"),
        ("Anna Miller, and Jim Quux", "Anna Miller, and Jim Quux"),
        ("attempt 7 of member 7", "attempt 7 of member ***"),
        ("GET /v2/users/anna.quux%40example.org", "GET /v2/users/***"),
        ("nobody", "nobody"),
    ],
)
def test_words_lose_what_names_the_person_and_nothing_else(said: str, left: str) -> None:
    assert OF_ANNA.without(said) == left


def test_documents_lose_it_wherever_it_stands() -> None:
    document = {"members": ["296-1", "8"], "n": 7, "of": {"id": 7, "city": "Ulm"}, "296-1": [{"count": 7}]}
    left = {"members": ["***", "8"], "n": 7, "of": {"id": None, "city": "Ulm"}, "***": [{"count": 7}]}
    assert OF_ANNA.without(document) == left


def test_of_an_object_that_is_the_persons_nothing_stays() -> None:
    user = {"third_party_id": "296-1", "first_name": "Anna", "is_active": True, "more": {"x": 1}}
    left = {"third_party_id": "***", "first_name": "***", "is_active": None, "more": None}
    assert OF_ANNA.without([{"response": user}, {"id": 1}]) == [{"response": left}, {"id": 1}]


def test_a_search_takes_signs_for_themselves() -> None:
    assert re.escape("a.b|c") in Traces(["a.b|c"]).pattern
    for said in ("of 296-1", "ANNA.QUUX@example.org", f"Anna{CLOSE} {OPEN}Quux", "Quux, Anna"):
        assert re.search(OF_ANNA.pattern, said, re.IGNORECASE)
    assert not re.search(Traces([""]).pattern, "anything")


def test_whoever_has_no_id_is_named_by_nothing() -> None:
    assert Traces([""]).without("anything 1") == "anything 1"
