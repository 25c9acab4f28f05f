"""What every servicer method does around its domain call: ids, one table from errors to statuses, one log line."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Final

import grpc
import structlog

from groundwire_rpc.callers import caller_label
from groundwire_rpc.metadata import REQUEST_ID_KEY, call_metadata
from groundwire_rpc.status import INTERNAL, RichStatus, abort, invalid_fields
from groundwire_rpc.telemetry import WatchedCall, watched_call
from groundwire_rpc.tracing import NO_SPAN, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, Span
from groundwire_rpc.validation import InvalidFields

log = structlog.get_logger(__name__)

ErrorTable = Callable[[Exception], RichStatus | None]
"""A service's table from its domain errors to statuses. None: not one of its errors."""


POLLED: Final = frozenset({"GetStatus", "GetModel"})
"""Methods that live views and probes call every second. While all is well they are logged at the debug level only, and
they begin no trace."""

_SERVER_ERRORS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Codes that are a server's errors and not its caller's, by OpenTelemetry's conventions for gRPC."""


class ServedCall:
    """A call while its body runs."""

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.metadata = call_metadata(context)
        self.ended_with: RichStatus | None = None
        """The status with which the call was ended from outside its body."""
        self.span: Span = NO_SPAN
        """The call's span in its trace."""
        self._context = context
        self._headers_sent = False
        self._notes: dict[str, object] = {}

    def note(self, **values: object) -> None:
        """Have the line that is logged at the call's end say this too: counts and timings. None is left out."""
        self._notes.update((name, value) for name, value in values.items() if value is not None)

    @property
    def notes(self) -> dict[str, object]:
        """What was noted. Times are rounded to a tenth of a millisecond."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in self._notes.items()}

    @property
    def request_id_entry(self) -> tuple[tuple[str, str], ...]:
        """The request id, as metadata to send back."""
        return ((REQUEST_ID_KEY, self.metadata.request_id),)

    async def send_headers(self) -> None:
        """Send the initial metadata, once. A stream calls it before each message.

        Not any earlier: once headers have arrived, gRPC's own clients retry no more, so a refusal must come without
        any (a Trailers-Only response), or its pushback would be ignored (gRFC A6).
        """
        if not self._headers_sent:
            self._headers_sent = True
            await self._context.send_initial_metadata(self.request_id_entry)


_CURRENT: ContextVar[ServedCall | None] = ContextVar("served_call", default=None)


def current_call() -> ServedCall | None:
    """The call whose body runs in this task, or whose body began it. To be asked before anything is yielded."""
    return _CURRENT.get()


def _begin_span(call: ServedCall, rpc: str, watched: WatchedCall | None) -> None:
    metadata = call.metadata
    if watched is None or watched.telemetry.tracer is None or (rpc in POLLED and metadata.begins_trace):
        return
    call.span = watched.telemetry.tracer.start(
        watched.method,
        kind="server",
        traceparent=None if metadata.begins_trace else metadata.traceparent,
        attributes={RPC_SYSTEM: "grpc", RPC_METHOD: watched.method, "groundwire.request_id": metadata.request_id},
    )
    if call.span.traceparent:
        call.metadata = replace(metadata, traceparent=call.span.traceparent)


@asynccontextmanager
async def serving_call(
    rpc: str, context: grpc.aio.ServicerContext[Any, Any], table: ErrorTable
) -> AsyncIterator[ServedCall]:
    """Run the body of one RPC: its errors become statuses by `table`, what nobody expected becomes INTERNAL.

    The request id goes back in the initial metadata, and in an error's trailing metadata. Logs one line when it ends.
    """
    started = time.monotonic()
    call = ServedCall(context)
    watched = watched_call()
    _begin_span(call, rpc, watched)
    metadata = call.metadata
    ids = {"request_id": metadata.request_id, "trace_id": metadata.trace_id}
    if key := caller_label():
        ids["key"] = key
    # Neither is reset: each call has a task, and so a context, of its own. Every line that it logs bears the ids.
    structlog.contextvars.bind_contextvars(**ids)
    _CURRENT.set(call)
    reason = ""
    code = "CANCELLED"  # what it is if only a cancellation or a closed generator ends the body
    try:
        yield call
        await call.send_headers()
        code = "OK"
    except grpc.aio.AbortError:
        code = reason = context.code().name if isinstance(context.code(), grpc.StatusCode) else "ABORTED"
        raise
    except Exception as error:
        status = invalid_fields(error.violations) if isinstance(error, InvalidFields) else table(error)
        if status is None:
            log.exception("unexpected error", rpc=rpc, **ids)
            status = INTERNAL
        code = status.code.name
        reason = status.reason or code
        await abort(context, status, call.request_id_entry)
    finally:
        if call.ended_with is not None:
            code = call.ended_with.code.name
            reason = call.ended_with.reason or code
        seconds = time.monotonic() - started
        call.span.set({RPC_STATUS: code, "groundwire.reason": reason or None})
        call.span.end(error=code if code in _SERVER_ERRORS else "")
        if watched is not None and watched.telemetry.calls is not None:
            watched.telemetry.calls.served(watched.method, code, seconds, reason)
        told = {"rpc": rpc, "code": code, **({"reason": reason} if reason else {}), "seconds": round(seconds, 4)}
        write = log.debug if rpc in POLLED and code == "OK" else log.info
        write("call", **{**told, **call.notes, **told, **ids})  # in this order, and none can pose as another
