"""What another system says of a member: whole for Siebel, and without the member for whoever may not see people."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.masking import mask_text
from shared.messages import normalised
from shared.personal import CLOSE, OPEN, Company, cut, hidden, marked, unmarked, values_of

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


PERSON = {
    "member_number": "310-7781234",
    "first_name": "Zoë",
    "middle_name": "Mary Jane",
    "last_name": "O'Quux-Lindqvist",
    "date_of_birth": "11/09/1979 00:00:00",
    "city": "Saint-Étienne",
    "postal_code": "K1A 0B1",
    "email_address": "zq79@example.org",
    "Home Phone": "613.555.0143",
    "street_address": "221 Basalt Terrace",
}


@pytest.mark.parametrize(
    "form",
    [
        "Zoë", "ZOË", "zoe", "ZOE", "Mary Jane", "MARY", "Jane", "O'Quux-Lindqvist", "o'quux-lindqvist", "Lindqvist",
        "Zoë O'Quux-Lindqvist", "O'Quux-Lindqvist, Zoë", "O'QUUX-LINDQVIST ZOE", "ZoëO'Quux-Lindqvist",
        "O'Quux-LindqvistZoë", "zoe.o'quux-lindqvist", "Zoe_O'Quux-Lindqvist", "zoe-mary jane",
        "1979-11-09", "11/09/1979", "09/11/1979", "11/9/1979", "9/11/1979", "09.11.1979", "9.11.1979", "11-09-1979",
        "1979/11/09", "19791109", "11091979", "11/09/79", "09-Nov-1979", "9 November 1979", "November 9, 1979",
        "NOV 9 1979", "09-NOV-79", "310953600", "310953600000", "1979-11-09T00:00:00Z", "11/09/1979 00:00:00",
        "Saint-Étienne", "SAINT-ETIENNE", "saint-étienne", "K1A 0B1", "k1a0b1", "K1A-0B1",
        "zq79@example.org", "zq79", "613.555.0143", "+1 613 555 0143", "(613) 555-0143", "613-555-0143", "6135550143",
        "+16135550143", "020 7946 0958",
        "9th November 1979", "Nov 9th, 1979", "9th of November 1979", "791109", "110979", "11-09-79", "79/11/09",
        "1979 Nov 9", "9 Nov 79", "221 Basalt Terrace", "BASALT TERRACE", "Basalt Terrace 221", "Basalt Terrace, 221",
        "221BasaltTerrace", "221%20Basalt%20Terrace", "ZO'Quux-Lindqvist", "zoquuxlindqvist", "o'quux-lindqvistz",
    ],
)  # fmt: skip
@pytest.mark.parametrize("said", ["{} is known", "Member '{}' (locked).", "name={};", "[{}]", "by:{}"])
def test_a_member_is_hidden_in_every_form(said: str, form: str) -> None:
    shown = mask_text(marked(said.format(form), values_of(PERSON)))
    left = shown.replace("***", "")
    for piece in re.findall(r"\w{2,}", form):
        if piece not in {"00", "00Z", "org", "example"}:
            assert piece.casefold() not in left.casefold().replace("known", ""), shown
    assert "***" in shown


@pytest.mark.parametrize(
    "said",
    [
        "Siebel: SBL-DAT-00523: the record was modified [instance 4711234567]",
        "CrowdTwist: answered 503 after 30 s from 192.168.100.200:8443",
        "down since 2026-11-28 05:30:11",
        "member 310-7781234 (ROW_ID 1-2AB3456) is not found",
        "Zoology, Januarys and Lindqvistson are words of their own",
        "attempt 12 of 20, 4 members, 1,234 instances",
    ],
)
def test_what_names_nobody_stays(said: str) -> None:
    assert mask_text(marked(said, values_of(PERSON), ("310-7781234", "1-2AB3456"))) == said


@pytest.mark.parametrize("member", [None, {}, {"first_name": None, "date_of_birth": "", "city": 7}, {"last_name": " "}])
def test_a_member_without_values_has_no_forms(member: dict[str, object] | None) -> None:
    assert values_of(member) == ()


@pytest.mark.parametrize("odd", ["31/31/2020", "yesterday", 10**20, -(10**20), True, "19790230", float("nan")])
def test_a_date_of_birth_that_is_none_is_hidden_as_it_stands(odd: object) -> None:
    if isinstance(odd, str):
        assert mask_text(marked(f"born {odd}!", values_of({"date_of_birth": odd}))) == "born ***!"
    else:
        values_of({"date_of_birth": odd})


OWN = {
    "first_name": "Renée",
    "last_name": "Straßer-Łuczak",
    "date_of_birth": "1979-11-09",
    "city": "Zürich",
    "postal_code": "OX1 9ZZ",
    "email_address": "rl@example.org",
    "street_address": "Quuxgasse 9b",
    "contact": {"Mother's Maiden Name": "Quimby"},
    "Alternate Phone": {"home": "020 7946"},
}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("user=Ren%C3%A9e&x", "user=***&x"),
        ("user=Ren%25C3%25A9e", "user=***"),
        (r"{\"n\": \"Ren\u00e9e\"}", r"{\"n\": \"***\"}"),
        (r"n=REN\u00C9E", "n=***"),
        ("<b>Ren&eacute;e</b> Ren&#233;e &#x52;en&amp;eacute;e", "<b>***</b> *** ***"),
        ("Rene\N{COMBINING ACUTE ACCENT}e!", "***!"),
        ("R e n é e is", "*** is"),
        ("Re nee is", "*** is"),
        ("Ren\n  ee is", "*** is"),
        ("StrasserLuczakRenee", "***"),
        ("userReneeStrasser-Luczak.", "user***."),
        ("STRASSER+LUCZAK", "***"),
        ("Strasser", "***"),
        ("born 9th of Nov", "born 9th of Nov"),
        ("born 1979 - 11 - 09", "born ***"),
        ("born 09%2F11%2F1979", "born ***"),
        ("born 9 Nov 1979.", "born ***."),
        ("in Zuerich, ZURICH", "in ***, ***"),
        ("OX1%209ZZ ox1-9zz OX1  9ZZ", "*** *** ***"),
        ("rl%40example.org or rl\\u0040example.org", "*** or ***"),
        ("at QUUXGASSE 9B", "at ***"),
        ("née Quimby, 0207946", "née ***, ***"),
        ("at 221b Baker Street, London", "at ***, London"),
        ("Reneesance, a reel, 9 Novices 1979", "Reneesance, a reel, 9 Novices 1979"),
    ],
)
def test_a_member_is_hidden_however_it_is_written(said: str, kept: str) -> None:
    found = marked(said, values_of(OWN))
    assert unmarked(found) == said
    assert hidden(found, "***") == kept


def test_what_is_said_to_one_may_name_another_of_its_company() -> None:
    company = Company([(USER, None), (None, OWN), (None, None)])
    assert company.values_in("Email Address is already taken") == ()
    assert "Renée" in company.values_in("held by REN%C3%89E")
    assert "Renée" in company.values_in("born 9.11.79")
    assert hidden(marked("RENEE, born 9.11.79", company.values_in("RENEE, born 9.11.79")), "-") == "-, born -"
