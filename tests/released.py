"""The version before this one, out of the history of this repository, and its processes."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIRST = "f8e909ae125344ea229bb6111432df5ad82f23ad"
"""Where there is no release yet: the first version that a newer schema serves."""


def released(into: Path) -> Path:
    """Unpack the newest release before this version into a folder, and return it."""
    tags = git("tag", "--list", "v*", "--sort=-version:refname", "--no-contains", "HEAD").decode().split()
    code = git("archive", tags[0] if tags else FIRST, "shared", "producers", "workers", "deploy")
    with tarfile.open(fileobj=BytesIO(code)) as archive:
        archive.extractall(into, filter="data")
    return into


def git(*arguments: str) -> bytes:
    program = shutil.which("git")
    assert program is not None
    ran = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, check=False)
    if ran.returncode:
        pytest.fail(f"the version before is in the history of this repository, which is not whole here: {ran.stderr!r}")
    return ran.stdout


@contextmanager
def process(code: Path, log: Path, environment: Mapping[str, str], *typed: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `membersync TYPED` of the version in *code*."""
    command = [sys.executable, "-m", "producers.cli", *typed]
    with log.open("wb") as written:
        started = subprocess.Popen(command, cwd=code, env=dict(environment), stdout=written, stderr=written)
    try:
        yield started
    finally:
        started.kill()
        started.wait(10)
