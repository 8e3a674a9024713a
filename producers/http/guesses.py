"""Wrong tokens: how many somebody may try, for the api and for the console's login alike.

A right token never asks here: whoever guesses behind a proxy keeps nobody out.
"""

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

WINDOW_S = 60.0
"""What is older is forgotten: the way back."""
_REPEATED = 0.2
"""A wrong token that was tried before is a forgotten setting rather than a guess: five count as one."""
_SOURCES_MAX = 10_000
_SOURCE_BITS = 64
"""Of an IPv6 address; whoever has one has all that begin so."""


class _Try(NamedTuple):
    at: float
    weight: float
    token: bytes | None


class Guesses:
    """Counts wrong tokens by where they come from, in a moving window; the sources that tried last are remembered.

    Args:
        most: Different tokens in `WINDOW_S`; the next ones are too many.
        sources_max: Sources that are remembered.
        clock: Gives seconds; never goes back.
    """

    def __init__(
        self, most: int, *, sources_max: int = _SOURCES_MAX, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._sources_max = sources_max
        self._clock = clock
        self._tried: OrderedDict[str, deque[_Try]] = OrderedDict()

    def __len__(self) -> int:
        """Say how many sources are remembered."""
        return len(self._tried)

    def wait_s(self, source: str) -> float:
        """Say in how many seconds another wrong token of *source* is answered as such; 0: now."""
        tried = self._in_window(source)
        if sum(one.weight for one in tried) < self._most:
            return 0.0
        return tried[0].at + WINDOW_S - self._clock()

    def count(self, source: str, token: bytes | None = None) -> None:
        """Remember that *source* tried a wrong *token*, by its digest; None: it counts as one never tried before."""
        if self.wait_s(source):
            return  # what is refused does not prolong it
        tried = self._tried.setdefault(source, deque())
        is_repeated = token is not None and any(one.token == token for one in tried)
        tried.append(_Try(self._clock(), _REPEATED if is_repeated else 1.0, token))
        self._tried.move_to_end(source)
        if len(self._tried) > self._sources_max:
            self._tried.popitem(last=False)

    def _in_window(self, source: str) -> deque[_Try]:
        tried = self._tried.get(source, deque())
        while tried and tried[0].at + WINDOW_S <= self._clock():
            tried.popleft()
        if not tried:
            self._tried.pop(source, None)
        return tried


def source_of(address: str) -> str:
    """Give what counts as one source: an IPv4 address, or the network of an IPv6 one."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, _SOURCE_BITS), strict=False))
