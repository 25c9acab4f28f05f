"""The gateway's settings."""

from __future__ import annotations

from pydantic import Field

from groundwire_rpc.settings import ListenAddress, LogLevel, Settings


class GatewayConfig(Settings):
    """What the gateway reads from the environment, each as GROUNDWIRE_ and the field's name in capitals."""

    gateway_listen: ListenAddress = "127.0.0.1:50051"
    """HOST:PORT that the gateway serves on."""

    search_target: str = Field(default="127.0.0.1:50052", min_length=1)
    """gRPC target of the search service, such as 127.0.0.1:50052 or dns:///host:port."""

    inference_target: str = Field(default="127.0.0.1:50053", min_length=1)
    """gRPC target of the inference service."""

    ask_timeout_seconds: float = Field(default=120.0, gt=0, le=86_400)
    """The deadline of a question whose caller set none."""

    gateway_search_timeout_seconds: float = Field(default=10.0, gt=0, le=86_400)
    """The most of a question's time that its search may take."""

    gateway_circuit_failures: int = Field(default=5, ge=1, le=1_000)
    """Failures in a row after which a service behind the gateway is not asked for a while."""

    gateway_circuit_open_seconds: float = Field(default=5.0, gt=0, le=3_600)
    """How long it is not asked. Then one question at a time tries whether it is well again."""

    gateway_max_request_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    """The largest question taken with its history and sources, in bytes. All that the contract allows fits 8 MiB."""

    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3_600)
    """How long running answers may take to finish after SIGTERM."""

    log_level: LogLevel = "info"
    """The least severe log line that is written."""
