"""Silence: no event from Siebel for much longer than this hour of the week has ever been silent.  Pure.

1. Of each hour the longest silence that was seen in it is kept, one that began before it included.
2. What an hour of the week is used to is read from the weeks before: of each the longest of that hour and of the two
   beside it, since a clock change moves whoever sends by an hour.
3. `factor` times the longest of them is too long, and never less than `least_s`.
4. With fewer weeks than `weeks` nobody knows what it is used to: `absolute_s` is too long then.
5. A silence that is too long is learned as the limit that it broke: one outage of Siebel makes an hour of the week
   three times as patient, not for ever blind; a rhythm that has changed for good is learned in a few weeks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SilenceRules:
    """When it has been silent for too long.  Units: seconds.

    Shape: *absolute_s* 0: it never is; *weeks* that must be known before what they say counts.
    """

    absolute_s: float
    factor: float
    least_s: float
    weeks: int = 4


@dataclass(frozen=True, slots=True)
class Silence:
    """How long Siebel has been silent.  Units: seconds.

    Shape: *since* when its newest event was accepted, None: there was none yet; *longest_s* that this hour of the week
    has been silent in the *weeks* before, None: too few are known; *limit_s* None: it is never too long.
    """

    since: datetime | None = None
    lasts_s: float = 0.0
    limit_s: float | None = None
    longest_s: float | None = None
    weeks: int = 0
    excused: bool = False
    """A planned window of Siebel lasts."""

    @property
    def is_too_long(self) -> bool:
        """Whether somebody should look."""
        return self.limit_s is not None and self.lasts_s > self.limit_s and not self.excused

    @property
    def to_learn_s(self) -> float:
        """The silence that this hour is to be known for."""
        return self.lasts_s if self.limit_s is None else min(self.lasts_s, self.limit_s)


def silence(
    since: datetime | None, now: datetime, weeks: Mapping[int, float], rules: SilenceRules, *, excused: bool = False
) -> Silence:
    """Return how it stands; *weeks* the longest silence of each week before that is known, in seconds."""
    if since is None:
        return Silence()
    lasts_s = max(0.0, (now - since).total_seconds())
    if len(weeks) < rules.weeks:
        return Silence(since, lasts_s, rules.absolute_s or None, None, len(weeks), excused)
    longest_s = max(weeks.values())
    limit_s = max(rules.least_s, rules.factor * longest_s) if rules.absolute_s else None
    return Silence(since, lasts_s, limit_s, longest_s, len(weeks), excused)
