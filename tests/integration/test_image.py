"""What is in the image: little, of one kind, listed, and able to run where nothing may be written."""

import json
from collections.abc import Iterator

import pytest

from tests.image import NAME, Store, build, bytes_over_base, need_image, own_store, runs_with

MOST_BYTES = 250_000_000
LOOK = """
import importlib.metadata, json, os, pathlib, sys
site = pathlib.Path(sys.prefix)
json.dump({
    "python": sys.version.split()[0],
    "user": os.getuid(),
    "installed": sorted(one.name.lower().replace("_", "-") for one in importlib.metadata.distributions()),
    "tests": [str(one) for one in site.rglob("*") if one.is_dir() and one.name in {"test", "tests", "testing"}],
    "wheels": [str(one) for one in site.rglob("*.whl")],
    "uncompiled": [str(one) for one in site.rglob("*.py")
                   if not list(one.parent.glob(f"__pycache__/{one.stem}.cpython-*.pyc"))],
    "writable": [root for root, _, _ in os.walk("/") if not root.startswith(("/proc", "/sys", "/dev"))
                 and os.access(root, os.W_OK)],
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    need_image()
    with own_store() as one:
        build(one)
        yield one


def test_the_image_is_small_and_says_what_it_is(store: Store) -> None:
    assert 10_000_000 < bytes_over_base(store) < MOST_BYTES
    (image,) = json.loads(store.podman("image", "inspect", NAME))
    labels = {name.rpartition(".")[2]: value for name, value in image["Labels"].items()}
    assert labels["title"] == "membersync"
    assert labels["version"]
    assert image["Config"]["Entrypoint"] == ["membersync"]


def test_the_image_has_what_the_lock_names_once_and_neither_tools_nor_tests(store: Store) -> None:
    bare = ("--rm", "--network", "none", "--read-only", "--read-only-tmpfs=false", "--entrypoint", "python")
    found = json.loads(store.run(*bare, command=("-I", "-c", LOOK)))
    assert found["installed"] == sorted(["membersync", *(one.name for one in runs_with(found["python"]))])
    assert {what: found[what] for what in ("user", "tests", "wheels", "uncompiled", "writable")} == {
        "user": 10001,
        "tests": [],
        "wheels": [],
        "uncompiled": [],
        "writable": [],
    }
