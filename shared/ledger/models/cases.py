"""The tables of cases: a Data Error that is the newest word about its member, and what was found out about it.

Beside them the cycles of addresses that are let loose (`shared.lifecycle.cycles`), and each step of them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.pipeline import INSTANT, KEY, Base, one_of
from shared.lifecycle.cases import CaseKind, Closing, LookUp
from shared.lifecycle.cycles import CycleEnd, CycleState

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


class AddressCycle(Base):
    """A cycle of addresses that is let loose, or was; a member is parked in one at a time."""

    __tablename__ = "address_cycle"
    __table_args__ = (
        CheckConstraint(one_of("state", tuple(CycleState)), "address_cycle_state"),
        CheckConstraint(f"ended_how is null or {one_of('ended_how', tuple(CycleEnd))}", "address_cycle_ended_how"),
        CheckConstraint("(state = 'ended') = (ended_at is not null)", "address_cycle_end"),
        CheckConstraint("(ended_at is null) = (ended_how is null)", "address_cycle_how"),
        Index("address_cycle_one_open", "member_number", unique=True, postgresql_where=text("ended_at is null")),
        Index("address_cycle_refused", "refused_ids"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    member_number: Mapped[str] = mapped_column(KEY)
    """Who is parked."""
    instance_id: Mapped[int] = mapped_column(BigInteger)
    """What CrowdTwist had acknowledged of it when the cycle began: what is sent with another address, and put back."""
    refused_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    """What was refused of all its members, in order: the same is not tried twice."""
    address_keys: Mapped[list[bytes]] = mapped_column(ARRAY(BYTEA))
    """Of the addresses that its members want (`shared.ledger.people`): nobody else is sent again for one meanwhile."""
    old_key: Mapped[bytes] = mapped_column(BYTEA)
    """Of the address that the parked member had."""
    park_key: Mapped[bytes] = mapped_column(BYTEA)
    """Of the address that it is parked at."""
    state: Mapped[str] = mapped_column(Text, server_default=CycleState.PARKING)
    started_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("clock_timestamp()"))
    deadline_at: Mapped[datetime] = mapped_column(INSTANT)
    parked_at: Mapped[datetime | None] = mapped_column(INSTANT)
    returned_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When it was last tried to put the old address back."""
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    ended_how: Mapped[str | None] = mapped_column(Text)


class AddressCycleStep(Base):
    """A step of a cycle: a member that gets the address it wants; the parked one is the last."""

    __tablename__ = "address_cycle_step"
    __table_args__ = (Index("address_cycle_step_of_member", "member_number"),)

    cycle_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("address_cycle.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """From 1; the step that parks goes before it."""
    member_number: Mapped[str] = mapped_column(KEY)
    instance_id: Mapped[int] = mapped_column(BigInteger)
    """What was refused of it when the cycle began, and is sent again."""
    done_at: Mapped[datetime | None] = mapped_column(INSTANT)
