"""Many at once, and yet each for itself: what fails because of one is found by halves, and the others go on.

For statements that take a whole batch.  A batch that nobody spoils costs nothing more.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.errors import LedgerError, LedgerRefusedError

T = TypeVar("T")
R = TypeVar("R")


def in_halves(
    items: Sequence[T], do: Callable[[Sequence[T]], list[R]], alone: Callable[[T, Exception], list[R]]
) -> list[R]:
    """Do all *items* at once; where that fails because of what they are, do each half, down to the one at fault.

    *do* is a whole transaction.  *alone* is told the one at fault and how it failed.

    Raises:
        LedgerError: the ledger is away, or another is in the way: no matter of the items.
    """
    try:
        return do(items)
    except Exception as error:
        if isinstance(error, LedgerError) and not isinstance(error, LedgerRefusedError):
            raise
        if len(items) == 1:
            return alone(items[0], error)
    half = len(items) // 2
    return in_halves(items[:half], do, alone) + in_halves(items[half:], do, alone)
