"""How long pages take with a million instances in the ledger: the overview, and lists by every kind of filter.

The ledger is filled by SQL with what a year leaves: mostly completed, two per mille dead, half a per cent Data Errors,
some on their way.  Each page is asked for by a served api, its caches emptied in between, as the first of the morning.
"""

import statistics
import time
from collections.abc import Callable

import httpx
from sqlalchemy import text

from producers.console.overview import Overviews
from producers.site import create_app
from shared import logs
from shared.ledger.checkup import migrate
from shared.ledger.engine import engine
from shared.settings import Settings
from tests.calling import served

GOAL_MS = 200.0
INSTANCES = 1_000_000
_PAGES = {
    "overview": "/",
    "instances": "/instances",
    "dead": "/instances?state=dead",
    "Data Errors at crowdtwist": "/instances?state=rejected&stage=crowdtwist",
    "one code": "/instances?code=unavailable",
    "one member": "/instances?member=M-4711",
    "a day": "/instances?since=30d&until=29d",
    "part of an error": "/instances?text=already+taken",
    "nothing matches": "/instances?text=no+such+words&state=completed",
    "a page far back": "/instances?cursor=50000",
    "dead letters": "/dead-letters",
}
_TIMES = 7


def fill(url: str, instances: int) -> None:
    """Put *instances* into an empty ledger, of a quarter as many members."""
    with engine(url).begin() as tx:
        for statement in (_MEMBERS, _INSTANCES, _NEWEST, _MINUTES):
            tx.execute(text(statement), {"instances": instances, "members": instances // 4})
    with engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as tx:
        tx.execute(text("vacuum analyze"))


def page_times(url: str, instances: int = INSTANCES) -> dict[str, float]:
    """Fill the ledger at *url* and give the median ms of each page."""
    logs.configure("bench", "error")
    migrate(url)
    fill(url, instances)
    settings = Settings(_env_file=None, ledger_url=url)
    app = create_app(settings)
    with served(app) as client:
        client.headers["Accept"] = "text/html"

        def forget() -> None:
            app.state.overviews = Overviews(settings, app.state.broker_look)

        return {name: _median_ms(client, address, forget) for name, address in _PAGES.items()}


def _median_ms(client: httpx.Client, address: str, forget: Callable[[], None]) -> float:
    times = []
    for _ in range(_TIMES):
        forget()
        began = time.perf_counter()
        client.get(address).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


_MEMBERS = """
    insert into member (member_number, row_id, synced) select 'M-' || n, '1-' || n, true
    from generate_series(1, :members) as n
"""
_INSTANCES = """
    insert into instance (event_id, event_hash, content_hash, member_number, operation, lane, modification, occurred_at,
                          accepted_at, state, stage, due_stage, due_at, status, error, code, failed_stage, finished_at)
    select 'E-' || n, sha256(n::text::bytea), sha256(n::text::bytea), 'M-' || (n % :members + 1), 'update',
           case when n % 10 = 0 then 'live' else 'bulk' end, n / :members, at, at, state, stage, stage, at,
           case state when 'completed' then 'Success' when 'rejected' then 'Data Error'
                      when 'dead' then 'CT Failure' end,
           case state when 'rejected' then case when n % 2 = 0 then 'Email Address is already taken'
                                                else 'Contact Last Name is missing' end
                      when 'dead' then 'CrowdTwist answered 50' || n % 4 else '' end,
           case state when 'rejected' then 'data_error' when 'dead' then 'unavailable' end,
           case when state in ('rejected', 'dead') then stage end,
           case when state not in ('pending', 'held') then at + interval '1 second' end
    from (select n, now() - (:instances - n) * interval '1 year' / :instances as at,
                 case when n % 500 = 7 then 'dead' when n % 200 = 3 then 'rejected'
                      when n > :instances - 2000 then 'pending' when n > :instances - 12000 then 'held'
                      else 'completed' end as state,
                 case when n % 3 = 0 then 'oic' else 'crowdtwist' end as stage
          from generate_series(1, :instances) as n) as made
"""
_NEWEST = """
    update member m set newest_id = i.id, applied_id = i.id, synced = i.state = 'completed'
    from (select distinct on (member_number) member_number, id, state
          from instance order by member_number, id desc) as i
    where i.member_number = m.member_number
"""
_MINUTES = """
    insert into minute (at, stage, outcome, count)
    select date_trunc('minute', now()) - m * interval '1 minute', 'siebel', outcome, 500 + m
    from generate_series(0, 60) as m, unnest(array['completed', 'superseded', 'rejected', 'due_again']) as outcome
"""
