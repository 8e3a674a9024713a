"""Settings of what people and programs open: the api with its console, and Flower."""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, model_validator

from shared import hosts
from shared.setting_types import HIDDEN, Host, Networks, PageUrl, Secret, Tokens


class Page(BaseModel):
    """Something that people open in a browser."""

    model_config = HIDDEN

    host: Host = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65535, description="0: any free port")
    public_url: PageUrl = Field(
        None, description="where people open it, a proxy's path included, for links to it; unset: http://HOST:PORT"
    )

    @property
    def url(self) -> str:
        """Where people open it, without a slash at the end."""
        return self.public_url or self.own_url

    @property
    def own_url(self) -> str:
        """Where this machine reaches it, past any proxy."""
        return hosts.url(self.host, self.port)

    @property
    def prefix(self) -> str:
        """The path that a proxy has it under, without a slash at the end; mostly none."""
        return urlsplit(self.url).path


class ApiSettings(Page):
    """The HTTP side of intake and operations."""

    host: Host = Field("127.0.0.1", description="address to listen on; other than loopback needs TOKENS")
    port: int = Field(8000, ge=0, le=65535, description="0: any free port; another one that is taken is an error")
    trusted_proxies: Networks = Field(
        "", description="addresses, networks; comma separated; believed when they say who the client is; empty: nobody"
    )
    proxy_headers: Literal["x-forwarded", "forwarded"] = Field(
        "x-forwarded", description="x-forwarded (-For, -Proto, -Host) or forwarded (RFC 7239): what these proxies write"
    )
    tokens: Tokens = Field(
        default_factory=dict, description='JSON {"token": {"name": "…", "role": "producer|viewer|operator|admin"}}'
    )
    max_body_bytes: int = Field(10 * 1024 * 1024, gt=0, description="bytes; a larger body is refused")
    max_events: int = Field(10_000, gt=0, description="events in one request")
    max_event_bytes: int = Field(64_000, gt=0, description="bytes; one event")
    wrong_tokens_per_minute: int = Field(
        10, ge=1, description="different wrong tokens from one address in any 60 s; more get 429, right ones pass"
    )
    head_within_s: float = Field(
        10,
        gt=0,
        description="s; a request, to the dispatcher's metrics too, whose headers are not there by then is cut off",
    )
    body_silence_s: float = Field(15, gt=0, description="s; a body that stops coming for so long is cut off")
    forget_within_s: float = Field(
        20,
        gt=0,
        description="s; so long a request to forget a member searches the ledger, then the command line has to",
    )
    connections_max: int = Field(512, ge=1, description="connections open at once; the longest idle makes room")

    @property
    def proxies(self) -> tuple[hosts.Network, ...]:
        """The proxies that are trusted."""
        return hosts.networks(self.trusted_proxies)


class FlowerSettings(Page):
    """Flower, the window on workers, queues and tasks."""

    port: int = Field(5555, ge=0, le=65535, description="0: any free port; another one that is taken is an error")
    username: str = Field("flower", description="login")
    password: Secret = Field(None, description="login; unset: a new one at each start, printed by `up`")

    @model_validator(mode="after")
    def _a_login_that_browsers_send_alike(self) -> "FlowerSettings":
        # Flower compares texts that must be ASCII, and browsers do not agree on how to send another.
        if not (self.username + (self.password.get_secret_value() if self.password else "")).isascii():
            raise ValueError("MEMBERSYNC_FLOWER__USERNAME and MEMBERSYNC_FLOWER__PASSWORD must be ASCII")
        if not self.username or ":" in self.username:
            raise ValueError("MEMBERSYNC_FLOWER__USERNAME must have something in it, and no colon")
        return self
