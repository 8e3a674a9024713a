"""How pages say durations and sentences: what every template leaves to the filters."""

import pytest

from producers.console.rendering import coded, span
from shared.errors import without_kind


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (-1, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (600, "10 min"),
        (605, "10 min 5 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_has_no_empty_part(seconds: float | None, said: str) -> None:
    assert span(seconds) == said


@pytest.mark.parametrize(
    ("words", "html"),
    [
        ("see `membersync doctor`", "see <code>membersync doctor</code>"),
        ("`a` or `<b>`", "<code>a</code> or <code>&lt;b&gt;</code>"),
        ("<i> & nothing else", "&lt;i&gt; &amp; nothing else"),
    ],
)
def test_what_is_typed_is_set_as_code_and_nothing_is_markup(words: str, html: str) -> None:
    assert str(coded(words)) == html


def test_words_of_ours_lose_the_kind_of_error() -> None:
    assert without_kind("Value error, must be one of a, b") == without_kind("must be one of a, b")
