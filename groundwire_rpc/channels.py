"""Client channels between the services, and from the command line to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import grpc
from pydantic import SecretStr

from groundwire_rpc.guard import bearer_metadata
from groundwire_rpc.secured_channel import SecuredChannel
from groundwire_rpc.tls import ClientTls

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message sent or taken, in bytes. Thirty-two documents of 64 KiB and 128 turns fit with room."""

CHANNEL_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A dead peer is noticed within half a minute even where no data flows; servers here permit 10 s pings.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The services retry by their own rules, before the first delta only.
    ("grpc.enable_retries", 0),
    # How long one attempt to connect may take (gRPC's own value is 20 s): a host that accepts and says nothing is
    # told from one that answers late.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.primary_user_agent", "groundwire"),
)


@dataclass(frozen=True, slots=True)
class ChannelSecurity:
    """What protects a channel, and what it tells of the caller."""

    tls: ClientTls | None = None
    """None: plaintext."""
    token: SecretStr | None = None
    """Sent with every call as `authorization: Bearer …`. None: no token is."""


PLAINTEXT: Final = ChannelSecurity()
"""Neither TLS nor a token."""


def open_channel(target: str, security: ChannelSecurity = PLAINTEXT) -> grpc.aio.Channel:
    """A channel to a gRPC target such as 127.0.0.1:50052 or dns:///host:port. The caller closes it.

    Certificates that are replaced later are used for the calls that begin after that.
    """
    tls = security.tls
    if security == PLAINTEXT:
        return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)

    def open_inner() -> grpc.aio.Channel:
        if tls is None:
            return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        return grpc.aio.secure_channel(target, tls.credentials.value, options=CHANNEL_OPTIONS)

    metadata = bearer_metadata(security.token) if security.token is not None else ()
    return SecuredChannel(open_inner, tls.watch() if tls else lambda: False, metadata)
