"""The gateway's settings."""

from __future__ import annotations

from pydantic import Field

from groundwire_rpc.connections import ConnectionSettings
from groundwire_rpc.settings import BearerToken, ListenAddress, LogLevel, SettingsPath
from groundwire_rpc.telemetry_settings import TelemetrySettings


class GatewayConfig(ConnectionSettings, TelemetrySettings):
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

    gateway_brown_out_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """How old sources may be that are answered from while the search service is down. 0: there is no answer then."""

    gateway_brown_out_entries: int = Field(default=256, ge=1, le=100_000)
    """For how many queries sources are kept for that."""

    gateway_max_request_bytes: int = Field(default=8 * 1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    """The largest question taken with its history and sources, in bytes. All that the contract allows fits 8 MiB."""

    gateway_max_asks: int = Field(default=256, ge=1, le=100_000)
    """Answers that may run at once; further questions are refused at once."""

    gateway_max_held_bytes: int = Field(default=256 * 1024 * 1024, ge=1024 * 1024, le=2**40)
    """Bytes of questions and of answers on their way that are held at once at most; else further ones are refused."""

    gateway_caller_share: float = Field(default=0.5, gt=0, le=1)
    """The part of both that one caller may have. 1: one caller may have all of it."""

    gateway_stream_stall_seconds: float = Field(default=15.0, gt=0, le=3_600)
    """How long a streamed answer waits for its reader, in all; then it ends."""

    gateway_share_kept_prompts: bool = False
    """Whether callers with different API keys or certificates share what the inference service keeps of prompts."""

    gateway_metrics_listen: ListenAddress | None = None
    """HOST:PORT to serve metrics for Prometheus on, at /metrics. Default: none are served."""

    gateway_log_content: bool = False
    """Whether questions and answers go into the log."""

    gateway_tls_certificate: SettingsPath | None = None
    """The certificate to serve TLS with, and what chains it to its CA, in PEM. Default: plaintext."""

    gateway_tls_key: SettingsPath | None = None
    """Its private key, in PEM."""

    gateway_tls_client_ca: SettingsPath | None = None
    """Only callers with a certificate of this CA are taken. Default: whoever connects."""

    search_tls_ca: SettingsPath | None = None
    """The CA that the search service's certificate must be of. Default: it is called in plaintext."""

    inference_tls_ca: SettingsPath | None = None
    """The same for the inference service."""

    client_tls_certificate: SettingsPath | None = None
    """The certificate that the gateway shows to the services behind it. Default: none."""

    client_tls_key: SettingsPath | None = None
    """Its private key, in PEM."""

    backend_token: BearerToken | None = None
    """The token that the gateway sends to the services behind it. Default: none."""

    gateway_api_keys_file: SettingsPath | None = None
    """Names and hashes of the keys that callers must send. Default: nobody is asked for one."""

    gateway_api_key_concurrency: int = Field(default=32, ge=1, le=10_000)
    """Calls of one key that may run at once; further ones are refused at once."""

    gateway_api_key_requests_per_minute: int = Field(default=600, ge=0, le=1_000_000)
    """Calls of one key that may begin in a minute; further ones are refused at once. 0: any number."""

    reflection: bool = True
    """Whether the gateway describes itself to whoever asks, as grpcurl does."""

    allow_insecure_listen: bool = False
    """Whether it may listen beyond the loopback address without TLS, or without asking callers who they are."""

    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3_600)
    """How long running answers may take to finish after SIGTERM."""

    log_level: LogLevel = "info"
    """The least severe log line that is written."""
