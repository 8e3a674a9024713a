"""The options that commands share, beside those of the filter."""

from typing import Annotated

import typer

from producers.operations.filtering import LIMIT_MAX

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Unmasked = Annotated[bool, typer.Option("--unmasked", help="Show people as they are.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, max=LIMIT_MAX, help="At most so many.")]
Cursor = Annotated[str | None, typer.Option("--cursor", metavar="CURSOR", help="`next` of the page before.")]
