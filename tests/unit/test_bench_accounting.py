"""Whose CPU it was: processes by kind, with all that they started."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.bench.accounting import Accounts, used_since

BUSY = "while True: pass"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
sys.stdin.readline()
child.kill()
child.wait()
print("reaped", flush=True)
sys.stdin.read()
"""


@contextmanager
def parent_of(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run *code* in a child of a process, which ends the child when it is sent a line."""
    command = [sys.executable, "-c", PARENT, code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        yield one
        one.communicate("\n")


def until_used(accounts: Accounts, cpu_s: float) -> None:
    deadline = time.monotonic() + 60
    while accounts.cpu_s().get("busy", 0.0) < cpu_s:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_cpu_of_children_counts_while_they_live_and_after() -> None:
    accounts = Accounts()
    with parent_of(BUSY) as one, accounts.of("busy", one.pid), accounts.of("here", os.getpid()):
        until_used(accounts, 0.3)
        assert one.stdin is not None
        assert one.stdout is not None
        one.stdin.write("\n")
        one.stdin.flush()
        assert one.stdout.readline() == "reaped\n"
        assert accounts.pids("busy") == [one.pid]
        assert accounts.cpu_s()["busy"] >= 0.3
    assert accounts.cpu_s() == {}


def test_who_is_frozen_uses_nothing_and_goes_on_afterwards() -> None:
    accounts = Accounts()
    with parent_of(BUSY) as one, accounts.of("busy", one.pid):
        until_used(accounts, 0.1)
        with accounts.frozen("busy"):
            before = accounts.cpu_s()
            time.sleep(0.05)
            assert used_since(before, accounts.cpu_s())["busy"] <= 0.01
        until_used(accounts, before["busy"] + 0.05)


def test_who_was_never_started_is_an_error() -> None:
    with pytest.raises(psutil.NoSuchProcess), Accounts().of("worker", None):
        pass
