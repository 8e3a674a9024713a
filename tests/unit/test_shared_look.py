"""One looks at the ledger for everybody, and nobody waits behind one who looks for long."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from producers.operations.single_flight import SharedLook
from shared.errors import LedgerError, LedgerSlowError
from tests.rig import eventually


class Ledger:
    """Counts who looks; holds them up while it is `slow`, and fails while there is a `trouble`."""

    def __init__(self) -> None:
        self.looks = 0
        self.trouble: LedgerError | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.asked = threading.Event()

    def look(self) -> int:
        self.looks += 1
        self.asked.set()
        assert self.goes_on.wait(20)
        if self.trouble is not None:
            raise self.trouble
        return self.looks


@contextmanager
def somebody_looking(ledger: Ledger, get: Callable[[], int]) -> Iterator[None]:
    """For the length of the block somebody waits for a slow ledger."""
    ledger.goes_on.clear()
    ledger.asked.clear()
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(get)
        assert ledger.asked.wait(5)
        try:
            yield
        finally:
            ledger.goes_on.set()
            looking.exception(5)


def test_while_it_is_fresh_nobody_looks_again() -> None:
    ledger = Ledger()
    shared = SharedLook(ledger.look, fresh_s=60, patience=1)
    assert [shared.get(), shared.get()] == [1, 1]
    assert ledger.looks == 1


def test_while_somebody_looks_the_others_get_the_look_before() -> None:
    ledger = Ledger()
    shared = SharedLook(ledger.look, fresh_s=0, patience=1)
    assert shared.get() == 1
    with somebody_looking(ledger, shared.get):
        assert [shared.get(), shared.get()] == [1, 1]
    assert ledger.looks == 2


def test_where_there_was_no_look_before_they_wait_and_not_for_ever() -> None:
    ledger = Ledger()
    shared = SharedLook(ledger.look, fresh_s=60, patience=1, within_s=0.05)
    with somebody_looking(ledger, shared.get), pytest.raises(LedgerSlowError):
        shared.get()
    eventually(lambda: not fails(shared) and shared.get() == 1, "the look that went on")


def test_one_that_hangs_is_a_failure_for_everybody_until_it_is_over() -> None:
    ledger = Ledger()
    shared = SharedLook(ledger.look, fresh_s=0, patience=0, within_s=0.05, hangs_after_s=0.05)
    assert shared.get() == 1
    with somebody_looking(ledger, shared.get):
        eventually(lambda: fails(shared), "a failure")
        assert fails(shared)
    eventually(lambda: not fails(shared) and shared.get() > 1, "a new look")


def test_after_one_that_hung_the_next_comes_soon() -> None:
    ledger = Ledger()
    shared = SharedLook(ledger.look, fresh_s=1e-9, patience=10**9, fresh_max_s=0.01)
    with somebody_looking(ledger, shared.get):
        pass
    eventually(lambda: shared.get() > 1, "a second look")


def fails(shared: SharedLook[int]) -> bool:
    try:
        shared.get()
    except LedgerSlowError:
        return True
    return False


@pytest.mark.parametrize(("failed_s", "looks"), [(60, 1), (0, 3)])
def test_a_failure_is_shared_for_its_while(failed_s: float, looks: int) -> None:
    ledger = Ledger()
    ledger.trouble = LedgerError("OperationalError")
    shared = SharedLook(ledger.look, fresh_s=1e-9, patience=0, failed_s=failed_s)
    for _ in range(3):
        with pytest.raises(LedgerError, match="OperationalError"):
            shared.get()
    assert ledger.looks == looks
