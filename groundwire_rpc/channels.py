"""Client channels between the services, and from the command line to them."""

from __future__ import annotations

from typing import Final

import grpc

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


def open_channel(target: str) -> grpc.aio.Channel:
    """A plaintext channel to a gRPC target such as 127.0.0.1:50052 or dns:///host:port. The caller closes it."""
    return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
