"""Events as a ledger has them that older code may read: as JSON, which statements can look into and change."""

from sqlalchemy import Engine, text

from shared.ledger import packed_events
from shared.ledger.engine import json_rows


def unpack_events(ledger: Engine) -> None:
    """Have every event as JSON."""
    with ledger.begin() as tx:
        packed = tx.execute(text("select instance_id, event_packed from payload where event_packed is not null")).all()
        rows = [{"id": row.instance_id, "event": packed_events.read(row.event_packed)} for row in packed]
        tx.execute(_UNPACK, {"rows": json_rows(rows)})


_UNPACK = text("""
    update payload p set event_json = r.event, event_packed = null
    from json_to_recordset(cast(:rows as json)) as r (id bigint, event json) where p.instance_id = r.id
""")
