"""The settings of traces; `shared.settings` has them with all others."""

from importlib.util import find_spec

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.setting_types import TRACE_ID, PageUrl, TraceUrl

_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


class TracingSettings(BaseModel):
    """Traces of events, from acceptance to Siebel's status (OpenTelemetry, OTLP over HTTP)."""

    model_config = ConfigDict(hide_input_in_errors=True)

    otlp_url: PageUrl = Field(
        None, description="where a collector takes OTLP over HTTP, before /v1/traces; unset: no traces"
    )
    sample_ratio: float = Field(
        0.1, ge=0, le=1, description="share of requests that are traced where their sender does not say"
    )
    page_url: TraceUrl = Field(None, description="a trace's page, with {trace_id} in it; the console links it")

    def page(self, trace_id: str) -> str | None:
        """Return the address of a trace's page; None: it is not known."""
        return self.page_url and self.page_url.replace(TRACE_ID, trace_id)

    @model_validator(mode="after")
    def _can_be_sent(self) -> "TracingSettings":
        if self.otlp_url and not all(map(_is_installed, _NEEDED)):
            raise ValueError(
                "MEMBERSYNC_TRACING__OTLP_URL is set, and what sends traces is not installed: "
                "pip install 'membersync[otel]', or take it out"
            )
        return self
