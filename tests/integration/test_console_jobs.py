"""The console's requeues and discards: the history, one as it goes on, and its stop."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from producers.operations import advice
from shared.ledger.jobs import Kind
from tests.console import logged_in, post, said
from tests.road import ALWAYS_DOWN, Road, start


def parts(stream: Iterator[str]) -> dict[str, str]:
    """Return the next parts of a live page."""
    found: dict[str, str] = json.loads(next(line for line in stream if line.startswith("data: "))[6:])
    return found


def test_a_requeue_is_shown_with_its_steps_its_troubles_and_what_was_asked(oscar: httpx.Client, road: Road) -> None:
    road.dead(*[f"M-{number}" for number in range(5)])
    job = start(road, rate=600, from_start=True)
    road.until_over(job, ALWAYS_DOWN)
    page = oscar.get(f"/jobs/{job}")
    words = said(page)
    assert "stopped 1 of 5 done" in words
    assert "Stopped: 1 of 1 failed again" in words
    assert f"failed again {advice.for_dead_letter('crowdtwist', 'unavailable', 'answered 503')}" in words
    assert "failed 1 failed again" in words
    assert "put back 4 as they were before" in words
    assert "Reason CrowdTwist is well again" in words
    assert "at most 600 a minute" in words
    assert "the start: mapped again with today's settings" in words
    assert 'href="/instances/1"' in page.text
    assert "data-live" not in page.text
    assert 'action="/jobs/1/stop"' not in page.text


def test_each_cause_of_what_failed_again_has_its_advice_until_it_is_put_right(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2", "M-3")
    job = start(road)
    road.until_over(job)
    assert "advice" not in oscar.get(f"/jobs/{job}").text
    road.sql("update job_item set state = 'failed'")
    road.sql("update instance set state='dead', code='unreachable', failed_stage='oic', error='no' where id = 1")
    road.sql("update instance set state = 'rejected', code = 'data_error', error = 'Email is taken' where id = 2")
    words = said(oscar.get(f"/jobs/{job}"))
    assert f"1 failed again: {advice.for_dead_letter('oic', 'unreachable', 'no')}" in words
    assert f"1 failed again: {advice.for_data_error('Email is taken')}" in words
    assert words.count("1 failed again: ") == 2  # the third has succeeded since


def test_a_ledger_that_serves_again_takes_back_what_was_said_of_it(oscar: httpx.Client, road: Road) -> None:
    with oscar.stream("GET", "/live/jobs") as answer:
        stream = answer.iter_lines()
        assert parts(stream)["trouble"] == ""  # what an earlier stream has left on the page goes too
        road.sql("alter table job rename to job_away")
        assert parts(stream) == {"trouble": "The ledger cannot be reached just now; what you see may be old."}
        road.sql("alter table job_away rename to job")
        assert parts(stream) == {"trouble": ""}


def test_a_requeue_is_followed_live_until_it_is_over(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1", "M-2")
    job = start(road)
    assert f'data-live="/live/jobs/{job}"' in oscar.get(f"/jobs/{job}").text
    with oscar.stream("GET", f"/live/jobs/{job}") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert "<b>0</b> of 2 done" in parts(lines)["job"]
        road.until_over(job)
        shown = iter(lambda: parts(lines)["job"], "")
        assert any('class="badge done"' in one for one in shown)  # the step before may be shown first


def test_a_stop_puts_back_what_has_not_begun(oscar: httpx.Client, road: Road) -> None:
    road.dead(*[f"M-{number}" for number in range(5)])
    job = start(road)
    road.turn()
    answer = post(oscar, f"/jobs/{job}", f"/jobs/{job}/stop")
    assert answer.headers["location"] == f"/jobs/{job}"
    words = said(oscar.get(f"/jobs/{job}"))
    assert "Stopped: what had not begun is as it was before." in words
    assert "Stopped by oscar" in words
    assert road.states() == {"dead": 5}
    post(oscar, "/", f"/jobs/{job}/stop")
    assert "It was over already" in said(oscar.get(f"/jobs/{job}"))
    assert road.sql("select who, what, asked from operator_action where not denied")[0] == (
        "oscar",
        "stop requeue",
        {"job": str(job)},
    )


def test_a_viewer_may_look_but_not_stop(client: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    job = start(road)
    vera = logged_in(client, "tok-vera")
    page = vera.get(f"/jobs/{job}")
    assert page.status_code == 200
    assert "Stop" not in said(page)
    assert post(vera, f"/jobs/{job}", f"/jobs/{job}/stop").status_code == 403
    assert road.job(job).state == "planned"
    denied = road.sql("select who, what, asked from operator_action where denied")
    assert denied == [("vera", "stop requeue", {"job_id": str(job)})]


def test_a_stop_without_the_forms_key_does_nothing(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    job = start(road)
    assert oscar.post(f"/jobs/{job}/stop").status_code == 403
    assert road.job(job).state == "planned"


def test_the_history_is_listed_newest_first_page_by_page(oscar: httpx.Client, road: Road) -> None:
    numbers = [f"M-{number}" for number in range(60)]
    road.dead(*numbers)
    jobs = [start(road, instance, kind=Kind.DISCARD) for instance in range(1, 61)]
    first = oscar.get("/jobs")
    found = re.search(r'href="(/jobs\?cursor=\d+)"', first.text)
    assert found
    second = oscar.get(found[1])
    listed = [int(one) for page in (first, second) for one in re.findall(r'href="/jobs/(\d+)"', page.text)]
    assert listed == jobs[::-1]
    assert "olga" in said(first)
    assert "CrowdTwist is well again" in said(first)


@pytest.mark.parametrize("address", ["/jobs/77", "/jobs/x", "/live/jobs/77", "/jobs/9999999999999999999"])
def test_a_job_that_is_none_is_a_page_that_says_so(oscar: httpx.Client, address: str) -> None:
    answer = oscar.get(address)
    assert answer.status_code == 404
    assert "there is no such job" in said(answer)


def test_a_cursor_that_is_none_of_ours_is_said(oscar: httpx.Client) -> None:
    answer = oscar.get("/jobs?cursor=x")
    assert answer.status_code == 400
    assert "cursor: is none of ours" in said(answer)


def test_hostile_words_of_a_job_are_shown_as_text(oscar: httpx.Client, road: Road) -> None:
    road.dead('<script>alert("x")</script>')
    job = start(road)
    road.sql("""update job set requested_by = '<img src=x>', reason = '<i>"why"</i>'""")
    road.until_over(job, ALWAYS_DOWN)
    for address in ("/jobs", f"/jobs/{job}"):
        page = oscar.get(address)
        assert not re.search(r"<script>alert|<img|<i>", page.text), address
        assert "&lt;i&gt;" in page.text


def test_while_a_connection_is_down_a_requeue_says_why_it_stands_still(oscar: httpx.Client, road: Road) -> None:
    road.dead("M-1")
    job = start(road, 1)
    assert "what is sent there is held" not in said(oscar.get(f"/jobs/{job}"))
    road.sql(
        "update connection set paused = true, paused_by = 'olga', paused_reason = 'x', paused_at = now() "
        "where name = 'crowdtwist'"
    )
    assert "CrowdTwist is paused: what is sent there is held" in said(oscar.get(f"/jobs/{job}"))
