"""The settings of mail; `shared.settings` has them with all others."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.setting_types import OptionalHost, Recipients, Secret, Sender


class MailSettings(BaseModel):
    """Mail to operators: an incident opened, still open, resolved; a held snapshot; a digest of what failed."""

    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True)

    host: OptionalHost = Field(None, description="the mail server; unset: no mail")
    port: int = Field(25, ge=1, le=65535, description="its port; mostly 587 with starttls, 465 with tls")
    security: Literal["none", "starttls", "tls"] = Field(
        "none", description="none; starttls and tls check the certificate"
    )
    username: str = Field("", description="login; empty: none. Only with starttls or tls")
    password: Secret = Field(None, description="login")
    sender: Sender = Field("", alias="from", description="who it comes from: name@host or Name <name@host>")
    recipients: Recipients = Field("", description="comma separated; the lookup row email of OIC")
    digest_every_s: float = Field(900, gt=0, description="s; from one digest to the next, if there is anything new")
    still_open_s: float = Field(3600, gt=0, description="s; an incident that is open for longer is told once more")
    timeout_s: float = Field(20, gt=0, description="s; longest silence of the mail server")

    @model_validator(mode="after")
    def _whole(self) -> "MailSettings":
        if self.host and not self.sender:
            raise ValueError("MEMBERSYNC_MAIL__FROM must be set where MEMBERSYNC_MAIL__HOST is")
        if self.host and not self.recipients:
            raise ValueError("MEMBERSYNC_MAIL__RECIPIENTS must be set where MEMBERSYNC_MAIL__HOST is")
        if bool(self.username) != bool(self.password):
            raise ValueError("MEMBERSYNC_MAIL__USERNAME and MEMBERSYNC_MAIL__PASSWORD must be set together")
        if not (self.username + (self.password.get_secret_value() if self.password else "")).isascii():
            raise ValueError("MEMBERSYNC_MAIL__USERNAME and MEMBERSYNC_MAIL__PASSWORD must be ASCII")
        if self.username and self.security == "none":
            raise ValueError("MEMBERSYNC_MAIL__SECURITY must be starttls or tls where a password is sent")
        return self
