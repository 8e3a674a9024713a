"""What all shapes of Siebel's messages share: names that are spelt in many ways, and one that stands where many may."""

from functools import lru_cache
from typing import Any

LABEL_MAX = 200
"""Longer names are not remembered: a thousand of them could fill the memory for good."""


def fold(name: str) -> str:
    """Reduce a name to what all its spellings share."""
    return _folded_name(name) if len(name) <= LABEL_MAX else _folded_name.__wrapped__(name)


@lru_cache(maxsize=1024)  # a load repeats the same few labels for every member
def _folded_name(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def as_list(value: object) -> list[Any]:
    """Return what stands where one or many may: a list as it is, nothing for an empty value, any other value alone."""
    return value if isinstance(value, list) else [] if value in (None, "", {}) else [value]
