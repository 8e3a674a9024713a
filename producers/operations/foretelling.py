"""Forecasts in words, the same on every page and line, and where they go: to plans, jobs and lanes.

The rules are in `shared.lifecycle.forecasts`, what they are fed with in `shared.ledger.forecasts`.
"""

from dataclasses import replace

from producers.operations.durations import roughly
from shared.budgets import pace_terms
from shared.ledger import forecasts
from shared.ledger.engine import Transaction
from shared.ledger.jobs import Job, JobState, Kind, Plan
from shared.lifecycle.forecasts import SHARE_STEP, Forecast, LaneForecast, Trend
from shared.settings import Settings

_SHORT_SHOWN = 0.005
_CALLS_NOBODY = {Kind.DISCARD, Kind.UNDO}


def foretold_plan(tx: Transaction, plan: Plan, settings: Settings, *, rate: int | None) -> Plan:
    """Return *plan* with when it would end; a discard or its undo calls nobody, so it has no forecast."""
    if plan.kind in _CALLS_NOBODY:
        return plan
    return replace(plan, forecast=forecasts.of_plan(tx, plan, pace_terms(settings), per_minute=rate))


def foretold_job(tx: Transaction, job: Job, settings: Settings) -> Job:
    """Return *job* with when it ends, as long as it goes on."""
    if job.kind in _CALLS_NOBODY or job.state == JobState.STOPPED:
        return job
    return replace(job, forecast=forecasts.of_job(tx, job, pace_terms(settings)))


def said(forecast: Forecast) -> str:
    """Return a forecast in one sentence without a full stop."""
    departed = [forecast.departed] if forecast.departed else []
    if forecast.none is not None or forecast.expected_s is None or forecast.lower_s is None:
        return "; ".join([f"no forecast: {forecast.none}", *departed])
    to = "longer" if forecast.upper_s is None else roughly(forecast.upper_s)
    about, lower = roughly(forecast.expected_s), roughly(forecast.lower_s)
    parts = [f"done in about {about}" if lower == about == to else f"done in about {about} ({lower} to {to})"]
    parts.append(f"{forecast.binding} sets the pace")
    step = f"{SHARE_STEP:.0%}".removesuffix("%")
    if forecast.more_share_s is not None and forecast.less_share_s is not None:
        more, less = roughly(forecast.more_share_s), roughly(forecast.less_share_s)
        if not more == less == about:
            parts.append(f"with {step} % more of it for the bulk lane {more}, with {step} % less {less}")
    if forecast.live_short >= _SHORT_SHOWN:
        parts.append(f"in {forecast.live_short:.0%} of minutes live members need more than is kept for them, and wait")
    return "; ".join(parts + departed)


def lane_said(lane: LaneForecast) -> str:
    """Return in a few words how a lane goes."""
    why = f": {lane.why}" if lane.why else ""
    words = {
        Trend.KEEPS_UP: "keeps up",
        Trend.CLEARS: f"clears in about {roughly(lane.clears_s or 0)}",
        Trend.STEADY: "as many come as go: does not clear",
        Trend.STALLED: f"stalled{why}",
        Trend.GROWS: f"grows by {_per_time(lane.per_s)}: will not clear{f'; {lane.why}' if lane.why else ''}",
        Trend.UNKNOWN: "seen for too short a time to tell",
    }
    return words[lane.trend]


def _per_time(per_s: float) -> str:
    return f"{per_s:.0f}/s" if per_s >= 1 else f"{per_s * 60:.0f}/min"
