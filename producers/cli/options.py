"""The options that commands share: the filter of spec section 5, in the words of the command line."""

from typing import Annotated

import typer

from producers.filtering import LIMIT_MAX
from shared.pipeline import Lane, Stage, State, SyncStatus

_INSTANT = "2026-11-23T08:51:00Z, a date, or an age: 15m, 2h, 7d"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Unmasked = Annotated[bool, typer.Option("--unmasked", help="Show people as they are.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=LIMIT_MAX, help="At most so many.")]
Cursor = Annotated[str | None, typer.Option("--cursor", help="`next` of the page before.")]

States = Annotated[list[State] | None, typer.Option("--state", help="One of these; repeat for several.")]
Stages = Annotated[list[Stage] | None, typer.Option("--stage", help="Where it stands; if failed, where it failed.")]
Statuses = Annotated[list[SyncStatus] | None, typer.Option("--status", case_sensitive=False, help="CT Sync Status.")]
Codes = Annotated[list[str] | None, typer.Option("--code", help="Why it failed: throttled, data_error, bug, …")]
Members = Annotated[list[str] | None, typer.Option("--member", help="Member number.")]
InLane = Annotated[Lane | None, typer.Option("--lane", help="live or bulk.")]
Since = Annotated[str | None, typer.Option("--since", help=f"Accepted then or later: {_INSTANT}.")]
Until = Annotated[str | None, typer.Option("--until", help="Accepted before then.")]
WithText = Annotated[str, typer.Option("--text", help="Beginning of event id or member number, or part of the error.")]
