"""Runs of reconciliation as a ledger has them, with a difference of every class, for whoever looks at them."""

from datetime import UTC, datetime, timedelta

import orjson
from sqlalchemy import Engine, text

from shared.reconciling import DriftClass

BEGAN = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
VALUES = {
    DriftClass.NEVER_SENT: (None, "present", None, "no event", "in Siebel, and no event of it ever came"),
    DriftClass.MISSED_EVENT: ("last_name", "Cole", "Lee", "Lee", "Siebel changed it on 2026-11-19, no event came"),
    DriftClass.CHANGED_AT_DESTINATION: ("city_name", "Bath", "Leeds", "Bath", "changed in CrowdTwist on 2026-11-18"),
    DriftClass.ROLLED_BACK: ("last_name", "Cole", "Lee", "Cole", "older in CrowdTwist than its acknowledgement"),
    DriftClass.GONE_AT_DESTINATION: (
        None,
        "present",
        "absent",
        "acknowledged",
        "CrowdTwist took it, and has it no more",
    ),
    DriftClass.ORPHAN: (None, "absent", "active", "acknowledged", "active in CrowdTwist, and not in Siebel"),
    DriftClass.STATUS_LIES: ("CT Sync Status", "Success", None, "Data Error", "told Data Error on 2026-11-19"),
    DriftClass.LEDGER_BEHIND: ("postal_code", "10010", "10010", "10011", "both have it, and our record does not"),
}
"""By class: the field, what Siebel, CrowdTwist and the ledger have, and the evidence."""


def a_run(
    ledger: Engine, number: int = 0, *, state: str = "done", estimate: float = 0.002, with_differences: bool = False
) -> int:
    """Insert a run; return its id."""
    began = BEGAN + timedelta(days=number)
    drift = {"estimate": estimate, "low": estimate / 2, "high": estimate * 2, "meaning": f"about {estimate:.2%} differ"}
    with ledger.begin() as tx:
        run_id: int = tx.execute(
            text("""
                insert into reconciliation
                    (state, mode, requested_by, asked, share, settle_s, seed, phase, created_at, started_at, ended_at,
                     why, in_siebel, in_ledger, in_crowdtwist, to_look_at, compared, moving, calls_siebel,
                     calls_crowdtwist, covered, drift, classes, findings)
                values (:state, 'sample', 'schedule', '{}', 0.05, 60, 1, 'end', :began, :began,
                        case when :state in ('done', 'failed') then :ended end,
                        case when :state = 'failed' then 'Siebel could not be read' end,
                        100000, 99981, 3014, 3026, 3026, 4, 1030, 3031, 0.03,
                        cast(:drift as jsonb), cast(:classes as jsonb), cast(:findings as jsonb))
                returning id
            """),
            {
                "state": state,
                "began": began,
                "ended": began + timedelta(minutes=7),
                "drift": orjson.dumps(drift).decode() if state == "done" else None,
                "classes": orjson.dumps({"never_sent": {"estimate": 0.0003, "low": 0.0002, "high": 0.0005}}).decode(),
                "findings": "[]",
            },
        ).scalar_one()
        for index, (drift_class, (field, siebel, crowdtwist, ours, evidence)) in enumerate(
            VALUES.items() if with_differences else ()
        ):
            tx.execute(
                text("""
                    insert into difference (run_id, member_number, class, field, siebel, crowdtwist, ledger,
                                            first_seen_at, seen_at, evidence)
                    values (:run, :number, :class, :field, cast(:siebel as jsonb), cast(:crowdtwist as jsonb),
                            cast(:ledger as jsonb), :at, :at, :evidence)
                """),
                {
                    "run": run_id,
                    "number": f"M-{index}",
                    "class": drift_class,
                    "field": field,
                    "siebel": None if siebel is None else orjson.dumps(siebel).decode(),
                    "crowdtwist": None if crowdtwist is None else orjson.dumps(crowdtwist).decode(),
                    "ledger": None if ours is None else orjson.dumps(ours).decode(),
                    "at": began,
                    "evidence": evidence,
                },
            )
    return run_id
