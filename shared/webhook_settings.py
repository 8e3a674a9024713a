"""The settings of the webhook; `shared.settings` has them with all others."""

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, model_validator

from shared.setting_types import HIDDEN, KEY_MIN, Secret, Url


class WebhookSettings(BaseModel):
    """What mail tells operators, told to a program of theirs, signed."""

    model_config = HIDDEN

    url: Url = Field(None, repr=False, description="where it is posted; may be a secret itself; unset: no webhook")
    signing_key: Secret = Field(None, description=f"signs what is posted; {KEY_MIN} characters at least")
    allow_http: bool = Field(default=False, description="true: URL may be http, which others can read and change")
    timeout_s: float = Field(10, gt=0, le=60, description="s; an answer that takes longer is none")
    max_tries: int = Field(20, ge=1, le=1000, description="tries, the first included, before one is given up")

    @model_validator(mode="after")
    def _whole(self) -> "WebhookSettings":
        if self.url is None:
            return self
        parts = urlsplit(self.url)
        if parts.scheme != "https" and not (self.allow_http and parts.scheme == "http"):
            raise ValueError(
                "MEMBERSYNC_WEBHOOK__URL must begin with https:// (MEMBERSYNC_WEBHOOK__ALLOW_HTTP lets http)"
            )
        if parts.username or parts.password or parts.fragment:
            raise ValueError("MEMBERSYNC_WEBHOOK__URL must have no user, no password and no fragment")
        if self.signing_key is None or len(self.signing_key.get_secret_value()) < KEY_MIN:
            raise ValueError(f"MEMBERSYNC_WEBHOOK__SIGNING_KEY must be set, {KEY_MIN} characters at least, with a URL")
        return self
