"""How long what was put on the broker may wait for a worker before it is taken for lost.  Pure: callers have the time.

Workers that are slow are not gone.  What waits for longer than its lease is given back and published once more, behind
what waits already; the message before is taken in vain, and the queue grows by what nobody will begin.  So less and
less is begun in time, long after what made the workers slow is over.  Hence who finds leases of unbegun ones over,
lease after lease, gives twice as long to the next; what then is long enough is taken back by halves.  What is lost
once, with its broker or its worker, costs one lease, as short as ever.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Patience:
    """The lease of what no worker has begun.  Units: seconds; *longest_s* is never exceeded."""

    base_s: float
    longest_s: float
    lease_s: float = field(init=False)
    _since: float = field(init=False, default=0.0)
    _was_over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.lease_s = self.base_s

    def look(self, unbegun: int, at: float) -> None:
        """Note how many leases of unbegun ones were found over *at*.

        What is found over within one lease was published under the one before, and says nothing of this one.
        """
        silent_s = at - self._since
        if unbegun and silent_s >= self.lease_s:
            if self._was_over:
                self.lease_s = min(2 * self.lease_s, max(self.longest_s, self.base_s))
            self._since, self._was_over = at, True
        elif silent_s >= 2 * self.lease_s:
            self.lease_s = max(self.lease_s / 2, self.base_s)
            self._since, self._was_over = at, False
