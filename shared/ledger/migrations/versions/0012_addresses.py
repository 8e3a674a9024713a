"""Who has which e-mail address, by a key that tells nobody which."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_KEYS = ("email_key", "held_email_key")
_PENDING = sa.text("state = 'waiting' and code = 'address_pending'")


def upgrade() -> None:
    """Apply; members whose newest event is kept get their keys."""
    op.create_table(
        "secret",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", postgresql.BYTEA(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute(
        "insert into secret (name, value)"
        " values ('email', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())))"
    )
    key = "sha256((select value from secret where name = 'email') || convert_to(nullif(lower(btrim({})), ''), 'UTF8'))"
    for column in _KEYS:
        op.add_column("member", sa.Column(column, postgresql.BYTEA(), nullable=True))
    newest, applied = key.format("p.event->'member'->>'email_address'"), key.format("p.user_object->>'email_address'")
    op.execute(f"update member m set email_key = {newest} from payload p where p.instance_id = m.newest_id")
    op.execute(f"update member m set held_email_key = {applied} from mapping p where p.instance_id = m.applied_id")
    for column in _KEYS:
        op.create_index(f"member_{column}", "member", [column], postgresql_where=sa.text(f"{column} is not null"))
    op.create_index("instance_address_pending", "instance", ["id"], postgresql_where=_PENDING)


def downgrade() -> None:
    """Undo."""
    op.drop_index("instance_address_pending", table_name="instance", postgresql_where=_PENDING)
    for column in _KEYS:
        op.drop_index(f"member_{column}", table_name="member", postgresql_where=sa.text(f"{column} is not null"))
        op.drop_column("member", column)
    op.drop_table("secret")
