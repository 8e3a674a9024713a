"""What `membersync up` says when it is ready: one line for programs, then a line each for people."""

from pathlib import Path

from deploy.local.stack import Stack, ready_lines
from shared.settings import Settings

SIMULATORS = {"control": "http://127.0.0.1:9100", "crowdtwist": "http://127.0.0.1:9101", "siebel": "http://[::1]:9102"}
STACK = Stack(
    home=Path("/home/of/it"),
    settings=Settings(_env_file=None),
    sandbox=SIMULATORS,
    control=None,
    api_url="http://127.0.0.1:8000",
    flower_url="http://127.0.0.1:5555",
    flower_user="flower",
    flower_password="not-for-logs",
    pids=dict,
)


def test_a_log_gets_every_address_in_the_ready_line_and_no_password() -> None:
    ready, *rest = ready_lines(STACK, is_terminal=False)
    assert ready == (
        "ready  api http://127.0.0.1:8000  flower http://127.0.0.1:5555  sandbox control http://127.0.0.1:9100 "
        "crowdtwist http://127.0.0.1:9101 siebel http://[::1]:9102"
    )
    assert not any("not-for-logs" in line for line in (ready, *rest))
    assert any("/home/of/it/stack.json" in line for line in rest)


def test_a_person_gets_a_line_for_each_address_that_fits_a_terminal() -> None:
    lines = list(ready_lines(STACK, is_terminal=True))
    assert lines[0] == "ready  api http://127.0.0.1:8000  flower http://127.0.0.1:5555"
    assert [line.split()[:2] for line in lines[1:]] == [
        ["console", "http://127.0.0.1:8000"],
        ["API", "http://127.0.0.1:8000/v1"],
        ["Flower", "http://127.0.0.1:5555"],
        ["control", "http://127.0.0.1:9100"],
        ["CrowdTwist", "http://127.0.0.1:9101"],
        ["Siebel", "http://[::1]:9102"],
    ]
    assert "login flower / not-for-logs" in lines[3]
    assert max(map(len, lines)) <= 80
