"""The simulators can be slow, broken or gone, for all or for one member, and count what happened."""

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from deploy.local import answering
from deploy.sandbox.faults import Kind
from deploy.sandbox.server import Ports, RunningSandbox, SandboxControl, running_sandbox

KEYS = {"api_key": "sandbox-key", "id_type": "third_party_id"}
MEMBER = "/siebel/v1.0/data/LOY%20Member/LOY%20Member"
SADMIN = httpx.BasicAuth("SADMIN", "SADMIN")


def user(number: str = "296-1", first_name: str = "Andy") -> dict[str, object]:
    return {
        "third_party_id": number,
        "first_name": first_name,
        "last_name": "Cole",
        "email_address": f"{number}@example.org",
        "postal_code": "10010",
    }


def create(sandbox: RunningSandbox, http: httpx.Client, number: str = "296-1") -> httpx.Response:
    return http.post(f"{sandbox.crowdtwist}/v2/users", params=KEYS, json=user(number))


def rename(sandbox: RunningSandbox, http: httpx.Client, name: str, number: str = "296-1") -> httpx.Response:
    return http.put(f"{sandbox.crowdtwist}/v2/users/{number}", params=KEYS, json={"first_name": name})


def first_name(sandbox: RunningSandbox, number: str = "296-1") -> str | None:
    held = sandbox.control.user(number)
    return None if held is None else str(held["first_name"])


def wait_until(condition: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "status", "content_type"),
    [
        ({"kind": "status", "status": 418, "body": {"error": "teapot"}}, 418, "application/json"),
        ({"kind": "status", "status": 500, "body": "oops"}, 500, "text/plain"),
        ({"kind": "html", "status": 200}, 200, "text/html"),
        ({"kind": "throttle", "retry_after": 7}, 429, "application/json"),
        ({"kind": "maintenance"}, 503, "text/html"),
        ({"kind": "garbage"}, 200, "application/json"),
    ],
)
def test_a_fault_answers_instead_of_the_system(
    sandbox: RunningSandbox, http: httpx.Client, fault: dict[str, object], status: int, content_type: str
) -> None:
    create(sandbox, http)
    sandbox.control.call("POST", "crowdtwist/faults", fault)

    answer = rename(sandbox, http, "Andrew")

    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert first_name(sandbox) == "Andy"
    sandbox.control.heal("crowdtwist")
    assert rename(sandbox, http, "Andrew").status_code == 200


def test_garbage_is_not_json(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("crowdtwist", "garbage")

    answer = create(sandbox, http)

    with pytest.raises(ValueError, match="decode"):
        answer.json()


def test_retry_after_comes_as_seconds_or_as_a_date(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("crowdtwist", "throttle", retry_after=7, times=1)
    sandbox.control.fault("crowdtwist", "throttle", retry_after="date:+7", times=1)

    assert create(sandbox, http).headers["retry-after"] == "7"
    asked_at = int(time.time())  # a date has whole seconds
    until = parsedate_to_datetime(create(sandbox, http).headers["retry-after"]).timestamp()
    assert asked_at + 7 <= until <= time.time() + 7


def test_refuse_is_a_refused_connection_and_resets_the_open_ones(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    with socket.create_connection((httpx.URL(sandbox.crowdtwist).host, httpx.URL(sandbox.crowdtwist).port)) as idle:
        create(sandbox, http, "296-2")
        sandbox.control.fault("crowdtwist", "refuse")

        with pytest.raises(ConnectionResetError):
            idle.recv(1)
    with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as fresh:
        create(sandbox, fresh)
    sandbox.control.heal("crowdtwist")
    assert rename(sandbox, http, "Andrew").status_code == 200


def test_refuse_ends_by_itself_on_the_same_port(sandbox: RunningSandbox) -> None:
    sandbox.control.fault("siebel", "refuse", for_s=2)

    def listens() -> bool:
        try:
            return answering.get(sandbox.siebel).status_code == 401
        except httpx.TransportError:
            return False

    assert not listens()
    wait_until(listens)


def test_hang_takes_the_request_and_never_answers(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("crowdtwist", "hang")

    with pytest.raises(httpx.ReadTimeout):
        http.post(f"{sandbox.crowdtwist}/v2/users", params=KEYS, json=user(), timeout=0.05)

    wait_until(lambda: sandbox.control.state("crowdtwist")["calls"] == {"POST": {"none": 1}})
    assert sandbox.control.users() == []


@pytest.mark.parametrize(("kind", "applied"), [("drop", 0), ("drop_after", 1)])
def test_drop_closes_without_an_answer(sandbox: RunningSandbox, http: httpx.Client, kind: str, applied: int) -> None:
    sandbox.control.fault("crowdtwist", kind, times=1)

    with pytest.raises(httpx.RemoteProtocolError):
        create(sandbox, http)

    assert len(sandbox.control.users()) == applied


def test_apply_late_applies_after_a_newer_write(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    sandbox.control.fault("crowdtwist", "apply_late", seconds=1, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        rename(sandbox, http, "Older")

    assert rename(sandbox, http, "Newer").status_code == 200
    assert sandbox.control.state("crowdtwist")["late_writes_pending"] == 1
    wait_until(lambda: first_name(sandbox) == "Older")


def test_slow_answers_late(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("crowdtwist", "slow", seconds=0.05)

    began = time.monotonic()

    assert create(sandbox, http).status_code == 200
    assert time.monotonic() - began > 0.045  # its clock has whole milliseconds


def test_a_siebel_error_carries_its_code(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.fault("siebel", "siebel_error", times=1)

    answer = http.put(f"{sandbox.siebel}{MEMBER}/1-1", json={"CT Sync Status": "Success"}, auth=SADMIN)

    assert answer.status_code == 500
    assert answer.json()["ERROR"].endswith(".(SBL-DAT-00523)")


def test_a_fault_is_for_its_members_only(sandbox: RunningSandbox, http: httpx.Client) -> None:
    for number in ("296-1", "296-2"):
        create(sandbox, http, number)
    sandbox.control.fault("crowdtwist", "status", status=500, member=["296-2"])

    assert rename(sandbox, http, "Andrew", "296-1").status_code == 200
    assert rename(sandbox, http, "Andrew", "296-2").status_code == 500


@pytest.mark.parametrize("name", ["296-1", "1-1"])
def test_siebel_faults_know_a_member_by_number_and_row(sandbox: RunningSandbox, http: httpx.Client, name: str) -> None:
    sandbox.control.seed({"member_number": "296-1", "row_id": "1-1"})
    sandbox.control.fault("siebel", "status", status=500, member=name)

    batch = [{"Id": "1-2", "CT Sync Status": "Success"}, {"Id": "1-1", "CT Sync Status": "Success"}]

    assert http.put(f"{sandbox.siebel}{MEMBER}/1-1", json={}, auth=SADMIN).status_code == 500
    assert http.put(f"{sandbox.siebel}{MEMBER}", json=batch, auth=SADMIN).status_code == 500
    assert http.put(f"{sandbox.siebel}{MEMBER}/1-2", json={}, auth=SADMIN).status_code == 200


def test_a_fault_is_for_its_method_and_ends_after_its_count(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    sandbox.control.fault("crowdtwist", "status", status=500, method="PUT", times=2)

    statuses = [rename(sandbox, http, "Andrew").status_code for _ in range(3)]

    assert statuses == [500, 500, 200]
    assert sandbox.control.call("GET", "crowdtwist/faults").json() == []


def test_a_fault_happens_to_its_share_of_the_calls(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    sandbox.control.fault("crowdtwist", "status", status=500, percent=50)

    failed = sum(rename(sandbox, http, "Andrew").status_code == 500 for _ in range(60))

    assert 10 < failed < 50


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "earthquake"},
        {"kind": "status", "sttus": 5},
        {"kind": "slow", "seconds": "1"},
        {"kind": "refuse", "member": "296-1"},
        {"kind": "throttle", "retry_after": "soon"},
        7,
    ],
)
def test_a_wrong_fault_is_refused(sandbox: RunningSandbox, http: httpx.Client, fault: object) -> None:
    answer = http.post(f"{sandbox.control_url}/_sandbox/oic/faults", json=[fault])

    assert answer.status_code == 400
    assert "error" in answer.json()


def test_one_fault_of_several_can_be_ended(sandbox: RunningSandbox) -> None:
    first = sandbox.control.fault("oic", "status", status=500)
    second = sandbox.control.fault("oic", "hang")

    sandbox.control.heal("oic", first)

    assert [fault["id"] for fault in sandbox.control.call("GET", "oic/faults").json()] == [second]


def test_the_state_counts_calls_and_overlaps_of_one_member(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    sandbox.control.set("crowdtwist", latency_ms=50)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: rename(sandbox, http, name), ["One", "Two", "Three"]))

    state = sandbox.control.state("crowdtwist")

    assert (state["users"], state["posts"], state["puts"], state["calls_total"]) == (1, 1, 3, 4)
    assert state["max_in_flight_per_member"] > 1
    assert state["overlapping_keys"] == ["296-1"]
    assert (state["max_calls_per_minute"], state["in_flight"]) == (4, 0)


def test_calls_beyond_the_capacity_wait_for_those_before_them(sandbox: RunningSandbox, http: httpx.Client) -> None:
    for number in range(6):
        create(sandbox, http, f"296-{number}")
    sandbox.control.set("crowdtwist", latency_ms=100, capacity=2)

    def took_s() -> list[float]:
        """Return when each of six was answered, since the first of them set out: some threads begin later."""
        began = time.monotonic()

        def answered_s(number: int) -> float:
            assert rename(sandbox, http, "One", f"296-{number}").status_code == 200
            return time.monotonic() - began

        with ThreadPoolExecutor(6) as pool:
            return sorted(pool.map(answered_s, range(6)))

    took = took_s()
    sandbox.control.set("crowdtwist", capacity=0)

    assert took[0] > 0.09
    assert took[-1] > 0.27  # the clocks of two processes
    wait_until(lambda: took_s()[-1] < 0.27)  # at the latest when the machine is at leisure


def test_more_capacity_is_used_by_those_who_wait(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    sandbox.control.set("crowdtwist", latency_ms=50, capacity=1)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(rename, sandbox, http, name) for name in ("One", "Two", "Three", "Four")]
        sandbox.control.set("crowdtwist", capacity=3)

        assert [one.result(60).status_code for one in waiting] == [200] * 4


def test_the_last_calls_are_shown_without_the_key(sandbox: RunningSandbox, http: httpx.Client) -> None:
    create(sandbox, http)
    rename(sandbox, http, "Andrew")
    create(sandbox, http, "296-2")

    calls = sandbox.control.calls("crowdtwist", key="296-1")

    assert [(call["method"], call["status"], call["key"]) for call in calls] == [
        ("POST", 200, "296-1"),
        ("PUT", 200, "296-1"),
    ]
    assert calls[1]["path"] == "/v2/users/296-1?id_type=third_party_id"
    assert len(sandbox.control.calls("crowdtwist", limit=1)) == 1


def test_calls_need_not_be_recorded(sandbox: RunningSandbox, http: httpx.Client) -> None:
    sandbox.control.set("crowdtwist", record_calls=False)
    create(sandbox, http)

    assert sandbox.control.calls("crowdtwist") == []
    assert sandbox.control.state("crowdtwist")["posts"] == 1


@pytest.mark.parametrize("settings", [{"latency": 1}, {"latency_ms": "1"}, {"record_calls": 1}, [1]])
def test_wrong_settings_are_refused(sandbox: RunningSandbox, http: httpx.Client, settings: object) -> None:
    assert http.put(f"{sandbox.control_url}/_sandbox/crowdtwist/settings", json=settings).status_code == 400


def test_control_is_on_the_port_of_the_simulator_too(sandbox: RunningSandbox, http: httpx.Client) -> None:
    for path in ("/_sandbox/state", "/_sandbox/siebel/state"):
        assert http.get(sandbox.siebel + path).json()["name"] == "siebel"
    assert http.get(f"{sandbox.control_url}/_sandbox/nobody/state").status_code == 404


def test_pipelined_requests_are_answered_in_their_order(sandbox: RunningSandbox) -> None:
    sandbox.control.set("siebel", latency_ms=5)
    ask = "GET /siebel/v1.0/data/{} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sandbox-token\r\n{}\r\n"
    asked = ask.format("LOY%20Member/LOY%20Member/1-1", "") + ask.format("", "Connection: close\r\n")
    with socket.create_connection((httpx.URL(sandbox.siebel).host, httpx.URL(sandbox.siebel).port)) as connection:
        connection.sendall(asked.encode())
        answers = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answers.count(b"HTTP/1.1 404") == 2
    assert answers.index(b"There is no data") < answers.index(b"Invalid business object")


def test_the_state_file_keeps_users_and_members(tmp_path: Path, http: httpx.Client) -> None:
    state_file = tmp_path / "sandbox.json"
    with running_sandbox(state_file=state_file) as first:
        create(first, http)
        first.control.seed({"member_number": "296-1", "row_id": "1-1"})

    with running_sandbox(state_file=state_file) as second:
        assert rename(second, http, "Andrew").json()["first_name"] == "Andrew"
        assert create(second, http).status_code == 400
        member = second.control.member("296-1")
    assert member is not None
    assert member["row_id"] == "1-1"


def test_a_taken_port_is_said_at_the_start(sandbox: RunningSandbox) -> None:
    taken = httpx.URL(sandbox.siebel).port

    with pytest.raises(OSError, match="ddress"), running_sandbox(Ports(siebel=taken)):
        pass


def test_the_program_prints_its_addresses_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "deploy.sandbox", "--siebel-port", "0", "--control-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            urls = json.loads(program.stdout.readline())
            assert set(urls) == {"siebel", "control"}
            with SandboxControl(urls["control"]) as control:
                assert control.state("siebel")["members"] == 0
        finally:
            program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0


def typed_in_the_guide() -> Iterator[tuple[str, str, str]]:
    """Iterate over the guide's commands to the simulators: method, path below the control's, body."""
    guide = Path(answering.__file__).parents[1] / "guides" / "demo.md"
    for line in guide.read_text(encoding="utf-8").splitlines():
        if line.startswith("    curl"):
            _, _, *words = shlex.split(line, comments=True)
            body = words[words.index("-d") + 1] if "-d" in words else ""
            (path,) = (word.removeprefix("$CONTROL/") for word in words if word.startswith("$CONTROL/"))
            yield "DELETE" if "DELETE" in words else "POST" if body else "GET", path, body


def test_what_the_guide_has_people_type_does_it_and_names_every_kind(
    sandbox: RunningSandbox, http: httpx.Client
) -> None:
    typed = list(typed_in_the_guide())
    for method, path, body in typed:
        answer = http.request(method, f"{sandbox.control_url}/_sandbox/{path}", content=body)
        assert answer.status_code == 200, (method, path, answer.text)
        if method == "DELETE":
            assert answer.json()["removed"] > 0, path
    guide = (Path(answering.__file__).parents[1] / "guides" / "demo.md").read_text(encoding="utf-8")
    assert [kind for kind in Kind if f"`{kind}`" not in guide] == []
    assert {method for method, *_ in typed} == {"GET", "POST", "DELETE"}
