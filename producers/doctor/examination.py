"""All checks, side by side: each has its own time-outs, none waits for another, and the whole has a deadline."""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from functools import partial
from time import monotonic

from producers.doctor import broker, configuration, failover, servers, work
from producers.doctor.check import Check, Finding, Level, Subject, UnlookedError, fail, unlooked
from shared.errors import LedgerError
from shared.pipeline import STAGES

WITHIN_S = 18.0
CHECKS: tuple[Check, ...] = (
    Check(configuration.SETTINGS, configuration.look_at_settings),
    Check(servers.SERVER, servers.look_at_server),
    Check(servers.SCHEMA, servers.look_at_schema),
    Check(servers.SNAPSHOTS, servers.look_at_snapshots),
    Check(failover.POOLED, failover.look_through_pooler),
    Check(failover.STANDBY, failover.look_at_standby),
    Check(broker.BROKER, broker.look_at_broker),
    Check(work.DISPATCHER, work.look_for_dispatcher),
    Check(broker.WORKERS, broker.look_for_consumers),
    Check(work.PROCESSES, work.look_for_workers),
    Check("connections", configuration.look_at_connections),
    *(Check(f"test of {stage}", partial(configuration.test_connection, stage)) for stage in STAGES),
    Check("clock of the ledger", servers.clock_of_ledger),
    Check(servers.STEPS, servers.look_for_steps),
    Check("clock of the broker", servers.clock_of_broker),
    *(Check(f"clock of {stage}", partial(servers.clock_of_system, stage)) for stage in STAGES),
    Check(work.LEASES, work.look_at_leases),
    Check(work.DUE, work.look_at_due),
    Check(work.JOBS, work.look_at_jobs),
    Check(work.GUARDS, work.look_at_guards),
    Check(work.INCIDENTS, work.look_at_incidents),
    Check(work.CASES, work.look_at_cases),
    Check(work.SILENCE, work.listen_to_siebel),
    Check(work.RECONCILED, work.look_at_reconciliations),
    Check(work.SHUT, work.look_for_shut_members),
    Check(work.STRAYS, work.look_for_strays),
    Check(work.MAIL, work.look_at_mail),
    Check(work.WEBHOOK, work.look_at_webhook),
    Check(work.KEPT, work.look_at_kept),
    Check(work.DISK, work.look_at_disk),
)


def examine(subject: Subject, *, checks: Iterable[Check] = CHECKS, within_s: float = WITHIN_S) -> list[Finding]:
    """Make all checks, and return what they found in their order.  Units: *within_s* seconds for all of them."""
    deadline = monotonic() + within_s
    begun = [(check, _begin(check, subject)) for check in checks]
    return [finding for check, made in begun for finding in _findings(check, made, deadline - monotonic())]


def is_well(findings: Iterable[Finding]) -> bool:
    """Return whether nothing failed."""
    return all(finding.level is not Level.FAIL for finding in findings)


def _begin(check: Check, subject: Subject) -> "Future[Sequence[Finding]]":
    """Begin a check in a thread that keeps nobody from ending."""
    made: Future[Sequence[Finding]] = Future()

    def make() -> None:
        try:
            made.set_result(check.look(subject))
        except Exception as error:  # noqa: BLE001  # one check that breaks must not silence the others
            made.set_exception(error)

    threading.Thread(target=make, name=check.name, daemon=True).start()
    return made


def _findings(check: Check, made: "Future[Sequence[Finding]]", left_s: float) -> Sequence[Finding]:
    try:
        return made.result(max(0.0, left_s))
    except UnlookedError as error:
        return [unlooked(check.name, check.name, error.what, error.remedy)]
    except LedgerError as error:
        remedy = "first what is said of the ledger and its schema"
        return [unlooked(check.name, check.name, f"the ledger does not serve ({error})", remedy)]
    except LateError:
        why = "whatever it waits for hangs: a name server, a firewall that drops, a frozen server"
        return [fail(check.name, check.name, "did not end in time", why, "look at the way to what it names")]
    except Exception as error:  # noqa: BLE001  # its message may carry a secret: its kind is enough
        why = "this is a mistake in membersync, not in what was looked at"
        return [fail(check.name, check.name, f"the check itself failed ({type(error).__name__})", why, "report it")]
