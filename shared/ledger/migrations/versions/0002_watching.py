"""What watching leaves behind."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "bookmark",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("upto", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "connection_change",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("who", sa.Text(), nullable=True),
        sa.Column("mailed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("name in ('oic', 'crowdtwist', 'siebel')", name="connection_change_name"),
        sa.CheckConstraint("what in ('down', 'up', 'paused', 'resumed')", name="connection_change_what"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("connection_change_at", "connection_change", ["at"], unique=False)
    op.create_table(
        "mail",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("plain", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind in ('down', 'up', 'digest')", name="mail_kind"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("mail_due", "mail", ["due_at"], unique=False, postgresql_where=sa.text("sent_at is null"))
    op.create_table(
        "minute",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at", "stage", "outcome"),
    )
    op.create_table(
        "tally",
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("took_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("stage", "outcome", "bucket"),
    )
    op.execute("insert into bookmark (name, upto) values ('tally', now()), ('digest', now())")


def downgrade() -> None:
    """Undo."""
    op.drop_table("tally")
    op.drop_table("minute")
    op.drop_index("mail_due", table_name="mail", postgresql_where=sa.text("sent_at is null"))
    op.drop_table("mail")
    op.drop_index("connection_change_at", table_name="connection_change")
    op.drop_table("connection_change")
    op.drop_table("bookmark")
