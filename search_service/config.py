"""Settings of the search service: the only place that reads its environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from groundwire_rpc.connections import ConnectionSettings
from groundwire_rpc.settings import BearerToken, ListenAddress, LogLevel, SettingsPath
from groundwire_rpc.telemetry_settings import TelemetrySettings


def default_index_path() -> Path:
    """Where the local index is kept unless a setting says otherwise: the user's data folder (XDG)."""
    folder = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(folder).expanduser() / "groundwire" / "index.sqlite3"


class SearchConfig(ConnectionSettings, TelemetrySettings):
    """What an operator can set. A field `search_listen` is read from GROUNDWIRE_SEARCH_LISTEN."""

    search_listen: ListenAddress = "127.0.0.1:50052"
    """HOST:PORT to listen on; port 0 takes any free one."""

    brave_api_key: SecretStr | None = Field(default=None, validation_alias="BRAVE_API_KEY")
    """The Brave Search API's subscription token. Without it only the local provider answers."""

    brave_base_url: str = "https://api.search.brave.com/res/v1"
    """Where the Brave Search API is, up to and without /web/search."""

    search_provider: Literal["auto", "brave", "local"] = "auto"
    """What a request without a provider uses; auto is brave where BRAVE_API_KEY is set, else local."""

    index_path: Path = Field(default_factory=default_index_path)
    """The local index, an SQLite file."""

    search_cache_entries: int = Field(default=1024, ge=0, le=1_000_000)
    """Answers kept in memory; 0 turns the cache off."""

    search_cache_seconds: float = Field(default=300.0, ge=0, le=86_400)
    """How long an answer is kept; 0 turns the cache off."""

    search_max_in_flight: int = Field(default=256, ge=1, le=10_000)
    """Searches that may run at once, those that wait for a rate limit included; further ones are refused at once."""

    search_caller_share: float = Field(default=0.5, gt=0, le=1)
    """The part of them that one caller may have. 1: one caller may have all."""

    search_timeout_seconds: float = Field(default=10.0, gt=0, le=600)
    """For a search whose caller sets no deadline."""

    search_metrics_listen: ListenAddress | None = None
    """HOST:PORT to serve metrics for Prometheus on, at /metrics. Default: none are served."""

    search_tls_certificate: SettingsPath | None = None
    """The certificate to serve TLS with, and what chains it to its CA, in PEM. Default: plaintext."""

    search_tls_key: SettingsPath | None = None
    """Its private key, in PEM."""

    search_tls_client_ca: SettingsPath | None = None
    """Only callers with a certificate of this CA are taken. Default: whoever connects."""

    backend_token: BearerToken | None = None
    """The token that callers must send. Default: none."""

    reflection: bool = True
    """Whether the service describes itself to whoever asks, as grpcurl does."""

    allow_insecure_listen: bool = False
    """Whether it may listen beyond the loopback address without TLS, or without asking callers who they are."""

    shutdown_grace_seconds: float = Field(default=10.0, ge=0, le=3_600)
    """How long running calls may go on after SIGTERM."""

    log_level: LogLevel = "info"
    """The least severe level that is logged."""

    @property
    def default_provider(self) -> Literal["brave", "local"]:
        """What auto means here."""
        if self.search_provider != "auto":
            return self.search_provider
        return "local" if self.brave_api_key is None else "brave"

    @field_validator("brave_api_key")
    @classmethod
    def _sendable(cls, value: SecretStr | None) -> SecretStr | None:
        token = value.get_secret_value().strip() if value else ""
        if not token:
            return None
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ValueError("holds characters that no token has: copy it again, without quotes or line breaks")
        return SecretStr(token)

    @field_validator("brave_base_url")
    @classmethod
    def _web_url(cls, value: str) -> str:
        parts = urlsplit(value)
        bare = not (parts.query or parts.fragment or parts.username)
        if parts.scheme not in ("http", "https") or not parts.hostname or not bare:
            # What was given is not shown: it may hold a password.
            raise ValueError(
                "is not a URL such as https://api.search.brave.com/res/v1, without user, query or fragment"
            )
        return value.rstrip("/")

    @field_validator("index_path")
    @classmethod
    def _home_expanded(cls, value: Path) -> Path:
        return value.expanduser()
