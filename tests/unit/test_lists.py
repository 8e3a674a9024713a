"""Lists as they are written for PostgreSQL: whatever stands in them comes back."""

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format

from shared.ledger.engine import Lists

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def read_back(values: list[str] | list[int], kind: str) -> object:
    transformer = Transformer()
    dumper = transformer.get_dumper(values, PyFormat.AUTO)
    assert isinstance(dumper, Lists)
    written = dumper.dump(values)
    assert written is not None
    return transformer.get_loader(psycopg.adapters.types[kind].array_oid, Format.TEXT).load(written)


@given(st.lists(TEXTS))
@example(['"', "\\", "{}", ",", "NULL", "null", "", " ", "ü\u2003"])
def test_texts_come_back(texts: list[str]) -> None:
    assert read_back(texts, "text") == texts


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_whole_numbers_come_back(numbers: list[int]) -> None:
    assert read_back(numbers, "int8") == numbers


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises(psycopg.DataError):
        read_back(["a\0b"], "text")
