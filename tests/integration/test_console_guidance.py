"""Pages say what is to be done, by whom if by anybody, and what Siebel really shows."""

import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from producers.console.jobs import outcome
from producers.operations.advice import when_down
from shared.ledger.jobs import Job
from shared.pipeline import Stage
from shared.settings import Settings
from tests.console import link, logged_in, post, said
from tests.mailing import goes_down
from tests.road import ALWAYS_DOWN, Road, start

CAUSE = {"kind": "requeue", "state": "dead", "stage": "crowdtwist", "code": "unavailable"}


def message(road: Road) -> str:
    return str(road.sql("select error from instance where state = 'dead' limit 1")[0])


def sent_one(oscar: httpx.Client, road: Road) -> tuple[str, int]:
    """Send one dead letter from its cause's card; give the address of what shows it, and the job."""
    answer = post(oscar, "/dead-letters", "/dead-letters/canary", **CAUSE, message=message(road), back="/dead-letters")
    assert answer.status_code == 303
    address = answer.headers["location"]
    return address, int(urlsplit(address).path.rpartition("/")[2])


def test_one_is_sent_from_its_causes_card_and_then_the_rest_is_offered(oscar: httpx.Client, road: Road) -> None:
    road.dead(*[f"M-{number}" for number in range(5)])
    for path in ("/", "/dead-letters"):
        assert 'action="/dead-letters/canary"' in oscar.get(path).text
    address, job = sent_one(oscar, road)
    assert road.job(job).total == 1
    assert "Requeue the rest" not in oscar.get(address).text
    road.until_over(job)
    page = oscar.get(address)
    assert "Finished: it succeeded." in said(page)
    rest = oscar.get(link(page, "Requeue the rest …"))
    assert "Requeue 4 instances" in said(rest)
    assert road.sql("select who, what, answer, count from operator_action") == [("oscar", "requeue", f"job {job}", 1)]


def test_one_that_fails_again_keeps_the_rest_and_says_so(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    address, job = sent_one(oscar, road)
    road.until_over(job, ALWAYS_DOWN)
    words = said(oscar.get(address))
    assert "failed again." in words
    assert "Nothing else was sent" in words
    assert road.states() == {"dead": 3}


def test_the_live_page_of_one_that_was_sent_offers_the_rest_too(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    address, _ = sent_one(oscar, road)
    (live,) = re.findall(r'data-live="([^"]*)"', oscar.get(address).text)
    assert parse_qs(urlsplit(unescape(live)).query)["rest"][0].startswith("/dead-letters/plan?")


def test_the_way_to_the_rest_leads_nowhere_else(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    job = start(road)
    road.until_over(job)
    assert "evil.example" not in oscar.get(f"/jobs/{job}?rest=https://evil.example/").text
    assert "evil.example" not in oscar.get(f"/jobs/{job}?rest=//evil.example/").text


def test_a_viewer_sends_none(client: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    vera = logged_in(client, "tok-vera")
    assert "/dead-letters/canary" not in vera.get("/").text
    answer = post(vera, "/", "/dead-letters/canary", **CAUSE, message=message(road))
    assert answer.status_code == 403
    assert road.sql("select denied from operator_action") == [True]
    assert road.sql("select count(*) from job") == [0]


def test_a_stopped_requeue_offers_the_rest_and_calls_nothing_put_back_a_trouble(
    oscar: httpx.Client, road: Road
) -> None:
    road.dead(*[f"M-{number}" for number in range(5)])
    job = start(road)
    road.until_over(job, ALWAYS_DOWN)
    page = oscar.get(f"/jobs/{job}")
    words = said(page)
    assert "Stopped: of 5, 1 failed again, 4 put back as before." in words
    assert words.count("put back") == 3  # the sentence, the tally, the offer; none in the troubles
    plan = oscar.get(link(page, "Requeue the rest …"))
    assert "Requeue 4 instances" in said(plan)


@pytest.mark.parametrize(
    ("kind", "counts", "sentence"),
    [
        ("requeue", {"succeeded": 12}, "Finished: all 12 succeeded."),
        ("requeue", {"succeeded": 10, "failed": 2}, "Finished: of 12, 10 succeeded, 2 failed again."),
        ("requeue", {"succeeded": 1}, "Finished: it succeeded."),
        ("discard", {"closed": 3}, "Finished: all 3 discarded."),
        ("requeue", {"closed": 1, "refused": 1}, "Finished: of 2, 1 closed, as overtaken, 1 refused."),
    ],
)
def test_a_finished_job_says_what_it_came_to(road: Road, kind: str, counts: dict[str, int], sentence: str) -> None:
    road.dead("M-1")
    job = road.job(start(road))
    values = {name: getattr(job, name) for name in Job.__dataclass_fields__}
    changed = {"kind": kind, "state": "done", "total": sum(counts.values())}
    assert outcome(Job(**values | changed | {"counts": dict.fromkeys(job.counts, 0) | counts})) == sentence


def test_a_status_that_nobody_was_told_is_not_shown_as_siebels(oscar: httpx.Client, road: Road) -> None:
    road.accept("M-1")
    road.travel()
    road.accept("M-1", minute=1)
    road.travel(ALWAYS_DOWN, attempts_max=9)
    assert road.sql("select state, status from instance order by id") == [
        ("completed", "Success"),
        ("waiting", "CT Failure"),
    ]
    words = said(oscar.get("/instances/2"))
    assert re.search(r"Siebel shows Success told by instance 1 .* Would be told CT Failure: nobody", words)
    assert "Nothing to do: it is tried again by itself" in words
    listed = said(oscar.get("/instances"))
    assert "not told yet: CT Failure" in listed
    road.sql("update member set told_id = 2, told_status = 'CT Failure'")
    assert "not told yet" not in said(oscar.get("/instances"))
    assert "Would be told" not in said(oscar.get("/instances/2"))


def test_one_that_is_held_says_that_there_is_nothing_to_do_and_offers_more_than_to_discard_it(
    oscar: httpx.Client, road: Road
) -> None:
    road.accept("M-1")
    goes_down(road)
    road.sql("update instance set state = 'held', stage = 'crowdtwist'")
    page = oscar.get("/instances/1")
    assert "Nothing to do: it goes out by itself when CrowdTwist is back" in said(page)
    assert 'action="/connections/crowdtwist/test"' in page.text
    assert 'href="/connections#crowdtwist"' in page.text


@pytest.mark.parametrize("page", ["/", "/connections"])
@pytest.mark.parametrize("error", ["CrowdTwist: could not serve us", "CrowdTwist: refused our credentials (HTTP 403)"])
def test_the_card_of_a_connection_that_is_down_says_what_its_mail_says(
    oscar: httpx.Client, road: Road, page: str, error: str
) -> None:
    goes_down(road)
    road.sql(f"update connection set last_error = '{error}' where name = 'crowdtwist'")
    mailed = when_down(Stage.CROWDTWIST, Settings(), error)
    assert mailed in said(oscar.get(page))
    assert ("MEMBERSYNC_CROWDTWIST__API_KEY" in mailed) == ("credentials" in error)


def test_a_resume_of_what_is_down_does_not_say_that_it_goes_out(oscar: httpx.Client, road: Road) -> None:
    goes_down(road)
    road.sql("update connection set paused = true, paused_by = 'x', paused_reason = 'y', paused_at = now()")
    post(oscar, "/connections", "/connections/crowdtwist/resume")
    assert "no longer paused, but it is down" in said(oscar.get("/connections"))
    post(oscar, "/connections", "/connections/siebel/resume")
    assert "resumed: what was held goes out" in said(oscar.get("/connections"))
