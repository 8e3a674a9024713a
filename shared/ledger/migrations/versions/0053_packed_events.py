"""Events are kept packed, in a third of the room, in a ledger on which no older code has worked (`migrations.env`)."""

import orjson
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import BYTEA

from shared.ledger import packed_events

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

_PIECE = 1_000


def upgrade() -> None:
    """Apply."""
    op.add_column("compatibility", sa.Column("packs", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("payload", sa.Column("event_packed", BYTEA(), nullable=True))
    op.execute("alter table payload alter column event_packed set statistics 0")


def downgrade() -> None:
    """Undo; what is packed is unpacked."""
    ledger = op.get_bind()
    while rows := ledger.execute(_PACKED, {"limit": _PIECE}).all():
        read = [{"id": row.instance_id, "event": packed_events.read(row.event_packed)} for row in rows]
        ledger.execute(_UNPACK, {"rows": orjson.dumps(read).decode()})
    op.drop_column("payload", "event_packed")
    op.drop_column("compatibility", "packs")


_PACKED = sa.text("select instance_id, event_packed from payload where event_packed is not null limit :limit")
_UNPACK = sa.text("""
    update payload p set event_json = r.event, event_packed = null
    from json_to_recordset(cast(:rows as json)) as r (id bigint, event json) where p.instance_id = r.id
""")
