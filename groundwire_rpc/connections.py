"""What connections may carry, how long they live and how dead ones are found, for servers and clients.

gRPC ignores a key that it does not know, so a test looks whether each of these does what it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import Field

from groundwire_rpc.settings import Settings

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The largest message sent or taken, in bytes. Thirty-two documents of 64 KiB and 128 turns fit with room."""

MAX_METADATA_BYTES: Final = 16 * 1024
"""The most metadata of a call, in bytes: headers or trailers, 32 counted beside each entry."""

BUFFER_BYTES: Final = 64 * 1024
"""What gRPC holds of a stream beside one message: of what it has yet to send, and of what nobody has read yet."""

MAX_STREAMS: Final = 1_024
"""Calls at once on one connection. Clients of gRPC's own keep further ones back; what comes all the same is refused."""

MIN_PING_SECONDS: Final = 5.0
"""How often a client may ping while no data flows. One that pings more often is sent away, with ENHANCE_YOUR_CALM."""

KEEPALIVE_TIMEOUT_SECONDS: Final = 10.0
"""How long a peer may take to answer a ping."""

HANDSHAKE_SECONDS: Final = 10.0
"""How long a client may take from connecting to its first HTTP/2 frame, TLS in between."""

REQUEST_SECONDS: Final = 30.0
"""How long the request of a call may take to come."""

Options = tuple[tuple[str, int | str], ...]


class ConnectionSettings(Settings):
    """The settings of connections that all services have, and of how they end."""

    keepalive_seconds: float = Field(default=20.0, ge=10, le=3_600)
    """How long a connection is silent before it is pinged, so that a dead peer is noticed."""

    connection_age_seconds: float = Field(default=3_600.0, ge=0, le=2_000_000)
    """How old a connection of a caller becomes: its next call then takes a new one, and so finds new hosts behind a
    name. 0: as old as it likes."""

    connection_age_grace_seconds: float = Field(default=600.0, ge=1, le=2_000_000)
    """How long calls may then still run on the old one. Longer than any call that is worth waiting for."""

    shutdown_settle_seconds: float = Field(default=0.2, ge=0, le=3_600)
    """How long after SIGTERM calls are still taken while health says NOT_SERVING, so that load balancers notice."""

    @property
    def connections(self) -> Connections:
        """These settings together."""
        return Connections(self.keepalive_seconds, self.connection_age_seconds, self.connection_age_grace_seconds)


@dataclass(frozen=True, slots=True)
class Connections:
    """How a server's connections are kept, in seconds."""

    keepalive_seconds: float = 20.0
    age_seconds: float = 0.0
    """0: for ever."""
    age_grace_seconds: float = 600.0
    handshake_seconds: float = HANDSHAKE_SECONDS
    keepalive_timeout_seconds: float = KEEPALIVE_TIMEOUT_SECONDS
    min_ping_seconds: float = MIN_PING_SECONDS
    request_seconds: float = REQUEST_SECONDS
    """How long the request of a call may take to come."""

    def server_options(self) -> Options:
        """The options of a server."""
        options: Options = (
            ("grpc.so_reuseport", 0),  # else two servers could silently share a port
            *_MESSAGES,
            ("grpc.max_concurrent_streams", MAX_STREAMS),
            *_keepalive(self.keepalive_seconds, self.keepalive_timeout_seconds),
            ("grpc.http2.min_ping_interval_without_data_ms", _milliseconds(self.min_ping_seconds)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.server_handshake_timeout_ms", _milliseconds(self.handshake_seconds)),
        )
        if self.age_seconds:
            options += (
                ("grpc.max_connection_age_ms", _milliseconds(self.age_seconds)),
                ("grpc.max_connection_age_grace_ms", _milliseconds(self.age_grace_seconds)),
            )
        return options


def channel_options(
    keepalive_seconds: float = 20.0, keepalive_timeout_seconds: float = KEEPALIVE_TIMEOUT_SECONDS
) -> Options:
    """The options of a client channel."""
    return (
        *_MESSAGES,
        *_keepalive(keepalive_seconds, keepalive_timeout_seconds),
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


_MESSAGES: Final[Options] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Both: between the first and the second, calls would be refused by chance.
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.http2.write_buffer_size", BUFFER_BYTES),
    # Without these a stream that nobody reads would grow to megabytes, where the connection is fast.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", BUFFER_BYTES),
)


def _keepalive(seconds: float, timeout_seconds: float) -> Options:
    return (
        ("grpc.keepalive_time_ms", _milliseconds(seconds)),
        # It is the second that gives a silent peer up; alone, the first leaves that to the second's own 60 s.
        ("grpc.keepalive_timeout_ms", _milliseconds(timeout_seconds)),
        ("grpc.http2.ping_timeout_ms", _milliseconds(timeout_seconds)),
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
