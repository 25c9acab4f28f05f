"""Client channels between the services, and from the command line to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from pydantic import SecretStr

from groundwire_rpc.connections import Options, channel_options
from groundwire_rpc.guard import bearer_metadata
from groundwire_rpc.secured_channel import SecuredChannel
from groundwire_rpc.tls import ClientTls

CHANNEL_OPTIONS: Final = channel_options()
"""Of a channel whose keepalive nobody has set."""


@dataclass(frozen=True, slots=True)
class ChannelSecurity:
    """What protects a channel, and what it tells of the caller."""

    tls: ClientTls | None = None
    """None: plaintext."""
    token: SecretStr | None = None
    """Sent with every call as `authorization: Bearer …`. None: no token is."""


PLAINTEXT: Final = ChannelSecurity()
"""Neither TLS nor a token."""


def open_channel(
    target: str, security: ChannelSecurity = PLAINTEXT, options: Options = CHANNEL_OPTIONS
) -> grpc.aio.Channel:
    """A channel to a gRPC target such as 127.0.0.1:50052 or dns:///host:port. The caller closes it.

    Certificates that are replaced later are used for the calls that begin after that.
    """
    tls = security.tls
    if security == PLAINTEXT:
        return grpc.aio.insecure_channel(target, options=options)

    def open_inner() -> grpc.aio.Channel:
        if tls is None:
            return grpc.aio.insecure_channel(target, options=options)
        return grpc.aio.secure_channel(target, tls.credentials.value, options=options)

    metadata = bearer_metadata(security.token) if security.token is not None else ()
    return SecuredChannel(open_inner, tls.watch() if tls else lambda: False, metadata)
