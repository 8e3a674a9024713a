"""The supervisor: what dies comes back and is spoken of, what stops takes its children along, nothing outlives it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.supervisor import Event, ProcessError, Program, Supervisor, stop_signals

ROOT = Path(__file__).parents[2]
TELL_GRANDCHILD = "sleep 300 & echo $!; wait"  # a child that prints the number of its own child
DEAF = "trap '' TERM INT; echo deaf; while :; do sleep 0.05; done"

STACK = """
import sys
from pathlib import Path
from deploy.local.supervisor import Program, Supervisor, stop_signals
with stop_signals() as stop, Supervisor() as supervisor:
    home = Path(sys.argv[1])
    supervisor.start(Program("family", ["sh", "-c", sys.argv[2]], log=home / "family.log"))
    supervisor.start(Program("deaf", ["sh", "-c", sys.argv[3]], log=home / "deaf.log", grace_s=0.3))
    print(*supervisor.pids().values(), flush=True)
    stop.wait()
print("ended in order", flush=True)
"""


def eventually(happened: Callable[[], bool], within_s: float = 60.0) -> bool:
    give_up_at = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def shell(name: str, script: str, log: Path | None = None, grace_s: float = 5.0) -> Program:
    return Program(name, ["sh", "-c", script], log=log, grace_s=grace_s)


def read_lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_a_program_that_dies_is_started_again_later_each_time_and_each_death_is_told() -> None:
    events: list[Event] = []
    with Supervisor(events.append) as supervisor:
        supervisor.start(shell("brief", "exit 3"))
        assert eventually(lambda: len(events) == 3)
    assert [event["restart_in_s"] for event in events[:3]] == [0.5, 1.0, 2.0]
    assert events[0] == {"event": "process died", "name": "brief", "code": 3, "restart_in_s": 0.5}


def test_a_killed_program_comes_back_as_another_process_and_takes_its_children_with_it(tmp_path: Path) -> None:
    events: list[Event] = []
    log = tmp_path / "family.log"
    with Supervisor(events.append) as supervisor:
        supervisor.start(shell("family", TELL_GRANDCHILD, log))
        before = supervisor.pids()["family"]
        assert eventually(lambda: len(read_lines(log)) == 1)
        os.kill(before, signal.SIGKILL)
        assert eventually(lambda: len(read_lines(log)) == 2)
        assert supervisor.pids()["family"] != before
        assert not alive(int(read_lines(log)[0]))
        assert [event["code"] for event in events] == [137]


def test_a_program_whose_guardian_is_killed_is_ended_and_started_again(tmp_path: Path) -> None:
    log = tmp_path / "family.log"
    with Supervisor(lambda _: None) as supervisor:
        supervisor.start(shell("family", TELL_GRANDCHILD, log))
        before = supervisor.pids()["family"]
        assert eventually(lambda: len(read_lines(log)) == 1)
        guardian = int(Path(f"/proc/{before}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(guardian, signal.SIGKILL)
        assert eventually(lambda: len(read_lines(log)) == 2)
        assert not alive(before)
        assert not alive(int(read_lines(log)[0]))


def test_stopping_leaves_no_child_and_no_grandchild_even_of_a_program_that_does_not_listen(tmp_path: Path) -> None:
    logs = [tmp_path / "family.log", tmp_path / "deaf.log"]
    with Supervisor() as supervisor:
        family = shell("family", TELL_GRANDCHILD, logs[0], grace_s=60)
        supervisor.start(family, shell("deaf", DEAF, logs[1], grace_s=0.3))
        pids = list(supervisor.pids().values())
        assert eventually(lambda: all(read_lines(log) for log in logs))
        began = time.monotonic()
    assert time.monotonic() - began < family.grace_s, "who listens is not waited for"
    assert not any(alive(pid) for pid in [*pids, int(read_lines(logs[0])[0])])


def test_programs_stop_in_the_reverse_order_of_their_start_and_may_finish_what_they_do(tmp_path: Path) -> None:
    log = tmp_path / "both.log"
    slow = "trap 'sleep 0.2; echo {0}; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    with Supervisor() as supervisor:
        supervisor.start(shell("simulator", slow.format("simulator"), log))
        supervisor.start(shell("worker", slow.format("worker"), log))
        assert eventually(lambda: len(read_lines(log)) == 2)
    assert read_lines(log)[2:] == ["worker", "simulator"]


def test_waiting_ends_when_ready(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(shell("slow", f"sleep 0.1; touch '{tmp_path}/ready'; sleep 60"))
        supervisor.wait_until((tmp_path / "ready").exists, within_s=60)


def test_waiting_for_a_program_that_keeps_dying_ends_early_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor(lambda _: None) as supervisor:
        supervisor.start(shell("broken", "echo the port is taken; exit 4", tmp_path / "broken.log"))
        with pytest.raises(ProcessError, match=r"(?s)broken keeps dying \(exit code 4\).*the port is taken"):
            supervisor.wait_until(lambda: False, within_s=60, deaths=2)


def test_waiting_has_an_end() -> None:
    with Supervisor() as supervisor:
        supervisor.start(shell("idle", "sleep 60"))
        with pytest.raises(ProcessError, match=r"not taking events after 0\.1 s"):
            supervisor.wait_until(lambda: False, what="taking events", within_s=0.1)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with Supervisor(lambda _: None) as supervisor:
        supervisor.start(Program("typo", ["no-such-program"], log=tmp_path / "typo.log"))
        with pytest.raises(ProcessError, match=r"(?s)typo keeps dying \(exit code 127\).*cannot run no-such-program"):
            supervisor.wait_until(lambda: False, deaths=1)


def test_two_programs_cannot_share_a_name() -> None:
    with Supervisor() as supervisor:
        supervisor.start(shell("one", "sleep 60"))
        with pytest.raises(ValueError, match="one"):
            supervisor.start(shell("one", "sleep 60"))


def test_a_program_gets_its_environment_and_folder(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "show.log"
    with Supervisor() as supervisor:
        argv = ["/bin/sh", "-c", "echo $GREETING $(pwd); sleep 60"]
        supervisor.start(Program("show", argv, env={**os.environ, "GREETING": "hello"}, cwd=tmp_path, log=log))
        assert eventually(lambda: read_lines(log) == [f"hello {tmp_path}"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_supervisor(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STACK, str(tmp_path), TELL_GRANDCHILD, DEAF],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        logs = [tmp_path / "family.log", tmp_path / "deaf.log"]
        assert eventually(lambda: all(read_lines(log) for log in logs))
        pids.append(int(read_lines(logs[0])[0]))
        assert all(alive(pid) for pid in pids)
        parent.send_signal(number)
        said = parent.stdout.read()
    assert said == ("" if number == signal.SIGKILL else "ended in order\n")
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_death_is_one_line_of_json_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with Supervisor() as supervisor:
        supervisor.start(shell("brief", "exit 3"))
        supervisor.wait_until(lambda: supervisor.pids() == {})
        assert eventually(lambda: (line := capfd.readouterr().err) != "" and json.loads(line)["code"] == 3)


def test_a_stop_signal_is_a_value_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        assert not stop
        assert not stop.wait(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(1)
        assert stop.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
