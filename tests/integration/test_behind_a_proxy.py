"""Console and api behind a reverse proxy that has them under a path, which it takes off or passes on."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from html import unescape

import httpx
import pytest
from sqlalchemy import Engine

from deploy.local.programs import free_port
from producers.site import create_app
from shared.settings import ApiSettings, Settings
from tests.calling import event, served
from tests.console import HTML, hidden, logged_in, post
from tests.proxying import proxied
from tests.road import ALWAYS_REFUSED, Road

UNDER = "/ops/member-sync"
TOKENS = {"t": {"name": "ada", "role": "admin"}}
_ADDRESS = re.compile(r'\b(?:href|src|action|formaction|data-live|data-prefix)="([^"]*)"')
_READ = re.compile(r'\b(?:href|src)="([^"]*)"')
PAGES = ("/", "/instances", "/dead-letters", "/jobs", "/refusals", "/connections", "/audit", "/history", "/members/M-1")
Behind = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture
def behind(ledger: Engine, ledger_url: str) -> Behind:
    road = Road(ledger)
    road.dead("M-1", "M-2")
    road.accept("R-1")
    road.travel(ALWAYS_REFUSED)

    @contextmanager
    def start(**options: object) -> Iterator[httpx.Client]:
        port = free_port()
        api = {"public_url": f"http://127.0.0.1:{port}{UNDER}/", "tokens": TOKENS}
        of = Settings(_env_file=None, ledger_url=ledger_url, api=ApiSettings.model_validate(api))
        with (
            served(create_app(of)) as inner,
            proxied(str(inner.base_url).rstrip("/"), port, under=UNDER, **options) as url,  # type: ignore[arg-type]
            httpx.Client(base_url=url, headers={**HTML, "Origin": f"http://127.0.0.1:{port}"}, trust_env=False) as one,
        ):
            yield one

    return start


both = pytest.mark.parametrize("strips", [True, False], ids=["takes it off", "passes it on"])


def outer(address: str) -> str:
    """Return the path that a client of the prefix is to ask for, of the path that a page gave."""
    assert address.startswith(UNDER), address
    return address.removeprefix(UNDER)


@both
@pytest.mark.parametrize("keeps_host", [True, False])
def test_every_address_of_every_page_leads_through_the_proxy(behind: Behind, strips: bool, keeps_host: bool) -> None:  # noqa: FBT001
    with behind(strips=strips, keeps_host=keeps_host) as client:
        sent = client.get("/instances?state=dead")
        assert sent.headers["location"] == f"{UNDER}/login?next=%2Finstances%3Fstate%3Ddead"
        back = post(client, "/login", "/login", token="t", next="/instances?state=dead")
        assert back.headers["location"] == f"{UNDER}/instances?state=dead"
        found: set[str] = set()
        read: set[str] = set()
        for path in (*PAGES, "/dead-letters/plan?kind=requeue&state=dead", "/instances/1"):
            page = client.get(path)
            assert page.status_code == 200, (path, page.text)
            found |= {unescape(address) for address in _ADDRESS.findall(page.text)}
            read |= {unescape(address) for address in _READ.findall(page.text)}
        local = {address for address in found if address.startswith("/")}
        assert {address for address in local if not f"{address}/".startswith(f"{UNDER}/")} == set()
        assert {f"{UNDER}/live/overview", f"{UNDER}/search", f"{UNDER}/logout"} <= local
        answers = {address: client.get(outer(address)).status_code for address in sorted(local & read)}
        assert [address for address, status in answers.items() if status != 200] == []


@both
def test_what_a_stream_brings_leads_through_the_proxy_too(behind: Behind, strips: bool) -> None:  # noqa: FBT001
    with behind(strips=strips) as client:
        logged_in(client, "t")
        with client.stream("GET", "/live/overview", timeout=20) as stream:
            assert stream.headers["x-accel-buffering"] == "no"
            lines = stream.iter_lines()
            parts = json.loads(next(line for line in lines if line.startswith("data:")).removeprefix("data:"))
        addresses = [address for html in parts.values() for address in _ADDRESS.findall(html) if address[0] == "/"]
        assert len(addresses) > 3
        assert all(address.startswith(f"{UNDER}/") for address in addresses)


@both
def test_forms_lead_where_they_should(behind: Behind, strips: bool) -> None:  # noqa: FBT001
    with behind(strips=strips) as client:
        logged_in(client, "t")
        plan = client.get("/dead-letters/plan?kind=requeue&state=dead")
        fields = hidden(plan, f"{UNDER}/jobs")
        started = post(client, "/dead-letters/plan?kind=requeue&state=dead", "/jobs", **fields, reason="they are back")
        assert started.status_code == 303, started.text
        assert client.get(outer(started.headers["location"])).status_code == 200
        assert post(client, "/", "/logout").headers["location"] == f"{UNDER}/login"
        client.headers["Origin"] = "http://elsewhere.example"
        assert "another site" in post(client, "/login", "/login", token="t").text


def test_what_went_wrong_with_a_form_leads_back_to_its_page(behind: Behind) -> None:
    with behind(strips=True) as client:
        logged_in(client, "t")
        page = str(client.base_url).rstrip("/") + "/dead-letters?state=dead"
        wrong = client.post("/dead-letters/plan", data={"form_key": "old"}, headers={"Referer": page})
        assert wrong.status_code == 403
        assert f'href="{UNDER}/dead-letters?state=dead"' in wrong.text


@both
def test_cookies_are_for_our_path_alone(behind: Behind, strips: bool) -> None:  # noqa: FBT001
    with behind(strips=strips) as client:
        logged_in(client, "t")
        assert {(one.name, one.path) for one in client.cookies.jar} == {
            ("membersync_seed", UNDER),
            ("membersync_session", UNDER),
        }
        post(client, "/", "/logout")
        assert "membersync_session" not in client.cookies


@both
def test_callers_of_the_api_come_through(behind: Behind, strips: bool) -> None:  # noqa: FBT001
    with behind(strips=strips) as client:
        client.headers.update({"Authorization": "Bearer t", "Accept": "application/json"})
        document = client.get("/openapi.json").json()
        assert document["servers"] == [{"url": str(client.base_url).rstrip("/")}]
        assert client.post("/v1/member-events", json=event()).status_code == 202
        asked = {"filter": {"state": ["dead"]}, "reason": "they are back"}
        job = client.post("/v1/requeues", json=asked)
        assert job.status_code == 202, job.text
        assert client.get(outer(job.headers["location"])).status_code == 200
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/static/membersync", "/instances", "/metrics", "/login/x"])
def test_a_path_that_is_ours_already_is_refused_at_start(ledger_url: str, path: str) -> None:
    api = ApiSettings.model_validate({"public_url": f"https://ops.example.com{path}"})
    with pytest.raises(ValueError, match=r"MEMBERSYNC_API__PUBLIC_URL must not have a path that begins with /"):
        create_app(Settings(_env_file=None, ledger_url=ledger_url, api=api))


def test_over_https_cookies_need_it_whatever_the_host_is_called_by_the_proxy(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    api = ApiSettings.model_validate({"public_url": f"https://ops.example.com{UNDER}", "tokens": TOKENS})
    with served(create_app(Settings(_env_file=None, ledger_url=ledger_url, api=api))) as client:
        cookie = client.get("/login", headers=HTML).headers["set-cookie"]
    assert cookie.startswith("__Secure-membersync_seed=")
    assert f"Path={UNDER};" in cookie
    assert "Secure" in cookie


def test_guesses_count_where_they_come_from_and_nobody_can_say_another_address(ledger: Engine, ledger_url: str) -> None:
    assert ledger.url.database
    for trusted in ("127.0.0.1,10.0.0.0/8", ""):
        api = ApiSettings.model_validate({"tokens": TOKENS, "trusted_proxies": trusted, "wrong_tokens_per_minute": 2})
        with served(create_app(Settings(_env_file=None, ledger_url=ledger_url, api=api))) as client:

            def guess(number: int, chain: str, client: httpx.Client = client) -> int:
                headers = {"Authorization": f"Bearer guess-{number}", "X-Forwarded-For": chain}
                return client.get("/v1/instances", headers=headers).status_code

            changing = [guess(number, f"198.51.100.{number}, 203.0.113.9, 10.0.0.7") for number in range(3)]
            assert changing == [401, 401, 429], "what the client itself has put before it is not believed"
            assert guess(4, "203.0.113.10, 10.0.0.7") == (401 if trusted else 429)
