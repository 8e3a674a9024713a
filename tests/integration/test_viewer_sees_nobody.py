"""Words of CrowdTwist and Siebel about a person, followed to every place where a viewer could read them."""

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from shared.settings import Settings
from tests.console import HTML, console, logged_in
from tests.rig import Pipeline, eventually, member_event

SAID = (
    "Quuxley, Zephyrine (ZephyrineQuuxley, born 05/06/1971, 6 May 1971 or 19710506) of Ousterville OX1 9ZZ "
    "is locked by zq@example.org, phone (613) 555-0143"
)
CANARIES = (
    "zephyrine",
    "quuxley",
    "1971-05",
    "/1971",
    "may 1971",
    "19710506",
    "ousterville",
    "ox1",
    "9zz",
    "zq@",
    "555-0143",
    "(613)",
)
PERSON: dict[str, Any] = {
    "first_name": "Zephyrine",
    "last_name": "Quuxley",
    "date_of_birth": "1971-05-06",
    "city": "Ousterville",
    "postal_code": "OX1 9ZZ",
    "country_code": "GB",
    "ct_city_id": "7",
    "email_address": "zq@example.org",
}
_PATHS = ("/v1/instances", "/v1/instances/1", "/v1/members/M-1", "/v1/dead-letters", "/v1/connections", "/v1/status")
_PAGES = ("/", "/instances", "/instances/1", "/members/M-1", "/dead-letters", "/connections", "/instances.csv")
_LINK = re.compile(r'href="(/[^"#]*)"')


def _read(client: httpx.Client, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code < 500, path
    return answer.text


def _everything(client: httpx.Client) -> dict[str, str]:
    """Read what a viewer can get to: the paths of the api, and the console's pages link by link."""
    found = {path: client.get(path, headers={"Authorization": "Bearer tok-vera"}).text for path in _PATHS}
    logged_in(client, "tok-vera")
    waiting = list(_PAGES)
    while waiting and len(found) < 60:
        path = waiting.pop(0).replace("&amp;", "&")
        if path in found or path.startswith(("/static", "/logout", "/v1/events", "/live", "/openapi")):
            continue
        found[path] = _read(client, path)
        waiting += _LINK.findall(found[path])
    return found


@pytest.mark.parametrize("stage", ["crowdtwist", "siebel"])
@pytest.mark.parametrize("status", [400, 500])
def test_nothing_that_is_said_of_a_person_is_shown_to_a_viewer(pipeline: Pipeline, stage: str, status: int) -> None:
    body = {"error": "locked", "message": SAID} if stage == "crowdtwist" else {"ERROR": f"{SAID}(SBL-DAT-00999)"}
    pipeline.sandbox.control.fault(stage, "status", status=status, body=body)
    pipeline.send(member_event("M-1", **PERSON))
    with pipeline.whole():
        eventually(lambda: pipeline.sql("select 1 from activity where code is not null") != [], "a failure recorded")
    _nobody_is_shown(pipeline)


def test_what_siebel_says_to_many_names_nobody_on_the_page_of_another(pipeline: Pipeline) -> None:
    body = {"ERROR": f"{SAID}(SBL-DAT-00999)"}
    pipeline.sandbox.control.fault("siebel", "status", status=400, body=body, method="PUT", times=1)
    pipeline.send(member_event("M-1", **PERSON), *(member_event(f"M-{index}") for index in range(2, 9)))
    with pipeline.whole():
        eventually(pipeline.settled, "all told")
    assert pipeline.sql("select count(*) from activity where stage = 'siebel' and calls::text like '%400%'") != [0]
    _nobody_is_shown(pipeline)


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("stage", ["crowdtwist", "siebel"])
def test_who_is_named_to_others_alone_or_among_many_is_not_shown(pipeline: Pipeline, stage: str, status: int) -> None:
    """Every call is answered with words about one member: to a batch at first, then to who is tried or told alone."""
    body = {"error": "locked", "message": SAID} if stage == "crowdtwist" else {"ERROR": f"{SAID}(SBL-DAT-00999)"}
    pipeline.sandbox.control.fault(stage, "status", status=status, body=body)
    pipeline.send(member_event("M-1", **PERSON), *(member_event(f"M-{index}") for index in range(2, 7)))
    failed = f"select count(distinct instance_id) from activity where code is not null and stage = '{stage}'"
    with pipeline.whole():
        eventually(lambda: pipeline.sql(failed)[0] >= 6, "all failed")
    _nobody_is_shown(pipeline)


def _nobody_is_shown(pipeline: Pipeline) -> None:
    assert not [one for one in CANARIES if one in pipeline.log_text().lower()]
    for table in ("activity", "connection", "connection_change", "mail"):
        with pipeline.ledger.begin() as connection:
            rows = str(connection.execute(text(f"select * from {table}")).all()).lower()
        assert not [one for one in CANARIES if one in rows], table
    with console(Settings(_env_file=None, ledger_url=pipeline.ledger_url)) as client:
        shown = _everything(client)
    assert len(shown) > len(_PATHS) + len(_PAGES)
    for path, page in shown.items():
        assert not [one for one in CANARIES if one in page.lower()], path
