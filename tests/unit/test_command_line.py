"""How a command is made of its function: loaded when it is typed, with the options of its groups in their place."""

import inspect
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from producers.cli.app import COMMANDS, run
from producers.cli.command import Group, expanded
from tests.commands import options

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Manner:
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False
    reason: Annotated[str, typer.Option("--reason")] = ""


def _span(low: int, high: int) -> range:
    if low > high:
        raise typer.BadParameter("the low one is the higher")
    return range(low, high)


SPAN = Group(
    tuple(
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=typer.Option(0, f"--{name}"), annotation=int)
        for name in ("low", "high")
    ),
    _span,
)


def show(span: Annotated[range, SPAN], name: str, *, loud: bool = False, manner: Manner) -> None:
    typer.echo(f"{name} {list(span)} {loud} {manner}")


def typed(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(expanded(show))
    ran = CliRunner().invoke(app, arguments)
    return ran.exit_code, ran.output


def test_a_command_gets_the_values_that_its_groups_are_made_of() -> None:
    assert typed("x", "--low", "2", "--high", "4", "--dry-run", "--reason", "why") == (
        0,
        f"x [2, 3] False {Manner(dry_run=True, reason='why')}\n",
    )
    assert typed("x", "--loud") == (0, f"x [] True {Manner()}\n")


def test_what_a_group_cannot_mean_is_refused_as_every_option_is() -> None:
    code, said = typed("x", "--low", "4", "--high", "2")
    assert code == 2
    assert "the low one is the higher" in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(name: str) -> None:
    assert all(one.name for one in options(name).values())


def test_only_the_command_that_is_typed_is_loaded() -> None:
    heavy = "{'sqlalchemy', 'celery', 'fastapi', 'httpx', 'pydantic'} & {*sys.modules}"
    code = f"import sys, producers.cli.app; print({heavy})"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_an_argument_that_is_no_text_is_refused_by_every_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in (["compare", "M-\udcff"], ["forget", "M-1", "--reason", "\udcff"], ["produce", "\udcff.csv"]):
        with pytest.raises(SystemExit) as ended:
            run(command)
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        shown = command[-1].encode("ascii", "backslashreplace").decode()
        assert said.err.startswith(f"membersync: {shown}: holds bytes that are no text in the terminal's encoding\n")


def test_a_word_that_is_none_of_several_is_refused_without_the_words_of_a_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(["connections", "pause", "nowhere"])
    said = " ".join(capsys.readouterr().err.split())
    assert "'nowhere' is not one of" in said
    assert "Value error" not in said
