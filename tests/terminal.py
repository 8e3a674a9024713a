"""The command line as somebody at a terminal has it: commands typed, processes started."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local import answering
from deploy.local.programs import inherited_environment
from producers.cli import main
from shared.settings import settings

ROOT = Path(__file__).parents[1]
EVENT = {
    "event_id": "E-1",
    "operation": "update",
    "occurred_at": "2026-11-23T08:51:00Z",
    "modification": 3,
    "member": {"member_number": "M-1", "last_name": "Cole", "email_address": "andy.cole@example.org"},
}
XML = """<SiebelMessage IntObjectName="CT LOY Member"><ListOfCT_spcLOY_spcMember><LOY_spcMember>
<Member_spcNumber>X-1</Member_spcNumber><ListOfContact><Contact><Contact_spcLast_spcName>Cole</Contact_spcLast_spcName>
</Contact></ListOfContact></LOY_spcMember></ListOfCT_spcLOY_spcMember></SiebelMessage>"""
CSV = "Member Number,Contact Last Name,Date of Birth\nC-1,Cole,11/29/1979\nC-2,Cole,99/99/1979\n"


class Ran:
    """What one command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


class Terminal:
    """Types commands."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        settings.cache_clear()
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        code = ended.value.code
        return Ran(code if isinstance(code, int) else 0, *self._capsys.readouterr())


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of our processes."""
    with subprocess.Popen(
        [sys.executable, "-m", "producers.cli", *arguments],
        env=inherited_environment() | environment,
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run `python *arguments` with these settings and no others, and what it says in one stream; ended in order."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        env=inherited_environment() | environment,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def eventually_answers(url: str) -> None:
    give_up_at = time.monotonic() + 30
    while True:
        try:
            if answering.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < give_up_at, f"{url} does not answer"
        time.sleep(0.05)
