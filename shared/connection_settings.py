"""The settings of the connections: one class for what all have alike, one for each outside system.

`(A)` marks a default that the public record of Siebel, OIC or CrowdTwist does not settle.
"""

from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, field_validator, model_validator

from shared.fields import NULLABLE, WITH_DEFAULT, NullPolicy
from shared.lifecycle import concurrency
from shared.lifecycle.breaker import Rules
from shared.lifecycle.retry import RetryPolicy
from shared.setting_types import HIDDEN, BaseUrl, Secret, Url


class Connection(BaseModel):
    """One outside system as we reach it: its address, patience, retry policy, breaker and budget."""

    model_config = HIDDEN

    base_url: BaseUrl = Field(
        None, description="everything before /v2, /siebel or /ic; unset: `up` starts its simulator"
    )
    timeout_s: float = Field(30, gt=0, description="s; one call, from connecting to the last byte of the answer")
    answer_max_bytes: int = Field(2 * 1024 * 1024, ge=1024, description="bytes; a longer answer, unpacked, is none")
    retry_base_s: float = Field(5, gt=0, description="s; longest wait after the first failed attempt, doubling")
    retry_cap_s: float = Field(600, gt=0, description="s; longest wait between two attempts")
    max_attempts: int = Field(12, ge=1, description="attempts, the first included, before it is a dead letter")
    retry_after_max_s: float = Field(3600, gt=0, description="s; a stated Retry-After counts up to this")
    budget_per_minute: int = Field(0, ge=0, description="calls in any 60 s; 0: no limit")
    live_share: float = Field(0.2, ge=0, le=1, description="part of the budget that only the live lane may use")
    breaker_failures: int = Field(5, ge=1, description="connection failures in a row that open the breaker")
    breaker_members: int = Field(3, ge=1, description="different members among them, unless fewer are due")
    probe_first_s: float = Field(1, gt=0, description="s; from opening to the first probe, then doubling")
    probe_cap_s: float = Field(60, gt=0, description="s; longest time between two probes")
    adaptive: bool = Field(
        default=True,
        description="calls in flight follow how it answers; false: WORKER__CALLS_IN_FLIGHT for each process",
    )
    adaptive_min: int = Field(1, ge=1, description="calls of all workers together that are in flight in any case")
    adaptive_max: int = Field(500, ge=1, le=1000, description="calls of all workers together that are never exceeded")
    adaptive_latency_max_s: float = Field(
        10, gt=0, description="s; answers slower than this count as overload, however usual"
    )

    @property
    def policy(self) -> RetryPolicy:
        """The retry policy of this connection's stage."""
        return RetryPolicy(self.retry_base_s, self.retry_cap_s, self.max_attempts, self.retry_after_max_s)

    @property
    def breaker_rules(self) -> Rules:
        """When this connection counts as down, and how often it is probed."""
        return Rules(self.breaker_failures, self.breaker_members, self.probe_first_s, self.probe_cap_s)

    @property
    def concurrency_rules(self) -> concurrency.Rules | None:
        """Between which limits the calls in flight follow how it answers, None: they do not."""
        if not self.adaptive:
            return None
        return concurrency.Rules(self.adaptive_min, self.adaptive_max, self.adaptive_latency_max_s)

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.adaptive_min > self.adaptive_max:
            raise ValueError("ADAPTIVE_MIN must not exceed ADAPTIVE_MAX")
        return self


class OicSettings(Connection):
    """The OIC member sync flow, run here (`builtin`) or in Oracle Integration (`remote`)."""

    mode: Literal["builtin", "remote"] = Field("builtin", description="where the member sync flow runs")
    flow_code: str = Field("ORCL-BA-SIEBEL_LOY_CT_MEMBERSYNC", description="OIC integration code (A)")
    flow_version: str = Field("1.0", description="OIC integration version (A)")
    flow_resource: str = Field("members", description="resource of its REST trigger (A)")
    token_url: Url = Field(None, description="OAuth2 token endpoint; unset: Basic")
    client_id: str = Field("", description="OAuth2 client")
    client_secret: Secret = Field(None, description="OAuth2 client's secret")
    scope: str = Field("", description="OAuth2 scope, ends in urn:opc:resource:consumer::all")
    username: str = Field("", description="Basic user")
    password: Secret = Field(None, description="Basic password")
    default_country_code: str = Field("IN", description="lookup row Default CT User Country Code (Oracle's sample)")
    default_postal_code: str = Field("99790", description="lookup row Default CT User Postal Code, for US members")
    default_city_id: str = Field("1157219", description="lookup row Default CT User City ID, outside the US")
    default_email_domain: str = Field("no-email.invalid", description="lookup row Default CT Email Domain (A)")
    gender_male_id: int = Field(2, description="CrowdTwist's gender_id of M (a real answer shows 2 = Male)")
    gender_female_id: int = Field(1, description="CrowdTwist's gender_id of F (A)")
    nulls: dict[str, NullPolicy] = Field(
        default_factory=dict,
        description='JSON; what is sent of a field that is empty, e.g. {"city": "keep", "language": "default"}; of '
        "clear keep default; unset: its lookup row, else it is cleared. Builtin only",
    )
    null_defaults: dict[str, str] = Field(
        default_factory=dict,
        description='JSON; the values of fields whose policy is default and that have no lookup row, e.g. {"language": '
        '"en"}',
    )
    birth_hour_utc: int = Field(0, ge=0, le=23, description="h; hour of the day that a date of birth stands for (A)")

    def default_email(self, member_number: str) -> str:
        """Return the address that stands for none of this member: `<Member Number>@<Default CT Email Domain>`."""
        return f"{member_number}@{self.default_email_domain.lstrip('@')}"

    @model_validator(mode="after")
    def _nulls_of_fields(self) -> Self:
        for setting, names in (("NULLS", self.nulls), ("NULL_DEFAULTS", self.null_defaults)):
            if unknown := [name for name in names if name not in NULLABLE]:
                known = ", ".join(NULLABLE)
                raise ValueError(f"MEMBERSYNC_OIC__{setting}: {unknown[0]} has no null policy; of {known}")
        wanting = [name for name, policy in self.nulls.items() if policy is NullPolicy.DEFAULT]
        if lacking := [name for name in wanting if name not in WITH_DEFAULT and not self.null_defaults.get(name)]:
            raise ValueError(f"MEMBERSYNC_OIC__NULL_DEFAULTS: has no value for {lacking[0]}, whose policy is default")
        return self

    @property
    def concurrency_rules(self) -> concurrency.Rules | None:
        """None too where the flow runs here: there are no calls."""
        return None if self.mode == "builtin" else super().concurrency_rules


class CrowdTwistSettings(Connection):
    """CrowdTwist's REST API."""

    retry_base_s: float = Field(10, gt=0, description="s; longest wait after the first failed attempt, doubling")
    retry_cap_s: float = Field(1800, gt=0, description="s; longest wait between two attempts")
    max_attempts: int = Field(20, ge=1, description="attempts, the first included, before it is a dead letter")
    budget_per_minute: int = Field(10_000, ge=0, description="calls in any 60 s (the contract figure); 0: no limit")
    api_key: Secret = Field(None, description="Client API Key of the Control Center")
    auth: Literal["query", "header"] = Field("query", description="api_key in the URL or X-CT-Authorization")
    settle_s: float = Field(60, ge=0, description="s; how late a lost write may still land")


ReadParameter = Literal["sortspec", "ViewMode", "Fields", "Childlinks", "ExecutionMode", "recordcountneeded"]
"""What a query of Siebel's members says beside `searchspec` and `PageSize`."""


class SiebelSettings(Connection):
    """Siebel's inbound REST, where the status is written back, and the shapes of what Siebel sends."""

    retry_cap_s: float = Field(1800, gt=0, description="s; longest wait between two attempts")
    max_attempts: int = Field(48, ge=1, description="attempts, the first included, before it is a dead letter")
    username: str = Field("", description="Basic user")
    password: Secret = Field(None, description="Basic password")
    token: Secret = Field(None, description="OAuth2 bearer token, instead of Basic")
    business_object: str = Field("LOY Member", description="in the path of the write-back (A)")
    business_component: str = Field("LOY Member", description="in the path of the write-back (A)")
    status_field: str = Field("CT Sync Status", description="member attribute that says how the sync went")
    error_field: str = Field("CT Sync Error", description="member attribute that says why it failed")
    success_status: str = Field("Success", description="text of a good outcome (A)")
    error_max_length: int = Field(250, ge=40, description="characters that CT Sync Error holds (A)")
    report_after_s: float = Field(300, ge=0, description="s; a failure that lasts so long is told while still retried")
    settle_s: float = Field(60, ge=0, description="s; how late a status that got no answer may still land")
    always_write: bool = Field(default=False, description="write a status even when Siebel already shows it")
    rows_per_request: int = Field(100, ge=1, le=100, description="statuses in one request; Siebel takes up to 100")
    read_without: tuple[ReadParameter, ...] = Field(
        (),
        description='JSON; what this Siebel does not take in a query, e.g. ["Childlinks"]; of sortspec ViewMode Fields'
        " Childlinks ExecutionMode recordcountneeded (A)",
    )
    read_overlap_s: float = Field(
        300, ge=0, description="s; changes since an instant are read from so much earlier: clocks, late commits (A)"
    )
    several_contacts: Literal["refuse", "first"] = Field(
        "refuse", description="of a member's contacts that differ, none or several of them primary: refuse or first (A)"
    )
    timezone: str = Field("UTC", description="of Siebel dates that name no zone (A)")
    field_names: dict[str, str] = Field(
        default_factory=dict,
        description='JSON; Siebel\'s labels where they differ, e.g. {"row_id": "Id", "modification": "Mod Id"} (A)',
    )

    @field_validator("timezone")
    @classmethod
    def _a_known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, OSError):
            raise ValueError("is no time zone of this machine's tz database") from None
        return value
