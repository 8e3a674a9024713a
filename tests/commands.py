"""Our commands as documents and hints write them, and the real command line's opinion of them."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer.main

from producers.cli.app import app

_FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(membersync [^`]+)`")


def commands_in(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `membersync …`, from the fenced blocks and the inline code of a Markdown text."""
    for block in _FENCED.findall(text):
        for line in block.splitlines():
            yield from _commands(line)
    for words in _INLINE.findall(_FENCED.sub("", text)):
        yield from _commands(words)


def parse(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Let the real command line take the arguments; return the command and its parameters.  Nothing is run."""
    with _chosen(arguments) as (context, name, chosen, rest), chosen.make_context(name, rest, parent=context) as inner:
        return name, inner.params


def options(name: str) -> dict[str, Any]:
    """Return the parameters of a command by their names."""
    with _chosen([name]) as (_, _, chosen, _):
        return {one.name: one for one in chosen.params}


@contextmanager
def _chosen(arguments: list[str]) -> Iterator[tuple[Any, str, Any, list[str]]]:
    """Load the command that the arguments name; give it with its context and the rest of them."""
    group: Any = typer.main.get_command(app)
    with group.make_context("membersync", list(arguments)) as context:
        name, chosen, rest = group.resolve_command(context, list(arguments))
        assert chosen is not None
        yield context, str(name), chosen, rest


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the arguments of each of ours in a pipeline of the shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, "|"]:
        if set(word) <= set("|;&"):
            if words[:1] == ["membersync"]:
                yield words[1:]
            words = []
        else:
            words.append(word)
