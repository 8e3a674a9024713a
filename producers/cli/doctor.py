"""`membersync doctor`: examine this installation, and say what is wrong and what to type."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from producers.cli.command_errors import DONE, NOTHING, told
from producers.cli.ledger_commands import print_json, verdict_of
from producers.cli.ledger_location import at_hand
from producers.cli.overview import print_verdict
from producers.cli.render import coloured, console, plain
from producers.cli.tables import print_rows
from producers.doctor import configuration
from producers.doctor.check import Finding, Level, Subject, fail
from producers.doctor.examination import examine, is_well
from producers.doctor.work import verdict_on
from producers.operations.verdict import Verdict
from shared.pipeline import spoken
from shared.setting_types import SettingsInvalidError


def run_doctor(*, offline: bool, as_json: bool) -> int:
    """Examine; give the exit code: 1 when something failed."""
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
        return [_of_settings(error)], verdict_of(error)
    subject = Subject(of, beside_stack=is_stack, offline=offline)
    err = Console(stderr=True, highlight=False)
    if is_quiet or not err.is_terminal:
        return _looked(subject)
    with err.status("looking at settings, servers, workers and connections …"):
        return _looked(subject)


def _looked(subject: Subject) -> tuple[Sequence[Finding], Verdict]:
    """Examine, and judge beside it: after it, a ledger that hangs would be waited for twice."""
    with ThreadPoolExecutor(1) as beside:
        verdict = beside.submit(verdict_on, subject)
        return examine(subject), verdict.result()


def _of_settings(error: Exception) -> Finding:
    trouble = told(error)
    what, hint = (trouble.what, trouble.hint) if trouble else (type(error).__name__, "")
    found = "; ".join(line.strip() for line in what.splitlines())
    why = "no process starts with these settings, and nothing else can be looked at without them"
    return fail(configuration.SETTINGS, "the environment and .env", found, why, hint or "correct them")


def _print(findings: Sequence[Finding]) -> None:
    out = console()
    if out.is_terminal:
        _print_table(findings, out)
    else:
        for one in findings:
            out.print(plain(_line(one)), soft_wrap=True)
    counts = Counter(one.level for one in findings)
    out.print(plain(", ".join(f"{counts[level]} {level}" for level in Level if counts[level])))


def _named(one: Finding) -> str:
    """Say what was looked at, systems as people call them; with --json it keeps the words that commands take."""
    return " ".join(map(spoken, one.check.split()))


def _line(one: Finding) -> str:
    rest = f"; {one.why}; do: {one.remedy}" if one.remedy else ""
    return f"{one.level:<4}  {_named(one)}: {one.found} ({one.looked_at}){rest}"


def _print_table(findings: Sequence[Finding], out: Console) -> None:
    rows = [{"": coloured(one.level), "check": plain(_named(one)), "found": plain(one.found)} for one in findings]
    print_rows(out, rows, texts=["found"])
    alike: dict[tuple[Level, str, str], list[str]] = {}
    for one in findings:
        if one.remedy:
            alike.setdefault((one.level, one.why, one.remedy), []).append(_named(one))
    for (level, why, remedy), checks in alike.items():
        out.print(coloured(level), plain(f"{', '.join(dict.fromkeys(checks))}: {why}"), soft_wrap=True)
        out.print(plain(f"     {remedy}", "bold"), soft_wrap=True)
