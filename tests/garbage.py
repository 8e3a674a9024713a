"""What an action leaves to Python's search for garbage: objects of ours that refer to themselves, by their kinds."""

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

OURS = ("workers", "shared", "producers")


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Count what of ours the block leaves behind that nothing but a search finds; filled in at its end."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(type(one).__qualname__ for one in gc.garbage if type(one).__module__.split(".")[0] in OURS)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
