"""Which instances a page's address or form selects, by filter, by cause or by id, and what is to become of them.

It is read by the models of the api's bodies, and kept as it was typed, for the page to show it again and carry it on:
as a form, as conditions that can be taken away, and as what an action or job was done to.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ValidationError
from starlette.datastructures import ImmutableMultiDict, QueryParams

from producers.http.operating import FilterBody, RequeueBody
from producers.http.request import invalid
from producers.operations.job_control import Ask, AskError, Cause, Rest, Selection
from producers.operations.job_selections import Discarded
from producers.operations.reads import id_of
from shared.ledger.filters import CONDITIONS, Filter, has_control
from shared.ledger.jobs import REQUEUED_FROM, Kind
from shared.pipeline import State, spoken

Words = ImmutableMultiDict[str, str]

VALUES_MAX = 100
"""Values of one field of a filter: a page repeats them all in each of its links."""
_SELECTING = (*(row.name for row in CONDITIONS), "message", "job", "discard", "ids")
NAMES: Mapping[str, str] = {**{row.name: row.label for row in CONDITIONS}, "cursor": "Cursor"}
"""The fields as they are called on the page."""
_PAGES = {
    "instance": "/instances/{}",
    "member": "/members/{}",
    "job": "/jobs/{}",
    "guard": "/guards#guard-{}",
    "incident": "/incidents/{}",
    "connection": "/connections#{}",
}
_MEANS = {
    "ids": "instance",
    "instance_id": "instance",
    "member_number": "member",
    "number": "member",
    "job_id": "job",
    "hold_id": "guard",
    "incident_id": "incident",
    "name": "connection",
}
"""What the keys of an action stand for that was denied: there it is the parameters of its address."""
_JOB = re.compile(r"job (\d+)", re.ASCII)
_B = TypeVar("_B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class TypedSelection:
    """Which instances, as somebody typed it.

    Shape: *fields* are names and values as in a form: the filter's, `message` of a cause, `job` whose
    rest is meant, `discard` whose work is, `ids`; none is blank.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, words: Words) -> "TypedSelection":
        """Take from *words* what says which instances are meant."""
        given = ((name, value.strip()) for name in _SELECTING for value in words.getlist(name))
        return cls(tuple(dict.fromkeys((name, value) for name, value in given if value)))

    def every(self, name: str) -> list[str]:
        """Return all values of a field."""
        return [value for known, value in self.fields if known == name]

    def one(self, name: str) -> str:
        """Return the first value of a field, or nothing."""
        return next(iter(self.every(name)), "")

    def narrowed(self, **values: str | None) -> "TypedSelection":
        """Return it with these values in place of those of their fields; None: nothing."""
        kept = [(name, value) for name, value in self.fields if name not in values]
        return TypedSelection((*kept, *((name, value) for name, value in values.items() if value)))

    def shortened(self) -> "TypedSelection":
        """Return no more of each field than a page can show."""
        names = dict.fromkeys(name for name, _ in self.fields)
        return TypedSelection(tuple((name, value) for name in names for value in self.every(name)[:VALUES_MAX]))

    def address(self, path: str, **more: str) -> str:
        """Return the address of *path* that asks for the same, and *more*."""
        query = urlencode([*more.items(), *self.fields])
        return f"{path}?{query}" if query else path

    def where(self) -> Filter:
        """Return the filter of it.

        Raises:
            AskError: with the name of the field.
        """
        said: dict[str, str | list[str]] = {}
        for row in CONDITIONS:
            values = self.every(row.name)
            if row.several and len(values) > VALUES_MAX:
                raise AskError(row.name, f"names more than {VALUES_MAX}")
            if values:
                said[row.name] = values if row.several else values[0]
        return read_words(FilterBody, said).read()

    def selection(self) -> Selection:
        """Return the selection of it: ids, or the rest of a job, a cause, or a filter.

        Raises:
            AskError: with the name of the field.
        """
        if ids := self.every("ids"):
            return read_words(RequeueBody, {"ids": ids}).selection()
        if job := self.one("job"):
            job_id = id_of(job)
            if job_id is None:
                raise AskError("job", "is none of ours")
            return Rest(where=Filter(states=REQUEUED_FROM), job_id=job_id)
        if discard := self.one("discard"):
            job_id = id_of(discard)
            if job_id is None:
                raise AskError("discard", "is none of ours")
            return Discarded(job_id=job_id)
        message = self.message()
        return Cause(where=failures(self.where()), message=message) if message else Selection(where=self.where())

    def message(self) -> str:
        """Return the message of the cause that is meant, or nothing.

        Raises:
            AskError: no cause has such a one.
        """
        message = self.one("message")
        if has_control(message):
            raise AskError("message", "contains a control character")
        return message


def failures(where: Filter) -> Filter:
    """Let a filter pass that asks for dead letters or Data Errors only.

    Raises:
        AskError: it asks for others.
    """
    if not set(where.states) <= set(REQUEUED_FROM):
        raise AskError("state", f"must be {' or '.join(REQUEUED_FROM)}")
    return where


def kind_of(words: Words) -> Kind:
    """Return what is to become of them.

    Raises:
        AskError: it is neither.
    """
    try:
        return Kind(words.get("kind", Kind.REQUEUE))
    except ValueError:
        raise AskError("kind", f"must be {' or '.join(Kind)}") from None


def ask_of(words: Words) -> Ask:
    """Read all that a requeue or discard needs.

    Raises:
        AskError: with the name of the field.
    """
    kind, selection = kind_of(words), TypedSelection.of(words).selection()
    said = {"reason": words.get("reason", ""), "rate": words.get("rate", "").strip() or None}
    body = read_words(RequeueBody, said | {name: name in words for name in ("from_start", "force")})
    if kind in {Kind.DISCARD, Kind.UNDO}:
        return Ask(kind, selection, body.reason)
    return Ask(kind, selection, body.reason, body.rate, body.from_start, body.force)


def cursor_of(words: Words) -> int | None:
    """Read where a list goes on; None: at the newest.

    Raises:
        AskError: it is none of ours.
    """
    cursor = words.get("cursor", "")
    before = id_of(cursor)
    if cursor and before is None:
        raise AskError("cursor", "is none of ours")
    return before


def read_words(model: type[_B], values: Mapping[str, Any]) -> _B:
    """Read what was typed as the api reads a body.

    Raises:
        AskError: with the name of the field.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        said = invalid(first["loc"], first).detail.partition(": ")[2]
        raise AskError(str(first["loc"][0]), said) from None


@dataclass(frozen=True, slots=True)
class Chip:
    """One chosen condition, and the page's address without it."""

    name: str
    value: str
    address: str


@dataclass(frozen=True, slots=True)
class FilterBar:
    """What was typed.

    Shape: *where* and *before*, the cursor, are what it means; with a *mistake* they mean nothing.
    """

    asked: TypedSelection
    where: Filter
    before: int | None
    mistake: AskError | None

    @classmethod
    def of(cls, query: QueryParams) -> "FilterBar":
        """Read it from a query."""
        asked = TypedSelection.of(query).narrowed(ids=None, message=None)
        try:
            return cls(asked, asked.where(), cursor_of(query), None)
        except AskError as mistake:
            return cls(asked.shortened(), Filter(), None, mistake)

    def chips(self, path: str) -> list[Chip]:
        """Return the conditions, each with the way to be without it."""
        fields = self.asked.fields
        return [
            Chip(
                NAMES[name],
                value,
                TypedSelection(tuple(other for other in fields if other != (name, value))).address(path),
            )
            for name, value in fields
        ]


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing that was asked for; *address* is its page, if it has one."""

    kind: str
    text: str
    address: str = ""


def pieces(asked: Mapping[str, Any] | None, *, most: int = 100) -> list[Piece]:
    """Return what was asked, of many instances the first *most*."""
    asked = asked or {}
    found: list[Piece] = []
    for name, value in asked.items():
        if isinstance(value, Mapping):
            is_resend = "acknowledged_since" in asked
            found.append(_filter(value, str(asked.get("message", "")), {} if is_resend else _DEAD))
        elif name != "and_more":
            kind = _MEANS.get(name, name.replace("_", " "))
            for one in map(str, value if isinstance(value, list) else [value]):
                address = _PAGES[kind].format(quote(one, safe="")) if kind in _PAGES else ""
                found.append(Piece(kind, spoken(one) if kind == "connection" else one, address))
    more = max(0, len(found) - most) + int(asked.get("and_more", 0))
    return [*found[:most], *([Piece("instances", f"and {more} more")] if more else [])]


def job_of(answer: str) -> str:
    """Return the address of the job that an action was answered with, or nothing."""
    job = _JOB.fullmatch(answer)
    return f"/jobs/{job[1]}" if job else ""


_DEAD = {"states": [State.DEAD.value]}


def _filter(conditions: Mapping[str, Any], message: str, unless_named: Mapping[str, Any]) -> Piece:
    """Show a filter in the words of its address, which lists what matches it now; of one cause, if there is one."""
    given = {**unless_named, **conditions}
    words = {row.name: given[row.attribute] for row in CONDITIONS if given.get(row.attribute)}
    said = [
        f"{name} {', '.join(map(spoken, value)) if isinstance(value, list) else value}" for name, value in words.items()
    ]
    page = "/dead-letters" if message else "/instances"
    words |= {"message": message} if message else {}
    return Piece("filter", "; ".join(said), f"{page}?{urlencode(words, doseq=True)}")
