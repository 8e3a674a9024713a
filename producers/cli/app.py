"""The commands: the module, the panel and the help of each; how one is loaded, run and ended.

Only the command that is typed is imported: help and completion wait for no ledger, and `worker` for no web server.  It
is the function of its name in its module; its parameters are its options, and what it returns is the exit code.
"""

import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from producers.cli.command import DONE, IMPOSSIBLE, expanded, loaded, trouble_of
from shared.errors import without_kind

if TYPE_CHECKING:
    from typer import _click  # typer's own click, which it gives no public name


class Command(NamedTuple):
    """A command.  Shape: *module* is one of this package; *panel* the heading of *help* in the list of commands."""

    module: str
    panel: str
    help: str


_MACHINE, _PROCESS, _MEMBERS = "On one machine", "One process each", "Members"
_LOOKING, _REPAIRING, _TRUTH, _SIEBEL = "Looking", "Repairing", "Truth", "Siebel's side"

COMMANDS = {
    "up": Command("installation", _MACHINE, "Run the whole stack on this machine until Ctrl-C."),
    "demo": Command("installation", _MACHINE, "Run the whole stack, feed it, show and check what happened, and end."),
    "api": Command("api", _PROCESS, "Take events over HTTP, and answer operators."),
    "dispatcher": Command("dispatcher", _PROCESS, "Send what is due to the workers."),
    "worker": Command("celery_processes", _PROCESS, "Take instances through the stages (Celery)."),
    "flower": Command("celery_processes", _PROCESS, "Show workers, queues and tasks (Flower)."),
    "migrate": Command("migrate", _PROCESS, "Bring the ledger's schema up to date."),
    "produce": Command("produce", _MEMBERS, "Take in the members of files."),
    "status": Command(
        "status", _LOOKING, "Show whether all is well; connections, lanes, states, ages of the oldest, rates."
    ),
    "member": Command(
        "records", _LOOKING, "Show one member's timeline: events, attempts, calls, what Siebel was told."
    ),
    "compare": Command(
        "compare", _LOOKING, "Ask Siebel and CrowdTwist for one member now, and show them beside the ledger."
    ),
    "changes": Command(
        "compare", _LOOKING, "Show what changed between two events of a member, the newest two by default."
    ),
    "instances": Command("records", _LOOKING, "List instances, newest first."),
    "show": Command("records", _LOOKING, "Show one instance with its activity."),
    "doctor": Command(
        "doctor",
        _LOOKING,
        "Examine settings, servers, workers and connections: what is wrong, why it matters, what to type.",
    ),
    "incidents": Command(
        "incidents", _LOOKING, "Show what went wrong for a while, and what it cost; one with all that is known of it."
    ),
    "refusals": Command(
        "records",
        _LOOKING,
        "List the events that were refused, newest first: position, field, reason, sender; people masked.",
    ),
    "cases": Command(
        "cases",
        _LOOKING,
        "Show Data Errors as cases, what unblocks most first: of which kind, who is in the way, who must do what.",
    ),
    "export": Command("export", _LOOKING, "Write outcomes, attempts or cases as NDJSON or CSV; people masked."),
    "person": Command("privacy", _LOOKING, "Show or export everything that is kept of one member, in every table."),
    "forget": Command("privacy", _REPAIRING, "Erase everything that is kept of one member, in one transaction."),
    "dead-letters": Command(
        "dead_letters", _REPAIRING, "Show dead letters by cause, or listed; --state rejected: Data Errors."
    ),
    "cause-notes": Command("cause_notes", _REPAIRING, "Show what is known of causes; note on one, remove a note."),
    "requeue": Command(
        "dead_letters",
        _REPAIRING,
        "Send dead letters on from where they failed; first 1, then 10, then the rest.",
    ),
    "discard": Command("dead_letters", _REPAIRING, "Give instances up for good."),
    "undo": Command("undo", _REPAIRING, "Undo a discard, of all or some; what was overtaken stays discarded."),
    "resend": Command(
        "repairs",
        _REPAIRING,
        "Send CrowdTwist once more what it acknowledged and may have lost; first 1, then 10, then the rest.",
    ),
    "repair": Command(
        "repairs",
        _REPAIRING,
        "Repair what a reconciliation found, from Siebel's rows of this moment; first 1, then 10, then the rest.",
    ),
    "jobs": Command("dead_letters", _REPAIRING, "Show requeues, discards, undos, resends and repairs; stop one."),
    "guards": Command(
        "guards", _REPAIRING, "Show what guards hold, a flood of one Data Error for one; release or discard it."
    ),
    "approve": Command("approvals", _REPAIRING, "Show what waits for a second person; approve or refuse it."),
    "reconcile": Command("reconciliations", _TRUTH, "Compare Siebel, CrowdTwist and the ledger; a job, prints its id."),
    "reconciliations": Command(
        "reconciliations", _TRUTH, "Show reconciliations, one with its figures, or its differences; stop one."
    ),
    "webhook": Command("webhook", _LOOKING, "Show what waits for the webhook, and what was given up; post a test."),
    "connections": Command("status", _REPAIRING, "Show how the connections stand; test, pause or resume one."),
    "drop-checks": Command(
        "restored", _REPAIRING, "After a restore of the ledger: drop the checks that would put older content back."
    ),
    "maintenance": Command("maintenance", _REPAIRING, "Show planned windows of the connections; add or remove one."),
    "openapi": Command(
        "siebel_kit", _SIEBEL, "Print the api's description; --siebel: as Siebel's REST outbound imports it."
    ),
    "record": Command(
        "siebel_kit", _SIEBEL, "Keep the messages that Siebel sends, on their way to the api, as a load."
    ),
    "replay": Command("siebel_kit", _SIEBEL, "Send recorded messages to an api, as fast as they came or faster."),
}


class _Commands(TyperGroup):
    """Loads the command that is typed; shows a flag as a flag, and no type where a name says more."""

    def resolve_command(
        self, ctx: "_click.Context", args: list[str]
    ) -> "tuple[str | None, _click.Command | None, list[str]]":
        """Find the command that is typed, and load it."""
        name, found, rest = super().resolve_command(ctx, args)
        if name is None or found is None:
            return name, found, rest
        command = COMMANDS[name]
        alone = typer.Typer(add_completion=False)
        function = getattr(loaded(f"producers.cli.{command.module}"), name.replace("-", "_"))
        alone.command(name, help=command.help)(expanded(function))
        typed = typer.main.get_command(alone)
        _show_no_type(typed.get_params(ctx))
        return name, typed, rest

    def invoke(self, ctx: "_click.Context") -> object:
        """Run the command that is typed; say of an argument that is not good only what is wrong with it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = without_kind(error.message)
            raise

    def get_params(self, ctx: "_click.Context") -> "list[_click.Parameter]":
        """Return the options before a command."""
        found = super().get_params(ctx)
        _show_no_type(found)
        return found


def _show_no_type(parameters: Sequence[Any]) -> None:
    """Let the help show no type where there is no value, as of a flag, or where a name stands, as of an argument."""
    for one in parameters:
        if one.param_type_name == "argument" or one.is_flag:
            one.display_type_rich = lambda **_: ""


def _end(code: int | None, **_options: object) -> None:
    raise typer.Exit(code or DONE)


app = typer.Typer(
    cls=_Commands,
    help="Siebel Loyalty members to CrowdTwist, and the truth back.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    result_callback=_end,
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"membersync {version('membersync')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _wanted: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda wanted: _print_version(wanted=wanted), is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Siebel Loyalty members to CrowdTwist, and the truth back."""


for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.help, rich_help_panel=_command.panel)(lambda: None)  # loaded when it is typed


_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What Python makes of an argument's bytes that are not of the terminal's encoding."""


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show stops nothing
    typed = sys.argv[1:] if arguments is None else arguments
    garbled = next(filter(_NO_TEXT.search, typed), None)
    if garbled is not None:  # neither the ledger nor JSON can hold it, a file's name included
        typer.echo(f"membersync: {garbled}: holds bytes that are no text in the terminal's encoding", err=True)
        typer.echo("  type it anew; a file has to be renamed", err=True)
        sys.exit(IMPOSSIBLE)
    try:
        app(args=None if arguments is None else list(arguments), prog_name="membersync")
    except Exception as error:
        trouble = trouble_of(error)
        if trouble is None:
            raise
        typer.echo(f"membersync: {trouble.what}", err=True)
        if trouble.hint:
            typer.echo(f"  {trouble.hint}", err=True)
        sys.exit(trouble.code)
