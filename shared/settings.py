"""Every setting, one class per concern; the only place that reads the environment.

The connections' classes are in `shared.connection_settings`, the guards' in `shared.guard_settings`, mail's in
`shared.mail_settings`, those of the api and of Flower in `shared.page_settings`, those of traces in
`shared.tracing_settings`, those of probes in `shared.health_settings`, the webhook's in `shared.webhook_settings`.

Names: `MEMBERSYNC_` prefix, `__` between levels (`MEMBERSYNC_CROWDTWIST__API_KEY`).  Units stand at the end of a name
(`_s` seconds, `_bytes`).  `(A)` marks a default that the public record of Siebel, OIC or CrowdTwist does not settle.
`.env.example` lists them all; a test holds it to this file.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadError

from shared.addresses import is_pooled, ledger_arguments
from shared.connection_settings import Connection, CrowdTwistSettings, OicSettings, SiebelSettings
from shared.guard_settings import GuardSettings
from shared.health_settings import HealthSettings
from shared.lifecycle.incidents import IncidentRules
from shared.mail_settings import MailSettings
from shared.page_settings import ApiSettings, FlowerSettings, Page
from shared.pipeline import Lane, Stage
from shared.published_rules import broken
from shared.reconciling import DriftClass
from shared.setting_types import (
    HIDDEN,
    BrokerUrl,
    DriftClasses,
    Host,
    LedgerUrl,
    Role,
    SigningKeys,
    Token,
    invalid,
)
from shared.tracing_settings import TracingSettings
from shared.webhook_settings import WebhookSettings

__all__ = [
    "ApiSettings",
    "Connection",
    "CrowdTwistSettings",
    "FlowerSettings",
    "MailSettings",
    "OicSettings",
    "Page",
    "Role",
    "Settings",
    "SiebelSettings",
    "Token",
    "settings",
]


class DispatcherSettings(BaseModel):
    """The valve between ledger and broker."""

    model_config = HIDDEN

    tick_s: float = Field(1, gt=0, description="s; longest nap when nothing wakes it")
    lease_s: float = Field(60, gt=0, description="s; a begun attempt that is silent for longer is taken for lost")
    unbegun_lease_s: float = Field(15, gt=0, description="s; the same for one that no worker has begun")
    batch_live: int = Field(50, ge=1, description="instances in one chain of the live lane")
    batch_bulk: int = Field(400, ge=1, description="instances in one chain of the bulk lane")
    unbegun_live: int = Field(400, ge=1, description="instances that may wait in the broker's live queues")
    unbegun_bulk: int = Field(1600, ge=1, description="instances that may wait in the broker's bulk queues")
    retention_days: int = Field(
        90, ge=1, description="days that finished instances with their activity, and ended jobs, are kept"
    )
    metrics_host: Host = Field("127.0.0.1", description="address that its metrics listen on; they want no token")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus metrics of the dispatcher; 0: off")

    def batch(self, lane: Lane) -> int:
        """Largest batch of *lane*."""
        return self.batch_live if lane is Lane.LIVE else self.batch_bulk

    def unbegun(self, lane: Lane) -> int:
        """Most instances of *lane* that may wait in the broker."""
        return self.unbegun_live if lane is Lane.LIVE else self.unbegun_bulk


class IntakeSettings(BaseModel):
    """What becomes of events that are not taken in."""

    model_config = HIDDEN

    signing_keys: SigningKeys = Field(
        default_factory=dict,
        description='JSON {"name": ["key"]}; who sends events as this name of TOKENS must sign them, see the runbook',
    )
    signed_within_s: float = Field(
        300, gt=0, description="s; a signature that is older, or ahead of us by more, is none"
    )
    refused_days: int = Field(30, ge=1, description="days that refused events are kept, masked")


class RetentionSettings(BaseModel):
    """How long what has people in it is kept, where it is to go before its instance."""

    model_config = HIDDEN

    events_days: int = Field(
        0, ge=0, description="days that contents of ended events are kept, but each member's newest; 0: as the instance"
    )
    calls_days: int = Field(
        0, ge=0, description="days that requests and responses of ended instances are kept; 0: as the instance"
    )
    audit_days: int = Field(0, ge=0, description="days that what operators did is kept; 0: for good")


class WorkerSettings(BaseModel):
    """The Celery workers."""

    model_config = HIDDEN

    concurrency: int = Field(4, ge=1, description="processes of one worker, each with one batch at a time")
    patience_s: float = Field(2, gt=0, description="s; a batch goes on without members that answer later")
    calls_in_flight: int = Field(
        200, ge=1, description="calls that one process makes at once to a connection that is not ADAPTIVE"
    )


class IncidentsSettings(BaseModel):
    """When something is an incident, and what belongs to it."""

    flap_s: float = Field(900, gt=0, description="s; what begins again so soon after it was over is the same incident")
    cause_count: int = Field(
        100, ge=0, description="dead letters or Data Errors of one code; more within the window may be one; 0: never"
    )
    cause_share: float = Field(
        0.2, gt=0, le=1, description="part of what the stage decided on in the window that must be of it, too"
    )
    cause_window_s: float = Field(600, ge=60, le=43_200, description="s; the window")

    @property
    def rules(self) -> IncidentRules:
        """When a cause is an incident, and how long one stays reversible."""
        return IncidentRules(self.flap_s, self.cause_count, self.cause_share, self.cause_window_s)


class OperationsSettings(BaseModel):
    """What operators may do alone, and undo."""

    approval_above: int = Field(
        0, ge=0, description="instances; a requeue, discard, resend, repair or guard's decision on more waits; 0: none"
    )
    undo_discard_s: float = Field(86_400, ge=0, description="s; for so long a discard can be undone; 0: never")


class CasesSettings(BaseModel):
    """Data Errors as cases, and who has an address that was refused."""

    look_ups_per_minute: int = Field(
        60, ge=0, description="cases in any 60 s of which CrowdTwist is asked who has the address; 0: only when wanted"
    )
    holder_fresh_s: float = Field(21_600, gt=0, description="s; who has the address is asked again after so long")
    heal_cycles: bool = Field(
        default=False,
        description="true: a member of a cycle is parked at OIC__DEFAULT_EMAIL_DOMAIN, so that it comes loose",
    )
    parked_max_s: float = Field(
        600, gt=0, description="s; deadline of a cycle: then the parked member's old address is put back, if it can be"
    )


class ReconcileSettings(BaseModel):
    """Comparing Siebel, CrowdTwist and ledger."""

    model_config = HIDDEN

    every_h: float = Field(24, ge=0, description="h; from one scheduled run to the next; 0: none by itself")
    sample: int = Field(3000, ge=1, description="members that a sampled run asks CrowdTwist about")
    share: float = Field(
        0.05, gt=0, le=1, description="part of CrowdTwist's budget that a run may use; however small, 1 call a minute"
    )
    settle_s: float = Field(
        60, ge=0, description="s; a difference counts that is there still so long after the first look"
    )
    auto_repair: DriftClasses = Field(
        "", description="classes, comma separated, that a scheduled run repairs by itself; empty: none"
    )
    repair_cap_per_day: int = Field(1000, ge=0, description="members that repairs may send in 24 h, all together")
    repair_cap_per_run: int = Field(1000, ge=0, description="members that repairs of one reconciliation may send")

    @property
    def repair_caps(self) -> tuple[int, int]:
        """How many members repairs may send: in 24 h, and of one run."""
        return self.repair_cap_per_day, self.repair_cap_per_run

    @property
    def repaired_by_itself(self) -> tuple[DriftClass, ...]:
        """The classes that a scheduled run repairs by itself."""
        return tuple(DriftClass(one) for one in self.auto_repair.split(",") if one)


class Settings(BaseSettings):
    """All of it.  Source: the environment, then `.env` in the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="MEMBERSYNC_",
        env_nested_delimiter="__",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    home: Path = Field(Path(".membersync"), description="folder of the embedded servers' data and logs")
    ledger_url: LedgerUrl = Field(
        None,
        repr=False,
        description="postgresql://…, one host or several, PostgreSQL 14+ with UTF8; unset: embedded",
    )
    ledger_direct_url: LedgerUrl = Field(
        None,
        repr=False,
        description="the server itself, where LEDGER_URL is PgBouncer, with ?pgbouncer=true; for wake-up calls",
    )
    broker_url: BrokerUrl = Field(
        None,
        repr=False,
        description="redis[s]://…, sentinel[s]://… or amqp[s]://…, a CA: ?ssl_ca_certs=FILE; unset: embedded Valkey",
    )
    program_id: str = Field("", description="ROW_ID of the loyalty programme to sync; empty: every programme")
    requeue_max: int = Field(10, ge=1, description="times that one instance may be requeued; more only by force")
    ledger_answer_s: float = Field(
        75, gt=0, description="s; an answer of the ledger that takes longer is none: its own statements end after 60 s"
    )
    ledger_clock_step_s: float = Field(
        3, gt=0, le=4, description="s; its clock was set if it goes by more than this against ours; leases leave 4 (A)"
    )
    snapshot_max_s: float = Field(300, gt=0, description="s; who holds a snapshot of the ledger for longer is named")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is written")

    oic: OicSettings = Field(default_factory=OicSettings)
    crowdtwist: CrowdTwistSettings = Field(default_factory=CrowdTwistSettings)
    siebel: SiebelSettings = Field(default_factory=SiebelSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    flower: FlowerSettings = Field(default_factory=FlowerSettings)
    dispatcher: DispatcherSettings = Field(default_factory=DispatcherSettings)
    intake: IntakeSettings = Field(default_factory=IntakeSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    guard: GuardSettings = Field(default_factory=GuardSettings)
    incidents: IncidentsSettings = Field(default_factory=IncidentsSettings)
    operations: OperationsSettings = Field(default_factory=OperationsSettings)
    cases: CasesSettings = Field(default_factory=CasesSettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    reconcile: ReconcileSettings = Field(default_factory=ReconcileSettings)
    mail: MailSettings = Field(default_factory=MailSettings)
    tracing: TracingSettings = Field(default_factory=TracingSettings)
    webhook: WebhookSettings = Field(default_factory=WebhookSettings)

    @property
    def tells(self) -> bool:
        """Whether operators are told of anything, by mail or through the webhook."""
        return self.mail.host is not None or self.webhook.url is not None

    @model_validator(mode="after")
    def _wake_up_calls_are_heard(self) -> "Settings":
        direct, pooled = (url and is_pooled(ledger_arguments(url)) for url in (self.ledger_direct_url, self.ledger_url))
        if direct or (pooled and self.ledger_direct_url is None):
            raise ValueError(
                "MEMBERSYNC_LEDGER_DIRECT_URL must name the server itself where MEMBERSYNC_LEDGER_URL has "
                "pgbouncer=true: in transaction mode nobody hears a wake-up call"
            )
        if self.ledger_direct_url and self.ledger_url is None:
            raise ValueError("MEMBERSYNC_LEDGER_DIRECT_URL is set, and MEMBERSYNC_LEDGER_URL is not")
        return self

    @model_validator(mode="after")
    def _a_lease_outlives_a_call(self) -> "Settings":
        longest = max(self.connection(stage).timeout_s for stage in Stage)
        if self.dispatcher.lease_s < longest + 5:
            raise ValueError(
                f"dispatcher.lease_s ({self.dispatcher.lease_s}) must exceed the longest timeout_s ({longest}) by 5 s: "
                "a shorter lease would call a slow call lost and repeat it"
            )
        return self

    @model_validator(mode="after")
    def _who_waits_for_the_ledger_is_not_silent(self) -> "Settings":
        self.health.check_patience(self.ledger_answer_s)
        return self

    @model_validator(mode="after")
    def _a_parking_address_is_taken(self) -> "Settings":
        if self.cases.heal_cycles and (flaws := broken({"email_address": self.oic.default_email("1")})):
            raise ValueError(
                "MEMBERSYNC_CASES__HEAL_CYCLES needs a MEMBERSYNC_OIC__DEFAULT_EMAIL_DOMAIN that CrowdTwist takes: "
                f"{flaws[0].rule}"
            )
        return self

    @model_validator(mode="after")
    def _who_signs_has_a_token(self) -> "Settings":
        known = {owner.name for owner in self.api.tokens.values()}
        if nobody := sorted(self.intake.signing_keys.keys() - known):
            raise ValueError(f"MEMBERSYNC_INTAKE__SIGNING_KEYS: no name of MEMBERSYNC_API__TOKENS: {', '.join(nobody)}")
        return self

    def connection(self, stage: Stage) -> Connection:
        """Settings of the connection that *stage* uses."""
        connections: dict[Stage, Connection] = {
            Stage.OIC: self.oic,
            Stage.CROWDTWIST: self.crowdtwist,
            Stage.SIEBEL: self.siebel,
        }
        return connections[stage]

    def require_ledger(self) -> str:
        """Return the ledger's URL.

        Raises:
            ValueError: it is unset, and this command does not start an embedded one.
        """
        if self.ledger_url is None:
            raise ValueError("MEMBERSYNC_LEDGER_URL is not set (only `membersync up` and `demo` start an embedded one)")
        return self.ledger_url

    def require_direct_ledger(self) -> str:
        """Return the URL of the ledger's server itself, for what needs a session of its own.

        Raises:
            ValueError: as `require_ledger`.
        """
        return self.ledger_direct_url or self.require_ledger()

    def require_broker(self) -> str:
        """Return the broker's URL.

        Raises:
            ValueError: it is unset, and this command does not start an embedded one.
        """
        if self.broker_url is None:
            raise ValueError("MEMBERSYNC_BROKER_URL is not set (only `membersync up` and `demo` start an embedded one)")
        return self.broker_url


@cache
def settings() -> Settings:
    """Read the settings once per process.

    Raises:
        SettingsInvalidError: they are not valid.
    """
    try:
        return Settings()
    except (ValidationError, UnreadError) as error:
        raise invalid(error, Settings) from None
