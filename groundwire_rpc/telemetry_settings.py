"""The settings of telemetry that all services have. Where each serves its metrics is a setting of its own."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from groundwire_rpc.settings import Settings

OtlpProtocol = Literal["http/protobuf", "grpc"]
"""What carries spans to a collector: HTTP (whose port is 4318 by custom) or gRPC (4317)."""


def _collector_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        # What was given is not shown: it may hold a password.
        raise ValueError("is not a URL such as http://127.0.0.1:4318, without user, query or fragment")
    return value


CollectorUrl = Annotated[str, AfterValidator(_collector_url)]
"""Where an OpenTelemetry collector takes OTLP."""


class TelemetrySettings(Settings):
    """What a service tells of itself, and to whom.

    The names of the OpenTelemetry variables are the standard's own. All others of it are read by the SDK itself.
    """

    metrics_remote: bool = False
    """Whether metrics may be served beyond the loopback address, where whoever asks is answered."""

    otel_exporter_otlp_endpoint: CollectorUrl | None = Field(
        default=None, validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    """The OpenTelemetry collector to send traces to, such as http://127.0.0.1:4318. Default: nothing is traced."""

    otel_exporter_otlp_protocol: OtlpProtocol = Field(
        default="http/protobuf", validation_alias="OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    """http/protobuf or grpc."""
