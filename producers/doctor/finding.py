"""What a check says."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is.  `warn`: it works, and somebody should look; `fail`: something does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Shape: *check* names the check, *looked_at* what exactly, without secrets; *found* one sentence; *why* it matters
    and *remedy*, what to type or set, are empty only when the level is ok.
    """

    check: str
    level: Level
    looked_at: str
    found: str
    why: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.level is not Level.OK and not (self.why and self.remedy):
            raise ValueError(f"{self.check}: {self.level} without a reason or a remedy")


def ok(check: str, looked_at: str, found: str) -> Finding:
    """Say that nothing is wrong."""
    return Finding(check, Level.OK, looked_at, found)


def warn(check: str, looked_at: str, found: str, why: str, remedy: str) -> Finding:
    """Say that somebody should look."""
    return Finding(check, Level.WARN, looked_at, found, why, remedy)


def fail(check: str, looked_at: str, found: str, why: str, remedy: str) -> Finding:
    """Say that something does not work."""
    return Finding(check, Level.FAIL, looked_at, found, why, remedy)


def unlooked(check: str, looked_at: str, found: str, remedy: str) -> Finding:
    """Say that a check could not be made."""
    return warn(check, looked_at, f"could not be looked at: {found}", "what is not looked at may be wrong", remedy)
