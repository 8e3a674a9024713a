"""Counts what happened, once a second: activity into the tallies, and into what each incident came to; and silence.

It also keeps what is foreseen of jobs, and how deep the lanes are.

A thread of its own beside the dispatcher's turns, so that a long count delays no instance.  Any number may run; the
lock on the bookmark lets one count at a time, and whoever comes next reads on where it stopped.
"""

import threading
import time
from datetime import timedelta
from importlib.metadata import version

from producers.dispatch.beside import keep_turning
from shared.budgets import pace_terms
from shared.ledger import (
    forecasts,
    incident_counts,
    incident_reads,
    incidents,
    marks,
    refusals,
    retention,
    silence,
    tallies,
)
from shared.ledger.engine import engine, transaction
from shared.ledger.jobs import read_job
from shared.logs import logger
from shared.settings import Settings
from shared.shown_settings import shown

log = logger(__name__)

_EVERY_S = 1.0
_PIECE = timedelta(minutes=1)
"""Most activity in one transaction: at any pace seconds of work, and downtime is made up for piece by piece."""
_PRUNE_EVERY_S = 3600.0
_SILENCE_EVERY_S = 10.0
_MINUTES_KEPT_DAYS = 8
_HOURS_KEPT_DAYS = 100


class Bookkeeper:
    """One of those who keep the tallies.

    Units: *behind_max_s* seconds for which a transaction that is still open is waited for.
    """

    def __init__(self, settings: Settings, *, behind_max_s: float = 60.0) -> None:
        self._ledger = engine(settings.require_ledger())
        self._behind_max_s = behind_max_s
        self._retention_days = settings.dispatcher.retention_days
        self._incident_rules = settings.incidents.rules
        self._pace_terms = pace_terms(settings)
        self._refused_days = settings.intake.refused_days
        self._silence_rules = settings.guard.silence_rules
        self._silence_at = 0.0
        self._prune_at = 0.0
        self._retention = settings.retention
        self._retain_at = 0.0
        self._settings = settings
        self._is_marked = False

    def run(self, stop: threading.Event) -> None:
        """Count until *stop*; a ledger that is away is waited for, and nothing is missed by it."""

        def turn() -> bool:
            self._mark()
            has_more = self.turn()
            has_more |= self.turn_incidents()
            self.turn_forecasts()
            self._note_silence()
            self._prune()
            self.prune_people()
            return has_more

        keep_turning(turn, stop, _EVERY_S, "nothing is counted")

    def turn(self) -> bool:
        """Count the next piece, unless another does; say whether there is more at once."""
        with transaction(self._ledger) as tx:
            since = tallies.take_up(tx)
            if since is None:
                return False
            horizon = tallies.horizon(tx, behind_max_s=self._behind_max_s)
            until = min(horizon, since + _PIECE)
            if until > since:
                tallies.count(tx, since=since, until=until)
                incidents.count_causes(tx, since=since, until=until)
            return until < horizon

    def turn_incidents(self) -> bool:
        """Take incidents further, unless another does, and count the next piece of one; say whether there is more."""
        with transaction(self._ledger) as tx:
            if not incidents.take_turn(tx):
                return False
            incidents.turn(tx, self._incident_rules)
            incident_reads.settle(tx)
        with transaction(self._ledger) as tx:
            horizon = tallies.horizon(tx, behind_max_s=self._behind_max_s)
            incident_id = incident_counts.take_up(tx)
            return incident_id is not None and incident_counts.count_on(tx, incident_id, horizon=horizon)

    def turn_forecasts(self) -> None:
        """Note how deep the lanes are, and what is foreseen of the jobs under way, unless another just did."""
        with transaction(self._ledger) as tx:
            under_way = [read_job(tx, None, job_id) for job_id in forecasts.turn(tx)]
            forecasts.keep(tx, [job for job in under_way if job is not None], self._pace_terms)

    def _note_silence(self) -> None:
        if time.monotonic() < self._silence_at:
            return
        self._silence_at = time.monotonic() + _SILENCE_EVERY_S
        with transaction(self._ledger) as tx:
            silence.note(tx, self._silence_rules)

    def prune_people(self) -> None:
        """Delete a piece of what is kept too long; the next in a second if there is more, else in an hour."""
        if time.monotonic() < self._retain_at:
            return
        with transaction(self._ledger) as tx:
            of = self._retention
            has_more = retention.turn(
                tx, events_days=of.events_days, calls_days=of.calls_days, audit_days=of.audit_days
            )
        self._retain_at = 0.0 if has_more else time.monotonic() + _PRUNE_EVERY_S

    def _mark(self) -> None:
        """Mark, once, what is another version or another setting than before."""
        if self._is_marked:
            return
        with transaction(self._ledger) as tx:
            for what in marks.begun(tx, version("membersync"), shown(self._settings)):
                log.info("changed", what=what)
        self._is_marked = True

    def _prune(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_EVERY_S
        with transaction(self._ledger) as tx:
            tallies.prune(
                tx,
                minutes_days=_MINUTES_KEPT_DAYS,
                hours_days=_HOURS_KEPT_DAYS,
                retention_days=self._retention_days,
            )
            refusals.prune(tx, days=self._refused_days)
            silence.prune(tx)
