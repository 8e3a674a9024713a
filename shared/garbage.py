"""How often Python looks for garbage that only a search finds: seldom, where rows and events are taken by the thousand.

What nothing refers to any more goes at once; the search is for what refers to itself.  By default it begins after 700
new objects and looks, every hundredth time, through all there are: a third of the processor time of comparing rows.
"""

import gc

_NEW_OBJECTS = 20_000
_YOUNGER_SEARCHES = (20, 10)
"""Searches of the next younger generation between two of one."""


def search_seldom() -> None:
    """Keep what is loaded by now out of every search, and search seldom; once a process has loaded what it needs.

    A whole search waits until what is new is a quarter of what the last one looked through: one is made at once, of
    nothing, for else that is all that was loaded, and what a process dropped of late would stay for hours.
    """
    gc.freeze()
    gc.collect()
    gc.set_threshold(_NEW_OBJECTS, *_YOUNGER_SEARCHES)
