"""What an action or job was asked to be done to, as a page shows it: in short, with links.  Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from shared.ledger.filters import CONDITIONS
from shared.pipeline import State, spoken

_PAGES = {
    "instance": "/instances/{}",
    "member": "/members/{}",
    "job": "/jobs/{}",
    "connection": "/connections#{}",
}
_MEANS = {
    "ids": "instance",
    "instance_id": "instance",
    "member_number": "member",
    "number": "member",
    "job_id": "job",
    "name": "connection",
}
"""What the keys of an action stand for that was denied: there it is the parameters of its address."""
_JOB = re.compile(r"job (\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that was asked for; *address* is its page, if it has one."""

    kind: str
    text: str
    address: str = ""


def pieces(asked: Mapping[str, Any] | None, *, most: int = 100) -> list[Piece]:
    """Give what was asked, of many instances the first *most*."""
    message = str((asked or {}).get("message", ""))
    found = [
        piece
        for name, value in (asked or {}).items()
        if name != "and_more"
        for piece in ([_filter(value, message)] if isinstance(value, Mapping) else _pieces(name, value))
    ]
    more = max(0, len(found) - most) + int((asked or {}).get("and_more", 0))
    return [*found[:most], *([Piece("instances", f"and {more} more")] if more else [])]


def job_of(answer: str) -> str:
    """Give the address of the job that an action was answered with, or nothing."""
    job = _JOB.fullmatch(answer)
    return f"/jobs/{job[1]}" if job else ""


def _pieces(name: str, value: Any) -> Iterator[Piece]:  # noqa: ANN401  # JSON
    kind = _MEANS.get(name, name)
    for one in value if isinstance(value, list) else [value]:
        address = _PAGES[kind].format(quote(str(one), safe="")) if kind in _PAGES else ""
        yield Piece(kind, spoken(one) if kind == "connection" else str(one), address)


def _filter(conditions: Mapping[str, Any], message: str) -> Piece:
    """Show a filter in the words of its address, which lists what matches it now; of one cause, if there is one."""
    given = {"states": [State.DEAD.value], **conditions}
    words = {row.name: given[row.attribute] for row in CONDITIONS if given.get(row.attribute)}
    said = [
        f"{name} {', '.join(map(spoken, value)) if isinstance(value, list) else value}" for name, value in words.items()
    ]
    page = "/dead-letters" if message else "/instances"
    words |= {"message": message} if message else {}
    return Piece("filter", "; ".join(said), f"{page}?{urlencode(words, doseq=True)}")
