"""A flood: one Data Error of many members at once looks like a broken mapping, not like bad members.  Pure.

1. Two Data Errors are one cause when stage and words are the same without what differs from member to member: numbers,
   quoted values, and whatever in them is the member's own (`fingerprint`).
2. Counted are members that would be told it anew; who was told the same before tells nothing of the mapping.
3. What went out are the members that the stage has decided on, taken or refused.  A failed connection decides nothing.
4. More than `count` within the window, and more than `share` of what went out in it: a flood (`is_flood`).
5. Its members are held at the stage that refused them, untold, until somebody decides.  Everyone else goes on.
6. Nobody comes: one of them is tried after `try_s`, then each time twice as long apart, up to `_LONGEST_TRY_S`; if it
   gets through, the rest follow as a requeue does.  After `held_max_s` they are told: what they were refused for is
   true then, and a status that says nothing for longer would be the worse lie.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from shared.lifecycle.verdicts import Advanced, Ending, Parked
from shared.messages import is_same_told, normalised
from shared.personal import PERSONAL
from shared.pipeline import Stage, State, SyncStatus

CONDEMNED_S = 86_400.0
"""A cause that somebody has condemned holds nobody for so long: its members are told.  Units: seconds."""
_LONGEST_TRY_S = 7_200.0
_VALUE = "<value>"
_VALUES = re.compile(rf"{_VALUE}(?:[\s,-]*{_VALUE})+")


@dataclass(frozen=True, slots=True)
class FloodRules:
    """When a Data Error is a flood, and for how long its members are held.  Units: seconds.

    Shape: *count* members, 0: nothing ever is; *share* of what the stage decided in the window.
    """

    count: int
    share: float
    window_s: float
    try_s: float
    held_max_s: float

    @property
    def is_on(self) -> bool:
        """Whether anything is held at all."""
        return self.count > 0

    def next_try_s(self, tries: int) -> float:
        """Return the seconds until one is tried by itself, after so many *tries*."""
        return min(self.try_s * 2.0 ** min(tries, 30), max(_LONGEST_TRY_S, self.try_s))


@dataclass(frozen=True, slots=True)
class Met:
    """Those of a batch that met one cause.

    Shape: *message* names nobody; *ids* their instances; *fresh* how many of them would be told it anew.
    """

    fingerprint: str
    stage: Stage
    message: str
    ids: frozenset[int]
    fresh: int


def message_of(error: str, member: Mapping[str, Any] | None) -> str:
    """Return the words of *error*, as the ledger keeps it, without what differs from member to member."""
    for name in PERSONAL:  # values of one sign are not marked: they would be found in everything
        value = str((member or {}).get(name) or "").strip()
        if len(value) == 1:
            error = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _VALUE, error)
    return _VALUES.sub(_VALUE, normalised(error))


def fingerprint(stage: Stage, message: str) -> str:
    """Return what one cause at *stage* is known by; *message* as `message_of` returns it."""
    return sha256(f"{stage}\n{message}".encode()).hexdigest()[:32]


def met(endings: Iterable[Ending]) -> list[Met]:
    """Group the Data Errors that a stage has just found, in the order of their fingerprints."""
    found: dict[tuple[str, Stage, str], list[Advanced]] = {}
    for one in endings:
        if isinstance(one, Advanced) and one.status is SyncStatus.DATA_ERROR and one.failed_stage is not None:
            message = message_of(one.error, one.work.event.get("member"))
            found.setdefault((fingerprint(one.failed_stage, message), one.failed_stage, message), []).append(one)
    return [
        Met(
            *of,
            frozenset(one.work.instance_id for one in alike),
            len({one.work.member_number for one in alike if _is_fresh(one)}),
        )
        for of, alike in sorted(found.items())
    ]


def decided(endings: Iterable[Ending]) -> int:
    """Count the members that a stage took or refused."""
    return sum(isinstance(one, Advanced) for one in endings)


def is_flood(alike: int, went_out: int, rules: FloodRules) -> bool:
    """Return whether *alike* members, of *went_out* that the stage decided on in the window, are a flood."""
    return rules.is_on and alike > rules.count and alike > rules.share * went_out


def held_back(endings: Sequence[Ending], holds: Mapping[int, int]) -> list[Ending]:
    """Return *endings* where those of *holds*, by instance, are held by that hold instead of told."""
    return [
        _held(one, holds[one.work.instance_id]) if isinstance(one, Advanced) and one.work.instance_id in holds else one
        for one in endings
    ]


def _held(ending: Advanced, hold_id: int) -> Parked:
    why = f"held by guard {hold_id}, and not told: too many members meet this at once"
    return Parked(
        ending.work.instance_id,
        ending.work.token,
        ending.member_number,
        State.HELD,
        ending.failed_stage or ending.stage,
        ending.work.attempt,
        replace(ending.line, what=f"{why}: {ending.line.what}"),
        error=ending.error,
        code=ending.code,
        failed_stage=ending.failed_stage,
        hold_id=hold_id,
    )


def _is_fresh(ending: Advanced) -> bool:
    work = ending.work
    was_told = work.told_status == SyncStatus.DATA_ERROR and is_same_told(work.told_error or "", ending.error)
    return not was_told
