"""Words of CrowdTwist and Siebel about a person, followed to every place where a viewer could read them."""

import json
import re
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import unescape
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from celery import Celery
from sqlalchemy import text

from deploy.flower import reworded
from deploy.local.programs import free_port
from shared.settings import Settings, settings
from tests.calling import outcomes
from tests.console import HTML, console, logged_in
from tests.mailbox import mail_server
from tests.mailing import mailing
from tests.rig import Pipeline, eventually, member_event
from tests.terminal import Terminal, eventually_answers

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
    assert pipeline.sql("select count(*) from activity where stage = 'siebel' and calls_json::text like '%400%'") != [0]
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
        with pipeline.ledger.begin() as tx:
            rows = str(tx.execute(text(f"select * from {table}")).all()).lower()
        assert not [one for one in CANARIES if one in rows], table
    with console(Settings(_env_file=None, ledger_url=pipeline.ledger_url)) as client:
        shown = _everything(client)
    assert len(shown) > len(_PATHS) + len(_PAGES)
    for path, page in shown.items():
        assert not [one for one in CANARIES if one in page.lower()], path


FAMILY: dict[str, Any] = {
    "first_name": "Zéphyrine",
    "middle_name": "Ottoline",
    "last_name": "Quüxley",
    "date_of_birth": "1971-05-06",
    "city": "Ousterville",
    "postal_code": "OX1 9ZZ",
    "country_code": "GB",
    "email_address": "zq.quux@example.org",
    "phone": "(613) 555-0143",
    "street_address": "221 Basalt Terrace",
    "remark": "Quüxley lives in Ousterville",
    "title": "Ottoline Quüxley",
    "description": "Zéphyrine",
}
FORMS = (
    *("Zéphyrine Ottoline Quüxley", "QUÜXLEY, ZÉPHYRINE", "zephyrine.quuxley", "ZephyrineQuuxley", "zquuxley"),
    *("Q u ü x l e y", "Quuexley", quote("Zéphyrine Quüxley"), quote(quote("Ottoline Quüxley"))),
    *(r"Z\u00e9phyrine Qu\u00fcxley", "Z&eacute;phyrine Qu&#252;xley", "Z&#xE9;phyrine", "Quüxley_Ottoline"),
    *("1971-05-06", "05/06/1971", "6.5.1971", "19710506", "6 May 1971", "May 6th, 1971", "06-MAY-71", "710506"),
    *("05%2F06%2F1971", "42336000", "OUSTERVILLE", "O u s t e r v i l l e", "ox19zz", "OX1%209ZZ", "OX1-9ZZ"),
    *("zq.quux@example.org", "ZQ.QUUX@EXAMPLE.ORG", "zq.quux%40example.org", "zq.quux (at) example.org", "zq.quux"),
    *("(613) 555-0143", "6135550143", "+1 613 555 0143", "221 Basalt Terrace", "BASALT TERRACE 221"),
    *("221%20Basalt%20Terrace", "221BasaltTerrace", "Basalt Terrace"),
)
SOUGHT = (
    *("zephyrine", "ottoline", "quuxley", "quuexley", "ousterville", "ox19zz", "zqquux", "basalt", "5550143"),
    *("19710506", "05061971", "06051971", "651971", "6may1971", "may61971", "may6th1971", "06may71", "710506"),
    *("42336000",),
)
"""What `FORMS` hold, as `_bare` has it."""
_LIVE = (
    *("overview", "instances", "dead-letters", "dead-letters?state=rejected", "connections", "jobs", "audit"),
    *("members/C-0", "instances/1"),
)
_READ = (
    *("/v1/instances", "/v1/instances?state=rejected", "/v1/dead-letters", "/v1/dead-letters?state=rejected"),
    *("/v1/dead-letters?list=true", "/v1/connections", "/v1/status", "/v1/throughput", "/v1/audit", "/v1/refusals"),
    *("/v1/requeues", "/v1/members/C-0", "/v1/members/S-1", "/v1/instances/1", "/metrics"),
    *(f"/v1/suggestions?field={field}" for field in ("code", "member", "who", "what")),
    *(f"/suggestions?field={field}" for field in ("code", "member", "who", "what")),
    *(
        "/",
        "/instances",
        "/instances/1",
        "/members/C-0",
        "/members/S-1",
        "/dead-letters",
        "/dead-letters?state=rejected",
    ),
    *("/refusals", "/audit", "/history", "/jobs", "/connections", "/instances.csv", "/dead-letters.csv"),
    "/dead-letters.csv?state=rejected",
)
_JSON_ESCAPE = re.compile(r"\\u([0-9a-f]{4})", re.IGNORECASE)


def _bare(said: str) -> str:
    """Return small letters and digits of *said*, without escapes, accents and what stands between."""
    for _ in range(3):
        said = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)), unescape(unquote(said)))
    said = unicodedata.normalize("NFKD", said).casefold()
    return "".join(letter for letter in said if letter.isascii() and letter.isalnum())


def _texts() -> Iterator[str]:
    """Yield `FORMS` in sentences short enough to be shown whole."""
    for first in range(0, len(FORMS), 5):
        yield "locked: " + "; ".join(FORMS[first : first + 5])


def test_all_forms_are_sought() -> None:
    assert not [form for form in FORMS if not any(one in _bare(form) for one in SOUGHT)]


def test_no_door_of_a_viewer_shows_anybody(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One stack; both systems speak of everybody they are called for, in all forms, and an operator is at work."""
    port, metrics = free_port(), free_port()
    roles = {"vera": "viewer", "oscar": "operator", "siebel": "producer"}
    pipeline.settings |= {
        "MEMBERSYNC_API__TOKENS": json.dumps(
            {f"tok-{one}": {"name": one, "role": role} for one, role in roles.items()}
        ),
        "MEMBERSYNC_API__PORT": str(port),
        "MEMBERSYNC_DISPATCHER__METRICS_PORT": str(metrics),
        "MEMBERSYNC_MAIL__DIGEST_EVERY_S": "0.5",
        "MEMBERSYNC_SIEBEL__BREAKER_FAILURES": "2",
        "MEMBERSYNC_SIEBEL__BREAKER_MEMBERS": "2",
    }
    with mail_server() as mailbox, told_to_flower(pipeline) as flower:
        mailing(pipeline, mailbox.port)
        with pipeline.whole(), pipeline.process("-m", "producers.cli", "api"):
            url = f"http://127.0.0.1:{port}"
            eventually_answers(f"{url}/healthz")
            with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
                _everything_goes_wrong(pipeline, client)
                found = _seen(pipeline, client, metrics)
            found |= _typed(pipeline, monkeypatch, capsys)
            eventually(lambda: _tell(mailbox.subjects, "is down", "Data Error", "dead letter"), "three kinds of mail")
    found["mail"] = "".join(f"{mail['Subject']}\n{mail.get_body(('plain',))}" for mail in mailbox.mails)
    found["mail as sent"] = "".join(
        str(mail.get_content()) for one in mailbox.mails for mail in one.walk() if not mail.is_multipart()
    )
    found["flower"] = "\n".join(map(str, flower))
    found["logs"] = pipeline.log_text()
    found["ledger"] = "".join(
        str(pipeline.sql(f"select * from {table}"))
        for table in ("activity", "connection", "connection_change", "mail", "refusal", "operator_action")
    )
    for channel, said in found.items():
        assert said.strip(), channel
        assert not [one for one in SOUGHT if one in _bare(said)], (channel, said)
    for channel in (
        "/v1/instances/1",
        "/live/instances/1",
        "/v1/members/C-0",
        "/instances.csv",
        "test of siebel",
        "member C-0",
    ):
        assert "***" in found[channel], f"{channel} says nothing of what was said"
    assert "<value>" in found["mail as sent"]
    assert "membersync.crowdtwist_call" in found["flower"]


def _everything_goes_wrong(pipeline: Pipeline, client: httpx.Client) -> None:
    control, texts = pipeline.sandbox.control, list(_texts())
    refused = [member_event(f"C-{index}", **FAMILY) for index in range(len(texts))]
    for index, said in enumerate(texts):
        body = {"error": "locked", "message": said, "code": "quuxley", "errors": {"Quüxley": [said]}}
        control.fault("crowdtwist", "status", member=f"C-{index}", status=400, body=body)
    _post(client, *refused)
    count = "select count(*) from instance where state = 'rejected'"
    eventually(lambda: pipeline.sql(count) == [len(texts)], "all refused by CrowdTwist")
    for index, said in enumerate(texts):
        control.fault(
            "siebel", "status", times=1, status=500 if index % 2 else 400, body={"ERROR": f"{said} (SBL-DAT-00999)"}
        )
    control.fault("siebel", "status", status=500, body={"ERROR": f"{texts[0]} (SBL-DAT-00999)"})
    _post(client, *(member_event(f"S-{index}", **FAMILY) for index in range(1, 9)))
    down = "select breaker from connection where name = 'siebel'"
    eventually(lambda: pipeline.sql(down) != ["closed"], "siebel is down")
    bad = [member_event(f"R-{index}", **FAMILY | {"date_of_birth": said}) for index, said in enumerate(FORMS)]
    assert outcomes(_post(client, *bad)).count("refused") > len(bad) / 2
    _post(client, member_event("R-X", **FAMILY | {"last_name": {"Quüxley": "Zéphyrine"}}), {"Quüxley": "Zéphyrine"})
    lines = "Zéphyrine,Quüxley,Ousterville\nOttoline,Quüxley,1971-05-06"
    client.post("/v1/member-events", content=lines.encode(), headers={**_token("siebel"), "Content-Type": "text/csv"})


def _tell(subjects: list[str], *words: str) -> bool:
    return all(any(word in subject for subject in subjects) for word in words)


def _post(client: httpx.Client, *events: dict[str, Any]) -> httpx.Response:
    answer = client.post("/v1/member-events", json=events, headers=_token("siebel"))
    assert answer.status_code < 500, answer.text
    return answer


def _token(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer tok-{name}"}


def _seen(pipeline: Pipeline, client: httpx.Client, metrics: int) -> dict[str, str]:
    found: dict[str, str] = {}
    asked = {"reason": "what is wrong?"}
    for stage in ("siebel", "crowdtwist"):
        answer = client.post(f"/v1/connections/{stage}/test", json=asked, headers=_token("oscar"))
        found[f"test of {stage}"] = answer.text
    pipeline.sandbox.control.heal("crowdtwist")
    page = f"<html><title>{FORMS[0]}, {FORMS[13]}</title>"
    pipeline.sandbox.control.fault("crowdtwist", "status", status=200, body=page)
    found["test that meets a page"] = client.post(
        "/v1/connections/crowdtwist/test", json=asked, headers=_token("oscar")
    ).text
    rehearsed = {"filter": {"state": ["rejected"]}, "dry_run": True, "reason": "what is wrong?"}
    found["requeue"] = client.post("/v1/requeues", json=rehearsed, headers=_token("oscar")).text
    found["metrics of the dispatcher"] = httpx.get(f"http://127.0.0.1:{metrics}/metrics", trust_env=False).text
    for path in _READ:
        if path.startswith(("/v1", "/metrics")):
            found[path] = client.get(path, headers=_token("vera")).text
    logged_in(client, "tok-vera")
    for path in _READ:
        if path not in found:
            found[path] = client.get(path, headers=HTML, follow_redirects=True).text
    for name in _LIVE:
        found[f"/live/{name}"] = _first_parts(client, f"/live/{name}")
    for words in ("quuxley", "Zéphyrine", "ousterville", "zq.quux@example.org", "1971-05-06"):
        answer = client.get("/search", params={"q": words}, headers=HTML, follow_redirects=True)
        assert "/members/C-" not in answer.text, f"a viewer finds members by {words}"
    causes = {path for page in found.values() for path in map(unescape, _LINK.findall(page)) if "message=" in path}
    outcomes_of = {path for path in map(unescape, _LINK.findall(found["/history"])) if path.startswith("/outcomes")}
    assert causes
    assert outcomes_of
    found |= {path: _read(client, path) for path in sorted(causes)[:6] + sorted(outcomes_of)}
    return found


def _first_parts(client: httpx.Client, path: str) -> str:
    said: list[str] = []
    with client.stream("GET", path, headers={"Accept-Encoding": "identity"}) as stream:
        assert stream.status_code == 200, path
        for line in stream.iter_lines():
            said.append(line)
            if line.startswith("data:"):
                return "\n".join(said)
    raise AssertionError(f"{path} says nothing")


def _typed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    for name, value in pipeline.environment.items():
        if name.startswith("MEMBERSYNC_"):
            monkeypatch.setenv(name, value)
    typed = Terminal(capsys)
    found: dict[str, str] = {}
    for command in (
        *("status", "status --json", "doctor", "doctor --json", "instances", "instances --json", "show 1"),
        *("member C-0", "member C-0 --json", "member R-0", "refusals", "refusals --json", "dead-letters"),
        *("dead-letters --json", "dead-letters --list --state rejected", "connections", "connections test siebel"),
    ):
        ran = typed(*command.split())
        found[command] = ran.out + ran.err
    settings.cache_clear()
    return found


@contextmanager
def told_to_flower(pipeline: Pipeline) -> Iterator[list[dict[str, Any]]]:
    """Listen to Celery's events as Flower does, and keep them as it would."""
    kept: list[dict[str, Any]] = []
    stop = threading.Event()
    app = Celery(broker=pipeline.broker_url)

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": lambda event: kept.append(reworded(event))})
            while not stop.is_set():
                with suppress(TimeoutError):
                    receiver.capture(limit=None, timeout=0.5, wakeup=False)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        stop.set()
        thread.join(5)
