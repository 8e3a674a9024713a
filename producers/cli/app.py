"""The commands and their options; what they do stands in the modules beside this one."""

import sys
from collections.abc import Sequence
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from producers.cli.command_errors import told
from producers.cli.connection_commands import connections
from producers.cli.dead_letter_commands import dead_letters, discard, jobs, requeue
from producers.cli.filtered import filtered
from producers.cli.options import AsJson, Cursor, Limit, Unmasked
from producers.cli.refusal_commands import list_refusals
from producers.operations.filtering import LIMIT_DEFAULT
from shared.ledger.filters import Filter
from shared.pipeline import Lane

# Imports inside commands keep the start of the others short.
# ruff: noqa: PLC0415


class _Group(TyperGroup):
    """Helps in words: shows a flag as a flag, and no type where a name says more."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401  # typer's own click, which it does not name
        """Find a command."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _bare(command.get_params(ctx))
        return command

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401  # as above
        """Give the options before a command."""
        return _bare(super().get_params(ctx))


def _bare(parameters: list[Any]) -> list[Any]:
    """Say no type where there is no value, as of a flag, or where a name stands already, as of an argument."""
    for one in parameters:
        if one.param_type_name == "argument" or one.is_flag:
            one.display_type_rich = lambda **_: ""
    return parameters


def _scenes(incomplete: str) -> list[str]:
    """Return the scenes of `demo` that begin so."""
    from deploy.local.scenes import SCENES

    return [scene for scene in SCENES if scene.startswith(incomplete)]


app = typer.Typer(
    cls=_Group,
    help="Siebel Loyalty members to CrowdTwist, and the truth back.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def run(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show stops nothing
    try:
        app(args=None if arguments is None else list(arguments), prog_name="membersync")
    except Exception as error:
        trouble = told(error)
        if trouble is None:
            raise
        typer.echo(f"membersync: {trouble.what}", err=True)
        if trouble.hint:
            typer.echo(f"  {trouble.hint}", err=True)
        sys.exit(trouble.code)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"membersync {version('membersync')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _wanted: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda wanted: _version(wanted=wanted), is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Siebel Loyalty members to CrowdTwist, and the truth back."""


@app.command(rich_help_panel="On one machine")
def up() -> None:
    """Run the whole stack on this machine until Ctrl-C."""
    from deploy.local.up import up as start
    from producers.cli.ledger_location import configured

    raise typer.Exit(start(configured()))


@app.command(rich_help_panel="On one machine")
def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running at the end.")] = False,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene", metavar="SCENE", help="Only outage, oic, dead-letter or overtaken.", autocompletion=_scenes
        ),
    ] = None,
) -> None:
    """Run the whole stack, feed it, show and check what happened, and end."""
    from deploy.local.demo import demo as play
    from producers.cli.ledger_location import configured

    raise typer.Exit(play(configured(), keep=keep, scene=scene))


@app.command(rich_help_panel="One process each")
def api(
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="To listen on.")] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="To listen on; 0: any.")] = None,
) -> None:
    """Take events over HTTP, and answer operators."""
    from producers.cli.processes import run_api

    run_api(host, port)


@app.command(rich_help_panel="One process each")
def dispatcher() -> None:
    """Send what is due to the workers."""
    from producers.cli.processes import run_dispatcher

    run_dispatcher()


@app.command(rich_help_panel="One process each")
def worker(
    lane: Annotated[Lane | None, typer.Option(metavar="LANE", help="Only live, or bulk; both when left out.")] = None,
    concurrency: Annotated[int | None, typer.Option(metavar="N", min=1, help="Processes.")] = None,
) -> None:
    """Take instances through the stages (Celery)."""
    from producers.cli.processes import become_worker

    become_worker(lane, concurrency)


@app.command(rich_help_panel="One process each")
def flower(
    port: Annotated[int | None, typer.Option(metavar="PORT", min=0, max=65535, help="To listen on; 0: any.")] = None,
) -> None:
    """Show workers, queues and tasks (Flower)."""
    from producers.cli.processes import become_flower

    become_flower(port)


@app.command(rich_help_panel="One process each")
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the ledger's schema up to date."""
    from producers.cli.processes import run_migrations

    run_migrations(as_json=as_json)


@app.command(rich_help_panel="Members")
def produce(  # one option each
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
) -> None:
    """Take in the members of files."""
    from producers.cli.produce import produce_files

    raise typer.Exit(produce_files(files, lane, api_url, token, as_json=as_json))


@app.command(rich_help_panel="Looking")
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show whether all is well; connections, lanes, states, ages of the oldest, rates."""
    from producers.cli.ledger_commands import show_status

    raise typer.Exit(show_status(watch=watch, as_json=as_json))


@app.command(rich_help_panel="Looking")
def member(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Member number.")],
    *,
    limit: Limit = 10,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> None:
    """Show one member's timeline: events, attempts, calls, what Siebel was told."""
    from producers.cli.ledger_commands import show_member

    raise typer.Exit(show_member(number, limit, cursor, unmasked=unmasked, as_json=as_json))


@app.command(rich_help_panel="Looking")
@filtered
def instances(
    where: Filter,
    *,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> None:
    """List instances, newest first."""
    from producers.cli.ledger_commands import list_instances

    raise typer.Exit(list_instances(where, limit, cursor, unmasked=unmasked, as_json=as_json))


@app.command(rich_help_panel="Looking")
def show(
    instance_id: Annotated[str, typer.Argument(metavar="ID", help="Instance id.")],
    *,
    unmasked: Unmasked = False,
    as_json: AsJson = False,
) -> None:
    """Show one instance with its activity."""
    from producers.cli.ledger_commands import show_instance

    raise typer.Exit(show_instance(instance_id, unmasked=unmasked, as_json=as_json))


@app.command(rich_help_panel="Looking")
def doctor(
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Call no outside system.")] = False,
    as_json: AsJson = False,
) -> None:
    """Examine settings, servers, workers and connections: what is wrong, why it matters, what to type."""
    from producers.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(offline=offline, as_json=as_json))


app.command("refusals", rich_help_panel="Looking")(list_refusals)
app.command("dead-letters", rich_help_panel="Repairing")(dead_letters)
app.command(rich_help_panel="Repairing")(requeue)
app.command(rich_help_panel="Repairing")(discard)
app.command(rich_help_panel="Repairing")(jobs)
app.command(rich_help_panel="Repairing")(connections)
