"""Parts that several statements share."""

from collections.abc import Iterable

from shared.pipeline import QUEUED


def words(states: Iterable[str]) -> str:
    """Return *states* as a list of SQL texts."""
    return ", ".join(f"'{state}'" for state in states)


IS_QUEUED = words(QUEUED)
"""The states of the one instance of a member that waits for its turn."""
LEASE = "lease_until = now() + make_interval(secs => :lease_s)"
GOES_OUT = f"state = 'running', token = :token, begun = false, {LEASE}"
"""An instance is handed to the broker, under a token of its own."""
COMES_BACK = "begun = false, token = 0, lease_until = null"
"""It is on its way no more."""
