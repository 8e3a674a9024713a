"""Stage 3 of 3: write `CT Sync Status` and `CT Sync Error` on the Siebel members, up to 100 in one request.

Source: domain.md 3.1 (one S2, many S3, errors S4 S5).
(A): a request of many may be refused as a whole because of one of them.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter

from shared.errors import StageError
from shared.instances import Call, Result, Work
from shared.masking import mask
from shared.messages import is_same_told
from shared.personal import cut, in_marks, unmarked, values_of
from shared.pipeline import SyncStatus
from shared.settings import SiebelSettings
from shared.systems.answers import Answer
from shared.systems.siebel import Siebel
from shared.systems.siebel_answers import Written, may_be_gone, may_be_out
from shared.systems.transport import Exchange


class SiebelStage:
    """The stage."""

    def __init__(self, client: Siebel, settings: SiebelSettings) -> None:
        self.client = client
        self.group = settings.rows_per_request
        self._settings = settings

    async def run(self, works: Sequence[Work]) -> Sequence[Result]:
        """Write on each member what its instance came to: facts `row_id`, `told_status`, `told_error`."""
        began = perf_counter()
        writes = [StatusWrite(work, self.client.exchange(began), self._settings) for work in works]
        await asyncio.gather(*(self._find(one) for one in writes if one.is_open and not one.is_found))
        for wave in _waves([one for one in writes if one.is_open], self.group):
            await (self._write(wave[0]) if len(wave) == 1 else self._write_many(wave, began))
        return [one.result() for one in writes]

    async def _find(self, one: "StatusWrite") -> None:
        try:
            await self._look_up(one)
        except StageError as error:
            one.error = error

    async def _look_up(self, one: "StatusWrite") -> None:
        """Ask for the member's own row, whatever its events say: a ROW_ID may be another member's."""
        work = one.work
        one.row_id = await self.client.look_up(one.exchange, work.member_number, work.claimed_row_id)
        one.is_found = True

    async def _write(self, one: "StatusWrite") -> None:
        try:
            answer = await self._put(one)
            if may_be_gone(answer) and one.row_id == one.work.row_id:  # what we remembered may be true no longer
                await self._look_up(one)
                answer = await self._put(one)
            Written(answer).check(one.row_id, one.work.member_number)
            one.is_written = True
        except StageError as error:
            one.fail(error, one.exchange)

    async def _put(self, one: "StatusWrite") -> Answer:
        return await self.client.write(one.exchange, one.row_id, one.fields, one.shown)

    async def _write_many(self, wave: "Sequence[StatusWrite]", began: float) -> None:
        exchange = self.client.exchange(began)  # whose parts each takes, and keeps as its own
        error: StageError | None = None
        try:
            await self.client.write_many(exchange, [{"Id": one.row_id, **one.fields} for one in wave])
        except StageError as failure:
            error = failure
        written = None if exchange.answer is None else Written(exchange.answer)
        for one in wave:
            one.take_part(exchange, written, error)
        # One of them may be the cause of a refusal, or of an answer that cannot be read: each by itself.
        await asyncio.gather(*(self._write(one) for one in wave if one.is_open))


class StatusWrite:
    """What is written about one instance: the texts, the row they go to, and how it went."""

    __slots__ = (
        *("_is_known", "error", "exchange", "fields", "is_found", "is_written", "kept", "row_id", "shown", "status"),
        *("work", "write_is_out"),
    )

    def __init__(self, work: Work, exchange: Exchange, settings: SiebelSettings) -> None:
        self.work = work
        self.exchange = exchange
        self.row_id = work.row_id or ""
        self.is_found = bool(work.row_id) and work.claimed_row_id in {None, work.row_id}
        self.status, self.kept = texts(work, settings)
        exchange.personal = partial(_named, work, self.kept)  # not of this object: in a cycle both would stay
        text = unmarked(self.kept)
        self.fields = {settings.status_field: self.status, settings.error_field: text}
        self.shown = mask({"CT Sync Status": self.status, "CT Sync Error": self.kept})
        self.error: StageError | None = None
        self.is_written = False
        self.write_is_out = False
        is_shown = (work.told_status, unmarked(work.told_error or "")) == (self.status, text)
        self._is_known = (is_shown or self._is_echo()) and not settings.always_write and not work.must_call

    def _is_echo(self) -> bool:
        """Return whether it would only name another instance for the same content and cause.

        Siebel's own workflow may take each status that is written for a change of the member, and send it here: written
        anew each time, it would never end.  `force` asks for it.
        """
        work, shown = self.work, self.work.told_error or ""
        is_same = work.told_of_this and work.told_status == self.status and not work.event.get("force")
        return is_same and bool(shown) == bool(self.kept) and is_same_told(shown, self.kept)

    @property
    def is_shown_already(self) -> bool:
        """Whether Siebel shows it, as far as we know: what another row than the proven one shows is not known."""
        is_same_row = self.is_found or not self.work.claimed_row_id
        return self._is_known and is_same_row and self.row_id == (self.work.row_id or "")

    @property
    def is_open(self) -> bool:
        """Whether it is still to be written."""
        return not (self.is_shown_already or self.is_written or self.error)

    def take_part(self, exchange: Exchange, written: Written | None, error: StageError | None) -> None:
        """Record the call that was made for many, each as if it had been for this one alone, and what came of it."""
        own = None if written is None else self.exchange.shown(written.part(self.row_id))
        shown = {"Id": self.row_id, **self.shown}
        self.exchange.calls += [
            Call(call.method, call.url, call.http_status, call.took_ms, shown, own) for call in exchange.calls
        ]
        if error is not None:
            self.fail(error, exchange)
            if exchange.answer is not None and exchange.answer.ok:
                self.error = None
        elif written is not None:
            with suppress(StageError):
                written.check(self.row_id, self.work.member_number)
                self.is_written = True

    def fail(self, error: StageError, exchange: Exchange) -> None:
        """Remember that a write met *error*, and whether it may have been applied all the same."""
        self.error = error
        self.write_is_out = self.write_is_out or may_be_out(error, exchange.answer)

    def result(self) -> Result:
        """Return what is known now."""
        row = {"row_id": self.row_id} if self.row_id else {}
        if self.error is not None:
            unknown = {"unknown_outcome": True} if self.write_is_out else {}
            return self.exchange.failed(self.error, **row, **unknown)
        if self.is_shown_already:
            shown = self.work.told_error or self.kept
            return self.exchange.done("Siebel shows it already", **row, told_status=self.status, told_error=shown)
        return self.exchange.done(f"told Siebel: {self.status}", **row, told_status=self.status, told_error=self.kept)


def _named(work: Work, kept: str) -> tuple[str, ...]:
    """Return what names the member in Siebel's answers: its own values, and what is written, which they repeat."""
    return (*values_of(work.user, work.event.get("member")), *in_marks(kept))


def texts(work: Work, settings: SiebelSettings) -> tuple[str, str]:
    """Return the texts of `CT Sync Status` and `CT Sync Error`; the instance is named whole, what happened may be cut.

    Shape: what names the member in the second is marked; Siebel gets it without marks.
    """
    if work.status is None:
        raise ValueError(f"instance {work.instance_id} came to siebel without a status")
    if work.status is SyncStatus.SUCCESS:
        return settings.success_status, ""
    suffix = f"[instance {work.instance_id}]"
    what = " ".join(work.error.split())
    room = settings.error_max_length - len(suffix) - 1
    if len(unmarked(what)) > room:
        what = f"{cut(what, room - 1).rstrip()}…"
    return work.status.value, f"{what} {suffix}" if what else suffix


def _waves(writes: Sequence[StatusWrite], at_once: int) -> list[list[StatusWrite]]:
    """Cut into requests: never twice the same row in one, in order for each row, at most *at_once* rows each."""
    turns: Counter[str] = Counter()
    waves: dict[tuple[int, int], list[StatusWrite]] = {}
    sizes: Counter[int] = Counter()
    for one in writes:
        turn = turns[one.row_id]
        turns[one.row_id] += 1
        waves.setdefault((turn, sizes[turn] // at_once), []).append(one)
        sizes[turn] += 1
    return [waves[turn] for turn in sorted(waves)]
