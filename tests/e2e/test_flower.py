"""Flower: behind its login, in our words, one click from the console, and without people in it.

At last as people see it, in Chromium: every page looked at, each a click from the next, pictures in `.artifacts/`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from flower.urls import handlers
from playwright.sync_api import Browser, Page
from prometheus_client.parser import text_string_to_metric_families

from shared.pipeline import QUEUES, Stage
from tests import promql
from tests.browser import page_in, picture
from tests.flower_traffic import BATCH, PERSON, REFUSED, WAITS, Flower, flower_of_a_stack, reserved
from tests.rig import eventually
from tests.terminal import eventually_answers

SHOWN = re.compile(r"7 members: (41-\d, ){5}…")
OPEN = ("/static/", "/login", "/logout")  # a logout page, and a login page for other kinds of login: nothing in them
READS = "/tasks/datatable"  # the one address that only reads when something is posted to it


def paths() -> dict[str, type]:
    """Every address that Flower has a page or an answer for, and what answers there."""
    patterns = [
        (one[0], one[1]) if isinstance(one, tuple) else (one.regex.pattern, one.handler_class) for one in handlers
    ]
    return {re.sub(r"\(\..\)", "{}", pattern).rstrip("$?"): handler for pattern, handler in patterns if pattern != ".*"}


def takes_orders() -> list[str]:
    return [path for path, handler in paths().items() if "post" in vars(handler) and path != READS]


@pytest.fixture(scope="module")
def flower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    with flower_of_a_stack(tmp_path_factory.mktemp("home")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(flower: Flower) -> dict[str, str]:
    """Everything that Flower shows while a batch is reserved, and after it is done and others have failed."""
    with flower.standing_still(*BATCH):
        shown = {
            path: flower.http.get(path).text for path in ("/", "/tasks", "/broker", "/workers?json=1", "/task/none")
        }
        shown |= {f"/worker/{name}": flower.look_at(name) for name in flower.workers() if name.startswith("bulk")}
        shown["/worker/live"] = flower.look_at_reserved()
    eventually(lambda: succeeded(flower) == {stage.task for stage in Stage}, "the batch of seven done")
    flower.let_some_fail()
    uuids = flower.http.get("/api/tasks").json()
    shown |= {path: flower.http.get(path).text for path in ("/metrics", "/api/tasks", "/api/workers")}
    shown |= {f"/task/{uuid}": flower.http.get(f"/task/{uuid}").text for uuid in uuids}
    shown |= {f"/api/task/info/{uuid}": flower.http.get(f"/api/task/info/{uuid}").text for uuid in uuids}
    return shown


def succeeded(flower: Flower) -> set[str]:
    """Name the tasks that were done with the batch of seven."""
    return {row["name"] for row in flower.tasks(state="SUCCESS") if SHOWN.fullmatch(row["args"])}


@pytest.mark.parametrize("path", [path for path in paths() if not path.startswith(OPEN)])
def test_nothing_but_the_login_is_open(flower: Flower, path: str) -> None:
    for login in (None, ("flower", "guess"), ("", flower.stack.flower_password)):
        answers = [
            httpx.request(method, f"{flower.stack.flower_url}{path.format('x')}", auth=login, trust_env=False)
            for method in ("GET", "POST")
        ]
        assert {answer.status_code for answer in answers} <= {401, 403, 405}
        assert 401 in {answer.status_code for answer in answers}
        assert not any(number in answer.text for answer in answers for number in BATCH)


def test_with_the_login_healthcheck_answers(flower: Flower) -> None:
    assert flower.http.get("/healthcheck").text == "OK"


def test_a_scrape_with_the_login_has_the_metrics_of_workers_and_tasks_and_of_no_member(
    flower: Flower, pages: dict[str, str]
) -> None:
    assert pages
    scraped = flower.http.get("/metrics")
    assert scraped.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(scraped.text)}
    assert families.keys() >= {
        "flower_events",
        "flower_task_runtime_seconds",
        "flower_task_prefetch_time_seconds",
        "flower_worker_prefetched_tasks",
        "flower_worker_online",
        "flower_worker_number_of_currently_executing_tasks",
    }
    samples = [sample for name, one in families.items() if name.startswith("flower_") for sample in one.samples]
    assert {label for sample in samples for label in sample.labels} == {"worker", "task", "type", "le"}
    tasks = {sample.labels["task"] for sample in samples if "task" in sample.labels}
    assert tasks - {""} == {stage.task for stage in Stage}
    assert {sample.labels["worker"] for sample in samples} <= {*flower.workers(), *publishers(flower)}


def publishers(flower: Flower) -> set[str]:
    """Name the processes that sent tasks."""
    return {str(task["client"]) for task in flower.http.get("/api/tasks").json().values()}


def test_the_dashboard_and_the_alerts_ask_for_what_its_metrics_give(pages: dict[str, str]) -> None:
    series = promql.scraped(pages["/metrics"])
    asked = [one for one in promql.asked() if promql.is_of_flower(one.expr)]
    assert len(asked) > 3
    for one in asked:
        assert promql.unmet(one.expr, series) == [], one.where
        assert promql.unlabelled(one, series) == set(), one.where


def test_its_log_is_json_like_those_of_the_others(flower: Flower, pages: dict[str, str]) -> None:
    assert pages
    lines = (flower.stack.home / "logs" / "flower.log").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith('{"process": "flower"')] == []
    assert all({"event", "level", "timestamp"} <= json.loads(line).keys() for line in lines)
    assert [line for line in lines if "stray" in line] == [], "it believes all that our processes tell"


def test_both_lanes_have_a_worker(flower: Flower) -> None:
    assert {name.split(".")[0] for name in flower.workers()} == {"live", "bulk"}


def test_the_broker_page_has_the_queues_of_both_lanes_whichever_worker_was_looked_at(flower: Flower) -> None:
    assert "oic.live" in flower.look_at(flower.live_worker())
    shown = flower.http.get("/broker").text
    assert re.findall(r"<td>(\w+\.\w+)</td>", shown) == list(QUEUES)
    assert [queue["name"] for queue in flower.http.get("/api/queues/length").json()["active_queues"]] == list(QUEUES)


def test_tasks_show_by_name_how_many_members_and_up_to_five_numbers(flower: Flower, pages: dict[str, str]) -> None:
    assert pages
    rows = [row for row in flower.tasks() if row["args"].startswith("7 members")]
    assert {row["name"] for row in rows} == {stage.task for stage in Stage}
    for row in rows:
        assert SHOWN.fullmatch(row["args"])


def test_a_task_names_its_instances_and_its_page_leads_to_each_of_them_in_the_console(
    flower: Flower, pages: dict[str, str]
) -> None:
    wanted = {flower.instance_ids[number] for number in BATCH}
    rows = [row for row in flower.tasks() if row["args"].startswith("7 members")]
    for row in rows:
        count, _, ids = row["kwargs"].partition(" instances: ")
        assert (count, set(ids.split(", "))) == ("7", wanted)
        links = re.findall(rf'href="{re.escape(flower.stack.api_url)}/instances/(\d+)"', pages[f"/task/{row['uuid']}"])
        assert sorted(links) == sorted(wanted)


def test_every_page_leads_to_the_console(flower: Flower, pages: dict[str, str]) -> None:
    html = {path: text for path, text in pages.items() if "<html" in text}
    assert html.keys() >= {"/", "/tasks", "/broker", "/worker/live", "/task/none"}
    assert sum(path.startswith("/task/") for path in html) > len(Stage)
    for path, text in html.items():
        assert f'<a href="{flower.stack.api_url}/">' in text, path


def test_the_task_id_that_an_instance_keeps_leads_to_its_task(flower: Flower, pages: dict[str, str]) -> None:
    assert pages
    told = httpx.get(f"{flower.stack.api_url}/v1/instances/{flower.instance_ids[REFUSED]}", trust_env=False).json()
    tasks = [line["task_id"] for line in told["activity"] if line["task_id"]]
    assert tasks
    for task in tasks:
        login = (flower.stack.flower_user, flower.stack.flower_password)
        shown = httpx.get(f"{flower.stack.settings.flower.url}/task/{task}", auth=login, trust_env=False)
        assert shown.status_code == 200
        assert REFUSED in shown.text


def test_the_pages_of_a_stack_know_each_others_address(flower: Flower) -> None:
    assert flower.stack.settings.api.url == flower.stack.api_url
    assert flower.stack.settings.flower.url == flower.stack.flower_url


def test_where_no_port_was_asked_for_another_is_chosen_and_none_that_somebody_asked_for(flower: Flower) -> None:
    """Flower usually listens where the api is, and the simulators' control where the metrics are."""
    stack, asked = flower.stack, flower.stack.settings
    assert stack.api_url == f"http://127.0.0.1:{asked.api.port}"
    assert stack.flower_url != stack.api_url
    metrics = f"http://127.0.0.1:{asked.dispatcher.metrics_port}"
    assert stack.sandbox["control"] != metrics
    for url in (f"{metrics}/metrics", f"{stack.api_url}/readyz"):
        eventually_answers(url)


def test_the_result_is_counts_by_outcome(flower: Flower, pages: dict[str, str]) -> None:
    assert pages
    assert {row["result"] for row in flower.tasks(state="SUCCESS")} >= {"7 done", "1 done"}


def test_a_batch_that_waits_is_a_retry_and_says_for_how_long(flower: Flower, pages: dict[str, str]) -> None:
    row = flower.task_of(WAITS, state="RETRY")
    assert row["name"] == Stage.CROWDTWIST.task
    assert re.fullmatch(r"1 waiting(; tried again in \d+ s)?", row["result"])
    assert "Traceback" not in pages[f"/task/{row['uuid']}"]


def test_a_batch_that_failed_for_good_is_a_failure_and_says_as_what(flower: Flower, pages: dict[str, str]) -> None:
    row = flower.task_of(REFUSED, state="FAILURE")
    assert (row["name"], row["result"], row["exception"]) == (Stage.OIC.task, "1 Data Error", None)
    assert "Traceback" not in pages[f"/task/{row['uuid']}"]


def test_what_is_shown_can_be_searched_for(flower: Flower, pages: dict[str, str]) -> None:
    assert pages
    for words in ('result:"Data Error"', f'"instance: {flower.instance_ids[REFUSED]}"'):
        found = flower.http.get("/api/tasks", params={"search": words}).json()
        assert {task["args"] for task in found.values()} == {f"1 member: {REFUSED}"}, words


def test_no_page_shows_a_person_or_a_secret(flower: Flower, pages: dict[str, str]) -> None:
    assert any("7 members" in text for text in pages.values())
    (arguments,) = reserved(pages["/worker/live"])
    assert re.fullmatch(r"\[\[\d+(, \d+){6}\]\]", arguments)
    for page, text in pages.items():
        for word in (*PERSON, *secrets(flower)):
            assert word not in text, page


def secrets(flower: Flower) -> tuple[str, ...]:
    ledger, broker = (
        urlsplit(str(one)) for one in (flower.stack.settings.ledger_url, flower.stack.settings.broker_url)
    )
    found = (ledger.password, broker.password, flower.stack.flower_password)
    assert all(found)
    return (*filter(None, found), "sandbox-key", "SADMIN")


def test_nothing_that_is_left_behind_shows_a_person_or_a_secret(flower: Flower, pages: dict[str, str]) -> None:
    """What Flower keeps, everything that was ever on the broker, the logs, and the process list."""
    assert pages
    home = Path(flower.stack.home)
    kept = [*home.glob("flower.db*"), *home.glob("valkey/appendonlydir/*"), *home.glob("logs/*")]
    assert {"flower", "appendonly", "postgres"} <= {one.name.partition(".")[0] for one in kept}
    left = {str(one): one.read_bytes() for one in kept if one.is_file()}
    stack = [psutil.Process(), *psutil.Process().children(recursive=True)]
    left["process list"] = b"\n".join(" ".join(one.cmdline()).encode() for one in stack if one.is_running())
    assert b"dispatcher" in left["process list"]
    assert any(b"oic_flow" in text for text in left.values())
    for place, text in left.items():
        assert not [word for word in (*PERSON, *secrets(flower)) if word.encode() in text], place


@pytest.mark.parametrize("order", takes_orders())
@pytest.mark.parametrize("aim", ["worker", "task", "name"])
def test_nothing_can_be_done_in_it(flower: Flower, pages: dict[str, str], order: str, aim: str) -> None:
    assert pages
    worker = flower.live_worker()
    aimed = {"worker": worker, "task": next(iter(flower.http.get("/api/tasks").json())), "name": Stage.OIC.task}
    fields = {"n": "1", "min": "1", "max": "2", "queue": "oic.bulk", "ratelimit": "1/h", "workername": worker}
    address = order.format(aimed[aim])
    assert flower.http.post(address, params=fields, json={"args": [[1]]}).status_code == 403
    assert {flower.http.request(verb, address).status_code for verb in ("PUT", "PATCH", "DELETE")} == {405}


def test_every_address_that_takes_orders_was_tried() -> None:
    words = {path.split("/")[-2] for path in takes_orders()}
    assert words >= {"shutdown", "restart", "grow", "shrink", "autoscale", "add-consumer", "cancel-consumer"}
    assert words >= {"apply", "async-apply", "send-task", "abort", "timeout", "rate-limit", "revoke"}


def test_what_it_has_seen_is_kept_in_the_home(flower: Flower) -> None:
    assert list(Path(flower.stack.home).glob("flower.db*"))


@pytest.fixture
def page(browser: Browser, flower: Flower, pages: dict[str, str]) -> Iterator[Page]:
    """A page with the login, in which nothing may go wrong and nothing may come from elsewhere."""
    assert pages
    asked: list[str] = []
    wrong: list[str] = []
    login = {"username": flower.stack.flower_user, "password": flower.stack.flower_password}
    with page_in(browser, base_url=flower.stack.flower_url, http_credentials=login) as opened:
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
        yield opened
    assert not wrong
    own = (flower.stack.flower_url, flower.stack.api_url, "data:")
    assert not [url for url in asked if not url.startswith(own)]


def names_nobody(page: Page) -> bool:
    return not any(word in page.content() for word in PERSON)


def fits(page: Page, selector: str) -> bool:
    """Return whether it ends within the window."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    assert page.viewport_size is not None
    return box["x"] + box["width"] <= page.viewport_size["width"]


def test_from_the_workers_to_one_of_them_and_to_what_it_has_reserved(page: Page, flower: Flower) -> None:
    page.goto("/")
    live = page.locator("#workers-table").get_by_role("link", name="live").first
    live.wait_for()
    assert page.locator("#workers-online").inner_text() == "2"
    picture(page, "flower-workers")
    assert names_nobody(page)
    live.click()
    page.get_by_role("tab", name="Tasks").wait_for()
    assert not page.get_by_role("button", name="Actions").count()
    with flower.standing_still("45-0", "45-1"):
        flower.look_at_reserved()
        ours = re.compile(rf"\[\[.*\b{flower.instance_ids['45-0']}\b")  # another member's retry may be due before it
        reserved = page.locator("table", has_text="Reserved tasks").locator("tbody tr", has_text=ours)
        eventually(lambda: page.reload() is not None and reserved.count() > 0, "reserved tasks on the worker's page")
        page.get_by_role("tab", name="Tasks").click()
        assert re.fullmatch(r"\[\[\d+, \d+\]\]", reserved.first.locator("td").nth(2).inner_text())
        picture(page, "flower-worker-tasks")
        assert names_nobody(page)


def test_from_the_list_to_a_task_and_to_its_instances_in_the_console(page: Page, flower: Flower) -> None:
    page.goto("/tasks")
    page.locator("#tasks-table tbody tr", has_text="1 member: ").first.wait_for()
    assert fits(page, "#tasks-table th[data-column=runtime]")
    picture(page, "flower-tasks")
    assert names_nobody(page)
    page.locator(".dataTables_filter input").fill('"7 members"')
    row = page.locator("#tasks-table tbody tr", has_text="7 members").first
    row.wait_for()
    assert row.locator("td").nth(4).inner_text() == "7 done"
    row.get_by_role("link").first.click()
    page.get_by_role("heading", name="Instances in the console").wait_for()
    picture(page, "flower-task")
    links = page.locator(".membersync-instances a")
    wanted = [f"{flower.stack.api_url}/instances/{flower.instance_ids[number]}" for number in sorted(BATCH)]
    assert sorted(link.get_attribute("href") or "" for link in links.all()) == sorted(wanted)
    assert names_nobody(page)


@pytest.mark.parametrize(("number", "state"), [(WAITS, "RETRY"), (REFUSED, "FAILURE")])
def test_a_task_says_how_it_ended_in_one_line(page: Page, flower: Flower, number: str, state: str) -> None:
    row = flower.task_of(number, state=state)
    page.goto(f"/task/{row['uuid']}")
    assert page.locator(".badge").inner_text() == state
    assert page.locator("dd", has_text=row["result"]).count() == 1
    assert not page.locator("dt", has_text="Traceback").count()
    picture(page, f"flower-task-{state.lower()}")
    assert names_nobody(page)


def test_the_broker_page_has_six_queues(page: Page) -> None:
    page.goto("/broker")
    assert page.locator("#queue-table tbody tr").count() == 6
    picture(page, "flower-broker")


def test_the_way_to_the_console_is_seen_in_the_dark_too(browser: Browser, flower: Flower) -> None:
    login = {"username": flower.stack.flower_user, "password": flower.stack.flower_password}
    with page_in(browser, dark=True, base_url=flower.stack.flower_url, http_credentials=login) as page:
        page.goto("/tasks")
        page.locator("#tasks-table tbody tr").first.wait_for()
        picture(page, "flower-tasks-dark")
        page.get_by_role("link", name="membersync console").click()
        page.wait_for_url(f"{flower.stack.api_url}/**")
