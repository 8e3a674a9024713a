"""What a mail says: readable as text and as HTML, the steps to take, and nobody's name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from producers.mail.composing import of_change, of_digest
from producers.mail.mailer import message_of, wait_s
from shared.ledger.mail import Change, ComposedMail, Digest, Failure, Kind, LeasedMail
from shared.pipeline import Stage, State
from shared.settings import ApiSettings, MailSettings, OicSettings, Settings
from tests.mailbox import SETTINGS

NOW = datetime(2026, 11, 23, 8, 51, 7, tzinfo=UTC)
OF = Settings(api=ApiSettings(public_url="https://membersync.example.org/"), oic=OicSettings(flow_code="MEMBER_FLOW"))
DOWN = Change(Stage.CROWDTWIST, False, NOW, NOW, "CrowdTwist: could not serve us (HTTP 503)", 12)  # noqa: FBT003
UP = replace(DOWN, is_up=True, down_at=NOW - timedelta(minutes=75), error="")
TAKEN = "Email Address is already taken"


class Text(HTMLParser):
    """What one reads of a page, and the names of its tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(html: str) -> str:
    return squeezed(" ".join(Text(html).words))


def squeezed(text: str) -> str:
    return " ".join(text.split())


def failure(message: str = TAKEN, count: int = 1, **changes: object) -> Failure:
    one = Failure(State.REJECTED, Stage.CROWDTWIST, "data_error", message, count, NOW - timedelta(minutes=9), NOW)
    return replace(one, **changes)  # type: ignore[arg-type]


def dead(stage: Stage, code: str, count: int = 1) -> Failure:
    return failure(f"{stage}: {code}", count, state=State.DEAD, stage=stage, code=code)


def digest(*failures: Failure) -> Digest:
    counts = {state: sum(one.count for one in failures if one.state is state) for state in State}
    return Digest(NOW - timedelta(minutes=15), NOW, counts[State.DEAD], counts[State.REJECTED], failures)


def both(letter: ComposedMail) -> tuple[str, str]:
    """Both parts, as one reads them."""
    return squeezed(letter.plain), read(letter.html)


def test_a_connection_that_is_down_is_told_with_since_why_and_what_to_type() -> None:
    letter = of_change(DOWN, OF, now=NOW)
    assert (letter.kind, letter.subject) == (Kind.DOWN, "membersync: the connection CrowdTwist is down")
    for part in both(letter):
        assert "CrowdTwist does not serve us" in part
        assert "Down since 2026-11-23 08:51:07 UTC" in part
        assert "CrowdTwist: could not serve us (HTTP 503)" in part
        assert "Held by now 12 instances" in part
        assert "Nothing is lost and no attempt is spent" in part
        assert "CT Sync Status = CT Failure" in part
        assert "membersync connections test crowdtwist" in part
        assert 'membersync connections pause crowdtwist --reason "their maintenance"' in part
        assert "https://membersync.example.org/connections" in part
        assert "Written by membersync at 2026-11-23 08:51:07 UTC" in part


@pytest.mark.parametrize(
    ("stage", "setting"),
    [
        (Stage.OIC, "MEMBERSYNC_OIC__USERNAME"),
        (Stage.CROWDTWIST, "MEMBERSYNC_CROWDTWIST__API_KEY"),
        (Stage.SIEBEL, "MEMBERSYNC_SIEBEL__USERNAME"),
    ],
)
def test_who_refuses_our_credentials_is_not_taken_for_one_who_is_away(stage: Stage, setting: str) -> None:
    refused = replace(DOWN, stage=stage, error="refused our credentials (HTTP 401)")
    for part in both(of_change(refused, OF, now=NOW)):
        assert f"Correct {setting}" in part
        assert "restart api and workers" in part
        assert "and api and workers are restarted" in part
        assert "Make sure that" not in part


def test_each_connection_has_its_own_advice() -> None:
    said = {stage: squeezed(of_change(replace(DOWN, stage=stage), OF, now=NOW).plain) for stage in Stage}
    assert "the integration MEMBER_FLOW is active" in said[Stage.OIC]
    assert "CT Sync Status = OIC Failure" in said[Stage.OIC]
    assert "CT Failure" not in said[Stage.SIEBEL]
    assert "CrowdTwist goes on receiving changes" in said[Stage.SIEBEL]


@pytest.mark.parametrize(
    ("lasted_s", "words"),
    [(7, "7 s"), (61, "1 min"), (4500, "1 h 15 min"), (93_600, "1 d 2 h"), (-1, "0 s")],
)
def test_a_connection_that_is_back_is_told_with_how_long_it_was_away(lasted_s: int, words: str) -> None:
    letter = of_change(replace(UP, down_at=NOW - timedelta(seconds=lasted_s)), OF, now=NOW)
    assert letter.subject == f"membersync: the connection CrowdTwist is back after {words}"
    for part in both(letter):
        assert f"Lasted {words}" in part
        assert "There is nothing to do" in part


def test_one_whose_beginning_is_not_known_is_told_to_be_back_without() -> None:
    letter = of_change(replace(UP, down_at=None), OF, now=NOW)
    assert letter.subject == "membersync: the connection CrowdTwist is back"
    assert "Lasted" not in letter.plain


def test_a_digest_has_a_section_for_each_thing_to_do() -> None:
    letter = of_digest(
        digest(
            dead(Stage.CROWDTWIST, "unavailable", 480),
            failure(count=20),
            dead(Stage.CROWDTWIST, "throttled", 7),
            dead(Stage.SIEBEL, "unreachable", 3),
            dead(Stage.OIC, "bug", 2),
        ),
        OF,
        now=NOW,
    )
    assert letter.subject == "membersync: 492 dead letters and 20 Data Errors"
    for part in both(letter):
        titles = [
            "487 dead letters: CT Failure",
            "3 dead letters: Siebel was not told",
            "2 dead letters: membersync itself failed",
            "20 Data Errors",
        ]
        places = [part.rindex(title) for title in titles]
        assert places == sorted(places)
        assert "OIC Failure" not in part
        assert (
            "membersync requeue --stage crowdtwist --code throttled --code unavailable "
            '--reason "CrowdTwist is well again"'
        ) in part
        assert "membersync requeue --code bug" in part
        assert "Correct each member in Siebel" in part
    links = Text(letter.html).links
    page = "https://membersync.example.org/dead-letters"
    assert links == [
        f"{page}?stage=crowdtwist&code=throttled&code=unavailable",
        f"{page}?stage=siebel&code=unreachable",
        f"{page}?code=bug",
        f"{page}?state=rejected",
    ]
    assert all(link in letter.plain for link in links)


@pytest.mark.parametrize(
    ("one", "todo"),
    [
        (dead(Stage.CROWDTWIST, "unauthorised"), "correct MEMBERSYNC_CROWDTWIST__API_KEY"),
        (dead(Stage.CROWDTWIST, "throttled"), "MEMBERSYNC_CROWDTWIST__BUDGET_PER_MINUTE"),
        (dead(Stage.SIEBEL, "unreachable"), "MEMBERSYNC_SIEBEL__BASE_URL"),
        (replace(dead(Stage.CROWDTWIST, "unavailable"), message="CrowdTwist: HTTP 500"), "what one of them sends"),
        (replace(dead(Stage.CROWDTWIST, "unavailable"), message="is not JSON (HTTP 200)"), "a proxy, a gateway"),
        (dead(Stage.OIC, "worker_lost"), "their memory and logs"),
        (failure(), "Correct Email Address of the member's contact"),
    ],
)
def test_a_digest_says_of_each_cause_what_to_do_about_it(one: Failure, todo: str) -> None:
    other = dead(Stage.CROWDTWIST, "outcome_unknown", 9)
    for part in both(of_digest(digest(other, one), OF, now=NOW)):
        assert todo in part
        assert "A requeue asks first what became of it" in part


def test_a_digest_names_ten_causes_and_counts_the_others() -> None:
    letter = of_digest(digest(*(failure(f"cause {word}", 100) for word in "abcdefghijklm")), OF, now=NOW)
    assert letter.subject == "membersync: 1300 Data Errors"
    for part in both(letter):
        assert ("cause j" in part, "cause k" in part) == (True, False)
        assert "300 more, of rarer causes" in part


def test_one_of_a_kind_is_said_in_the_singular() -> None:
    letter = of_digest(digest(dead(Stage.OIC, "unavailable"), failure()), OF, now=NOW)
    assert letter.subject == "membersync: 1 dead letter and 1 Data Error"


def test_the_same_news_give_the_same_letter() -> None:
    assert of_change(DOWN, OF, now=NOW) == of_change(DOWN, OF, now=NOW)


def test_a_hostile_message_is_text_and_no_page() -> None:
    hostile = "</td><script src=//evil.example></script><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    letter = of_digest(digest(failure(hostile)), OF, now=NOW)
    page = Text(letter.html)
    assert not {"script", "img"} & page.tags
    assert not any("evil" in link for link in page.links)
    assert hostile in squeezed("".join(page.words))
    down = of_change(replace(DOWN, error="<script>x</script>\r\nBcc: eve@example.org"), OF, now=NOW)
    assert "script" not in Text(down.html).tags
    assert down.subject == "membersync: the connection CrowdTwist is down"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("CrowdTwist: ann.lee@example.org is taken (HTTP 409)", "CrowdTwist: <e-mail> is taken (HTTP 409)"),
        ("Siebel: 'Ann Lee' of member 1-4XYZ is locked", "Siebel: <value> of member # is locked"),
        ('OIC: "HTTP 200" says HTTP 502 of 5551234', "OIC: <value> says HTTP 502 of #"),
        ("", "(no message)"),
    ],
)
def test_an_error_names_nobody_but_its_status(error: str, told: str) -> None:
    for part in both(of_change(replace(DOWN, error=error), OF, now=NOW)):
        assert f"Last error {told} " in part


def test_a_letter_goes_out_under_one_id_however_often_it_is_sent() -> None:
    of = MailSettings.model_validate(SETTINGS)
    leased = LeasedMail(7, NOW, 1, of_change(DOWN, OF, now=NOW))
    first, again = message_of(leased, of), message_of(replace(leased, tries=2), of)
    assert first["Message-ID"] == again["Message-ID"] == "<membersync.7.1795423867000@example.org>"
    assert message_of(replace(leased, mail_id=8), of)["Message-ID"] != first["Message-ID"]
    assert first["Date"].datetime == NOW
    assert first["Auto-Submitted"] == "auto-generated"
    assert (first["From"], first["To"]) == (SETTINGS["from"], "ann@example.org, bob@example.org")
    assert [part.get_content_type() for part in first.iter_parts()] == ["text/plain", "text/html"]
    assert max(map(len, first.as_bytes().splitlines())) <= 78


@pytest.mark.parametrize(("tries", "longest_s"), [(1, 5), (2, 10), (5, 80), (8, 600), (30_000, 600)])
def test_it_is_tried_again_ever_later_but_not_later_than_ten_minutes(tries: int, longest_s: int) -> None:
    assert (wait_s(tries, 0.0), wait_s(tries, 1.0)) == (0, longest_s)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"recipients": ""}, "MEMBERSYNC_MAIL__RECIPIENTS"),
        ({"from": ""}, "MEMBERSYNC_MAIL__FROM"),
        ({"username": "u"}, "MEMBERSYNC_MAIL__PASSWORD"),
        ({"username": "u", "password": "p"}, "MEMBERSYNC_MAIL__SECURITY"),
        ({"username": "u", "password": "pä", "security": "tls"}, "MEMBERSYNC_MAIL__PASSWORD"),
        ({"recipients": "ann@example.org; bob@example.org"}, "recipients"),
        ({"recipients": "ann@example.org\nBcc: eve@example.org"}, "recipients"),
        ({"from": "membersync"}, "from"),
        ({"from": "a@example.org, b@example.org"}, "from"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(wrong: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        MailSettings.model_validate(SETTINGS | {"host": "mail.example.org"} | wrong)


def test_the_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SETTINGS | {"host": "mail.example.org", "port": "587", "security": "starttls"}).items():
        monkeypatch.setenv(f"MEMBERSYNC_MAIL__{name.upper()}", value)
    found = Settings().mail
    assert (found.sender, found.recipients) == (SETTINGS["from"], "ann@example.org, bob@example.org")
    assert (found.host, found.port, found.security, found.digest_every_s) == ("mail.example.org", 587, "starttls", 900)
