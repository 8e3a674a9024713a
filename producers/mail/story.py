"""What a mail says, before it becomes text and HTML: templates/mail.txt and mail.html show the same story."""

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from producers.operations import advice
from producers.operations.troubles import Step
from shared.ledger.mail import Kind, Letter
from shared.ledger.notifications import Failure
from shared.pipeline import SYSTEMS, State


@dataclass(frozen=True, slots=True)
class Section:
    """One trouble.

    Shape: *url* where the console shows it; *failures* those that are named, with a *title*; *unnamed* how many
    instances failed for other causes.
    """

    meaning: str
    steps: tuple[Step, ...]
    url: str
    title: str = ""
    failures: tuple[Failure, ...] = ()
    unnamed: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """A whole mail.  Shape: *facts* names and values."""

    kind: Kind
    subject: str
    headline: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def told(story: Story, *, written: str) -> Letter:
    """Render *story*; *written* says when that was."""
    plain, html = (
        _templates().get_template(name).render(story=story, written=written, systems=SYSTEMS)
        for name in ("mail.txt", "mail.html")
    )
    return Letter(story.kind, f"membersync: {story.subject}", plain, html)


def _todo(one: Failure) -> str:
    if one.state is State.REJECTED:
        return advice.for_data_error(one.message)
    return advice.for_dead_letter(one.stage, one.code, one.message)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("producers.mail"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["todo"] = _todo
    return environment
