"""What another system says of a member: whole for Siebel, and without the member for whoever may not see people."""

from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.causes import normalised
from shared.masking import mask_text
from shared.personal import CLOSE, OPEN, cut, hidden, marked, unmarked, values_of

USER = {"first_name": "Zed", "last_name": "O'Bee", "postal_code": "10042", "date_of_birth": 312681600, "gender_id": 2}
SAID = "Email zed@example.org of ZED O'Bee (born 1979-11-29, 10042) is taken; Zedekiah is not"


def test_the_members_own_values_are_marked_as_words_of_their_own() -> None:
    found = marked(SAID, values_of(USER))
    assert hidden(found, "***") == "Email zed@example.org of *** *** (born ***, ***) is taken; Zedekiah is not"
    assert unmarked(found) == SAID


def test_whoever_may_not_see_people_sees_stars_and_causes_are_the_same_for_everybody() -> None:
    other = {"first_name": "Ann", "last_name": "Lee", "postal_code": "20001"}
    theirs = "Email ann@example.org of Ann Lee (born 1980-01-02, 20001) is taken; Zedekiah is not"
    assert not {"zed ", "bee", "1979", "10042"} & set(mask_text(marked(SAID, values_of(USER))).lower().split())
    assert "Bee" not in mask_text(marked(SAID, values_of(USER)))
    causes = {normalised(marked(said, values_of(of))) for said, of in ((SAID, USER), (theirs, other))}
    assert len({cause.replace("#", "<value>") for cause in causes}) == 1


def test_marks_of_others_are_taken_away() -> None:
    assert marked(f"a{OPEN}b{CLOSE}c", ()) == "abc"
    assert hidden(f"a {OPEN}never closed", "***") == "a ***"


@given(st.text(max_size=60), st.lists(st.text(min_size=2, max_size=8), max_size=4), st.integers(0, 60))
def test_nothing_is_lost_and_a_cut_is_of_what_is_seen(text: str, values: list[str], room: int) -> None:
    text = unmarked(text)
    found = marked(text, values)
    assert unmarked(found) == text
    assert unmarked(cut(found, room)) == text[:room]
    assert not {OPEN, CLOSE} & set(hidden(cut(found, room), ""))
