"""A release: wheel, sdist and bill of materials in `dist/`, and the product run from that wheel alone: `make release`.

The version is pyproject's, and the changelog's newest entry has to be of it.  Everything in an archive is dated with
that entry's day, so that whoever builds the same sources has the same bytes: the wheel is built of the tree and again
of the sdist, and both must be one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from pathlib import Path

from tests.supply_chain import EMBEDDED, IMAGE_LOCK, LOCK, bill_of_materials, pinned

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
CHANGELOG = ROOT / "deploy" / "CHANGELOG.md"
_ENTRY = re.compile(r"^## (\S+) - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


class NoReleaseError(Exception):
    """This is nothing to give to anybody; says why in one sentence."""


def version() -> str:
    """Return the version of this tree."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def day_of(release: str, changelog: str) -> date:
    """Return the day of *release* in the text of a changelog, whose newest entry it must be."""
    newest = _ENTRY.search(changelog)
    if newest is None or newest[1] != release:
        said = newest[1] if newest else "nothing"
        raise NoReleaseError(f"pyproject.toml has version {release}, and the newest entry of the changelog is {said}")
    return date.fromisoformat(newest[2])


def build(kind: str, sources: Path, into: Path, day: date) -> Path:
    """Build the `wheel` or the `sdist` of *sources* with the locked build backend; return the file."""
    epoch = int(datetime.combine(day, time(), UTC).timestamp())
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(into)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(command, cwd=sources, env=environment, check=True, stdout=subprocess.DEVNULL)
    (built,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def locked_for_running(image_lock: str, lock: str) -> str:
    """Return the requirements of a machine that also has the embedded servers, with their hashes."""
    servers = [one for one in pinned(lock) if one.name in EMBEDDED]
    lines = [f"{one.name}=={one.version} {_hashes(one.hashes)}\n" for one in servers]
    return image_lock + "".join(lines)


def _hashes(hashes: Iterable[str]) -> str:
    return " ".join(f"--hash=sha256:{one}" for one in hashes)


def run_from(wheel: Path, place: Path) -> None:
    """Install *wheel* with the locked dependencies into a new environment under *place*, and run the demo there."""
    own = place / "environment"
    requirements = place / "requirements.txt"
    requirements.write_text(
        locked_for_running(IMAGE_LOCK.read_text(encoding="utf-8"), LOCK.read_text(encoding="utf-8")), encoding="utf-8"
    )
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MEMBERSYNC_", "PYTHON", "VIRTUAL_ENV"))
    }

    def at(*command: str | Path) -> str:
        """Run *command* where no source of ours is; return what it prints."""
        ran = subprocess.run(
            [str(part) for part in command], cwd=elsewhere, env=bare, check=False, stdout=subprocess.PIPE, text=True
        )
        if ran.returncode:
            raise NoReleaseError(f"`{Path(command[0]).name}` ended with {ran.returncode}: {ran.stdout[-2000:]}")
        return ran.stdout

    _say("an empty environment, with what is locked …")
    at(sys.executable, "-m", "venv", own)
    pip = (own / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    at(*pip, "install", "--require-hashes", "-r", requirements)
    at(*pip, "install", "--no-deps", "--no-index", wheel)
    at(*pip, "check")
    said = at(own / "bin" / "membersync", "--version")
    if said.split() != ["membersync", version()]:
        raise NoReleaseError(f"the installed wheel says it is {said.strip()}")
    loaded_from = at(own / "bin" / "python", "-c", "import deploy; print(deploy.__file__)")
    if not Path(loaded_from.strip()).is_relative_to(own):
        raise NoReleaseError(f"what runs is not the wheel's but {loaded_from.strip()}")
    _say("membersync demo, from there …", at(own / "bin" / "membersync", "demo"))


def release() -> list[Path]:
    """Build everything into `dist/`, prove it, and return the files."""
    day = day_of(version(), CHANGELOG.read_text(encoding="utf-8"))
    if (ROOT / ".git").exists() and (git := shutil.which("git")):
        changed = subprocess.run(
            [git, "status", "--porcelain"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        if changed.stdout.strip():
            raise NoReleaseError("there are changes that are not committed: a release is of a commit")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with tempfile.TemporaryDirectory(prefix="membersync-release-") as name:
        place = Path(name)
        sdist = build("sdist", ROOT, DIST, day)
        wheel = build("wheel", ROOT, DIST, day)
        with tarfile.open(sdist) as archive:
            archive.extractall(place, filter="data")
        again = build("wheel", place / sdist.name.removesuffix(".tar.gz"), place, day)
        if again.read_bytes() != wheel.read_bytes():
            raise NoReleaseError("the wheel of the tree and the one of the sdist are not the same bytes")
        run_from(wheel, place)
    bill = DIST / f"membersync-{version()}.cdx.json"
    bill.write_text(bill_of_materials(), encoding="utf-8")
    files = [sdist, wheel, bill]
    sums = "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files)
    (DIST / "SHA256SUMS").write_text(sums, encoding="utf-8")
    _say(sums.rstrip())
    return files


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        release()
    except NoReleaseError as error:
        sys.exit(f"no release: {error}")
