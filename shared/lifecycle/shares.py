"""How a limit for all processes is divided among them.  Pure."""

from collections.abc import Mapping


def shares(limit: int, wanted: Mapping[str, int], *, turn: int) -> dict[str, int]:
    """Return the share of each process in *wanted*; together they are *limit*.

    Each has one, so that its next call need not wait for the next division; the rest goes by what is wanted, the least
    first, and what nobody wants evenly.  Where it is not enough for one each, those who want something take turns:
    another *turn*, other ones.
    """
    names = sorted(wanted)
    if not names:
        return {}
    start = turn % len(names)
    names = names[start:] + names[:start]
    if limit <= len(names):
        have_one = sorted(names, key=lambda name: not wanted[name])[:limit]
        return {name: int(name in have_one) for name in names}
    given = dict.fromkeys(names, 1)
    left = limit - len(names)
    for already, name in enumerate(sorted(names, key=lambda name: wanted[name])):
        more = min(max(0, wanted[name] - 1), left // (len(names) - already))
        given[name] += more
        left -= more
    for place, name in enumerate(names):
        given[name] += left // len(names) + (place < left % len(names))
    return given
