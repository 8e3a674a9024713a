"""The api beside intake: roles, what may be read by whom, problems, logs, description and metrics."""

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, text

from producers.site import create_app
from shared.hosts import is_loopback
from shared.settings import Settings
from tests.calling import XML, assert_problem, event, served, stored

TOKENS = {
    "p-token": {"name": "siebel", "role": "producer"},
    "v-token": {"name": "vera", "role": "viewer"},
    "o-token": {"name": "oscar", "role": "operator"},
    "a-token": {"name": "ada", "role": "admin"},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def settings(ledger_url: str, ledger: Engine) -> Settings:
    assert ledger.url.database
    return Settings(ledger_url=ledger_url)


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    with served(create_app(settings)) as opened:
        yield opened


@pytest.fixture
def guarded(settings: Settings) -> Iterator[httpx.Client]:
    """An api with tokens, which anybody may reach."""
    api = settings.api.model_validate({"tokens": TOKENS, "host": "0.0.0.0"})  # noqa: S104  # nothing listens
    with served(create_app(settings.model_copy(update={"api": api})), host="membersync") as opened:
        yield opened


def test_every_answer_carries_a_request_id_a_sane_one_is_kept(client: httpx.Client) -> None:
    kept = client.get("/healthz", headers={"X-Request-Id": "siebel-4711"})
    assert kept.headers["x-request-id"] == "siebel-4711"
    for odd in ("a b", "x" * 65, "<script>"):
        given = client.get("/nowhere", headers={"X-Request-Id": odd}).headers["x-request-id"]
        assert given != odd
        assert len(given) == 32


def test_answers_are_not_sniffed_framed_or_cached(client: httpx.Client) -> None:
    headers = client.get("/v1/instances").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in client.get("/healthz", headers={"Origin": "http://evil"}).headers


def test_unknown_paths_and_methods_are_problems_too(client: httpx.Client) -> None:
    assert_problem(client.get("/nowhere"), 404, "not_found")
    assert_problem(client.get("/v1/member-events"), 405, "method_not_allowed")
    assert_problem(client.get("/v1/instances/12"), 404, "no_such_instance")
    assert_problem(client.get("/v1/instances/x"), 404, "no_such_instance")
    assert_problem(client.get("/v1/instances/" + "9" * 30), 404, "no_such_instance")
    assert_problem(client.get("/v1/members/nobody"), 404, "no_such_member")
    assert_problem(client.get("/v1/members/a%00b"), 404, "no_such_member")


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "state=lost", "since=soon", "cursor=abc", "text=%00"])
def test_a_query_that_cannot_be_meant_is_400(client: httpx.Client, query: str) -> None:
    assert_problem(client.get(f"/v1/instances?{query}"), 400, "invalid_parameter")


def test_instances_are_filtered_and_paged_by_cursor(client: httpx.Client) -> None:
    client.post("/v1/member-events", json=[event(f"M-{number}") for number in range(5)])
    client.post("/v1/member-events", json=event("M-9", member={"member_type": "Household"}))
    first = client.get("/v1/instances", params={"state": ["pending", "skipped"], "limit": 4, "since": "1h"}).json()
    second = client.get(
        "/v1/instances", params={"state": ["pending", "skipped"], "limit": 4, "cursor": first["next"]}
    ).json()
    assert [item["member_number"] for item in first["items"]] == ["M-9", "M-4", "M-3", "M-2"]
    assert [item["member_number"] for item in second["items"]] == ["M-1", "M-0"]
    assert second["next"] is None


def test_a_member_shows_its_instances_with_their_activity(client: httpx.Client) -> None:
    client.post("/v1/member-events", json=[event(modification=1), event(modification=2)])
    member = client.get("/v1/members/M-1").json()
    assert [one["state"] for one in member["instances"]] == ["pending", "superseded"]
    assert member["instances"][0]["activity"][0]["what"] == "accepted"


@pytest.mark.parametrize(
    ("token", "may_post", "may_read"),
    [("p-token", True, False), ("v-token", False, True), ("o-token", False, True), ("a-token", True, True)],
)
def test_a_role_may_do_what_it_is_for(guarded: httpx.Client, token: str, *, may_post: bool, may_read: bool) -> None:
    posted = guarded.post("/v1/member-events", json=event(), headers=bearer(token))
    assert posted.status_code == (202 if may_post else 403)
    for path in ("/v1/instances", "/metrics"):
        assert guarded.get(path, headers=bearer(token)).status_code == (200 if may_read else 403)
    if not may_read:
        assert_problem(guarded.get("/v1/instances", headers=bearer(token)), 403, "forbidden")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic p-token"])
def test_without_a_known_token_nothing_is_told_or_taken(
    guarded: httpx.Client, ledger: Engine, authorization: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answers = [
        guarded.post("/v1/member-events", json=event(), headers=headers),
        guarded.get("/v1/members/M-1", headers=headers),
    ]
    for answer in answers:
        assert_problem(answer, 401, "unauthorised")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert stored(ledger) == 0
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200


def test_people_are_masked_for_all_but_admins(guarded: httpx.Client) -> None:
    guarded.post("/v1/member-events", json=event(), headers=bearer("p-token"))
    for token, is_open in (("v-token", False), ("o-token", False), ("a-token", True)):
        shown = guarded.get("/v1/instances/1", headers=bearer(token))
        assert ("ann.lee@example.org" in shown.text) is is_open
        assert ("Lee" in shown.text) is is_open
        assert shown.json()["event"]["member"]["member_number"] == "M-1"


def test_an_error_that_names_somebody_is_masked_too(guarded: httpx.Client, ledger: Engine) -> None:
    guarded.post("/v1/member-events", json=event(), headers=bearer("p-token"))
    with ledger.begin() as tx:
        tx.execute(text("update instance set error = 'ann.lee@example.org is taken', code = 'data_error'"))
        tx.execute(text("update activity set what = 'ann.lee@example.org is taken'"))
    for path in ("/v1/instances", "/v1/instances/1", "/v1/members/M-1"):
        assert "ann.lee" not in guarded.get(path, headers=bearer("v-token")).text
        assert "ann.lee" in guarded.get(path, headers=bearer("a-token")).text


def test_without_tokens_only_this_machine_is_listened_to(settings: Settings) -> None:
    api = settings.api.model_copy(update={"host": "0.0.0.0"})  # noqa: S104  # nothing listens
    with pytest.raises(ValueError, match="MEMBERSYNC_API__TOKENS"):
        create_app(settings.model_copy(update={"api": api}))
    hosts = ["127.0.0.1", "::1", "localhost", "127.9.9.9", "10.0.0.1", "example.org", ""]
    assert [is_loopback(host) for host in hosts] == [True, True, True, True, False, False, False]


def test_without_tokens_a_foreign_name_for_our_address_is_refused(client: httpx.Client) -> None:
    assert_problem(client.get("/v1/instances", headers={"Host": "evil.example:8000"}), 403, "forbidden_host")
    for host in ("localhost:8000", "[::1]:8000", "127.0.0.1"):
        assert client.get("/v1/instances", headers={"Host": host}).status_code == 200


def test_a_bug_is_500_without_its_message(
    settings: Settings, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(settings)

    @app.get("/broken")
    def broken() -> None:
        raise KeyError("ann.lee@example.org")

    with served(app) as client:
        answer = client.get("/broken")
        assert client.get("/healthz").status_code == 200
    assert_problem(answer, 500, "internal")
    assert "ann.lee" not in answer.text + caplog.text + "".join(capsys.readouterr())


def test_the_description_has_examples_for_what_can_be_sent(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    content = described["paths"]["/v1/member-events"]["post"]["requestBody"]["content"]
    assert {"application/json", "application/x-ndjson", "application/xml", "text/xml"} == set(content)
    for example in content["application/json"]["examples"].values():
        assert client.post("/v1/member-events", json=example["value"]).status_code == 202
    xml = content["application/xml"]["example"]
    assert client.post("/v1/member-events", content=xml, headers=XML).status_code == 202
    assert {"/v1/instances", "/v1/instances/{instance_id}", "/v1/members/{member_number}"} <= set(described["paths"])


def test_metrics_are_those_of_the_contract(client: httpx.Client) -> None:
    client.post("/v1/member-events", json=event())
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'membersync_pending{lane="live",stage="oic",state="pending"} 1.0' in answer.text
    for name in ("instances_total", "oldest_seconds", "stage_seconds", "connection_up", "budget_used_ratio"):
        assert f"# HELP membersync_{name} " in answer.text
    assert "ann.lee" not in answer.text
