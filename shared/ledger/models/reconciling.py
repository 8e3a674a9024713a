"""The tables of reconciliations: the runs, what they were handed and have seen, and the differences that they found.

`sighting` and `reconciliation_file` belong to a run that is under way and go with its end; runs and differences stay.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from shared.ledger.models.pipeline import INSTANT, KEY, Base, one_of
from shared.reconciling import DriftClass, Outcome, Phase, RunMode, RunState, Side, Stratum

_NONE = text("0")
_NO = text("false")


class ReconciliationRow(Base):
    """A comparison of Siebel, CrowdTwist and ledger; whichever dispatcher takes its lease carries it on."""

    __tablename__ = "reconciliation"
    __table_args__ = (
        CheckConstraint(one_of("state", tuple(RunState)), "reconciliation_state"),
        CheckConstraint(one_of("mode", tuple(RunMode)), "reconciliation_mode"),
        CheckConstraint(one_of("phase", tuple(Phase)), "reconciliation_phase"),
        CheckConstraint("(state in ('done', 'failed', 'stopped')) = (ended_at is not null)", "reconciliation_end"),
        CheckConstraint("state not in ('failed', 'stopped') or why is not null", "reconciliation_why"),
        CheckConstraint("share > 0 and share <= 1", "reconciliation_share"),
        Index("reconciliation_open", "id", postgresql_where=text("ended_at is null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(Text)
    scheduled: Mapped[bool] = mapped_column(server_default=_NO)
    requested_by: Mapped[str] = mapped_column(Text)
    asked: Mapped[dict[str, Any]] = mapped_column(JSONB)
    sample: Mapped[int | None]
    share: Mapped[float]
    settle_s: Mapped[float]
    seed: Mapped[int] = mapped_column(BigInteger)
    phase: Mapped[str] = mapped_column(Text, server_default=Phase.SIEBEL)
    cursor: Mapped[str] = mapped_column(Text, server_default="")
    """How far the phase is: a ROW_ID, Member Number, place or page, as the phase has it."""
    token: Mapped[int] = mapped_column(BigInteger, server_default=_NONE)
    lease_until: Mapped[datetime | None] = mapped_column(INSTANT)
    created_at: Mapped[datetime] = mapped_column(INSTANT, server_default=text("now()"))
    started_at: Mapped[datetime | None] = mapped_column(INSTANT)
    ended_at: Mapped[datetime | None] = mapped_column(INSTANT)
    waiting: Mapped[str | None] = mapped_column(Text)
    """What it waits for; null: it goes on."""
    why: Mapped[str | None] = mapped_column(Text)
    in_siebel: Mapped[int] = mapped_column(server_default=_NONE)
    in_ledger: Mapped[int] = mapped_column(server_default=_NONE)
    in_crowdtwist: Mapped[int] = mapped_column(server_default=_NONE)
    to_look_at: Mapped[int] = mapped_column(server_default=_NONE)
    """Members that CrowdTwist is to be asked about, or whose rows its file has."""
    compared: Mapped[int] = mapped_column(server_default=_NONE)
    moving: Mapped[int] = mapped_column(server_default=_NONE)
    unread: Mapped[int] = mapped_column(server_default=_NONE)
    calls_siebel: Mapped[int] = mapped_column(server_default=_NONE)
    calls_crowdtwist: Mapped[int] = mapped_column(server_default=_NONE)
    covered: Mapped[float] = mapped_column(server_default=_NONE)
    drift: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    classes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    strata: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    findings: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default=text("'[]'"))
    mailed: Mapped[bool] = mapped_column(server_default=_NO)


class ReconciliationFile(Base):
    """Some rows of a file that a run was handed: NDJSON, packed by zlib."""

    __tablename__ = "reconciliation_file"
    __table_args__ = (CheckConstraint(one_of("side", tuple(Side)), "reconciliation_file_side"),)

    run_id: Mapped[int] = mapped_column(
        BigInteger, ForeignKey("reconciliation.id", ondelete="cascade"), primary_key=True
    )
    side: Mapped[str] = mapped_column(Text, primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rows: Mapped[bytes] = mapped_column(BYTEA)
    digest: Mapped[list[bytes | None] | None] = mapped_column(ARRAY(BYTEA))
    """What a comparison needs of them (`shared.ledger.agreeing`); null: each is compared in full."""


class Sighting(Base):
    """A member as a run under way has seen it.

    What no index holds is changed in place, in the room that its page has (fillfactor 50): *looked_at* of whoever a
    file shows as it was, of all of them.
    """

    __tablename__ = "sighting"
    __table_args__ = (
        CheckConstraint(one_of("stratum", tuple(Stratum)), "sighting_stratum"),
        CheckConstraint(f"outcome is null or {one_of('outcome', tuple(Outcome))}", "sighting_outcome"),
        Index("sighting_drawn", "run_id", "place", postgresql_where=text("drawn")),
        Index(
            "sighting_suspected",
            "run_id",
            "page",
            "member_number",
            postgresql_where=text("suspected_at is not null and outcome is null"),
        ),
    )

    run_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """No foreign key: it would cost a look-up per row."""
    member_number: Mapped[str] = mapped_column(KEY, primary_key=True)
    stratum: Mapped[str] = mapped_column(Text)
    place: Mapped[int] = mapped_column(BigInteger)
    """Random, by the run's seed: in this order members are drawn and looked at, so that a part is a sample too."""
    page: Mapped[str] = mapped_column(KEY, server_default="")
    """The ROW_ID behind which its page of Siebel begins, or the place in a file; empty: read by its number."""
    row_id: Mapped[str | None] = mapped_column(Text)
    marker: Mapped[str] = mapped_column(Text, server_default="")
    """What the ledger knew of it at the first look, as one word: if it is another later, something happened."""
    drawn: Mapped[bool] = mapped_column(server_default=_NO)
    """CrowdTwist is still to be asked about it."""
    looked_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When CrowdTwist was first asked about it."""
    suspected_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When a difference was seen first."""
    siebel: Mapped[bytes | None] = mapped_column(BYTEA)
    """The hash of Siebel's row when it was suspected; null: that row was as it should be."""
    crowdtwist: Mapped[bytes | None] = mapped_column(BYTEA)
    from_file: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    """Of one that differs, its rows in the files, where there are any: `siebel`, `crowdtwist`."""
    outcome: Mapped[str | None] = mapped_column(Text)


class DifferenceRow(Base):
    """A difference that was seen twice: one class of one member, with the three values of the field that tells it."""

    __tablename__ = "difference"
    __table_args__ = (
        CheckConstraint(one_of("class", tuple(DriftClass)), "difference_class"),
        UniqueConstraint("run_id", "member_number", "class", name="difference_one_of_a_class"),
        Index("difference_of_run", "run_id", "class", "id"),
        Index("difference_of_member", "member_number", "class"),
        Index("difference_repaired", "repaired_at", postgresql_where=text("repaired_at is not null")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("reconciliation.id", ondelete="cascade"))
    member_number: Mapped[str] = mapped_column(KEY)
    drift_class: Mapped[str] = mapped_column("class", Text)
    field: Mapped[str | None] = mapped_column(Text)
    siebel: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    crowdtwist: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    ledger: Mapped[Any] = mapped_column(JSONB(none_as_null=True), nullable=True)
    first_seen_at: Mapped[datetime] = mapped_column(INSTANT)
    seen_at: Mapped[datetime] = mapped_column(INSTANT)
    evidence: Mapped[str] = mapped_column(Text)
    acknowledged_at: Mapped[datetime | None] = mapped_column(INSTANT)
    repairs: Mapped[int] = mapped_column(SmallInteger, server_default=_NONE)
    repaired_at: Mapped[datetime | None] = mapped_column(INSTANT)
    """When a repair took it up last."""
