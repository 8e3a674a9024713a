"""`membersync up` and `demo`: a whole installation on one machine."""

from typing import Annotated

import typer

from deploy.local.demo import SCENES
from deploy.local.demo import demo as play
from deploy.local.stack import up as start
from producers.cli.command_settings import configured


def up() -> int:
    """Run the whole stack until Ctrl-C."""
    return start(configured())


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running at the end.")] = False,
    scene: Annotated[
        str | None,
        typer.Option(
            "--scene",
            metavar="SCENE",
            help="Only outage, oic, dead-letter, overtaken or drift.",
            autocompletion=lambda incomplete: [name for name in SCENES if name.startswith(incomplete)],
        ),
    ] = None,
) -> int:
    """Run the whole stack, and one scene or all of the demonstration on it."""
    return play(configured(), keep=keep, scene=scene)
