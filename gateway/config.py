"""The gateway's settings."""

from __future__ import annotations

from pydantic import Field

from groundwire_rpc.settings import BearerToken, ListenAddress, LogLevel, Settings, SettingsPath


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

    reflection: bool = True
    """Whether the gateway describes itself to whoever asks, as grpcurl does."""

    allow_insecure_listen: bool = False
    """Whether it may listen beyond the loopback address without TLS, or without asking callers who they are."""

    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3_600)
    """How long running answers may take to finish after SIGTERM."""

    log_level: LogLevel = "info"
    """The least severe log line that is written."""
