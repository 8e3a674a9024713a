"""How it goes, as a person reads it in a terminal: connections, lanes, dead letters, rates."""

from collections.abc import Iterable

from rich.table import Table

from producers.cli.render import age, coloured, console, grid, instant, plain
from shared.ledger.records import Backlog, BudgetState, ConnectionState, DeadLetters, Overview, Rate


def print_overview(overview: Overview) -> None:
    """Print how it goes."""
    out = console()
    print_connections(overview.connections)
    out.print(_backlog(overview.backlog) if overview.backlog else plain("nothing is pending"))
    out.print(_rates(overview.rates))
    if overview.dead_letters:
        out.print(_dead_letters(overview.dead_letters))


def print_connections(rows: Iterable[ConnectionState]) -> None:
    """Print how the connections stand, and below them why one does not serve."""
    out = console()
    table = grid("connection", "state", "since", "breaker", "failures", "next probe", "held", "calls/min", "free now")
    troubled = []
    for row in rows:
        table.add_row(
            plain(row.name),
            coloured(row.state),
            plain(instant(row.since)),
            coloured("" if row.breaker == "closed" else row.breaker),
            plain(row.failures or ""),
            plain(_next_probe(row)),
            plain(row.held or ""),
            plain(_used(row.budget)),
            plain(_free(row.budget)),
        )
        troubled += [f"{row.name}: {words}" for words in _why(row)]
    out.print(table)
    for line in troubled:
        out.print(plain(line), soft_wrap=True)


def _why(row: ConnectionState) -> Iterable[str]:
    if row.state == "paused":
        yield f"paused by {row.paused_by}: {row.paused_reason}"
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


def _backlog(rows: Iterable[Backlog]) -> Table:
    table = grid("lane", "stage", "state", "instances", "oldest", "next due")
    for row in rows:
        due = plain(instant(row.next_due_at))
        table.add_row(
            plain(row.lane), plain(row.stage), coloured(row.state), plain(row.count), plain(age(row.oldest_s)), due
        )
    return table


def _rates(rows: Iterable[Rate]) -> Table:
    table = grid("last", "accepted", "finished", "of them")
    for row in rows:
        of_them = ", ".join(f"{count} {state}" for state, count in row.finished.items())
        table.add_row(plain(age(row.period_s)), plain(row.accepted), plain(sum(row.finished.values())), plain(of_them))
    return table


def _dead_letters(rows: Iterable[DeadLetters]) -> Table:
    table = grid("dead letters", "stage", "code")
    for row in rows:
        table.add_row(plain(row.count, "bold red"), plain(row.stage), plain(row.code))
    return table
