"""What the shell offers after an option whose words are no enumeration."""

from collections.abc import Iterator
from inspect import isclass

from shared import errors

# Imports inside functions keep the start of commands short.
# ruff: noqa: PLC0415

_OF_THE_LEDGER = ("bug", "worker_lost")
"""Codes that no error class has."""


def codes(incomplete: str) -> list[str]:
    """Give the codes of failed attempts that begin so."""
    return [code for code in sorted({*_of_errors(), *_OF_THE_LEDGER}) if code.startswith(incomplete)]


def scenes(incomplete: str) -> list[str]:
    """Give the scenes of `demo` that begin so."""
    from deploy.local.scenes import SCENES

    return [scene for scene in SCENES if scene.startswith(incomplete)]


def _of_errors() -> Iterator[str]:
    for kind in vars(errors).values():
        if isclass(kind) and issubclass(kind, errors.StageError) and not kind.__subclasses__():
            yield kind.code
