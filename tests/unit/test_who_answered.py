"""An answer that is not the system's own says who gave it, and nothing of the member."""

import pytest

from producers.operations import advice
from shared.messages import normalised
from shared.pipeline import Stage
from shared.systems.answers import Answer, verdict, who_answered

URL = "https://api.crowdtwist.example:8443/base"


@pytest.mark.parametrize(
    ("server", "body", "said"),
    [
        ("nginx/1.25", b"<html><TITLE>\n Sign  in &amp; go</title>", "nginx at api.crowdtwist.example, Sign in & go"),
        ("", b"<html>no title", "api.crowdtwist.example"),
        (None, b"", "api.crowdtwist.example"),
        ("\x1b[31mred", b"", "api.crowdtwist.example"),
        (
            None,
            b"<title>\xff\xfe</title>",
            "api.crowdtwist.example, \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}",
        ),
        (None, b"<title>" + b"x" * 200, "api.crowdtwist.example, " + "x" * 60),
        (
            None,
            b"<title>" + b"no way " * 8 + b"Lindqvist</title>",
            "api.crowdtwist.example, " + ("no way " * 8).strip(),
        ),
        ("squid", b"hello ann.lee@example.org", "squid at api.crowdtwist.example"),
    ],
)
def test_who_answered_is_said_in_a_few_words(server: str | None, body: bytes, said: str) -> None:
    assert who_answered(URL, server, body) == said


def test_no_address_of_a_person_is_shown() -> None:
    assert "ann.lee@example.org" not in who_answered(URL, None, b"<title>Welcome ann.lee@example.org</title>")


def test_it_stands_in_the_error_in_its_cause_and_the_advice_points_at_it() -> None:
    answer = Answer(200, None, sender=who_answered(URL, "squid", b"<title>Sign in</title>"))
    error = verdict("CrowdTwist", answer)
    assert error is not None
    assert normalised(str(error)).endswith("squid at api.crowdtwist.example, Sign in")
    assert "what the message shows" in advice.for_dead_letter(Stage.CROWDTWIST, error.code, str(error))


@pytest.mark.parametrize("place", ["127.0.0.1", "gw1.corp.example", "fd00::1", "api-2.crowdtwist.example"])
@pytest.mark.parametrize("server", [None, "nginx/1.25"])
@pytest.mark.parametrize("through", ["", " (through the proxy http://10.0.0.5:3128)"])
@pytest.mark.parametrize("status", [200, 302])
def test_a_cause_shows_the_host_and_the_proxy_that_answered(
    place: str, server: str | None, through: str, status: int
) -> None:
    url = f"https://[{place}]:8443/" if ":" in place else f"https://{place}:8443/"
    sender = who_answered(url, server, b"<title>Ref 4711</title>")
    error = verdict("CrowdTwist", Answer(status, None, through=through, sender=sender))
    at = f"nginx at {place}" if server else place
    assert normalised(str(error)).endswith(f"(HTTP {status}){through}: {at}, Ref #")


@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_cause_shows_the_proxy_on_the_way(status: int) -> None:
    through = " (through the proxy http://proxy1:3128)"
    assert normalised(str(verdict("CrowdTwist", Answer(status, {}, through=through)))).endswith(through)


@pytest.mark.parametrize(
    "words",
    [
        "CrowdTwist: Email of 613-555-0143 is taken (HTTP 400): 4711",
        "CrowdTwist: refused 'is not JSON (HTTP 200): 10042'",
        "CrowdTwist: said answered something that is not JSON (HTTP 200): 10042",
    ],
)
def test_what_others_say_is_no_host(words: str) -> None:
    assert not {"613", "4711", "10042"} & set(normalised(words).replace("-", " ").replace("'", " ").split())
