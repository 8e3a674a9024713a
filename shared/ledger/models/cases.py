"""The table of cases: a Data Error that is the newest word about its member, and what was found out about it."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.pipeline import INSTANT, KEY, Base, one_of
from shared.lifecycle.cases import CaseKind, Closing, LookUp

_OPEN = text("closed_at is null")


class DataCase(Base):
    """A case; a member has at most one that is open."""

    __tablename__ = "data_case"
    __table_args__ = (
        CheckConstraint(f"kind is null or {one_of('kind', tuple(CaseKind))}", "data_case_kind"),
        CheckConstraint(f"looked is null or {one_of('looked', tuple(LookUp))}", "data_case_looked"),
        CheckConstraint(f"closed_how is null or {one_of('closed_how', tuple(Closing))}", "data_case_closed_how"),
        CheckConstraint("(closed_at is null) = (closed_how is null)", "data_case_end"),
        CheckConstraint("(acknowledged_at is null) = (acknowledged_by is null)", "data_case_acknowledged"),
        Index("data_case_one_open", "member_number", unique=True, postgresql_where=_OPEN),
        Index("data_case_order", text("unblocks desc"), "id", postgresql_where=_OPEN),
        Index("data_case_new", "id", postgresql_where=text("closed_at is null and kind is null")),
        Index("data_case_held_by", "held_by", postgresql_where=text("closed_at is null and held_by is not null")),
        Index("data_case_look", "look_at", postgresql_where=text("closed_at is null and look_at is not null")),
        Index("data_case_looked", "looked_up_at", postgresql_where=text("looked_up_at is not null")),
        Index("data_case_closed", "closed_at", "id", postgresql_where=text("closed_at is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    member_number: Mapped[str] = mapped_column(KEY)
    """No foreign key: whoever opens one has its member locked already."""
    instance_id: Mapped[int] = mapped_column(BigInteger)
    """The newest one that was refused."""
    opened_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    refused_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))

    kind: Mapped[str | None] = mapped_column(Text)
    """Null: not judged yet."""
    field: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[str | None] = mapped_column(Text)
    character: Mapped[str | None] = mapped_column(Text)
    wants_key: Mapped[bytes | None] = mapped_column(BYTEA)
    """Of the address that was refused with it (`shared.ledger.people`)."""
    held_by: Mapped[str | None] = mapped_column(KEY)
    """The member that CrowdTwist last took this address from, by the ledger, then or since."""
    path: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Who has what the member wants, who has what that one wants, and so on."""
    unblocks: Mapped[int] = mapped_column(server_default=text("0"))
    """How many other cases wait for this member, one behind the other."""
    retries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How often it was sent again because the address had become free."""

    looked: Mapped[str | None] = mapped_column(Text)
    """What CrowdTwist showed when it was asked who has the address; null: not asked since the refusal."""
    looked_up_at: Mapped[datetime | None] = mapped_column(INSTANT)
    look_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When it is to be asked; null: there is nothing to ask."""
    holder: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """The user that it showed.  Names the person; gone when the case is closed."""

    acknowledged_at: Mapped[datetime | None] = mapped_column(INSTANT)
    acknowledged_by: Mapped[str | None] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)
    closed_at: Mapped[datetime | None] = mapped_column(INSTANT)
    closed_how: Mapped[str | None] = mapped_column(Text)
