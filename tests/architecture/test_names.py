"""Documents, docstrings and comments name only files, modules and tests that are there."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.architecture.test_promises_of_the_house import ROOT, tracked

NAMES = tracked()
FILES = {Path(name).name for name in NAMES}
TESTS = {
    found
    for name in NAMES
    if name.startswith("tests/") and name.endswith(".py")
    for found in re.findall(r"^ *(?:async )?def (test_\w+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
}
DOCUMENTS = [name for name in NAMES if name.endswith(".md")]
TEXTS = [*DOCUMENTS, *(name for name in NAMES if name.endswith((".py", ".toml", ".yml", ".yaml", ".html")))]
ROOM = "(?:workers|producers|shared|tests|deploy)"


def is_path(name: str) -> bool:
    """Say whether a file or folder is there, named whole or without its suffix; of a decision its number is enough."""
    return any(one == name or one.startswith((f"{name}/", f"{name}.", f"{name}-")) for one in NAMES)


def is_module(name: str) -> bool:
    """Say whether there is such a module or package, or such a name in one."""
    path, _, last = name.replace(".", "/").rpartition("/")
    if is_path(f"{path}/{last}"):
        return True
    homes = [ROOT / f"{path}.py", ROOT / path / "__init__.py"]
    return any(re.search(rf"\b{last}\b", home.read_text(encoding="utf-8")) for home in homes if home.is_file())


def is_file(name: str) -> bool:
    """Say whether a file is called so, wherever it lies."""
    return name in FILES


def is_test(name: str) -> bool:
    """Say whether a test, or a module of tests, is called so."""
    return name in TESTS or f"{name}.py" in FILES


def unknown(texts: list[str], form: str, is_there: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Iterate over what *texts* name in this form and is not there, with who names it."""
    for one in texts:
        for name in re.findall(form, (ROOT / one).read_text(encoding="utf-8")):
            if not is_there(name):
                yield one, name


@pytest.mark.parametrize(
    ("texts", "form", "is_there", "wrong"),
    [
        (TEXTS, rf"\b{ROOM}/[\w./-]*\w", is_path, "shared/" + "nowhere.py"),
        (TEXTS, rf"`({ROOM}(?:\.\w+)+)`", is_module, "shared.pipeline." + "Nowhere"),
        (DOCUMENTS, r"\b\w+\.py\b", is_file, "nowhere.py"),
        (DOCUMENTS, r"\btest_\w+", is_test, "test_nowhere"),
    ],
    ids=["paths", "modules", "files", "tests"],
)
def test_what_is_named_is_there(texts: list[str], form: str, is_there: Callable[[str], bool], wrong: str) -> None:
    assert list(unknown(texts, form, is_there)) == []
    assert not is_there(wrong)
    assert any(re.search(form, (ROOT / one).read_text(encoding="utf-8")) for one in texts)
