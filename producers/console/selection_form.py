"""What a page's address or form asks for: instances by filter, by cause or by id, and what is to become of them.

It is read by the models of the api's bodies, and kept as it was typed, for the page to show it again and carry it on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, ValidationError
from starlette.datastructures import ImmutableMultiDict

from producers.http.operating import FilterBody, RequeueBody
from producers.http.problems import invalid
from producers.operations.filtering import id_of
from producers.operations.job_control import Ask, AskError, Cause, Rest, Selection
from shared.ledger.filters import CONDITIONS, Filter, has_control
from shared.ledger.jobs import REQUEUED_FROM, Kind

Words = ImmutableMultiDict[str, str]

VALUES_MAX = 100
"""Values of one field of a filter: a page repeats them all in each of its links."""
_SELECTING = (*(row.name for row in CONDITIONS), "message", "job", "ids")
_B = TypeVar("_B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which instances, as somebody typed it.

    Shape: *fields* are names and values as in a form: the filter's, `message` of a cause, `job` whose
    rest is meant, `ids`; none is blank.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, words: Words) -> "Asked":
        """Take from *words* what says which instances are meant."""
        given = ((name, value.strip()) for name in _SELECTING for value in words.getlist(name))
        return cls(tuple(dict.fromkeys((name, value) for name, value in given if value)))

    def every(self, name: str) -> list[str]:
        """Give all values of a field."""
        return [value for known, value in self.fields if known == name]

    def one(self, name: str) -> str:
        """Give the first value of a field, or nothing."""
        return next(iter(self.every(name)), "")

    def narrowed(self, **values: str | None) -> "Asked":
        """Say it with these values in place of what was said of their fields; None: nothing."""
        kept = [(name, value) for name, value in self.fields if name not in values]
        return Asked((*kept, *((name, value) for name, value in values.items() if value)))

    def shortened(self) -> "Asked":
        """Say no more of each field than a page can show."""
        names = dict.fromkeys(name for name, _ in self.fields)
        return Asked(tuple((name, value) for name in names for value in self.every(name)[:VALUES_MAX]))

    def address(self, path: str, **more: str) -> str:
        """Give the address of *path* that asks for the same, and *more*."""
        query = urlencode([*more.items(), *self.fields])
        return f"{path}?{query}" if query else path

    def where(self) -> Filter:
        """Give the filter of it.

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
        return _read(FilterBody, said).read()

    def selection(self) -> Selection:
        """Give the selection of it: ids, or the rest of a job, a cause, or a filter.

        Raises:
            AskError: with the name of the field.
        """
        if ids := self.every("ids"):
            return _read(RequeueBody, {"ids": ids}).selection()
        if job := self.one("job"):
            job_id = id_of(job)
            if job_id is None:
                raise AskError("job", "is none of ours")
            return Rest(where=Filter(states=REQUEUED_FROM), job_id=job_id)
        message = self.message()
        return Cause(where=failures(self.where()), message=message) if message else Selection(where=self.where())

    def message(self) -> str:
        """Give the message of the cause that is meant, or nothing.

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
    """Say what is to become of them.

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
    kind, selection = kind_of(words), Asked.of(words).selection()
    said = {"reason": words.get("reason", ""), "rate": words.get("rate", "").strip() or None}
    body = _read(RequeueBody, said | {name: name in words for name in ("from_start", "force")})
    if kind is Kind.DISCARD:
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


def _read(model: type[_B], values: Mapping[str, Any]) -> _B:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        said = invalid(first["loc"], first).detail.partition(": ")[2]
        raise AskError(str(first["loc"][0]), said) from None
