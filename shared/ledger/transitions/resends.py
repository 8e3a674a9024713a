"""Resends: what CrowdTwist acknowledged is sent to it once more, for it may have lost it (deploy/decisions/0016).

A resend is a job whose instances stay as they are: each is sent by an errand, one PUT of what the member's newest
acknowledged instance carried.  So nothing is mapped anew, Siebel is told nothing, and what is newer goes before it: an
errand waits for a newer event that is on its way to CrowdTwist, is dropped once that has succeeded, and goes out if it
was refused.

- Whom CrowdTwist has no longer is not created again, for that may be a lawful erasure.  A job that `recreates` does so
  with those whom CrowdTwist created since the instant that the job is about: what it lost is their creation.
- Who is refused is tried again when all others are through, as long as that helps one of them: an address that another
  member gave up is free only when that one was sent too.  Whoever is refused then is a Data Error of today, and Siebel
  is told so: CrowdTwist does not have what it once took.
- Neither says anything about the resend, unless they are the most of those sent: then it stops.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, text

from shared.errors import DataError
from shared.instances import Errand
from shared.ledger.engine import json_rows, wake
from shared.ledger.filters import Filter, matching
from shared.ledger.jobs import ItemState, Verdict
from shared.ledger.learned import learn_sql
from shared.ledger.transitions.job_turns import CHUNK, Turn
from shared.ledger.transitions.member_queue import IS_QUEUED, words
from shared.ledger.transitions.requeue_sql import GONE, STOPPED, answered, planning, taking
from shared.lifecycle import rollout
from shared.lifecycle.verdicts import ErrandEnded
from shared.pipeline import SYSTEMS, Stage, State

RESENDING = (Errand.RESEND, Errand.RECREATE)
LOST = "CrowdTwist created it since then and has it no longer; a resend that recreates creates it again"
MAY_BE_ERASED = "CrowdTwist has it no longer; it may have been erased, and is not created again"
_REFUSED_LINE = f"{SYSTEMS[Stage.CROWDTWIST]} had it and refuses it now"


def acknowledged(tx: Connection, where: Filter, since: datetime, until: datetime | None, *, limit: int) -> list[int]:
    """Return the newest acknowledged instances of the members that CrowdTwist acknowledged from *since* on.

    Shape: newest first, of those that *where* lets pass; without a condition in it those too that were pruned.  *until*
    is not included.
    """
    bounds = {"acknowledged_since": since, "acknowledged_until": until}
    if where.is_empty:
        return list(tx.execute(NEWEST_ACKNOWLEDGED, bounds | {"limit": limit}).scalars())
    statement, parameters = matching(tx, where, limit=limit, among=f"id in ({_ACKNOWLEDGED})")
    return list(tx.execute(statement, parameters | bounds).scalars())


def finish(tx: Connection, ended: Sequence[ErrandEnded], *, settle_s: float) -> None:
    """Keep what errands of resends showed, their members locked, and note it in the jobs that wanted them."""
    taken = [one for one in ended if one.facts is not None and not one.facts.get("gone")]
    if taken:
        records = [{"id": one.instance_id, **(one.facts or {})} for one in taken]
        tx.execute(LEARN_RESENT, {"rows": json_rows(records), "settle_s": settle_s})
        tx.execute(BACK_IN_SYNC, {"ids": [one.instance_id for one in taken]})
    gone = [one.instance_id for one in ended if one.facts is not None and one.facts.get("gone")]
    if gone:
        tx.execute(LOST_THERE, {"ids": gone})
    noted = [
        {"id": one.instance_id, "state": state, "reason": one.line.what, "refused": one.refused}
        | {"over": one.again_in_s is None}
        for one in ended
        if (state := _outcome(one)) is not None
    ]
    if not noted:
        return
    awaited = set(tx.execute(NOTE_OUTCOME, {"rows": json_rows(noted)}).scalars())
    late = {one.instance_id: one.refused for one in ended if one.refused and one.instance_id not in awaited}
    if late:
        condemn(tx, late)


def condemn(tx: Connection, refused: Mapping[int, str | None]) -> None:
    """Take instances of locked members for Data Errors, in these words, unless the member has a newer event."""
    records = [{"id": instance_id, "error": error or ""} for instance_id, error in refused.items()]
    if tx.execute(CONDEMN, {"rows": json_rows(records), "line": _REFUSED_LINE}).first() is not None:
        wake(tx)


def _outcome(ended: ErrandEnded) -> ItemState | None:
    """Return what an errand came to; None: nothing yet."""
    if ended.facts is not None:
        return ItemState.GONE if ended.facts.get("gone") else ItemState.SUCCEEDED
    has_failed = ended.line.code is not None and not ended.untried
    return ItemState.FAILED if has_failed or ended.again_in_s is None else None


class Resend(Turn):
    """A turn of a resend."""

    def take(self) -> bool:
        """Note outcomes and send as the steps allow; then what waited for a newer event, and who was refused."""
        self._settle(ItemState.SENT, ItemState.FAILED)
        tallies, unsent = self._tallies()
        if why := self._no_good(tallies):
            self.stop(why)
            return False
        tally = tallies.get(self._step, rollout.Tally())
        match rollout.next_step(min(self._step, rollout.REST), tally, unsent):
            case rollout.Send(step, count):
                self._step = max(self._step, step)
                return self._send_some(count)
            case rollout.Wait():
                return self._go_on(at_once=False)
            case rollout.Stop(why):
                self.stop(why)
                return False
            case rollout.Finished():
                return self._finish(tally)

    def _no_good(self, tallies: Mapping[int, rollout.Tally]) -> str:
        """Return why to stop since most of those sent are gone or refused, if they are."""
        without_effect = sum(self._without_effect.values())
        ended = without_effect + sum(tally.ended for tally in tallies.values())
        if self._step > rollout.REST or without_effect < rollout.JUDGED_FROM or without_effect * 2 <= ended:
            return ""
        parts = ", ".join(f"{count} {word}" for word, count in self._without_effect.items() if count)
        return f"of {ended} that were sent, {parts}"

    def _finish(self, tally: rollout.Tally) -> bool:
        last = self._pick(PICK_LAST, CHUNK)
        if last:
            self._step = max(self._step, rollout.REST)
            self._lock(last.values())
            if self._send(last, closing=True):
                wake(self._tx)
            return self._go_on(at_once=True)
        if self._without_effect["refused"] and (self._step <= rollout.REST or tally.succeeded):
            self._step = max(self._step, rollout.REST) + 1
            self._tx.execute(ONCE_MORE, {"job": self._job})
            return self._go_on(at_once=True)
        refused = self._tx.execute(PICK_REFUSED, {"job": self._job, "limit": CHUNK}).all()
        if refused:
            self._lock(row.member_number for row in refused)
            condemn(self._tx, {row.instance_id: row.error for row in refused})
            return self._go_on(at_once=True)
        return self._done()

    def _put_back(self) -> None:
        self._tx.execute(PUT_BACK, {"job": self._job, "why": STOPPED})

    def _send(self, some: dict[int, str], *, closing: bool) -> int:
        parameters = {
            "job": self._job,
            "ids": list(some),
            "closing": closing,
            "bulk": self._row.size > 1,
            "step": self._step,
            "recreates": self._row.recreates,
            "since": self._row.asked.get("acknowledged_since"),
        }
        verdicts: dict[str, int] = {row.verdict: row.total for row in self._tx.execute(SEND, parameters)}
        return verdicts.get(Verdict.SEND, 0)

    def _settle(self, *states: ItemState) -> None:
        self._tx.execute(SETTLE, {"job": self._job, "states": list(states)})

    def _tallies(self) -> tuple[dict[int, rollout.Tally], int]:
        """Count as a requeue does; but who is gone or refused counts for no step."""
        counts: dict[int, Counter[str]] = {}
        self._without_effect = {"gone": 0, "refused": 0}
        unsent = 0
        for row in self._tx.execute(TALLIES, {"job": self._job}):
            if row.state == ItemState.GONE:
                self._without_effect["gone"] += row.total
            elif row.refused:
                self._without_effect["refused"] += row.total
            elif row.step is not None:
                counts.setdefault(row.step, Counter())[row.state] += row.total
            elif row.state == ItemState.PLANNED and row.verdict == Verdict.SEND:
                unsent += row.total
        tallies = {
            step: rollout.Tally(count[ItemState.SENT], count[ItemState.SUCCEEDED], count[ItemState.FAILED])
            for step, count in counts.items()
        }
        return tallies, unsent


_ACKNOWLEDGED = """
    select applied_id from member
    where acknowledged_at >= :acknowledged_since
      and acknowledged_at < coalesce(cast(:acknowledged_until as timestamptz), 'infinity')
"""
NEWEST_ACKNOWLEDGED = text(f"{_ACKNOWLEDGED} order by applied_id desc limit :limit")
"""Find what members had acknowledged last within a time: one look at all members, for no index names it."""
_CLOSED_FOR_GOOD = words((State.SUPERSEDED, State.UNCHANGED, State.SKIPPED, State.DISCARDED))
HAS_NEWER = f"""exists (select from instance n where n.member_number = i.member_number and n.id > i.id
                                              and n.state not in ({_CLOSED_FOR_GOOD}))"""
"""Of an instance `i`: the member has had a newer event that counts."""
IS_OVERTAKING = f"""exists (select from instance q where q.member_number = e.member_number and q.id > e.instance_id
                                                 and q.state in ({IS_QUEUED}) and q.stage <> 'siebel')"""
"""Of an errand `e`: a newer event of its member is on its way to CrowdTwist."""


def _created_since(instance: str, since: str) -> str:
    """Return the condition that the member of *instance* was created in CrowdTwist *since* then, by a call of ours."""
    return f"""exists (
        select from instance c join activity a on a.instance_id = c.id
        where c.member_number = {instance}.member_number and a.stage = 'crowdtwist' and a.at >= {since}
          and jsonb_path_exists(coalesce(a.calls, cast(a.calls_json as jsonb)), '$[*] ? (
              @.method == "POST" && (@.http_status == null || @.http_status < 300))'))"""


_WHY: dict[str, tuple[Verdict, str]] = {
    "send": (Verdict.SEND, ""),
    "newer_done": (Verdict.SUPERSEDED, "a newer event of the member succeeded"),
    "newer_going": (Verdict.MERGED, "a newer event of the member is on its way; sent only if that is refused"),
    "taken": (Verdict.REFUSED, "a resend that is under way has it"),
    "gone": GONE,
}
_JUDGED = f"""
    select p.id, i.member_number, i.lane, n.going, m.applied_id, cast(null as bigint) as done,
           cast(null as bigint) as failed, cast(null as bigint) as older,
           case when i.id is null then 'gone'
                when m.applied_id <> i.id then 'newer_done'
                when n.going is not null then 'newer_going'
                else 'send' end as why
    from unnest(cast(:ids as bigint[])) as p (id)
    left join instance i on i.id = p.id
    left join member m on m.member_number = i.member_number
    left join lateral (
        select max(o.id) as going from instance o
        where o.member_number = i.member_number and o.id > i.id and o.state in ('running', {IS_QUEUED})
    ) as n on true
"""
_PLANNED = answered(
    f"""
    select id, member_number, going, applied_id, done, failed, older,
           case when why in ('send', 'newer_going') and exists (
                    select from job o join job_item t on t.job_id = o.id and t.instance_id = j.id
                    where o.ended_at is null and o.kind = 'resend' and t.state in ('planned', 'sent'))
                then 'taken' else why end as why
    from ({_JUDGED}) as j
    """,
    _WHY,
)
PLAN = planning(_PLANNED)
"""Say what would become of acknowledged instances; changes nothing."""
INSERT_ITEMS = taking(_PLANNED)
"""Take acknowledged instances into a job, judged."""
PICK_LAST = text("""
    select instance_id, member_number from job_item
    where job_id = :job and state = 'planned' and verdict <> 'send' order by instance_id limit :limit
""")
"""Find what of a resend is left: what something newer makes pointless, or may."""
SEND = text(f"""
    with fate as materialized (
        select j.id, j.member_number, j.lane, j.newer_id, j.verdict, j.reason from ({answered(_JUDGED, _WHY)}) as j
    ), queued as (
        insert into errand (instance_id, member_number, kind, stage, lane, due_at)
        select f.id, f.member_number,
               case when :recreates and {_created_since("f", "cast(:since as timestamptz)")} then 'recreate'
                    else 'resend' end,
               'crowdtwist', case when :bulk then 'bulk' else f.lane end, now()
        from fate f where f.verdict = 'send' or :closing and f.verdict = 'merged'
        on conflict (instance_id, kind) do nothing
    ), items as (
        update job_item t
        set verdict = f.verdict, reason = f.reason, newer_id = f.newer_id, was = '{{}}',
            step = case when f.verdict = 'send' then cast(:step as smallint) end,
            state = case f.verdict when 'send' then 'sent' when 'refused' then 'refused'
                                   when 'merged' then case when :closing then 'closed' else 'planned' end
                                   else 'closed' end
        from fate f
        where t.job_id = :job and t.instance_id = f.id
    )
    select verdict, count(*) as total from fate group by verdict
""")
"""Judge acknowledged instances of locked members again: have them sent, or close them, and note it in their job.

What a newer event is to overtake is left to the end (*closing*), and then waits for that one without the job.
"""
NOTE_OUTCOME = text(f"""
    update job_item t
    set state = r.state,
        was = jsonb_strip_nulls(jsonb_build_object('over', r.over, 'refused', r.refused)),
        reason = case when r.state = 'succeeded' then ''
                      when r.state <> 'gone' then r.reason
                      when {_created_since("t", "cast(o.asked ->> 'acknowledged_since' as timestamptz)")}
                      then '{LOST}' else '{MAY_BE_ERASED}' end
    from json_to_recordset(cast(:rows as json)) as r (id bigint, state text, reason text, refused text, over boolean),
         job o
    where o.kind = 'resend' and t.job_id = o.id and t.instance_id = r.id and t.state in ('sent', 'failed')
    returning case when o.ended_at is null then t.instance_id end
""")
"""Note in resends what came of their errands; return those that a job which is under way waits for."""
SETTLE = text(f"""
    update job_item t set state = 'closed', reason = 'overtaken by a newer event of the member'
    where t.job_id = :job and t.state = any(cast(:states as text[]))
      and not coalesce(cast(t.was ->> 'over' as boolean), false)
      and not exists (select from errand e where e.instance_id = t.instance_id and e.kind in ({words(RESENDING)}))
""")
"""Close what of a resend was to be sent and was dropped since."""
TALLIES = text("""
    select state, verdict, step, coalesce(was ? 'refused', false) as refused, count(*) as total
    from job_item where job_id = :job group by 1, 2, 3, 4
""")
"""Count the instances of a resend by what became of them."""
ONCE_MORE = text("""
    update job_item set state = 'planned', verdict = 'send', step = null, was = null
    where job_id = :job and state = 'failed' and was ? 'refused'
""")
"""Have those sent again that were refused."""
PICK_REFUSED = text("""
    update job_item t set was = t.was || '{"condemned": true}'
    from (
        select instance_id from job_item
        where job_id = :job and state = 'failed' and was ? 'refused' and not was ? 'condemned' limit :limit
    ) as r
    where t.job_id = :job and t.instance_id = r.instance_id
    returning t.instance_id, t.member_number, t.was ->> 'refused' as error
""")
"""Find those of a resend that were refused to the end, and that Siebel is to be told of."""
PUT_BACK = text(f"""
    with back as (
        delete from errand e using job_item t
        where t.job_id = :job and t.state in ('sent', 'failed') and e.instance_id = t.instance_id and e.token = 0
          and e.kind in ({words(RESENDING)})
        returning e.instance_id
    )
    update job_item set state = 'put_back', reason = :why
    where job_id = :job
      and (state = 'planned' or state = 'sent' and instance_id = any(array(select instance_id from back)))
""")
"""Leave the rest of a resend unsent: drop its errands that are not out."""
CONDEMN = text(f"""
    with refused as (
        update instance i
        set state = case i.state when 'completed' then 'rejected' else i.state end, status = 'Data Error',
            error = r.error, code = '{DataError.code}', failed_stage = 'crowdtwist',
            finished_at = case i.state when 'completed' then now() else i.finished_at end
        from json_to_recordset(cast(:rows as json)) as r (id bigint, error text), member m
        where i.id = r.id and m.member_number = i.member_number and m.applied_id = i.id
          and (i.state = 'completed' and m.told_id = i.id or i.state in ({IS_QUEUED}) and i.stage = 'siebel')
          and not {HAS_NEWER}
        returning i.id, i.member_number, i.state
    ), told as (
        update member m
        set synced = false, tell_again_at = case r.state when 'rejected' then now() else m.tell_again_at end
        from refused r where m.member_number = r.member_number
    ), noted as (
        insert into activity (instance_id, stage, state, what, code)
        select id, 'crowdtwist', state, :line, '{DataError.code}' from refused
    )
    select id from refused
""")
"""Take instances of locked members for Data Errors that CrowdTwist had taken and refuses now, and have Siebel told."""
LEARN_RESENT = text(
    learn_sql(
        Stage.CROWDTWIST,
        """(
            select i.id, i.member_number, i.operation, i.content_hash, i.state, o.ct_user_id, o.echoed, true as learns
            from json_to_recordset(cast(:rows as json)) as o (id bigint, ct_user_id bigint, echoed jsonb)
            join instance i on i.id = o.id
        )""",
    )
)
"""Take it that CrowdTwist has an instance, which was sent once more."""
LOST_THERE = text("""
    update member m set synced = false from instance i
    where i.id = any(cast(:ids as bigint[])) and m.member_number = i.member_number and m.applied_id = i.id
""")
"""Take it that CrowdTwist does not have what it took: the same content is not unchanged any more."""
BACK_IN_SYNC = text(f"""
    update member m set synced = true from instance i
    where i.id = any(cast(:ids as bigint[])) and m.member_number = i.member_number and not m.synced
      and m.applied_id = i.id and m.told_id = i.id and m.lost_tell_id is null and i.state = 'completed'
      and not {HAS_NEWER}
""")
"""Take it that members are in sync again whose newest event CrowdTwist has once more, and Siebel shows it."""
