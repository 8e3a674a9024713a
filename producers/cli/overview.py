"""How it goes, as a person reads it in a terminal: connections, lanes, dead letters, rates."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from producers.cli.render import age, coloured, console, instant, plain
from producers.cli.tables import print_rows
from producers.operations.verdict import Level, Verdict
from shared.ledger.records import Backlog, BudgetState, ConnectionState, DeadLetters, Overview, Rate
from shared.pipeline import spoken

_LEVELS = {Level.WELL: "bold green", Level.WAITS: "bold yellow", Level.PERSON: "bold red"}


def print_overview(overview: Overview) -> None:
    """Print how it goes."""
    out = console()
    print_connections(overview.connections)
    if overview.backlog:
        _print_backlog(out, overview.backlog)
    else:
        out.print(plain("nothing is pending"))
    print_rows(out, [_rate(row) for row in overview.rates], texts=["of them"])
    if overview.dead_letters:
        print_rows(out, [_dead_letters(row) for row in overview.dead_letters])


def print_verdict(verdict: Verdict) -> None:
    """Print in one line whether all is well."""
    console().print(plain(verdict.sentence, _LEVELS[verdict.level]))


def print_connections(rows: Sequence[ConnectionState]) -> None:
    """Print how the connections stand, and below them why one does not serve."""
    out = console()
    print_rows(out, [_connection(row) for row in rows], expendable=["free now", "failures", "breaker", "since"])
    troubled = [f"{spoken(row.name)}: {words}" for row in rows for words in _why(row)]
    for line in troubled:
        out.print(plain(line))


def _connection(row: ConnectionState) -> dict[str, Text]:
    return {
        "connection": plain(spoken(row.name)),
        "state": coloured(row.state),
        "since": plain(instant(row.since)),
        "breaker": coloured("" if row.breaker == "closed" else row.breaker),
        "failures": plain(row.failures or ""),
        "next probe": plain(_next_probe(row)),
        "held": plain(row.held or ""),
        "calls/min": plain(_used(row.budget)),
        "free now": plain(_free(row.budget)),
    }


def _why(row: ConnectionState) -> Iterable[str]:
    if row.state == "paused":
        yield f"paused by {row.paused_by}: {row.paused_reason}"
    if row.wait_until:
        yield f"asked us to wait until {instant(row.wait_until)}"
    if row.suspects:
        yield f"{row.suspects} suspects: they failed while it served others"
    if row.last_error:
        yield f"last error: {row.last_error}"


def _next_probe(row: ConnectionState) -> str:
    if row.breaker == "half_open":
        return f"the {row.probes}. is out"
    if row.next_probe_in_s is None:
        return ""
    return f"in {age(row.next_probe_in_s)}" if row.next_probe_in_s else "now"


def _used(budget: BudgetState | None) -> str:
    return "no limit" if budget is None else f"{budget.used} of {budget.per_minute}"


def _free(budget: BudgetState | None) -> str:
    return "" if budget is None else f"{budget.free_live} live, {budget.free_bulk} bulk"


def _print_backlog(out: Console, backlog: Sequence[Backlog]) -> None:
    rows = [
        {
            "lane": plain(row.lane),
            "stage": plain(spoken(row.stage)),
            "state": coloured(row.state),
            "instances": plain(row.count),
            "oldest": plain(age(row.oldest_s)),
            "next due": plain(instant(row.next_due_at)),
        }
        for row in backlog
    ]
    print_rows(out, rows)


def _rate(row: Rate) -> dict[str, Text]:
    of_them = ", ".join(f"{count} {spoken(state, count)}" for state, count in row.finished.items())
    return {
        "last": plain(age(row.period_s)),
        "accepted": plain(row.accepted),
        "finished": plain(sum(row.finished.values())),
        "of them": plain(of_them),
    }


def _dead_letters(row: DeadLetters) -> dict[str, Text]:
    return {"dead letters": plain(row.count, "bold red"), "stage": plain(spoken(row.stage)), "code": plain(row.code)}
