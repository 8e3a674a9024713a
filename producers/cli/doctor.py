"""`membersync doctor`: examine this installation, and say what is wrong and what to type."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console

from producers.cli.command import CORRECT_SETTINGS, DONE, NOTHING, AsJson, print_json
from producers.cli.command_settings import at_hand
from producers.cli.status import print_verdict
from producers.cli.terminal import Columns, coloured, console, plain, print_rows
from producers.doctor.check import Finding, Level, Subject, fail
from producers.doctor.configuration import SETTINGS
from producers.doctor.examination import examine, is_well
from producers.doctor.work import verdict_on
from producers.operations.verdict import Verdict, unseen
from shared.errors import SettingsInvalidError
from shared.pipeline import Stage, spoken


def doctor(
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Call no outside system.")] = False,
    as_json: AsJson = False,
) -> int:
    """Examine; the exit code is 1 when something failed."""
    findings, verdict = _findings(offline=offline, is_quiet=as_json)
    if as_json:
        print_json({"ok": is_well(findings), "verdict": verdict, "findings": findings})
    else:
        print_verdict(verdict)
        _print(findings)
    return DONE if is_well(findings) else NOTHING


def _findings(*, offline: bool, is_quiet: bool) -> tuple[Sequence[Finding], Verdict]:
    try:
        of, is_stack = at_hand()
    except SettingsInvalidError as error:
        found = "; ".join(line.strip() for line in str(error).splitlines())
        why = "no process starts with these settings, and nothing else can be looked at without them"
        return [fail(SETTINGS, "the environment and .env", found, why, CORRECT_SETTINGS)], unseen(error)
    subject = Subject(of, beside_stack=is_stack, offline=offline)
    err = Console(stderr=True, highlight=False)
    is_shown = err.is_terminal and not is_quiet
    progress = err.status("looking at settings, servers, workers and connections …") if is_shown else nullcontext()
    with progress, ThreadPoolExecutor(1) as beside:
        verdict = beside.submit(verdict_on, subject)  # after the checks, a ledger that hangs would be waited for twice
        return examine(subject), verdict.result()


def _named(one: Finding) -> str:
    """Return what was looked at, systems as people call them; with --json it keeps the words that commands take."""
    return " ".join(spoken(word) if word in set(Stage) else word for word in one.check.split())


def _print(findings: Sequence[Finding]) -> None:
    """Print the findings: on a terminal a table, below it what to do about those alike; in a pipe a line each."""
    out = console()
    if out.is_terminal:
        print_rows(findings, _FINDINGS, texts=["found"])
        alike: dict[tuple[Level, str, str], list[str]] = {}
        for one in findings:
            if one.remedy:
                alike.setdefault((one.level, one.why, one.remedy), []).append(_named(one))
        for (level, why, remedy), checks in alike.items():
            out.print(coloured(level), plain(f"{', '.join(dict.fromkeys(checks))}: {why}"), soft_wrap=True)
            out.print(plain(f"     {remedy}", "bold"), soft_wrap=True)
    else:
        for one in findings:
            rest = f"; {one.why}; do: {one.remedy}" if one.remedy else ""
            line = f"{one.level:<4}  {_named(one)}: {one.found} ({one.looked_at}){rest}"
            out.print(plain(line), soft_wrap=True)
    counts = Counter(one.level for one in findings)
    out.print(plain(", ".join(f"{counts[level]} {level}" for level in Level if counts[level])))


_FINDINGS: Columns[Finding] = {
    "": lambda one: coloured(one.level),
    "check": _named,
    "found": lambda one: one.found,
}
