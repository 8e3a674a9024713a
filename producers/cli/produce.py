"""`membersync produce`: take in the members of files, show how far it is, and say what became of them.

Events go straight into the ledger, or over HTTP to an api; both ways give a receipt for each.  Over HTTP, what cannot
be read is refused here and never sent; what the api cannot take just now is sent again: what was in already comes back
as a duplicate.
"""

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from producers.cli.command import DONE, NOTHING, AsJson, TroubleError, print_json, trouble_of
from producers.cli.command_settings import configured, with_ledger
from producers.cli.over_http import api_client, send
from producers.cli.terminal import operator, plain
from producers.intake.accept import NOT_GOOD, IntakeRules, Receipt, Sender, accept, member_of, refuse_whole
from producers.intake.formats import Position, read_file
from producers.intake.refused import BodyError, RefusedEventError, RefusedRowError
from producers.intake.siebel_message import Terms, nobody
from shared.errors import InvalidEventError, LedgerError
from shared.events import MemberEvent
from shared.ledger.engine import engine
from shared.pipeline import Lane

_SLICE = 1_000
_SHOWN_REFUSALS = 100
_STDIN = "-"


@dataclass(frozen=True, slots=True)
class _Way:
    """How events get in.

    Shape: *member_of* knows whose a ROW_ID is; *refuse_whole* keeps that a file could not be read.
    """

    send: Callable[[list[Position], Sender], list[Receipt]]
    member_of: Callable[[str], str | None] = nobody
    refuse_whole: Callable[[InvalidEventError, Sender], None] = lambda _, __: None


def produce(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="NDJSON, JSON, CSV or SiebelMessage XML; - is standard input.")
    ],
    *,
    lane: Annotated[Lane, typer.Option(metavar="LANE", help="Of events that name none: live or bulk.")] = Lane.LIVE,
    api_url: Annotated[
        str | None, typer.Option("--api", metavar="URL", help="Send to this api instead of into the ledger.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", envvar="MEMBERSYNC_TOKEN", show_envvar=True, help="The api's token of a producer."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Take in the events of *files* in order."""
    err = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[count]}"))
    with ExitStack() as exits:
        client = None if api_url is None else exits.enter_context(api_client(api_url, token))
        way = _into_ledger(lane) if client is None else _Way(lambda items, _: send(client, lane, items))
        is_shown = err.is_terminal and not as_json
        bar = exits.enter_context(Progress(*columns, TimeElapsedColumn(), console=err, disable=not is_shown))
        intake = _Intake(way, bar)
        for name in files:
            try:
                intake.take_in(name)
            except (TroubleError, LedgerError) as error:
                raise intake.ended_by(error) from error
    if as_json:
        print_json({name: getattr(intake, name) for name in ("outcomes", "refused", "unreadable", "remarks")})
    else:
        Console(highlight=False).print(plain(intake.counts or "no events"))
    return DONE if intake.is_good else NOTHING


def _into_ledger(lane: Lane) -> _Way:
    """Take events in here, as the api would."""
    settings = with_ledger()
    ledger = engine(settings.require_ledger())
    who = operator()
    rules = IntakeRules.of(settings, lane, forced_by=(who.name, who.role))
    return _Way(
        lambda items, sender: accept(ledger, items, rules, sender),
        partial(member_of, ledger),
        partial(refuse_whole, ledger),
    )


@dataclass(slots=True)
class _Intake:
    """What became of all files so far; what is wrong is said above *bar* as soon as it is known."""

    way: _Way
    bar: Progress
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, object]] = field(default_factory=list)
    remarks: list[dict[str, object]] = field(default_factory=list)
    unreadable: list[dict[str, object]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether there was something, all of it was good, and every file could be read to its end."""
        return bool(self.outcomes) and not self.refused and not self.unreadable

    @property
    def counts(self) -> str:
        """How many came to what."""
        return ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))

    def ended_by(self, error: Exception) -> Exception:
        """Return what keeps the rest from being taken in, with how far it came."""
        trouble = trouble_of(error)
        if trouble is None:
            return error
        return TroubleError(trouble.what, f"{trouble.hint}. Up to then: {self.counts or 'no events'}", trouble.code)

    def take_in(self, name: str) -> None:
        """Take in one file."""
        source = "standard input" if name == _STDIN else name
        sender = Sender(operator().name, f"file {Path(name).name}" if name != _STDIN else source)

        def remark(what: str) -> None:
            self.remarks.append({"file": source, "remark": what})
            self._complain(f"{source}: {what}")

        try:
            with _opened(name) as stream:
                size = os.fstat(stream.fileno()).st_size if stream.seekable() else None
                task = self.bar.add_task(source, total=size, count="")
                terms = Terms.of(configured(), datetime.now(UTC))
                terms = replace(terms, member_of=self.way.member_of, remark=remark)
                for events in _slices(read_file(stream, name, terms)):
                    items = dict(events)
                    for receipt in self.way.send(events, sender):
                        self._note(source, receipt, items[receipt.position])
                    at = None if stream.closed or not stream.seekable() else stream.tell()
                    self.bar.update(task, completed=at, count=f"{self.outcomes.total()} events")
        except BodyError as error:
            self._complain(f"{source}: {error}")
            self.unreadable.append({"file": source, "field": error.field, "reason": error.reason})
            self.way.refuse_whole(error, sender)
        except OSError as error:
            self._complain(f"{source}: {error.strerror}")
            self.unreadable.append({"file": source, "field": "", "reason": str(error.strerror)})

    def _note(self, source: str, receipt: Receipt, item: MemberEvent | InvalidEventError) -> None:
        self.outcomes[receipt.outcome.value] += 1
        if receipt.outcome not in NOT_GOOD:
            return
        line = item.line if isinstance(item, RefusedEventError) else None
        number = receipt.member_number or (item.member_number if isinstance(item, RefusedEventError) else None)
        refusal = {"file": source, "position": receipt.position, "line": line, "member_number": number}
        refusal |= {"field": receipt.field, "reason": receipt.reason, "outcome": receipt.outcome.value}
        self.refused.append(refusal)
        if len(self.refused) <= _SHOWN_REFUSALS:
            column = f"column {receipt.field}" if isinstance(item, RefusedRowError) else receipt.field
            where = ", ".join(filter(None, (f"line {line}" if line else "", column if receipt.field else "")))
            whose = f" (member {number})" if number else ""
            what = f"{where + ': ' if where else ''}{receipt.reason}{whose}"
            self._complain(f"{source}: event {receipt.position} {receipt.outcome}: {what}")
        elif len(self.refused) == _SHOWN_REFUSALS + 1:
            self._complain("more are refused; --json lists them all")

    def _complain(self, text: str) -> None:
        self.bar.console.print(plain(text), soft_wrap=True)


def _slices(positions: Iterable[Position]) -> Iterator[list[Position]]:
    """Yield the events by the thousand; those before a spot that cannot be read are given before it is said."""
    events: list[Position] = []
    unreadable = None
    try:
        for position in positions:
            events.append(position)
            if len(events) == _SLICE:
                yield events
                events = []
    except BodyError as error:
        unreadable = error
    if events:
        yield events
    if unreadable:
        raise unreadable


@contextmanager
def _opened(name: str) -> Iterator[BufferedReader]:
    if name == _STDIN:
        if sys.stdin is None:  # its other end was closed before we began
            raise OSError(errno.EBADF, "is closed")
        yield cast("BufferedReader", sys.stdin.buffer)
        return
    with Path(name).open("rb") as stream:
        yield stream
