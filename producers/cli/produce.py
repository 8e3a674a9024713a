"""`membersync produce`: take in the members of files, show how far it is, and say what became of them."""

import errno
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from producers.cli.command_errors import DONE, NOTHING, TroubleError
from producers.cli.ledger_commands import print_json
from producers.cli.ledger_location import configured, operator, with_ledger
from producers.cli.render import plain
from producers.cli.sending import Way, into_ledger, over_http
from producers.intake.accept import NOT_GOOD, Receipt, Sender
from producers.intake.formats import Position, read_file
from producers.intake.refused import BodyError, RefusedEventError, RefusedRowError
from producers.intake.siebel_message import Terms
from shared.addresses.web import proxy_for, trusted
from shared.errors import InvalidEventError
from shared.events import MemberEvent
from shared.pipeline import Lane

_SLICE = 1_000
_TIMEOUT_S = 60.0
_SHOWN_REFUSALS = 100
_STDIN = "-"


@dataclass(slots=True)
class _Summary:
    """What became of all files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, object]] = field(default_factory=list)
    remarks: list[dict[str, object]] = field(default_factory=list)
    unreadable: list[dict[str, object]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Done only when there was something, all of it was good, and every file could be read to its end."""
        return DONE if self.outcomes and not self.refused and not self.unreadable else NOTHING


def produce_files(files: list[str], lane: Lane, api_url: str | None, token: str | None, *, as_json: bool) -> int:
    """Take in the events of *files* in order; give the exit code."""
    with ExitStack() as exits:
        way = _way(exits, lane, api_url, token)
        summary = _Summary()
        err = Console(stderr=True, highlight=False)
        progress = exits.enter_context(_progress(err, is_shown=err.is_terminal and not as_json))
        for name in files:
            _produce(name, way, summary, progress)
    if as_json:
        print_json({name: getattr(summary, name) for name in ("outcomes", "refused", "unreadable", "remarks")})
    else:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(summary.outcomes.items()))
        Console(highlight=False).print(plain(counts or "no events"))
    return summary.exit_code


def _way(exits: ExitStack, lane: Lane, api_url: str | None, token: str | None) -> Way:
    if api_url is None:
        return into_ledger(with_ledger(), lane)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    proxy = proxy_for(api_url)
    way: dict[str, Any] = {"proxy": proxy.url if proxy else None, "trust_env": False, "verify": trusted()}
    try:
        client = httpx.Client(base_url=api_url, headers=headers, timeout=_TIMEOUT_S, **way)
    except httpx.InvalidURL:
        raise TroubleError(f"--api {api_url} is not a URL", "like http://127.0.0.1:8000") from None
    except ImportError:
        raise TroubleError(f"{proxy} is of a kind that is not known", "an http:// one, or NO_PROXY") from None
    except UnicodeError:
        raise TroubleError("--token is none: a token has ASCII letters only") from None
    if client.base_url.scheme not in {"http", "https"}:
        raise TroubleError(f"--api {api_url} is not a URL", "like http://127.0.0.1:8000")
    return over_http(exits.enter_context(client), lane)


def _produce(name: str, way: Way, summary: _Summary, progress: Progress) -> None:
    """Take in one file."""
    shown = "standard input" if name == _STDIN else name
    sender = Sender(operator().name, f"file {Path(name).name}" if name != _STDIN else shown)
    try:
        with _opened(name) as stream:
            task = progress.add_task(shown, total=_size(stream), count="")
            terms = Terms.of(configured(), datetime.now(UTC))
            terms = replace(terms, member_of=way.member_of, remark=lambda what: _remark(shown, what, summary, progress))
            for events in _slices(read_file(stream, name, terms)):
                items = dict(events)
                for receipt in way.send(events, sender):
                    _note(shown, receipt, items[receipt.position], summary, progress)
                _show(progress, task, stream, summary)
    except BodyError as error:
        _complain(progress, f"{shown}: {error}")
        summary.unreadable.append({"file": shown, "field": error.field, "reason": error.reason})
        way.refuse_whole(error, sender)
    except OSError as error:
        _complain(progress, f"{shown}: {error.strerror}")
        summary.unreadable.append({"file": shown, "field": "", "reason": str(error.strerror)})


def _slices(positions: Iterable[Position]) -> Iterator[list[Position]]:
    """Give the events by the thousand; those before a spot that cannot be read are given before it is said."""
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


def _remark(shown: str, what: str, summary: _Summary, progress: Progress) -> None:
    summary.remarks.append({"file": shown, "remark": what})
    _complain(progress, f"{shown}: {what}")


def _note(
    shown: str, receipt: Receipt, item: MemberEvent | InvalidEventError, summary: _Summary, progress: Progress
) -> None:
    summary.outcomes[receipt.outcome.value] += 1
    if receipt.outcome not in NOT_GOOD:
        return
    line = item.line if isinstance(item, RefusedEventError) else None
    number = receipt.member_number or (item.member_number if isinstance(item, RefusedEventError) else None)
    refusal = {"file": shown, "position": receipt.position, "line": line, "member_number": number}
    refusal |= {"field": receipt.field, "reason": receipt.reason, "outcome": receipt.outcome.value}
    summary.refused.append(refusal)
    if len(summary.refused) <= _SHOWN_REFUSALS:
        where = f"line {line}" if line else ""
        where += f"{', column ' if isinstance(item, RefusedRowError) else ', ' if line else ''}{receipt.field}" * bool(
            receipt.field
        )
        whose = f" (member {number})" if number else ""
        what = f"{where + ': ' if where else ''}{receipt.reason}{whose}"
        _complain(progress, f"{shown}: event {receipt.position} {receipt.outcome}: {what}")
    elif len(summary.refused) == _SHOWN_REFUSALS + 1:
        _complain(progress, "more are refused; --json lists them all")


def _complain(progress: Progress, text: str) -> None:
    progress.console.print(plain(text), soft_wrap=True)


def _progress(err: Console, *, is_shown: bool) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[count]}"))
    return Progress(*columns, TimeElapsedColumn(), console=err, disable=not is_shown)


def _show(progress: Progress, task: TaskID, stream: BufferedReader, summary: _Summary) -> None:
    at = None if stream.closed or not stream.seekable() else stream.tell()
    progress.update(task, completed=at, count=f"{summary.outcomes.total()} events")


def _size(stream: BufferedReader) -> int | None:
    return os.fstat(stream.fileno()).st_size if stream.seekable() else None


@contextmanager
def _opened(name: str) -> Iterator[BufferedReader]:
    if name == _STDIN:
        if sys.stdin is None:  # its other end was closed before we began
            raise OSError(errno.EBADF, "is closed")
        yield cast("BufferedReader", sys.stdin.buffer)
        return
    with Path(name).open("rb") as stream:
        yield stream
