"""Flower: behind its login, in our words, and without people in it."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from flower.urls import handlers

from deploy.local.stack import Stack, running_stack
from shared.pipeline import Stage
from shared.settings import Settings

NUMBERS = [f"41-{position}" for position in range(7)]
SHOWN = re.compile(r"7 members: (41-\d, ){5}…")
PERSON = ("Zephyrine", "Quuxworth", "quuxworth", "10042", "1971-05-06")
OPEN = ("/static/", "/login", "/logout")  # a logout page, and a login page for other kinds of login: nothing in them


def eventually(happened: Callable[[], object], within_s: float = 60.0) -> bool:
    give_up_at = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.05)
    return True


def paths() -> list[str]:
    """Every address that Flower has a page or an answer for."""
    patterns = [handler[0] if isinstance(handler, tuple) else handler.regex.pattern for handler in handlers]
    return [re.sub(r"\(\..\)", "x", pattern).rstrip("$?") for pattern in patterns if pattern != ".*"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = Settings.model_construct(home=tmp_path_factory.mktemp("home"))
    with running_stack(settings, sandbox={Stage.CROWDTWIST, Stage.SIEBEL}) as started:
        yield started


@pytest.fixture(scope="module")
def flower(stack: Stack) -> Iterator[httpx.Client]:
    login = (stack.flower_user, stack.flower_password)
    with httpx.Client(base_url=stack.flower_url, auth=login, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def pages(stack: Stack, flower: httpx.Client) -> dict[str, str]:
    """Everything that Flower shows while a batch of seven is under way and six wait behind it."""
    assert stack.control is not None
    stack.control.fault("crowdtwist", "slow", seconds=1.5, times=len(NUMBERS) + 6)
    send(stack, NUMBERS)
    for number in ("42-1", "42-2", "42-3", "42-4", "42-5", "42-6"):
        send(stack, [number])
    shown = {path: flower.get(path).text for path in ("/", "/tasks", "/broker", "/metrics", "/workers?json=1")}
    for name in workers(flower):
        assert "active" in flower.get("/api/workers", params={"refresh": "true", "workername": name}).text
        shown[f"worker {name}"] = flower.get(f"/worker/{name}").text
    assert eventually(lambda: succeeded(flower) == {stage.task for stage in Stage}), table(flower)
    shown["tasks"] = flower.get("/api/tasks").text
    shown["table"] = str(table(flower))
    shown.update({f"task {uuid}": flower.get(f"/task/{uuid}").text for uuid in flower.get("/api/tasks").json()})
    return shown


def send(stack: Stack, numbers: list[str]) -> None:
    events = [
        {
            "event_id": f"flower-{number}",
            "operation": "enroll",
            "occurred_at": "2026-03-02T08:00:00Z",
            "member": {
                "member_number": number,
                "first_name": "Zephyrine",
                "last_name": "Quuxworth",
                "email_address": f"quuxworth.{number}@example.org",
                "postal_code": "10042",
                "country_code": "US",
                "date_of_birth": "1971-05-06",
            },
        }
        for number in numbers
    ]
    answer = httpx.post(f"{stack.api_url}/v1/member-events", json=events, trust_env=False)
    assert {result["outcome"] for result in answer.json()["results"]} == {"accepted"}


def workers(flower: httpx.Client) -> list[str]:
    return [str(worker["hostname"]) for worker in flower.get("/workers?json=1").json()["data"]]


def succeeded(flower: httpx.Client) -> set[str]:
    """Name the tasks that were done with the batch of seven."""
    return {row["name"] for row in table(flower) if SHOWN.fullmatch(row["args"]) and row["state"] == "SUCCESS"}


def table(flower: httpx.Client) -> list[dict[str, Any]]:
    query = "draw=1&start=0&length=100&order[0][column]=0&columns[0][data]=name&order[0][dir]=asc"
    return list(flower.get(f"/tasks/datatable?{query}").json()["data"])


@pytest.mark.parametrize("path", [path for path in paths() if not path.startswith(OPEN)])
def test_nothing_but_the_login_is_open(stack: Stack, path: str) -> None:
    for login in (None, ("flower", "guess"), ("", stack.flower_password)):
        answers = [
            httpx.request(method, f"{stack.flower_url}{path}", auth=login, trust_env=False)
            for method in ("GET", "POST")
        ]
        assert {answer.status_code for answer in answers} <= {401, 403, 405}
        assert 401 in {answer.status_code for answer in answers}
        assert not any(number in answer.text for answer in answers for number in NUMBERS)


def test_with_the_login_metrics_and_healthcheck_answer(flower: httpx.Client) -> None:
    assert flower.get("/healthcheck").text == "OK"
    assert "flower_worker_online" in flower.get("/metrics").text


def test_both_lanes_have_a_worker(flower: httpx.Client) -> None:
    assert {name.split(".")[0] for name in workers(flower)} == {"live", "bulk"}


def test_tasks_show_by_name_how_many_members_and_up_to_five_numbers(
    flower: httpx.Client, pages: dict[str, str]
) -> None:
    assert pages
    rows = [row for row in table(flower) if row["args"].startswith("7 members")]
    assert {row["name"] for row in rows} == {stage.task for stage in Stage}
    for row in rows:
        numbers = row["args"].removeprefix("7 members: ").removesuffix(", …").split(", ")
        assert len(numbers) == 5
        assert set(numbers) <= set(NUMBERS)
    assert {row["kwargs"] for row in rows} == {""}


def test_the_result_is_counts_by_outcome(flower: httpx.Client, pages: dict[str, str]) -> None:
    assert pages
    assert eventually(lambda: {row["result"] for row in table(flower)} >= {"7 done", "1 done"})


def test_no_page_shows_a_person_or_a_secret(stack: Stack, pages: dict[str, str]) -> None:
    assert any("7 members" in text for text in pages.values())
    ledger_password = str(stack.settings.ledger_url).partition("membersync:")[2].partition("@")[0]
    secrets = (ledger_password, "sandbox-key", "SADMIN", stack.flower_password)
    for page, text in pages.items():
        for word in (*PERSON, *secrets):
            assert word not in text, page


def test_nothing_can_be_done_in_it(flower: httpx.Client, pages: dict[str, str]) -> None:
    assert pages
    uuid = next(iter(flower.get("/api/tasks").json()))
    for path in (f"/api/task/revoke/{uuid}", f"/api/worker/shutdown/{workers(flower)[0]}", "/api/task/send-task/x"):
        assert flower.post(path, json={}).status_code == 403


def test_what_it_has_seen_is_kept_in_the_home(stack: Stack) -> None:
    assert list(Path(stack.home).glob("flower.db*"))
