"""Traces, off unless an address is set: this module is all that a process without them loads."""

from typing import Annotated, Any

from pydantic import AliasChoices, Field, field_validator

from jobs.environment import Settings
from jobs.telemetry import extras


class TraceSettings(Settings):
    """Where traces go; the OpenTelemetry SDK reads its other variables (`OTEL_*`) itself."""

    otlp_endpoint: Annotated[
        str | None,
        Field(
            validation_alias=AliasChoices(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "otlp_endpoint"
            ),
            description="A collector that takes OTLP over HTTP, as `http://collector:4318`; unset: no traces",
        ),
    ] = None

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value and not value.lower().startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://; OTLP over gRPC is not spoken here")
        return value


def part(module: str, settings: TraceSettings) -> Any:
    """Return the module that makes a process's traces, imported now; None: there are to be none."""
    return extras.load(module, needs="opentelemetry", extra="otel") if settings.otlp_endpoint else None
