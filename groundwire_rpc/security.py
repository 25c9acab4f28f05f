"""How a server is protected, and when it may listen where others can reach it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from groundwire_rpc.guard import Gate, SharedToken
from groundwire_rpc.settings import ENV_PREFIX, Settings, SettingsError
from groundwire_rpc.tls import ServerTls, server_tls

BACKEND_TOKEN_SETTING: Final = f"{ENV_PREFIX}BACKEND_TOKEN"
"""The variable of the token between the gateway and the services behind it."""


@dataclass(frozen=True, slots=True)
class ServerSecurity:
    """What protects a server. By default nothing does, which is for the loopback address only."""

    tls: ServerTls | None = None
    """None: it speaks plaintext."""
    gate: Gate | None = None
    """Who may call. None: whoever can connect."""
    reflection: bool = True
    """Whether it describes its services to whoever asks."""


def server_security(
    settings: Settings,
    service: str,
    listen: str,
    *,
    gate: Gate | None,
    gate_setting: str,
    reflection: bool,
    allow_insecure: bool,
) -> ServerSecurity:
    """The security of `service` from its fields <service>_tls_…, fit for where it listens (HOST:PORT).

    `gate_setting` is the variable that would bring a gate. Raises SettingsError where a file is no good, and where
    other hosts can reach the server although it has no TLS or asks nobody who they are, unless `allow_insecure`.
    """
    tls = server_tls(settings, service)
    security = ServerSecurity(tls, gate, reflection)
    if allow_insecure or is_loopback(listen):
        return security
    prefix = f"{ENV_PREFIX}{service.upper()}"
    missing = []
    if tls is None:
        missing.append(f"  no TLS: set {prefix}_TLS_CERTIFICATE and {prefix}_TLS_KEY")
    if gate is None and not (tls and tls.asks_for_certificates):
        missing.append(f"  nobody is asked who they are: set {gate_setting} or {prefix}_TLS_CLIENT_CA")
    if missing:
        raise SettingsError(
            f"{prefix}_LISTEN is {listen}, which other hosts can reach, but it is not protected:\n"
            + "\n".join(missing)
            + f"\nIf something else protects it, say so with {ENV_PREFIX}ALLOW_INSECURE_LISTEN=true."
        )
    return security


def backend_security(
    settings: Settings,
    service: str,
    listen: str,
    *,
    token: SecretStr | None,
    reflection: bool,
    allow_insecure: bool,
) -> ServerSecurity:
    """The same for a service behind the gateway, whose callers share `token` where there is one."""
    return server_security(
        settings,
        service,
        listen,
        gate=SharedToken(token, BACKEND_TOKEN_SETTING) if token is not None else None,
        gate_setting=BACKEND_TOKEN_SETTING,
        reflection=reflection,
        allow_insecure=allow_insecure,
    )


def is_loopback(address: str) -> bool:
    """Whether HOST:PORT can be reached from this host only. A name other than localhost is taken as one that can."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
