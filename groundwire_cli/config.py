"""Settings of the command line: where the services are."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from pydantic import Field, SecretStr

from groundwire_cli.errors import BadUsage, CommandError
from groundwire_cli.services import GATEWAY, Service
from groundwire_rpc.settings import BearerToken, ListenAddress, Settings, SettingsError, SettingsPath, load_settings

if TYPE_CHECKING:
    from groundwire_rpc.channels import ChannelSecurity


class CliConfig(Settings):
    """What the commands need to find the services of this host, or others."""

    gateway_listen: ListenAddress = "127.0.0.1:50051"
    """Where the gateway listens, as HOST:PORT. `ask` and `status` look for it there."""

    search_listen: ListenAddress = "127.0.0.1:50052"
    """Where the search service listens, as HOST:PORT."""

    inference_listen: ListenAddress = "127.0.0.1:50053"
    """Where the inference service listens, as HOST:PORT."""

    gateway_target: str = ""
    """The gRPC target of the gateway, where it is not on this host. Empty: what gateway_listen says."""

    search_target: str = ""
    """The gRPC target of the search service, where it is not on this host. Empty: what search_listen says."""

    inference_target: str = ""
    """The gRPC target of the inference service, where it is not on this host. Empty: what inference_listen says."""

    model: str = ""
    """The model that the inference service runs on. Empty: the built-in one."""

    search_provider: str = ""
    """The search service's provider. Empty: its own choice."""

    index_path: str = ""
    """The file of the local index. Empty: the search service's own."""

    brave_api_key: SecretStr | None = Field(default=None, validation_alias="BRAVE_API_KEY")
    """Only whether there is one matters here."""

    gateway_tls_ca: SettingsPath | None = None
    """The CA that the gateway's certificate must be of, in PEM. None: it is called in plaintext."""

    search_tls_ca: SettingsPath | None = None
    """The same for the search service."""

    inference_tls_ca: SettingsPath | None = None
    """The same for the inference service."""

    client_tls_certificate: SettingsPath | None = None
    """The certificate that this command shows to services, in PEM. None: it has none."""

    client_tls_key: SettingsPath | None = None
    """Its private key."""

    gateway_tls_certificate: SettingsPath | None = None
    """Only whether the gateway serves TLS matters here."""

    search_tls_certificate: SettingsPath | None = None
    """Only whether the search service does."""

    inference_tls_certificate: SettingsPath | None = None
    """Only whether the inference service does."""

    gateway_api_keys_file: SettingsPath | None = None
    """The gateway's key file, which `keys new` adds to."""

    api_key: BearerToken | None = None
    """Sent to the gateway. None: no key is."""

    backend_token: BearerToken | None = None
    """Sent to the search and the inference service. None: no token is."""

    shutdown_grace_seconds: float = Field(default=10.0, ge=0)
    """How long a service's running calls may go on after SIGTERM."""

    @property
    def stop_seconds(self) -> float:
        """From SIGTERM to SIGKILL for a service that this command started: its own grace and some more."""
        return self.shutdown_grace_seconds + 5.0

    def listen_address(self, service: Service) -> str:
        """Where the service listens on this host."""
        return {"gateway": self.gateway_listen, "search": self.search_listen, "inference": self.inference_listen}[
            service.name
        ]

    def configured_target(self, service: Service) -> str:
        """The target that was set for the service. Empty where none was."""
        return {"gateway": self.gateway_target, "search": self.search_target, "inference": self.inference_target}[
            service.name
        ]

    def target(self, service: Service) -> str:
        """The target to reach the service at."""
        from groundwire_rpc.server import local_address

        return self.configured_target(service) or local_address(self.listen_address(service))

    def channel_security(self, service: Service) -> ChannelSecurity:
        """How to call the service. Raises CommandError where a file is no good."""
        from groundwire_rpc.channels import ChannelSecurity
        from groundwire_rpc.tls import client_tls

        token = self.api_key if service == GATEWAY else self.backend_token
        try:
            return ChannelSecurity(client_tls(self, service.name, logs=False), token)  # a command has no log
        except SettingsError as error:
            raise CommandError(str(error)) from None


def load_config() -> CliConfig:
    """The settings of this process. Raises CommandError where one is not valid."""
    try:
        return load_settings(CliConfig)
    except SettingsError as error:
        raise CommandError(str(error)) from None


_HOST_PORT: Final = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[^\s\[\]:/]+):\d{1,5}")
_WITH_SCHEME: Final = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|xds|vsock):\S+")


def target_or_default(target: str | None, service: Service) -> str:
    """`target` where it was given, else the configured one. Raises BadUsage for what is no gRPC target."""
    if target is None:
        return load_config().target(service)
    # gRPC would take a name without a port for port 443 and fail in a puzzling way.
    if not _HOST_PORT.fullmatch(target) and not _WITH_SCHEME.fullmatch(target):
        raise BadUsage(f"--target {target}: give HOST:PORT, such as 127.0.0.1:50051, or a gRPC target such as dns:///…")
    return target


def channel_security(service: Service) -> ChannelSecurity:
    """How to call the service, by the settings of this process. Raises CommandError."""
    return load_config().channel_security(service)


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a service that this command starts: this process's own with the changes."""
    # Unbuffered, so that its first line and its logs arrive at once.
    return {**os.environ, "PYTHONUNBUFFERED": "1", **changes}
