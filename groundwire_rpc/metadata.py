"""What travels beside a request: a request id, the W3C trace context and the deadline.

Nothing here lives in a context variable: a generator that a cancelled stream closes runs in another
contextvars.Context, so what a call needs is passed as a value.
"""

from __future__ import annotations

import re
import secrets
import uuid
from dataclasses import dataclass
from typing import Any, Final

import grpc

REQUEST_ID_KEY: Final = "x-request-id"
TRACEPARENT_KEY: Final = "traceparent"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class CallMetadata:
    """What identifies one call through all services."""

    request_id: str
    """The caller's x-request-id where it is 1 to 128 safe ASCII characters, else a new UUID."""
    traceparent: str
    """The caller's W3C traceparent where it is valid, else a new one."""
    begins_trace: bool = False
    """Whether it is a new one."""

    @property
    def trace_id(self) -> str:
        """The 32 hexadecimal digits that all spans of this trace share."""
        return self.traceparent.split("-")[1]

    def outgoing(self) -> tuple[tuple[str, str], ...]:
        """Metadata for a call to the next service."""
        return ((REQUEST_ID_KEY, self.request_id), (TRACEPARENT_KEY, self.traceparent))


def new_call_metadata() -> CallMetadata:
    """Metadata for a call that starts here."""
    return CallMetadata(str(uuid.uuid4()), f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01", begins_trace=True)


def is_request_id(text: str) -> bool:
    """Whether the services take it: 1 to 128 letters, digits or any of . _ : / + = @ - (any other is replaced)."""
    return _REQUEST_ID.fullmatch(text) is not None


def call_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> CallMetadata:
    """The metadata of a call being served; what is missing or malformed is made anew."""
    received = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    fresh = new_call_metadata()
    request_id = received.get(REQUEST_ID_KEY, "")
    traceparent = received.get(TRACEPARENT_KEY, "")
    is_continued = _TRACEPARENT.fullmatch(traceparent) is not None
    return CallMetadata(
        request_id if is_request_id(request_id) else fresh.request_id,
        traceparent if is_continued else fresh.traceparent,
        not is_continued,
    )


def remaining_seconds(context: grpc.aio.ServicerContext[Any, Any], default: float) -> float:
    """Seconds until the caller's deadline, at least 0; `default` where the caller set none."""
    remaining = context.time_remaining()
    # grpcio reports a missing deadline as None or, from some clients, as centuries.
    return default if remaining is None or remaining > 10**8 else max(0.0, remaining)
